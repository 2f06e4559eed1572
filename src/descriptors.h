// How many descriptor numbers the tables by descriptor have room for: as many as Linux gives a
// process unless it is told otherwise (fs.nr_open). A socket of a higher number behaves as in plain
// libc.
#pragma once

#include <cstddef>

namespace nextaddr {

inline constexpr std::size_t kDescriptors = std::size_t{1} << 20;

inline bool in_tables(int fd) { return fd >= 0 && static_cast<std::size_t>(fd) < kDescriptors; }

}  // namespace nextaddr
