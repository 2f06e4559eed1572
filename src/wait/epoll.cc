#include "wait/epoll.h"

#include <fcntl.h>

#include <cstdint>

#include "connect/pending_connects.h"
#include "os/errno_kept.h"
#include "os/kernel.h"
#include "os/libc.h"
#include "wait/epoll_registry.h"
#include "wait/epoll_waker.h"
#include "wait/sliced_wait.h"

// An event has only the program's own data, so which descriptor it is about has to be found out
// (wait/epoll_registry.h).

namespace nextaddr {
namespace {

static_assert(POLLERR == EPOLLERR && POLLHUP == EPOLLHUP);

bool is_registered(int fd, int epoll, std::uint64_t data) {
  Registration known;
  return registration_of(fd, known) && known.epoll == epoll && known.data == data;
}

// Calls each(fd, events) for every descriptor that has been registered in `epoll` with `data`, with
// what it is registered for. True when there is one.
bool for_each_registered(int epoll, std::uint64_t data, const RegistrationVisitor& each) {
  Registration known;
  // Most programs put the descriptor into the data.
  if (is_registered(static_cast<int>(data), epoll, data)) {
    registration_of(static_cast<int>(data), known);
    each(static_cast<int>(data), known.events);
    return true;
  }
  bool found = false;
  for (int fd = -1; (fd = next_registered_alike(epoll, data, fd)) >= 0;) {
    if (!registration_of(fd, known)) continue;
    found = true;
    each(fd, known.events);
  }
  return found;
}

// Calls each(fd, events) for every descriptor that an event of `epoll` with `data` may be about.
void for_each_source(int epoll, std::uint64_t data, const RegistrationVisitor& each) {
  // Of a descriptor that is in several sets only the last set is known here: the kernel knows all.
  if (!for_each_registered(epoll, data, each)) for_each_pending_known_to_kernel(epoll, data, each);
}

// Whether a registration can be made again (rearm()) that EPOLLONESHOT has disabled with an event
// that the program is not to see. False when it is not known for which events it was made: the
// kernel keeps that only while it is enabled.
bool can_be_rearmed(std::uint32_t events) {
  constexpr std::uint32_t kFlags = EPOLLONESHOT | EPOLLET | EPOLLWAKEUP | EPOLLEXCLUSIVE;
  return (events & EPOLLONESHOT) == 0 || (events & ~kFlags) != 0;
}

void rearm(int epoll, int fd, std::uint32_t events, std::uint64_t data) {
  if ((events & EPOLLONESHOT) == 0) return;
  epoll_event event{events, {}};
  event.data.u64 = data;
  libc::epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
}

// Whether this descriptor is one that an event with an error may be about. A file may not be asked
// again: /proc/self/mountinfo and the like lose what they have told.
bool may_have_told_error(int fd) {
  struct stat status {};
  // A number that was closed without EPOLL_CTL_DEL is still known here.
  if (kernel::fstat(fd, status) != 0) return false;
  if (S_ISREG(status.st_mode)) return true;
  pollfd now{fd, 0, 0};
  libc::poll(&now, 1, 0);
  return now.revents != 0;
}

// An event with an error: is it for the program? Programs give both sockets of a session the same
// data, so it may be about several descriptors, of which one with an error of its own is enough.
bool is_for_program(int epoll, epoll_event& event, std::uint32_t changes_before) {
  bool held_back = false;
  bool tells = false;
  int others = 0;
  const std::uint64_t data = event.data.u64;
  const std::uint32_t told = event.events;
  for_each_source(epoll, data, [&](int fd, std::uint32_t events) {
    // An event that could not be had again is told to the program as it is, and SO_ERROR tells the
    // truth.
    if (!can_be_rearmed(events)) {
      tells = true;
      return;
    }
    switch (advance_after_error(fd, told, changes_before)) {
      case ProgramView::kNotOurs:
        ++others;
        break;
      case ProgramView::kPending:
        held_back = true;
        rearm(epoll, fd, events, data);
        break;
      case ProgramView::kFailed:
        event.events |= EPOLLERR | EPOLLHUP | (events & (EPOLLIN | EPOLLRDHUP));
        tells = true;
        break;
    }
  });
  if (tells || !held_back) return true;
  if (others == 0) return false;
  for_each_source(epoll, data, [&](int fd, std::uint32_t) {
    tells = tells || (!may_be_pending(fd) && may_have_told_error(fd));
  });
  return tells;
}

// The descriptor that an event without an error is about may have been connected. Where the data
// does not name it and many are pending, their next deadline finds out. False when the event tells
// of an attempt that is over.
bool is_of_this_attempt(int epoll, std::uint64_t data) {
  constexpr std::size_t kFew = 64;
  const int named = static_cast<int>(data);
  if (is_registered(named, epoll, data)) return advance_connected(named) != ProgramView::kPending;
  bool is_over = false;
  std::size_t position = 0;
  for (int fd = next_pending(position); fd >= 0 && position <= kFew; fd = next_pending(position)) {
    // Other descriptors may have the same data.
    if (is_registered(fd, epoll, data)) {
      is_over = is_over || advance_if_connected(fd) == ProgramView::kPending;
    }
  }
  return !is_over;
}

// Whether the kernel has `fd` in `epoll`: what is known here may be of an earlier descriptor with
// its number.
bool is_in(int epoll, int fd) {
  const ErrnoKept errno_kept;
  epoll_event nothing{};
  if (libc::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &nothing) != 0) return errno == EEXIST;
  libc::epoll_ctl(epoll, EPOLL_CTL_DEL, fd, nullptr);
  return false;
}

// True when the event is about another set in this one, which is ready only because of our timer.
bool is_of_woken_set(int epoll, std::uint64_t data) {
  bool may_be = false;
  for_each_registered(epoll, data,
                      [&](int fd, std::uint32_t) { may_be = may_be || may_be_woken(fd); });
  if (!may_be) return false;
  bool woken = false;
  bool other = false;
  for_each_registered(epoll, data, [&](int fd, std::uint32_t) {
    if (other || !is_in(epoll, fd)) return;
    woken = is_only_woken(fd);
    other = !woken;
  });
  return woken && !other;
}

bool is_any_under_way_in(int epoll) {
  bool any = false;
  for_each_pending_in(epoll, [&](int fd) { any = any || is_under_way(fd); });
  return any;
}

int sift_epoll(int epoll, epoll_event* events, int ready, std::uint32_t changes_before) {
  int left = 0;
  for (int i = 0; i < ready; ++i) {
    epoll_event event = events[i];
    if (event.data.u64 == wake_data()) {
      set_timer_anew();
      continue;
    }
    if (may_have_failed(event.events)) {
      if (!is_for_program(epoll, event, changes_before)) continue;
    } else if ((event.events & EPOLLOUT) != 0) {
      if (!is_of_this_attempt(epoll, event.data.u64)) continue;
    } else if (is_of_woken_set(epoll, event.data.u64)) {
      continue;
    }
    events[left++] = event;
  }
  return left;
}

}  // namespace

int wait_epoll(int epoll, epoll_event* events, int size, EpollTime time, const sigset_t* mask,
               Woken woken) {
  const auto call = [&](std::int64_t ns, const sigset_t* slice_mask) {
    return time.exact ? libc::epoll_pwait2(epoll, events, size, SliceTime(ns).get(), slice_mask)
                      : libc::epoll_pwait(epoll, events, size, slice_ms(ns), slice_mask);
  };
  const auto sift = [&](int ready, std::uint32_t changes_before) {
    return sift_epoll(epoll, events, ready, changes_before);
  };
  const auto for_each_own = [&](const DescriptorVisitor& visit) {
    for_each_pending_in(epoll, visit);
  };
  const int ready = wait_in_slices(time.limit_ns, mask, {call, sift, for_each_own}, woken);
  // This thread may be busy with other things for long now, while others sleep in the set.
  if (any_pending() && others_wait_on(epoll) && is_any_under_way_in(epoll)) {
    wake_others_in(epoll);
  }
  return ready;
}

}  // namespace nextaddr
