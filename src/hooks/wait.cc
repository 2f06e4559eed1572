// The waits: poll(2), select(2) and their variants, and SO_ERROR, by which programs learn a
// connect's result. With no connect under way each costs one atomic load.
#include "clock.h"
#include "errno_kept.h"
#include "flights.h"
#include "hooks/hook.h"
#include "libc.h"
#include "registrations.h"
#include "waits.h"

namespace libc = nextaddr::libc;
using nextaddr::any_in_flight;
using nextaddr::errno_kept_on_success;
using nextaddr::Woken;

namespace {

// libc's wait, unless a connect is under way, or another thread has begun one, or moved one on,
// while this one slept.
template <typename Plain, typename Driven>
int wait(bool has_limit, Plain plain, Driven driven) {
  if (any_in_flight()) return errno_kept_on_success([&] { return driven({}); });
  const std::uint64_t since = has_limit ? nextaddr::coarse_ms() : 0;
  const int found = plain();
  if (found <= 0 || !(any_in_flight() || nextaddr::any_moved_on() || nextaddr::wakes_exist())) {
    return found;
  }
  return errno_kept_on_success([&] { return driven(Woken{found, since}); });
}

}  // namespace

NEXTADDR_HOOK int poll(pollfd* fds, nfds_t count, int timeout_ms) {
  return wait(
      timeout_ms > 0, [&] { return libc::poll(fds, count, timeout_ms); },
      [&](Woken woken) { return nextaddr::wait_poll(fds, count, timeout_ms, woken); });
}

NEXTADDR_HOOK int __poll(pollfd* fds, nfds_t count, int timeout_ms) {
  return poll(fds, count, timeout_ms);
}

// Programs built with _FORTIFY_SOURCE: `size` is what the compiler knows of the array.
NEXTADDR_HOOK int __poll_chk(pollfd* fds, nfds_t count, int timeout_ms, size_t size) {
  if (size / sizeof *fds < count) libc::buffer_overflow_detected();
  return poll(fds, count, timeout_ms);
}

NEXTADDR_HOOK int ppoll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask) {
  return wait(
      timeout != nullptr, [&] { return libc::ppoll(fds, count, timeout, mask); },
      [&](Woken woken) { return nextaddr::wait_ppoll(fds, count, timeout, mask, woken); });
}

NEXTADDR_HOOK int __ppoll_chk(pollfd* fds, nfds_t count, const timespec* timeout,
                              const sigset_t* mask, size_t size) {
  if (size / sizeof *fds < count) libc::buffer_overflow_detected();
  return ppoll(fds, count, timeout, mask);
}

// select(2) writes its result over what it was asked, so a wait that has begun cannot be gone on
// with.
NEXTADDR_HOOK int select(int count, fd_set* read, fd_set* write, fd_set* except, timeval* timeout) {
  if (!any_in_flight()) return libc::select(count, read, write, except, timeout);
  return errno_kept_on_success(
      [&] { return nextaddr::wait_select(count, read, write, except, timeout); });
}

NEXTADDR_HOOK int __select(int count, fd_set* read, fd_set* write, fd_set* except,
                           timeval* timeout) {
  return select(count, read, write, except, timeout);
}

NEXTADDR_HOOK int pselect(int count, fd_set* read, fd_set* write, fd_set* except,
                          const timespec* timeout, const sigset_t* mask) {
  if (!any_in_flight()) return libc::pselect(count, read, write, except, timeout, mask);
  return errno_kept_on_success(
      [&] { return nextaddr::wait_pselect(count, read, write, except, timeout, mask); });
}

NEXTADDR_HOOK int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) noexcept {
  const nextaddr::NotedCall call(epoll, operation, fd, event);
  const int result = libc::epoll_ctl(epoll, operation, fd, event);
  call.end(result == 0);
  if (result == 0 && any_in_flight() && nextaddr::in_flight(fd)) nextaddr::wake_sleepers(fd);
  return result;
}

NEXTADDR_HOOK int epoll_wait(int epoll, epoll_event* events, int size, int timeout_ms) {
  nextaddr::note_waiter(epoll);
  return wait(
      timeout_ms > 0, [&] { return libc::epoll_wait(epoll, events, size, timeout_ms); },
      [&](Woken woken) { return nextaddr::wait_epoll(epoll, events, size, timeout_ms, woken); });
}

NEXTADDR_HOOK int epoll_pwait(int epoll, epoll_event* events, int size, int timeout_ms,
                              const sigset_t* mask) {
  nextaddr::note_waiter(epoll);
  return wait(
      timeout_ms > 0, [&] { return libc::epoll_pwait(epoll, events, size, timeout_ms, mask); },
      [&](Woken woken) {
        return nextaddr::wait_epoll_masked(epoll, events, size, timeout_ms, mask, woken);
      });
}

NEXTADDR_HOOK int epoll_pwait2(int epoll, epoll_event* events, int size, const timespec* timeout,
                               const sigset_t* mask) {
  nextaddr::note_waiter(epoll);
  return wait(
      timeout != nullptr, [&] { return libc::epoll_pwait2(epoll, events, size, timeout, mask); },
      [&](Woken woken) {
        return nextaddr::wait_epoll_exact(epoll, events, size, timeout, mask, woken);
      });
}

NEXTADDR_HOOK int getsockopt(int fd, int level, int name, void* value, socklen_t* length) noexcept {
  if (level == SOL_SOCKET && name == SO_ERROR && any_in_flight()) {
    return errno_kept_on_success([&] { return nextaddr::socket_error(fd, value, length); });
  }
  return libc::getsockopt(fd, level, name, value, length);
}
