// Writes that nobody asked the program to make: whatever becomes of them must not reach it. A pipe
// that nobody reads raises SIGPIPE, and a file that grows beyond the program's limit SIGXFSZ; both
// would end it.
#pragma once

#include <sys/types.h>

#include <cstddef>

namespace nextaddr {

// write(2), or pwrite(2) when `offset` is not negative: true when all of it was written.
// Async-signal-safe; errno is left alone.
bool write_quietly(int fd, const char* data, std::size_t size, off_t offset = -1);

}  // namespace nextaddr
