// Which version of a libc symbol the library asks for. glibc 2.34 moved what was in libdl and
// libpthread into libc, by new versions of the symbols; the old ones are still there, and are all
// that an older glibc has. So the library loads where it was not built. It must never need a
// version that is newer than that.
#pragma once

#include <features.h>

#ifdef __GLIBC_PREREQ
#if __GLIBC_PREREQ(2, 34)
// The version of what glibc has had since it came to the architecture.
#if defined(__x86_64__) && defined(__LP64__)
#define NEXTADDR_FIRST_GLIBC "GLIBC_2.2.5"
#elif defined(__i386__)
#define NEXTADDR_FIRST_GLIBC "GLIBC_2.0"
#elif defined(__aarch64__) && defined(__AARCH64EL__)
#define NEXTADDR_FIRST_GLIBC "GLIBC_2.17"
#endif
#endif
#endif

#ifdef NEXTADDR_FIRST_GLIBC
#define NEXTADDR_OLDEST_VERSION(name) __asm__(".symver " #name ", " #name "@" NEXTADDR_FIRST_GLIBC)
#else
#define NEXTADDR_OLDEST_VERSION(name) static_assert(true)
#endif
