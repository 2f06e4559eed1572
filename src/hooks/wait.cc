// Built for speed: programs make these calls all the time.
//
// The waits: poll(2), select(2) and their variants, and SO_ERROR, by which programs learn a
// connect's result. With no connect under way each costs a few atomic loads, and a timed one a look
// at the coarse clock; never a system call.
//
// The variants of 64-bit time differ in the time they take, and in libc's function behind them.
#include <netinet/in.h>

#include <optional>

#include "connect/ipv6_only.h"
#include "connect/pending_connects.h"
#include "hooks/hook.h"
#include "os/clock.h"
#include "os/libc.h"
#include "os/time64.h"
#include "wait/epoll.h"
#include "wait/epoll_registry.h"
#include "wait/epoll_waker.h"
#include "wait/poll_select.h"
#include "wait/sliced_wait.h"

namespace libc = nextaddr::libc;
using nextaddr::any_pending;
using nextaddr::limit_of;
using nextaddr::Woken;

namespace {

// True when nothing is pending, and nobody but this thread could begin a connect while it waits.
__attribute__((always_inline)) inline bool is_for_libc_alone() {
  return !any_pending() && !nextaddr::timer_is_set() && !nextaddr::timer_is_inherited() &&
         libc::is_single_threaded();
}

// True when what libc's wait has found has to be looked through: while this thread slept something
// has changed for connects, or it may have been woken by the timer of a parent.
inline bool needs_a_look(int found, std::uint32_t changes_before) {
  return found > 0 && (nextaddr::changes() != changes_before || nextaddr::timer_is_inherited());
}

// libc's wait, unless a connect is pending, or something has changed for connects while this thread
// slept: another one has begun one, or moved one on. Whoever calls it is a function of its own
// (.._otherwise), so that a wait that is for libc alone needs no frame.
template <typename Plain, typename Driven>
int wait(bool has_limit, Plain plain, Driven driven) {
  if (any_pending() || nextaddr::timer_is_set()) return driven({});
  const std::uint32_t before = nextaddr::changes();
  timespec since{};
  if (has_limit) since = nextaddr::coarse_time();
  const int found = plain();
  if (!needs_a_look(found, before)) return found;
  return driven(Woken{found, since, before});
}

template <typename Timespec>
using Ppoll = int (*)(pollfd*, nfds_t, const Timespec*, const sigset_t*);

__attribute__((noinline)) int poll_otherwise(pollfd* fds, nfds_t count, int timeout_ms) {
  return wait(
      timeout_ms > 0, [&] { return libc::poll(fds, count, timeout_ms); },
      [&](Woken woken) {
        return nextaddr::wait_poll(fds, count, limit_of(timeout_ms), nullptr, woken);
      });
}

template <typename Timespec>
__attribute__((noinline)) int ppoll_otherwise(Ppoll<Timespec> plain, pollfd* fds, nfds_t count,
                                              const Timespec* timeout, const sigset_t* mask) {
  return wait(
      timeout != nullptr, [&] { return plain(fds, count, timeout, mask); },
      [&](Woken woken) {
        if (!nextaddr::is_valid(timeout)) return plain(fds, count, timeout, mask);
        return nextaddr::wait_poll(fds, count, limit_of(timeout), mask, woken);
      });
}

template <typename Timespec>
int ppoll_hook(Ppoll<Timespec> plain, pollfd* fds, nfds_t count, const Timespec* timeout,
               const sigset_t* mask) {
  if (is_for_libc_alone()) return plain(fds, count, timeout, mask);
  return ppoll_otherwise(plain, fds, count, timeout, mask);
}

// select(2) writes its result over what it was asked. Where another thread may begin a connect
// meanwhile, the sets are kept, so that a wait that has begun can be gone on with. A function of
// its own, so that programs of one thread need no room for them. `driven` has no result when the
// kernel alone must do.
template <typename Plain, typename Driven>
__attribute__((noinline)) int select_beside_others(int count, const fd_set* read,
                                                   const fd_set* write, const fd_set* except,
                                                   Plain plain, Driven driven) {
  const nextaddr::KeptSets before(count, read, write, except);
  const std::uint32_t changes_before = nextaddr::changes();
  const timespec since = nextaddr::coarse_time();
  const int found = plain();
  if (!before || !needs_a_look(found, changes_before)) return found;
  return driven(&before, Woken{found, since, changes_before}).value_or(found);
}

template <typename Plain, typename Driven>
int select_wait(int count, const fd_set* read, const fd_set* write, const fd_set* except,
                Plain plain, Driven driven) {
  if (!any_pending() && !nextaddr::timer_is_set()) {
    return select_beside_others(count, read, write, except, plain, driven);
  }
  const std::optional<int> found = driven(nullptr, Woken{});
  return found ? *found : plain();
}

template <typename Timeval>
using Select = int (*)(int, fd_set*, fd_set*, fd_set*, Timeval*);

template <typename Timeval>
__attribute__((noinline)) int select_otherwise(Select<Timeval> plain, int count, fd_set* read,
                                               fd_set* write, fd_set* except, Timeval* timeout) {
  return select_wait(
      count, read, write, except, [&] { return plain(count, read, write, except, timeout); },
      [&](const nextaddr::KeptSets* before, Woken woken) -> std::optional<int> {
        if (!nextaddr::is_valid_for_select(timeout)) return {};
        const std::int64_t limit = nextaddr::limit_of_select(timeout);
        const nextaddr::Patience patience(limit);
        // Linux leaves the time not slept in the timeout (select(2)): of a wait that was woken,
        // what has passed is no part of the limit any more.
        woken.since = nextaddr::coarse_time();
        const auto found =
            nextaddr::wait_select(count, read, write, except, limit, nullptr, before, woken);
        if (found && limit != nextaddr::kForever) {
          const std::int64_t left = patience.left_ns();
          timeout->tv_sec = static_cast<decltype(timeout->tv_sec)>(left / nextaddr::kNanoseconds);
          timeout->tv_usec =
              static_cast<decltype(timeout->tv_usec)>(left % nextaddr::kNanoseconds / 1000);
        }
        return found;
      });
}

template <typename Timeval>
int select_hook(Select<Timeval> plain, int count, fd_set* read, fd_set* write, fd_set* except,
                Timeval* timeout) {
  if (is_for_libc_alone()) return plain(count, read, write, except, timeout);
  return select_otherwise(plain, count, read, write, except, timeout);
}

template <typename Timespec>
using Pselect = int (*)(int, fd_set*, fd_set*, fd_set*, const Timespec*, const sigset_t*);

template <typename Timespec>
__attribute__((noinline)) int pselect_otherwise(Pselect<Timespec> plain, int count, fd_set* read,
                                                fd_set* write, fd_set* except,
                                                const Timespec* timeout, const sigset_t* mask) {
  return select_wait(
      count, read, write, except, [&] { return plain(count, read, write, except, timeout, mask); },
      [&](const nextaddr::KeptSets* before, Woken woken) -> std::optional<int> {
        if (!nextaddr::is_valid(timeout)) return {};
        return nextaddr::wait_select(count, read, write, except, limit_of(timeout), mask, before,
                                     woken);
      });
}

template <typename Timespec>
int pselect_hook(Pselect<Timespec> plain, int count, fd_set* read, fd_set* write, fd_set* except,
                 const Timespec* timeout, const sigset_t* mask) {
  if (is_for_libc_alone()) return plain(count, read, write, except, timeout, mask);
  return pselect_otherwise(plain, count, read, write, except, timeout, mask);
}

__attribute__((noinline)) int epoll_wait_otherwise(int epoll, epoll_event* events, int size,
                                                   int timeout_ms) {
  return wait(
      timeout_ms > 0, [&] { return libc::epoll_wait(epoll, events, size, timeout_ms); },
      [&](Woken woken) {
        return nextaddr::wait_epoll(epoll, events, size, {limit_of(timeout_ms), false}, nullptr,
                                    woken);
      });
}

__attribute__((noinline)) int epoll_pwait_otherwise(int epoll, epoll_event* events, int size,
                                                    int timeout_ms, const sigset_t* mask) {
  return wait(
      timeout_ms > 0, [&] { return libc::epoll_pwait(epoll, events, size, timeout_ms, mask); },
      [&](Woken woken) {
        return nextaddr::wait_epoll(epoll, events, size, {limit_of(timeout_ms), false}, mask,
                                    woken);
      });
}

template <typename Timespec>
using EpollPwait2 = int (*)(int, epoll_event*, int, const Timespec*, const sigset_t*);

template <typename Timespec>
__attribute__((noinline)) int epoll_pwait2_otherwise(EpollPwait2<Timespec> plain, int epoll,
                                                     epoll_event* events, int size,
                                                     const Timespec* timeout,
                                                     const sigset_t* mask) {
  return wait(
      timeout != nullptr, [&] { return plain(epoll, events, size, timeout, mask); },
      [&](Woken woken) {
        if (!nextaddr::is_valid(timeout)) return plain(epoll, events, size, timeout, mask);
        return nextaddr::wait_epoll(epoll, events, size, {limit_of(timeout), true}, mask, woken);
      });
}

template <typename Timespec>
int epoll_pwait2_hook(EpollPwait2<Timespec> plain, int epoll, epoll_event* events, int size,
                      const Timespec* timeout, const sigset_t* mask) {
  nextaddr::note_waiter(epoll);
  if (is_for_libc_alone()) return plain(epoll, events, size, timeout, mask);
  return epoll_pwait2_otherwise(plain, epoll, events, size, timeout, mask);
}

using Getsockopt = int (*)(int, int, int, void*, socklen_t*);

// The two options of which the kernel does not tell what the program is to know.
__attribute__((noinline)) int special_option(Getsockopt plain, int fd, int level, int name,
                                             void* value, socklen_t* length) {
  if (level == SOL_SOCKET) return nextaddr::socket_error(fd, value, length);
  const int result = plain(fd, level, name, value, length);
  if (result == 0) nextaddr::tell_ipv6_only(fd, value, length);
  return result;
}

int getsockopt_hook(Getsockopt plain, int fd, int level, int name, void* value, socklen_t* length) {
  if ((level == SOL_SOCKET && name == SO_ERROR && any_pending()) ||
      (level == IPPROTO_IPV6 && name == IPV6_V6ONLY &&
       nextaddr::ipv6_only_was_lifted.load(std::memory_order_relaxed))) {
    return special_option(plain, fd, level, name, value, length);
  }
  return plain(fd, level, name, value, length);
}

}  // namespace

