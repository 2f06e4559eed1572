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

// The same by write(2), to what may have a reader who has stopped to read (a pipe, a terminal):
// waits for him for 0.1 s at most, then the rest is lost.
bool write_without_hanging(int fd, const char* data, std::size_t size);

}  // namespace nextaddr
