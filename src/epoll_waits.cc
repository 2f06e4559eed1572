// epoll_wait(2) and its variants while connects are under way. An event tells only the program's
// own data, so which descriptor it is about has to be found out (registrations.h).
#include <sys/epoll.h>

#include <cstdint>

#include "flights.h"
#include "libc.h"
#include "registrations.h"
#include "slices.h"
#include "waits.h"

namespace nextaddr {
namespace {

static_assert(POLLERR == EPOLLERR && POLLHUP == EPOLLHUP);

bool is_registered(int fd, int epoll, std::uint64_t data) {
  Registration known;
  return registration_of(fd, known) && known.epoll == epoll && known.data == data;
}

// Most programs put the descriptor into the data: that one, or -1.
int descriptor_in(int epoll, std::uint64_t data) {
  const auto fd = static_cast<int>(data);
  return is_registered(fd, epoll, data) ? fd : -1;
}

// For all the others, a search: the descriptor with a connect under way that has this data, or -1.
int search_descriptor(int epoll, std::uint64_t data) {
  for (const bool ask_kernel : {false, true}) {
    std::size_t position = 0;
    for (int fd = next_in_flight(position); fd >= 0; fd = next_in_flight(position)) {
      if (is_registered(fd, epoll, data)) return fd;
      Registration known;
      if (ask_kernel && registration_of(fd, known) && known.several &&
          registered_with(epoll, fd, data)) {
        return fd;
      }
    }
  }
  return -1;
}

// Programs give both sockets of a session the same data: can an event be about another descriptor
// than `fd`?
bool another_failed(int epoll, std::uint64_t data, int fd) {
  for (int other = -1; (other = next_registered_alike(epoll, data, fd, other)) >= 0;) {
    pollfd state{other, 0, 0};
    if (libc::poll(&state, 1, 0) == 1 && may_have_failed(state.revents) && !in_flight(other)) {
      return true;
    }
  }
  return false;
}

// EPOLLONESHOT has disabled what this event was about, and the program has not seen it.
void rearm(int epoll, int fd) {
  Registration known;
  if (!registration_of(fd, known) || known.epoll != epoll || (known.events & EPOLLONESHOT) == 0)
    return;
  epoll_event event{known.events, {}};
  event.data.u64 = known.data;
  libc::epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
}

int sift_epoll(int epoll, epoll_event* events, int ready) {
  int left = 0;
  for (int i = 0; i < ready; ++i) {
    epoll_event event = events[i];
    if (event.data.u64 == wake_data()) continue;
    if (!may_have_failed(event.events)) {
      note_connected(descriptor_in(epoll, event.data.u64));
      events[left++] = event;
      continue;
    }
    const int named = descriptor_in(epoll, event.data.u64);
    const int fd = named >= 0 ? named : search_descriptor(epoll, event.data.u64);
    const Sight sight = fd >= 0 ? look_at_ready(fd) : Sight::kNotOurs;
    if (sight == Sight::kInFlight && (named >= 0 || !another_failed(epoll, event.data.u64, fd))) {
      rearm(epoll, fd);
      continue;
    }
    if (sight == Sight::kFailed) event.events |= EPOLLERR | EPOLLHUP;
    events[left++] = event;
  }
  return left;
}

}  // namespace

int wait_epoll(int epoll, epoll_event* events, int size, int timeout_ms, Woken woken) {
  return wait_in_slices(
      limit_of(timeout_ms),
      [&](std::int64_t ns) { return libc::epoll_wait(epoll, events, size, slice_ms(ns)); },
      [&](int ready) { return sift_epoll(epoll, events, ready); }, woken);
}

int wait_epoll_masked(int epoll, epoll_event* events, int size, int timeout_ms,
                      const sigset_t* mask, Woken woken) {
  return wait_in_slices(
      limit_of(timeout_ms),
      [&](std::int64_t ns) { return libc::epoll_pwait(epoll, events, size, slice_ms(ns), mask); },
      [&](int ready) { return sift_epoll(epoll, events, ready); }, woken);
}

int wait_epoll_exact(int epoll, epoll_event* events, int size, const timespec* timeout,
                     const sigset_t* mask, Woken woken) {
  if (!is_valid(timeout)) return libc::epoll_pwait2(epoll, events, size, timeout, mask);
  return wait_in_slices(
      limit_of(timeout),
      [&](std::int64_t ns) {
        const timespec slice = slice_timespec(ns);
        return libc::epoll_pwait2(epoll, events, size, ns == kForever ? nullptr : &slice, mask);
      },
      [&](int ready) { return sift_epoll(epoll, events, ready); }, woken);
}

void wake_sleepers(int fd) {
  Registration known;
  if (registration_of(fd, known) && others_wait_on(known.epoll)) {
    wake_at(known.epoll, next_flight_deadline());
  }
}

}  // namespace nextaddr
