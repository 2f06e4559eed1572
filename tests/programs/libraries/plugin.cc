// A module for dlopen(3) that tells what it has been bound to, and loads others itself.
// Must never change anything. With OWN it brings its own poll along; with NEEDS it has one of
// another module.
#include <dlfcn.h>
#include <poll.h>
#include <sys/socket.h>

extern "C" {

#ifdef OWN
int poll(pollfd*, nfds_t, int) { return -77; }
#endif

// Addresses in a table, beside those in what the linker makes.
decltype(&connect) connects_of_plugin[] = {connect, connect};

const void* connect_of_plugin() { return reinterpret_cast<const void*>(&connect); }

// By the way that is bound when it is first taken, unless all is bound at once.
int poll_of_plugin() {
  pollfd none{-1, POLLIN, 0};
  return poll(&none, 1, 0);
}

void* next_of_plugin(const char* name) { return dlsym(RTLD_NEXT, name); }

void* open_of_plugin(const char* file, int flags) {
  void* handle = dlopen(file, flags);
  // No jump, so that it is this that the loader finds to have called it.
  asm volatile("" : "+r"(handle));
  return handle;
}
}
