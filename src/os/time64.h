// The times of programs that are built with 64-bit time_t for a machine whose time_t once had 32
// bits. They call libc by names of their own (hooks/exports.map); the library itself is built
// without, because older versions of glibc do not have these names.
#pragma once

#if defined(__i386__) || defined(__arm__)
#define NEXTADDR_HAS_TIME64

#include <cstdint>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);

namespace nextaddr {

struct Timespec64 {
  std::int64_t tv_sec;
  std::int32_t tv_nsec;
  std::int32_t unused;
};

struct Timeval64 {
  std::int64_t tv_sec;
  std::int64_t tv_usec;
};

}  // namespace nextaddr

#endif
