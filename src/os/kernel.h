// System calls that are made without libc's wrapper, because that exists only in newer versions of
// glibc (or by a newer symbol version, which older ones lack just as well), takes another structure
// on 32-bit machines, or is ours to hook. Every other call goes through libc. Returns and errno as
// of libc's wrappers, but none is a cancellation point. Async-signal-safe.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>

namespace nextaddr::kernel {

// glibc 2.28 has another fcntl for programs with 64-bit file offsets, and F_OFD_SETLK of the first
// one takes a shorter struct flock since then.
template <typename... Argument>
int fcntl(int fd, int command, Argument... argument) {
#ifdef SYS_fcntl64
  return static_cast<int>(syscall(SYS_fcntl64, fd, command, argument...));
#else
  return static_cast<int>(syscall(SYS_fcntl, fd, command, argument...));
#endif
}

// glibc 2.33. With 64-bit file offsets (the Makefile sees to that) glibc's structure is the
// kernel's on the architectures named here.
inline int fstat(int fd, struct stat& out) {
#if defined(__i386__)
  static_assert(sizeof out == 96 && sizeof out.st_size == 8);
  return static_cast<int>(syscall(SYS_fstat64, fd, &out));
#elif defined(__x86_64__) || defined(__aarch64__)
  return static_cast<int>(syscall(SYS_fstat, fd, &out));
#else
  return ::fstat(fd, &out);
#endif
}

inline int stat(const char* path, struct stat& out) {
#if defined(__i386__)
  return static_cast<int>(syscall(SYS_stat64, path, &out));
#elif defined(__x86_64__) || defined(__aarch64__)
  return static_cast<int>(syscall(SYS_newfstatat, AT_FDCWD, path, &out, 0));
#else
  return ::stat(path, &out);
#endif
}

// These functions of libc are cancellation points, or names that we export, so that a call would
// come to our own hook.
inline ssize_t read(int fd, void* data, std::size_t size) {
  return syscall(SYS_read, fd, data, size);
}
inline ssize_t write(int fd, const void* data, std::size_t size) {
  return syscall(SYS_write, fd, data, size);
}
inline int socket(int family, int type, int protocol) {
  return static_cast<int>(syscall(SYS_socket, family, type, protocol));
}
inline int connect(int fd, const void* address, unsigned length) {
  return static_cast<int>(syscall(SYS_connect, fd, address, length));
}
inline int close(int fd) { return static_cast<int>(syscall(SYS_close, fd)); }

inline int dup3(int from, int to, int flags) {
  return static_cast<int>(syscall(SYS_dup3, from, to, flags));
}

// Newer architectures have dup3(2) alone, which refuses equal numbers.
inline int dup2(int from, int to) {
  if (from != to) return dup3(from, to, 0);
  return fcntl(from, F_GETFD) == -1 ? -1 : to;
}

// Linux 5.9, glibc 2.34. The same number on every architecture.
inline int close_range(unsigned first, unsigned last, int flags) {
  constexpr long kCloseRange = 436;
  return static_cast<int>(syscall(kCloseRange, first, last, flags));
}

// glibc 2.25.
inline ssize_t getrandom(void* out, std::size_t size, unsigned flags) {
  return syscall(SYS_getrandom, out, size, flags);
}

}  // namespace nextaddr::kernel
