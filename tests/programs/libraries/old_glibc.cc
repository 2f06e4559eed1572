// What glibc before 2.34 has for itself to open libdl, which dlsym is in there.
// Must never be needed by a library that has a dlsym.
//
// Prints "opened=1" to stderr when libdl is opened.
#include <dlfcn.h>

#include <cstdio>
#include <cstring>

extern "C" void* __libc_dlopen_mode(const char* file, int mode) {
  // What dlopen adds to the mode, __RTLD_DLOPEN.
  constexpr unsigned as_dlopen = 0x80000000;
  const unsigned flags = static_cast<unsigned>(mode);
  if (strcmp(file, "libdl.so.2") != 0 || flags != (RTLD_NOW | as_dlopen)) return nullptr;
  fprintf(stderr, "opened=1\n");
  // Not by dlopen, before which the library stands.
  return dlmopen(LM_ID_BASE, file, static_cast<int>(flags & ~as_dlopen));
}

extern "C" void* __libc_dlsym(void* library, const char* name) { return dlsym(library, name); }
