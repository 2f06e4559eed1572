// Whether the program may have forbidden itself system calls (seccomp(2)): it is ended by one too
// many, and to ask the kernel whether it has done so may be that one. What hooks/sandbox.cc has
// seen is all that is known. Async-signal-safe.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>

namespace nextaddr {

// kPossible: the program has taken the step before a sandbox (PR_SET_NO_NEW_PRIVS), which some take
// for its own sake; no system call is added to its end then. kCertain: no file is opened any more
// either.
enum class Sandbox : std::uint8_t { kNone, kPossible, kCertain };

inline constinit std::atomic<Sandbox> known_sandbox{Sandbox::kNone};
inline Sandbox sandbox() { return known_sandbox.load(std::memory_order_relaxed); }

// open(2), close-on-exec, of any file after the start: -1 in a sandbox that is certain.
int open_unless_sandboxed(const char* path, int flags, mode_t mode = 0);

// True when this process has, or may have, more than one thread. No system call where libc tells
// (glibc 2.32).
bool has_other_threads();

}  // namespace nextaddr
