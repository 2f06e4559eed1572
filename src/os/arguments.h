// Pointers the program hands to a hook, which the kernel would look at first: those that can only
// be wrong are for it to refuse (EFAULT), because reading them here would crash.
#pragma once

#include <cstdint>

namespace nextaddr {

// False for null, what is next to it, and error codes taken for pointers.
inline bool may_be_read(const void* pointer) {
  constexpr std::uintptr_t kLowest = 4096;
  constexpr std::uintptr_t kErrors = static_cast<std::uintptr_t>(-4095);
  const auto value = reinterpret_cast<std::uintptr_t>(pointer);
  return value >= kLowest && value < kErrors;
}

}  // namespace nextaddr
