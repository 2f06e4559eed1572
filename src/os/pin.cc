#include "os/pin.h"

#include <sys/socket.h>

#include <algorithm>
#include <atomic>

#include "os/clock.h"
#include "os/errno_kept.h"
#include "os/kernel.h"
#include "os/libc.h"
#include "os/sandbox.h"

namespace nextaddr {

namespace {

// Programs count on low numbers: the lowest free one is what open(2) gives, and some close and
// open 0, 1 and 2 again. But a number beyond the kernel's table makes the table grow, for which a
// process with threads waits 10 ms. That has room for 64 descriptors at first, and for this one.
int lowest_own_number(int fd) {
  constexpr int kHigh = 256;
  constexpr int kFirstSize = 64;
  constexpr int kLast = 16;
  return fd >= kHigh ? kHigh : std::max(fd + 1, kFirstSize) - kLast;
}

int duplicate_high(int fd) { return kernel::fcntl(fd, F_DUPFD_CLOEXEC, lowest_own_number(fd)); }

constinit std::atomic<std::uint32_t> pins{0};
constinit std::atomic<std::uint32_t> forks{0};
// How many of the pins are this thread's. It may take one more while a fork waits for those that it
// has.
constinit thread_local std::uint32_t own_pins = 0;
// This thread holds pins back, once however often it is told to.
constinit thread_local bool holds_back = false;

// Neither enter() nor hold_pins_back() waits for ever: a child of clone(2) has what its parent had
// in that moment.
constexpr int kPatience = 1000;

void enter() {
  const bool is_first = own_pins++ == 0;
  for (int i = 0;; ++i) {
    pins.fetch_add(1);
    if (!is_first || holds_back || forks.load() == 0 || i == kPatience) return;
    pins.fetch_sub(1);
    sleep_briefly();
  }
}

void leave() {
  --own_pins;
  pins.fetch_sub(1);
}

}  // namespace

int move_high(int fd) {
  if (fd < 0) return -1;
  const int high = duplicate_high(fd);
  kernel::close(fd);
  return high;
}

ForksHeldBack::ForksHeldBack() {
  const ErrnoKept errno_kept;
  enter();
}
ForksHeldBack::~ForksHeldBack() { leave(); }

void hold_pins_back() {
  if (!holds_back) forks.fetch_add(1);
  holds_back = true;
  for (int i = 0; i < kPatience && pins.load() != 0; ++i) sleep_briefly();
}

void let_pins_be() {
  if (holds_back) forks.fetch_sub(1);
  holds_back = false;
}

void forget_pins_of_parent() {
  pins.store(0);
  forks.store(0);
  holds_back = false;
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
    socket_ = duplicate_high(fd);
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