NEXTADDR_HOOK int poll(pollfd* fds, nfds_t count, int timeout_ms) {
  if (is_for_libc_alone()) return libc::poll(fds, count, timeout_ms);
  return poll_otherwise(fds, count, timeout_ms);
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
  return ppoll_hook(libc::ppoll, fds, count, timeout, mask);
}

NEXTADDR_HOOK int __ppoll_chk(pollfd* fds, nfds_t count, const timespec* timeout,
                              const sigset_t* mask, size_t size) {
  if (size / sizeof *fds < count) libc::buffer_overflow_detected();
  return ppoll(fds, count, timeout, mask);
}

NEXTADDR_HOOK int select(int count, fd_set* read, fd_set* write, fd_set* except, timeval* timeout) {
  return select_hook(libc::select, count, read, write, except, timeout);
}

NEXTADDR_HOOK int __select(int count, fd_set* read, fd_set* write, fd_set* except,
                           timeval* timeout) {
  return select(count, read, write, except, timeout);
}

NEXTADDR_HOOK int pselect(int count, fd_set* read, fd_set* write, fd_set* except,
                          const timespec* timeout, const sigset_t* mask) {
  return pselect_hook(libc::pselect, count, read, write, except, timeout, mask);
}

NEXTADDR_HOOK int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) noexcept {
  const nextaddr::NotedCall call(epoll, operation, fd, event);
  const int result = libc::epoll_ctl(epoll, operation, fd, event);
  call.end(result == 0);
  if (result == 0 && any_pending() && nextaddr::may_be_pending(fd))
    nextaddr::wake_epoll_sleepers(fd);
  return result;
}

