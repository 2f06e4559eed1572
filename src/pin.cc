#include "pin.h"

#include <sys/socket.h>

#include <algorithm>

#include "errno_kept.h"
#include "kernel.h"
#include "libc.h"
#include "process.h"

namespace nextaddr {

// Programs count on low numbers: the lowest free one is what open(2) gives, and some close and
// open 0, 1 and 2 again. But a number beyond the kernel's table makes the table grow, for which a
// process with threads waits 10 ms. That has room for 64 descriptors at first, and for this one.
int lowest_own_number(int fd) {
  constexpr int kHigh = 256;
  constexpr int kFirstSize = 64;
  constexpr int kLast = 16;
  return fd >= kHigh ? kHigh : std::max(fd + 1, kFirstSize) - kLast;
}

std::uint64_t socket_cookie(int fd) {
  std::uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  if (libc::getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) == 0) return cookie;
  // Linux before 4.12, and what emulates Linux. No two sockets have had the same inode for long.
  struct stat status {};
  return kernel::fstat(fd, status) == 0 && S_ISSOCK(status.st_mode) ? status.st_ino : 0;
}

Pin::Pin(int fd, std::uint64_t cookie) {
  const ErrnoKept errno_kept;
  if (sandbox() == Sandbox::kNone) {
    socket_ = kernel::fcntl(fd, F_DUPFD_CLOEXEC, lowest_own_number(fd));
    is_duplicate_ = socket_ >= 0;
  }
  if (!is_duplicate_) socket_ = fd;
  if (socket_cookie(socket_) == cookie) return;
  if (is_duplicate_) kernel::close(socket_);
  is_duplicate_ = false;
  socket_ = -1;
}

Pin::~Pin() {
  const ErrnoKept errno_kept;
  if (is_duplicate_) kernel::close(socket_);
}

}  // namespace nextaddr
