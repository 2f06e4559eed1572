// The life of the library in one process: started once, inert under AT_SECURE or NEXTADDR_OFF, and
// aware of fork and vfork. Owns the memory of the host table and of the entries of addresses.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "engine/address_memory.h"
#include "engine/host_table.h"

namespace nextaddr {

// Starts the library on the first call, whoever makes it: our constructor, or a hook called earlier
// by another library's. False when hooks must behave as plain libc: inert, or another thread is
// starting it right now. errno is left alone. Async-signal-safe once started.
bool active();

// True in the process that started the library and in its forked children; false in a vfork child,
// which runs in its parent's memory and must change nothing there. One getpid(2). Only after
// active() has been true.
bool owns_memory();

// In the child of a fork, before anything else runs there: otherwise a vfork child of this child,
// which has its memory, may be taken for it. Async-signal-safe.
void claim_memory();

// The id under which owns_memory() was last true. Only after active() has been true.
std::uint32_t own_pid();

// True when this process has, or may have, more than one thread. No system call where libc tells
// (glibc 2.32).
bool has_other_threads();

// From now on active() is false: nothing new begins.
void become_inert();

// A program that forbids itself system calls (seccomp(2)) is ended by one too many, and to ask the
// kernel whether it has done so may be that one. kPossible: it has taken the step before
// (PR_SET_NO_NEW_PRIVS), which some take for its own sake; nothing is left for its end to do then.
// kCertain: no file is opened any more either.
enum class Sandbox : std::uint8_t { kNone, kPossible, kCertain };

// It is about to do this. Nothing in a vfork child, which does it for what it will execute.
// Async-signal-safe.
void note_sandbox(Sandbox next);
Sandbox sandbox();

// open(2), close-on-exec, of any file after the start: -1 in a sandbox that is certain.
// Async-signal-safe.
int open_unless_sandboxed(const char* path, int flags, mode_t mode = 0);

// What lookups taught us, shared with forked children of the same
// credentials (sharing.h); not usable() when there was no memory for
// it.
HostTable& host_table();

// What connects taught us, shared likewise; not usable() with NEXTADDR_MEMORY=off.
const AddressMemory& address_memory();

}  // namespace nextaddr