NEXTADDR_HOOK int epoll_wait(int epoll, epoll_event* events, int size, int timeout_ms) {
  nextaddr::note_waiter(epoll);
  if (is_for_libc_alone()) return libc::epoll_wait(epoll, events, size, timeout_ms);
  return epoll_wait_otherwise(epoll, events, size, timeout_ms);
}

NEXTADDR_HOOK int epoll_pwait(int epoll, epoll_event* events, int size, int timeout_ms,
                              const sigset_t* mask) {
  nextaddr::note_waiter(epoll);
  if (is_for_libc_alone()) return libc::epoll_pwait(epoll, events, size, timeout_ms, mask);
  return epoll_pwait_otherwise(epoll, events, size, timeout_ms, mask);
}

NEXTADDR_HOOK int epoll_pwait2(int epoll, epoll_event* events, int size, const timespec* timeout,
                               const sigset_t* mask) {
  return epoll_pwait2_hook(libc::epoll_pwait2, epoll, events, size, timeout, mask);
}

NEXTADDR_HOOK int getsockopt(int fd, int level, int name, void* value, socklen_t* length) noexcept {
  return getsockopt_hook(libc::getsockopt, fd, level, name, value, length);
}

#ifdef NEXTADDR_HAS_TIME64

using nextaddr::Timespec64;
using nextaddr::Timeval64;

NEXTADDR_HOOK int __ppoll64(pollfd* fds, nfds_t count, const Timespec64* timeout,
                            const sigset_t* mask) {
  return ppoll_hook(libc::ppoll64, fds, count, timeout, mask);
}

// glibc has it since 2.37.
NEXTADDR_HOOK int __ppoll64_chk(pollfd* fds, nfds_t count, const Timespec64* timeout,
                                const sigset_t* mask, size_t size) {
  if (size / sizeof *fds < count) libc::buffer_overflow_detected();
  return __ppoll64(fds, count, timeout, mask);
}

NEXTADDR_HOOK int __select64(int count, fd_set* read, fd_set* write, fd_set* except,
                             Timeval64* timeout) {
  return select_hook(libc::select64, count, read, write, except, timeout);
}

NEXTADDR_HOOK int __pselect64(int count, fd_set* read, fd_set* write, fd_set* except,
                              const Timespec64* timeout, const sigset_t* mask) {
  return pselect_hook(libc::pselect64, count, read, write, except, timeout, mask);
}

NEXTADDR_HOOK int __epoll_pwait2_time64(int epoll, epoll_event* events, int size,
                                        const Timespec64* timeout, const sigset_t* mask) {
  return epoll_pwait2_hook(libc::epoll_pwait2_time64, epoll, events, size, timeout, mask);
}

NEXTADDR_HOOK int __getsockopt64(int fd, int level, int name, void* value,
                                 socklen_t* length) noexcept {
  return getsockopt_hook(libc::getsockopt64, fd, level, name, value, length);
}

#endif
