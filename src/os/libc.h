// The real libc functions behind our exported names: the next definition in the search order, so
// that other preloads after us keep working. Nothing else in the library may call a name that we
// export: it would call our own hook.
//
// Each is looked up once and cached, when os/libc_functions.inc says. All have the signature,
// errors, cancellation behaviour and signal safety of the original.
#pragma once

#include <netdb.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <atomic>

#include "os/time64.h"

namespace nextaddr::libc {

#define NEXTADDR_SIGNAL_SAFE(result, name, symbol, parameters, arguments) result name parameters;
#define NEXTADDR_EARLY(result, name, symbol, parameters, arguments, system_call) \
  result name parameters;
#define NEXTADDR_LOOKUP(result, name, symbol, parameters, arguments, missing) \
  result name parameters;
#define NEXTADDR_RESOLVER(result, name, parameters, arguments) result name parameters;
#include "os/libc_functions.inc"
#undef NEXTADDR_SIGNAL_SAFE
#undef NEXTADDR_EARLY
#undef NEXTADDR_LOOKUP
#undef NEXTADDR_RESOLVER

int prctl(int option, unsigned long second, unsigned long third, unsigned long fourth,
          unsigned long fifth);

// The loader goes by who calls it: of ours only what is a jump to this may be called for a program.
void* dlopen(const char* file, int flags);
// dlsym(3) with RTLD_NEXT, by our own place, and with a handle. It may wait for another thread that
// loads, and tells dlerror(3) of what is not found.
void* find_next(const char* name);
void* find_in(void* handle, const char* name);

// Ends the program as glibc's fortified functions do (__chk_fail); no function of libc's interface.
[[noreturn]] void buffer_overflow_detected();

// __libc_single_threaded of glibc 2.32: not 0 while the process has one thread. Null: libc has no
// such flag.
inline constinit std::atomic<const char*> single_threaded_flag{nullptr};
// False also where libc does not tell.
inline bool is_single_threaded() {
  const char* flag = single_threaded_flag.load(std::memory_order_relaxed);
  return flag != nullptr && *flag != 0;
}

// False where another library leads connections elsewhere: it has its own connect(2), before ours
// or between ours and libc's (torsocks, proxychains). Known since resolve_signal_safe().
inline constinit std::atomic<bool> connect_is_plain{true};

// These functions are called around each fork(2) from now on, the last one in the child: not around
// vfork(2), posix_spawn(3) or a clone(2) of the program's own. Does nothing where libc has no such
// thing.
void at_fork(void (*before)(), void (*in_parent)(), void (*in_child)());

// Resolves the functions that are system calls until then (NEXTADDR_EARLY). Also where the library
// is inert.
void resolve_first();
// Resolves what signal handlers may call. Not async-signal-safe itself.
void resolve_signal_safe();

}  // namespace nextaddr::libc
