// The one clock of the library: milliseconds of CLOCK_MONOTONIC, for schedules and logs.
// Async-signal-safe. Only called once an attempt has not succeeded at once.
#pragma once

#include <cstdint>
#include <ctime>

namespace nextaddr {

inline std::uint64_t now_ms() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000 +
         static_cast<std::uint64_t>(now.tv_nsec) / 1'000'000;
}

// The same at the resolution of the kernel's tick, for a fifth of the price.
inline std::uint64_t coarse_ms() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000 +
         static_cast<std::uint64_t>(now.tv_nsec) / 1'000'000;
}

}  // namespace nextaddr
