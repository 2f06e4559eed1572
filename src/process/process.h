// The identity of the library's process: whether the library works in it, and whether it is still
// the process whose memory this is (fork, vfork). Owns the memory of the host table and of the
// entries of addresses. Must never know how the library starts and stops: that is lifecycle/'s
// affair.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "engine/address_memory.h"
#include "engine/host_table.h"
#include "os/sandbox.h"

namespace nextaddr {

// Starts the library on the first call, whoever makes it: our constructor, or a hook called earlier
// by another library's. False when hooks must behave as plain libc: inert, or another thread is
// starting it right now. errno is left alone. Async-signal-safe once started.
bool active();

// Starts the library, if it has not been started, for active() alone (lifecycle/start.cc).
void start_library();
// The two steps of it that concern the state. begin_start() is true once in a process; the other
// calls of active() are false until end_start().
bool begin_start();
void end_start(bool active);
// Maps what this file owns. False: there was no memory. Once, from the library's start.
bool map_memory();

// True in the process that started the library and in its forked children; false in a vfork child,
// which runs in its parent's memory and must change nothing there. One getpid(2). Only after
// active() has been true.
bool owns_memory();

// In the child of a fork, before any other function here is called there and before the program
// goes on: otherwise a vfork child of this child, which has its memory, may be taken for it.
// Async-signal-safe.
void claim_memory();

// The id under which owns_memory() was last true. Only after active() has been true.
std::uint32_t own_pid();

// From now on active() is false: nothing new begins.
void become_inert();

// The program is about to take this step into a sandbox. Does nothing in a vfork child, which takes
// it for what it will execute. Async-signal-safe.
void note_sandbox(Sandbox next);

// What lookups taught us, shared with forked children of the same credentials
// (lifecycle/sharing.h); not usable() when there was no memory for it.
HostTable& host_table();

// What connects taught us, shared likewise; not usable() with NEXTADDR_MEMORY=off.
const AddressMemory& address_memory();

}  // namespace nextaddr
