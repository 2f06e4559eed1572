#include "waits.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "clock.h"
#include "flights.h"
#include "libc.h"
#include "registrations.h"

namespace nextaddr {
namespace {

constexpr std::int64_t kForever = INT64_MAX;
constexpr std::int64_t kNanoseconds = 1'000'000'000;

std::int64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * kNanoseconds + now.tv_nsec;
}

// The program's time, and how much of it the next slice of the wait may take.
class Patience {
 public:
  // kForever: no limit.
  explicit Patience(std::int64_t limit_ns)
      : end_ns_(limit_ns >= kForever - now_ns() ? kForever : now_ns() + limit_ns) {}

  [[nodiscard]] std::int64_t left_ns() const {
    return end_ns_ == kForever ? kForever : std::max<std::int64_t>(end_ns_ - now_ns(), 0);
  }
  // At most until the next connect under way has to be moved on.
  [[nodiscard]] std::int64_t slice_ns() const {
    const std::uint64_t deadline = next_flight_deadline();
    const std::uint64_t now = now_ms();
    if (deadline > now + 1'000'000'000) return left_ns();
    const auto until = static_cast<std::int64_t>(deadline > now ? deadline - now : 0) * 1'000'000;
    return std::min(left_ns(), until);
  }
  [[nodiscard]] bool over() const { return left_ns() == 0; }

 private:
  std::int64_t end_ns_;
};

int slice_ms(std::int64_t ns) {
  if (ns == kForever) return -1;
  return static_cast<int>(std::min<std::int64_t>((ns + 999'999) / 1'000'000, INT32_MAX));
}

timespec slice_timespec(std::int64_t ns) {
  return {static_cast<time_t>(ns / kNanoseconds), static_cast<long>(ns % kNanoseconds)};
}

std::int64_t limit_of(int timeout_ms) {
  return timeout_ms < 0 ? kForever : std::int64_t{timeout_ms} * 1'000'000;
}

std::int64_t limit_of(const timespec* timeout) {
  if (timeout == nullptr || timeout->tv_sec > kForever / kNanoseconds - 1) return kForever;
  return timeout->tv_sec * kNanoseconds + timeout->tv_nsec;
}

// Waits in slices: `wait(slice_ns)` is the program's call, `sift(ready)` takes out of its result
// what belongs to a connect still under way and returns how many are left.
template <typename Wait, typename Sift>
int wait_in_slices(std::int64_t limit_ns, Wait wait, Sift sift, Woken woken = {}) {
  int ready = woken.found;
  if (ready > 0 && limit_ns != kForever && limit_ns != 0) {
    const auto waited = static_cast<std::int64_t>(coarse_ms() - woken.since_ms) * 1'000'000;
    limit_ns = std::max<std::int64_t>(limit_ns - waited, 0);
  }
  const Patience patience(limit_ns);
  for (;;) {
    if (ready == 0) {
      drive_due_flights();
      ready = wait(patience.slice_ns());
      if (ready < 0) return ready;
    }
    if (ready > 0) ready = sift(ready);
    if (ready > 0) return ready;
    if (patience.over()) return 0;
  }
}

// A ready descriptor that may be a duplicate of one with a connect under way.
Sight look_at_any(int fd) {
  if (in_flight(fd)) return look_at(fd);
  const int original = original_of(fd);
  return original < 0 ? Sight::kNotOurs : look_at(original);
}

// A failed attempt, and a socket between two of them, always show POLLERR or POLLHUP, which cannot
// be masked out (poll(2)); anything else is the sign of a connection. The same for epoll.
template <typename Events>
bool may_have_failed(Events events) {
  return (events & (POLLERR | POLLHUP)) != 0;
}
static_assert(POLLERR == EPOLLERR && POLLHUP == EPOLLHUP);

// Takes the events of connects still under way out of what poll(2) found.
int sift_poll(pollfd* fds, nfds_t count, int ready) {
  for (nfds_t i = 0; i < count; ++i) {
    if (fds[i].revents == 0) continue;
    if (!may_have_failed(fds[i].revents)) {
      note_connected(fds[i].fd);
      continue;
    }
    switch (look_at_any(fds[i].fd)) {
      case Sight::kNotOurs:
        break;
      case Sight::kInFlight:
        fds[i].revents = 0;
        --ready;
        break;
      case Sight::kFailed:
        fds[i].revents |= POLLERR;
        break;
    }
  }
  return ready;
}

// The three sets of one select(2) call, as the program gave them: each slice starts from these.
class SelectSets {
 public:
  // More descriptors than FD_SETSIZE fit, as long as the program allocated its sets so.
  static constexpr int kMost = 8192;

  SelectSets(int count, fd_set* read, fd_set* write, fd_set* except)
      : count_(count),
        bytes_((static_cast<std::size_t>(count) + 63) / 64 * 8),
        sets_{read, write, except} {
    for (std::size_t i = 0; i < sets_.size(); ++i) {
      if (sets_[i] != nullptr) std::memcpy(given_[i].data(), sets_[i], bytes_);
    }
  }

  void restore() const {
    for (std::size_t i = 0; i < sets_.size(); ++i) {
      if (sets_[i] != nullptr) std::memcpy(sets_[i], given_[i].data(), bytes_);
    }
  }

  // Takes out the connects still under way.
  int sift(int ready) const {
    for (int fd = 0; fd < count_; ++fd) {
      if (!present(fd) || look_at_any(fd) != Sight::kInFlight) continue;
      for (fd_set* set : sets_) ready -= remove(set, fd) ? 1 : 0;
    }
    return ready;
  }

  void clear() const {
    for (fd_set* set : sets_) {
      if (set != nullptr) std::memset(set, 0, bytes_);
    }
  }

 private:
  using Word = unsigned long;
  static constexpr int kBits = 8 * sizeof(Word);

  static bool has(const fd_set* set, int fd) {
    const auto* words = reinterpret_cast<const Word*>(set);
    return set != nullptr && (words[fd / kBits] >> (fd % kBits) & 1) != 0;
  }
  [[nodiscard]] bool present(int fd) const {
    return has(sets_[0], fd) || has(sets_[1], fd) || has(sets_[2], fd);
  }
  static bool remove(fd_set* set, int fd) {
    if (!has(set, fd)) return false;
    reinterpret_cast<Word*>(set)[fd / kBits] &= ~(Word{1} << (fd % kBits));
    return true;
  }

  int count_;
  std::size_t bytes_;
  std::array<fd_set*, 3> sets_;
  std::array<std::array<char, kMost / 8>, 3> given_;
};

template <typename Wait>
int wait_with_sets(int count, fd_set* read, fd_set* write, fd_set* except, std::int64_t limit_ns,
                   Wait wait) {
  const SelectSets sets(count, read, write, except);
  const int ready = wait_in_slices(
      limit_ns,
      [&](std::int64_t ns) {
        sets.restore();
        return wait(ns);
      },
      [&](int found) { return sets.sift(found); });
  if (ready == 0) sets.clear();
  return ready;
}

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
    const Sight sight = fd >= 0 ? look_at_any(fd) : Sight::kNotOurs;
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

int wait_poll(pollfd* fds, nfds_t count, int timeout_ms, Woken woken) {
  return wait_in_slices(
      limit_of(timeout_ms), [&](std::int64_t ns) { return libc::poll(fds, count, slice_ms(ns)); },
      [&](int ready) { return sift_poll(fds, count, ready); }, woken);
}

int wait_ppoll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask,
               Woken woken) {
  return wait_in_slices(
      limit_of(timeout),
      [&](std::int64_t ns) {
        const timespec slice = slice_timespec(ns);
        return libc::ppoll(fds, count, ns == kForever ? nullptr : &slice, mask);
      },
      [&](int ready) { return sift_poll(fds, count, ready); }, woken);
}

int wait_select(int count, fd_set* read, fd_set* write, fd_set* except, timeval* timeout) {
  if (count < 0 || count > SelectSets::kMost)
    return libc::select(count, read, write, except, timeout);
  std::int64_t limit = kForever;
  if (timeout != nullptr) {
    // The kernel's own complaint about a bad time comes without changing the sets.
    if (timeout->tv_sec < 0 || timeout->tv_usec < 0) {
      return libc::select(count, read, write, except, timeout);
    }
    const timespec same{timeout->tv_sec, timeout->tv_usec * 1000};
    limit = limit_of(&same);
  }
  const Patience patience(limit);
  const int ready = wait_with_sets(count, read, write, except, limit, [&](std::int64_t ns) {
    timeval slice{static_cast<time_t>(ns / kNanoseconds),
                  static_cast<suseconds_t>(ns % kNanoseconds / 1000)};
    return libc::select(count, read, write, except, ns == kForever ? nullptr : &slice);
  });
  if (timeout != nullptr) {
    // Linux leaves the time not slept (select(2)).
    const std::int64_t left = patience.left_ns();
    if (limit != kForever) {
      *timeout = {static_cast<time_t>(left / kNanoseconds),
                  static_cast<suseconds_t>(left % kNanoseconds / 1000)};
    }
  }
  return ready;
}

int wait_pselect(int count, fd_set* read, fd_set* write, fd_set* except, const timespec* timeout,
                 const sigset_t* mask) {
  if (count < 0 || count > SelectSets::kMost) {
    return libc::pselect(count, read, write, except, timeout, mask);
  }
  return wait_with_sets(count, read, write, except, limit_of(timeout), [&](std::int64_t ns) {
    const timespec slice = slice_timespec(ns);
    return libc::pselect(count, read, write, except, ns == kForever ? nullptr : &slice, mask);
  });
}

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

int socket_error(int fd, void* value, socklen_t* length) {
  const Sight sight = look_at(fd);
  const int result = libc::getsockopt(fd, SOL_SOCKET, SO_ERROR, value, length);
  if (result == 0 && sight == Sight::kFailed && *length == sizeof(int)) {
    const int error = take_error(fd);
    std::memcpy(value, &error, sizeof error);
  }
  return result;
}

}  // namespace nextaddr
