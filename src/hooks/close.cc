// Built for speed: programs make these calls all the time.
//
// What ends the use of a descriptor's number: close(2), dup2(2) and their kin. A connect that is
// pending on it is forgotten before, so that no step of another thread works on its socket any
// more: a step keeps the socket and its epoll registrations alive (os/pin.h), and the program must
// get no event of what it has closed.
//
// With nothing pending each is a load and a jump, without a frame. Before libc's function is known
// the system call is made, because an allocator that starts may close a file before anything else.
#include <unistd.h>

#include "connect/pending_connects.h"
#include "connect/probes.h"
#include "hooks/hook.h"
#include "lookup/dns_answers.h"
#include "os/libc.h"

namespace {

constexpr int kCloseRangeCloexec = 1 << 2;  // CLOSE_RANGE_CLOEXEC, of Linux 5.11

// What calls on while a connect is pending is a function of its own each, so that the others need
// no frame.
__attribute__((noinline, cold)) int close_pending(int fd) {
  nextaddr::forget_closed(fd);
  nextaddr::dns::note_closed(fd);
  nextaddr::probes::look_after();
  return nextaddr::libc::close(fd);
}

__attribute__((noinline, cold)) int dup2_pending(int from, int to) {
  if (from != to) nextaddr::forget_closed(to);
  return nextaddr::libc::dup2(from, to);
}

__attribute__((noinline, cold)) int dup3_pending(int from, int to, int flags) {
  if (from != to) nextaddr::forget_closed(to);
  return nextaddr::libc::dup3(from, to, flags);
}

}  // namespace

NEXTADDR_HOOK int close(int fd) {
  if (nextaddr::any_watched()) [[unlikely]]
    return close_pending(fd);
  return nextaddr::libc::close(fd);
}

NEXTADDR_HOOK int __close(int fd) { return close(fd); }

NEXTADDR_HOOK int dup2(int from, int to) noexcept {
  if (nextaddr::any_pending()) [[unlikely]]
    return dup2_pending(from, to);
  return nextaddr::libc::dup2(from, to);
}

NEXTADDR_HOOK int __dup2(int from, int to) noexcept { return dup2(from, to); }

NEXTADDR_HOOK int dup3(int from, int to, int flags) noexcept {
  if (nextaddr::any_pending()) [[unlikely]]
    return dup3_pending(from, to, flags);
  return nextaddr::libc::dup3(from, to, flags);
}

NEXTADDR_HOOK int close_range(unsigned first, unsigned last, int flags) noexcept {
  // With CLOSE_RANGE_CLOEXEC nothing is closed yet.
  if (nextaddr::any_pending() && (flags & kCloseRangeCloexec) == 0) [[unlikely]]
    nextaddr::forget_closed(first, last);
  return nextaddr::libc::close_range(first, last, flags);
}

NEXTADDR_HOOK void closefrom(int first) noexcept {
  if (nextaddr::any_pending()) [[unlikely]] {
    nextaddr::forget_closed(first > 0 ? static_cast<unsigned>(first) : 0, ~0u);
  }
  nextaddr::libc::closefrom(first);
}
