#include "wait/epoll.h"

#include <fcntl.h>

#include <cstdint>

#include "connect/pending_connects.h"
#include "kernel.h"
#include "libc.h"
#include "wait/epoll_registry.h"
#include "wait/epoll_waker.h"
#include "wait/sliced_wait.h"

// An event tells only the program's own data, so which descriptor it is about has to be found out
// (epoll_registry.h).

namespace nextaddr {
namespace {

static_assert(POLLERR == EPOLLERR && POLLHUP == EPOLLHUP);

bool is_registered(int fd, int epoll, std::uint64_t data) {
  Registration known;
  return registration_of(fd, known) && known.epoll == epoll && known.data == data;
}

// Calls each(fd) for every descriptor that an event of `epoll` with `data` may be about.
template <typename Each>
void for_each_source(int epoll, std::uint64_t data, Each each) {
  // Most programs put the descriptor into the data.
  if (is_registered(static_cast<int>(data), epoll, data)) return each(static_cast<int>(data));
  bool found = false;
  for (int fd = -1; (fd = next_registered_alike(epoll, data, fd)) >= 0;) {
    found = true;
    each(fd);
  }
  if (found) return;
  // Of a descriptor in several sets only the last one is known here; the kernel knows all.
  std::size_t position = 0;
  for (int fd = next_pending(position); fd >= 0; fd = next_pending(position)) {
    Registration known;
    if (registration_of(fd, known) && known.several && registered_with(epoll, fd, data)) each(fd);
  }
}

// EPOLLONESHOT has disabled what this event was about, and the program has not seen it.
void rearm(int epoll, int fd, std::uint64_t data) {
  Registration known;
  if (!registration_of(fd, known) || (known.events & EPOLLONESHOT) == 0) return;
  if (known.epoll != epoll && !known.several) return;
  epoll_event event{known.events, {}};
  event.data.u64 = data;
  libc::epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
}

// An event with an error: is it for the program? Programs give both sockets of a session the same
// data, so it may be about several descriptors, of which one with an error of its own is enough.
bool is_for_program(int epoll, epoll_event& event) {
  bool held_back = false;
  bool tells = false;
  const std::uint64_t data = event.data.u64;
  const std::uint32_t told = event.events;
  for_each_source(epoll, data, [&](int fd) {
    switch (advance_after_error(fd, told)) {
      case ProgramView::kNotOurs:
        // A number that was closed without EPOLL_CTL_DEL is still known here.
        tells = tells || kernel::fcntl(fd, F_GETFD) != -1;
        break;
      case ProgramView::kPending:
        held_back = true;
        rearm(epoll, fd, data);
        break;
      case ProgramView::kFailed:
        Registration known{};
        registration_of(fd, known);
        event.events |= EPOLLERR | EPOLLHUP | (known.events & (EPOLLIN | EPOLLRDHUP));
        tells = true;
        break;
    }
  });
  return tells || !held_back;
}

// The descriptor that an event without an error is about may have been connected. Where the data
// does not name it and many are in flight, their next deadline finds out.
void note_source_connected(int epoll, std::uint64_t data) {
  constexpr std::size_t kFew = 64;
  if (is_registered(static_cast<int>(data), epoll, data)) {
    return note_connected(static_cast<int>(data));
  }
  std::size_t position = 0;
  for (int fd = next_pending(position); fd >= 0 && position <= kFew; fd = next_pending(position)) {
    // Others may have the same data.
    if (is_registered(fd, epoll, data)) note_if_connected(fd);
  }
}

int sift_epoll(int epoll, epoll_event* events, int ready) {
  int left = 0;
  for (int i = 0; i < ready; ++i) {
    epoll_event event = events[i];
    if (event.data.u64 == wake_data()) continue;
    if (!may_have_failed(event.events)) {
      if ((event.events & EPOLLOUT) != 0) note_source_connected(epoll, event.data.u64);
    } else if (!is_for_program(epoll, event)) {
      continue;
    }
    events[left++] = event;
  }
  return left;
}

}  // namespace

int wait_epoll(int epoll, epoll_event* events, int size, EpollTime time, const sigset_t* mask,
               Woken woken) {
  return wait_in_slices(
      time.limit_ns, mask,
      [&](std::int64_t ns, const sigset_t* slice_mask) {
        return time.exact ? libc::epoll_pwait2(epoll, events, size, SliceTime(ns).get(), slice_mask)
                          : libc::epoll_pwait(epoll, events, size, slice_ms(ns), slice_mask);
      },
      [&](int ready) { return sift_epoll(epoll, events, ready); }, woken);
}

}  // namespace nextaddr
