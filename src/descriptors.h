// The numbers of descriptors: how many the tables by descriptor have room for, and how many the
// kernel's table of this process has. Async-signal-safe.
#pragma once

#include <cstddef>

namespace nextaddr {

// As many as Linux gives a process unless it is told otherwise (fs.nr_open). A socket of a higher
// number behaves as in plain libc.
inline constexpr std::size_t kDescriptors = std::size_t{1} << 20;

inline bool in_tables(int fd) { return fd >= 0 && static_cast<std::size_t>(fd) < kDescriptors; }

// For how many descriptors the kernel's table of this process has room now (proc(5), FDSize); 0
// when it does not tell. Reads a file.
int descriptor_table_size();

}  // namespace nextaddr
