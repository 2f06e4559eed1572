#include "quiet_write.h"

#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <ctime>

#include "errno_kept.h"
#include "kernel.h"
#include "signals.h"

namespace nextaddr {

bool write_quietly(int fd, const char* data, std::size_t size, off_t offset) {
  const ErrnoKept errno_kept;
  const Uninterrupted uninterrupted;
  sigset_t pending;
  sigpending(&pending);
  const ssize_t written =
      offset < 0 ? kernel::write(fd, data, size) : ::pwrite(fd, data, size, offset);
  const int raised = written >= 0 ? 0 : errno == EPIPE ? SIGPIPE : errno == EFBIG ? SIGXFSZ : 0;
  if (raised != 0 && sigismember(&pending, raised) == 0) {
    sigset_t ours;
    sigemptyset(&ours);
    sigaddset(&ours, raised);
    const timespec at_once{};
    sigtimedwait(&ours, nullptr, &at_once);
  }
  return written == static_cast<ssize_t>(size);
}

}  // namespace nextaddr
