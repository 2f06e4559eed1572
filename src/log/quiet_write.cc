#include "log/quiet_write.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <ctime>

#include "os/clock.h"
#include "os/errno_kept.h"
#include "os/kernel.h"
#include "os/libc.h"
#include "os/signals.h"
#include "process/process.h"

namespace nextaddr {
namespace {

// A reader that is slow is waited for; one that has stopped to read only once, for kGraceMs.
constexpr std::uint64_t kGraceMs = 100;
constinit std::atomic<bool> reader_has_stopped{false};

// Calls `write`, which fails with a negative result, and takes the signal away that it raised.
template <typename Write>
ssize_t quietly(Write write) {
  const Uninterrupted uninterrupted;
  sigset_t pending;
  sigpending(&pending);
  const ssize_t written = write();
  const int raised = written >= 0 ? 0 : errno == EPIPE ? SIGPIPE : errno == EFBIG ? SIGXFSZ : 0;
  if (raised != 0 && sigismember(&pending, raised) == 0) {
    sigset_t ours;
    sigemptyset(&ours);
    sigaddset(&ours, raised);
    const timespec at_once{};
    sigtimedwait(&ours, nullptr, &at_once);
  }
  return written;
}

bool has_room(int fd, std::uint64_t within_ms) {
  pollfd file{fd, POLLOUT, 0};
  return libc::poll(&file, 1, static_cast<int>(within_ms)) > 0;
}

// write(2) that never waits, without O_NONBLOCK, which whoever shares the file would see.
ssize_t write_at_once(int fd, const char* data, std::size_t size) {
  iovec part{const_cast<char*>(data), size};
  constexpr long kHere = -1;
  const long written = syscall(SYS_pwritev2, fd, &part, 1, kHere, kHere, RWF_NOWAIT);
  // Pipes before Linux 6.5 lack it.
  if (written >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)) return written;
  if (!has_room(fd, 0)) {
    errno = EAGAIN;
    return -1;
  }
  return kernel::write(fd, data, std::min<std::size_t>(size, PIPE_BUF));
}

ssize_t write_all(int fd, const char* data, std::size_t size) {
  const std::uint64_t begin = now_ms();
  const std::uint64_t grace = reader_has_stopped.load(std::memory_order_relaxed) ? 0 : kGraceMs;
  std::size_t done = 0;
  while (done < size) {
    const ssize_t written = write_at_once(fd, data + done, size - done);
    if (written > 0) {
      done += static_cast<std::size_t>(written);
      continue;
    }
    if (written < 0 && errno != EAGAIN) return -1;
    const std::uint64_t waited = now_ms() - begin;
    if (waited >= grace || !has_room(fd, grace - waited)) {
      reader_has_stopped.store(true, std::memory_order_relaxed);
      return -1;
    }
  }
  reader_has_stopped.store(false, std::memory_order_relaxed);
  return static_cast<ssize_t>(size);
}

// Opens the same file once more, for writes that do not wait. -1: it cannot be had.
int open_anew(int fd) {
  char path[] = "/proc/self/fd/0000000000";
  char* digit = path + sizeof path - 1;
  for (std::size_t i = 0; i < 10; ++i, fd /= 10) *--digit = static_cast<char>('0' + fd % 10);
  // Leading zeros are no name there.
  char* end = path + sizeof path - 1;
  while (*digit == '0' && digit < end - 1) ++digit;
  std::copy(digit, end + 1, path + sizeof "/proc/self/fd/" - 1);
  return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

}  // namespace

bool write_quietly(int fd, const char* data, std::size_t size, off_t offset) {
  const ErrnoKept errno_kept;
  const ssize_t written = quietly([&] {
    return offset < 0 ? kernel::write(fd, data, size) : ::pwrite(fd, data, size, offset);
  });
  return written == static_cast<ssize_t>(size);
}

bool write_without_hanging(int fd, const char* data, std::size_t size) {
  const ErrnoKept errno_kept;
  const Uncancelled uncancelled;
  struct stat status {};
  // In a sandbox no system call may be added.
  if (sandbox() != Sandbox::kNone || (kernel::fstat(fd, status) == 0 && S_ISREG(status.st_mode))) {
    return write_quietly(fd, data, size);
  }
  // A terminal that has room for less than is written waits for more, unless this is its own
  // opening of it.
  const int own = S_ISCHR(status.st_mode) ? open_anew(fd) : -1;
  const ssize_t written = quietly([&] { return write_all(own >= 0 ? own : fd, data, size); });
  if (own >= 0) kernel::close(own);
  return written >= 0;
}

}  // namespace nextaddr
