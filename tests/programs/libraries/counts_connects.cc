// Another preload library that stands before connect, counts the calls and passes them on.
// Must never change what a call does.
//
// Prints "counted=N" to stderr at the end.
#include <dlfcn.h>
#include <sys/socket.h>

#include <atomic>
#include <cstdio>

namespace {

std::atomic<int> calls{0};

__attribute__((destructor)) void at_end() { fprintf(stderr, "counted=%d\n", calls.load()); }

}  // namespace

extern "C" int connect(int fd, const sockaddr* address, socklen_t length) {
  calls.fetch_add(1);
  static auto* next =
      reinterpret_cast<int (*)(int, const sockaddr*, socklen_t)>(dlsym(RTLD_NEXT, "connect"));
  return next(fd, address, length);
}
