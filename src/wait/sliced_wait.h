// How a wait of the program goes on while connects are under way: its own call in slices, each
// until the next connect has to be moved on, and its own time kept to the nanosecond.
//
// Never decides what the program sees: that is the `sift` of each kind of wait.
#pragma once

#include <poll.h>

#include <algorithm>
#include <cstdint>
#include <ctime>

#include "connect/pending_connects.h"
#include "os/callable.h"
#include "os/clock.h"
#include "os/signals.h"

namespace nextaddr {

inline constexpr std::int64_t kForever = INT64_MAX;

// A wait that began with nothing pending and has found something, now that a connect is pending or
// has been meanwhile: what it found, since when it had been waiting (CLOCK_MONOTONIC_COARSE), and
// changes() of then. `found` 0: the wait is only to begin.
struct Woken {
  int found = 0;
  timespec since{};
  std::uint32_t changes = 0;
};

inline constexpr std::int64_t kNanoseconds = 1'000'000'000;

inline std::int64_t ns_of(const timespec& time) {
  return time.tv_sec * kNanoseconds + time.tv_nsec;
}

inline std::int64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return ns_of(now);
}

// The program's time, and how much of it is left.
class Patience {
 public:
  // kForever: no limit.
  explicit Patience(std::int64_t limit_ns)
      : end_ns_(limit_ns >= kForever - now_ns() ? kForever : now_ns() + limit_ns) {}

  [[nodiscard]] std::int64_t left_ns() const {
    return end_ns_ == kForever ? kForever : std::max<std::int64_t>(end_ns_ - now_ns(), 0);
  }
  // The next slice, which ends with the program's time or at `until_ms` of CLOCK_MONOTONIC.
  [[nodiscard]] std::int64_t slice_ns(std::uint64_t until_ms) const {
    const std::uint64_t now = now_ms();
    if (until_ms > now + 1'000'000'000) return left_ns();
    const auto until = static_cast<std::int64_t>(until_ms > now ? until_ms - now : 0) * 1'000'000;
    return std::min(left_ns(), until);
  }
  [[nodiscard]] bool over() const { return left_ns() == 0; }

 private:
  std::int64_t end_ns_;
};

// A slice as ppoll(2) and its kin take it: null for no limit.
class SliceTime {
 public:
  explicit SliceTime(std::int64_t ns)
      : time_{static_cast<time_t>(std::min(ns / kNanoseconds, kLongestSlice)),
              static_cast<long>(ns % kNanoseconds)},
        unlimited_(ns == kForever) {}
  [[nodiscard]] const timespec* get() const { return unlimited_ ? nullptr : &time_; }

 private:
  // In seconds; more do not fit where time_t has 32 bits.
  static constexpr std::int64_t kLongestSlice = 1'000'000'000;

  timespec time_;
  bool unlimited_;
};

inline int slice_ms(std::int64_t ns) {
  if (ns == kForever) return -1;
  return static_cast<int>(std::min<std::int64_t>((ns + 999'999) / 1'000'000, INT32_MAX));
}

inline std::int64_t limit_of(int timeout_ms) {
  return timeout_ms < 0 ? kForever : std::int64_t{timeout_ms} * 1'000'000;
}

// The times of ppoll(2) and its kin.
template <typename Timespec>
std::int64_t limit_of(const Timespec* timeout) {
  if (timeout == nullptr || timeout->tv_sec > kForever / kNanoseconds - 1) return kForever;
  return timeout->tv_sec * kNanoseconds + timeout->tv_nsec;
}

// False for a time that the kernel answers EINVAL to, which is left to it.
template <typename Timespec>
bool is_valid(const Timespec* timeout) {
  return timeout == nullptr ||
         (timeout->tv_sec >= 0 && timeout->tv_nsec >= 0 && timeout->tv_nsec < kNanoseconds);
}

// The time of select(2), which takes more than a second's microseconds.
template <typename Timeval>
std::int64_t limit_of_select(const Timeval* timeout) {
  constexpr std::int64_t kMost = kForever / kNanoseconds / 2;
  if (timeout == nullptr || timeout->tv_sec > kMost || timeout->tv_usec / 1'000'000 > kMost) {
    return kForever;
  }
  return timeout->tv_sec * kNanoseconds + timeout->tv_usec * std::int64_t{1000};
}

template <typename Timeval>
bool is_valid_for_select(const Timeval* timeout) {
  return timeout == nullptr || (timeout->tv_sec >= 0 && timeout->tv_usec >= 0);
}

// One wait of the program.
struct Wait {
  // The program's call, for this long at most and with this signal mask.
  Callable<int, std::int64_t, const sigset_t*> call;
  // Takes out of its result what belongs to a connect still pending, and returns how many are left.
  // `changes`: changes() when the call began.
  Callable<int, int, std::uint32_t> sift;
  // Visits the descriptors that are waited for and may have a connect pending.
  Callable<void, const DescriptorVisitor&> for_each_own;
};

// Waits in slices, each until the next of the connects that are waited for has to be advanced.
// `mask`: the program's for this wait, or null for that of the thread. A signal that comes between
// two slices is held back, and so ends the next one. Returns and errno as of `wait.call`; errno is
// left alone on success.
int wait_in_slices(std::int64_t limit_ns, const sigset_t* mask, const Wait& wait, Woken woken = {});

// True for events that a failed attempt, and a socket between two attempts, always show: POLLERR or
// POLLHUP, which cannot be masked out (poll(2)). Anything else is the sign of a connection. epoll
// has the same bits.
template <typename Events>
bool may_have_failed(Events events) {
  return (events & (POLLERR | POLLHUP)) != 0;
}

}  // namespace nextaddr
