// The clocks of the library: CLOCK_MONOTONIC for schedules and logs, and CLOCK_REALTIME for what is
// shared with other processes; neither must be taken for the other. Async-signal-safe; no system
// call but to sleep.
#pragma once

#include <sys/time.h>

#include <cstdint>
#include <ctime>

namespace nextaddr {

inline std::uint64_t us_of(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec) / 1000;
}

inline std::uint64_t now_us() { return us_of(CLOCK_MONOTONIC); }
inline std::uint64_t now_ms() { return now_us() / 1000; }

inline timespec timespec_of_ms(std::uint64_t ms) {
  return {static_cast<time_t>(ms / 1000), static_cast<long>(ms % 1000 * 1'000'000)};
}

// True when there is a time limit: zero stands for none.
inline bool is_set(const timeval& time) { return time.tv_sec != 0 || time.tv_usec != 0; }

// CLOCK_MONOTONIC_COARSE: exact only to the kernel's tick, at a fifth of the cost.
inline timespec coarse_time() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return now;
}

// Milliseconds since 1970.
inline std::uint64_t wall_ms() { return us_of(CLOCK_REALTIME) / 1000; }

// For a loop that waits for another thread: sched_yield(2) alone would keep the processor from a
// thread of lower priority. A cancellation point.
inline void sleep_briefly() {
  constexpr timespec kTenthOfMs{0, 100'000};
  nanosleep(&kTenthOfMs, nullptr);
}

}  // namespace nextaddr
