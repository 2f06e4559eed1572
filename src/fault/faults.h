// Faults on purpose: which fault a connection attempt or a lookup gets by NEXTADDR_FAULTS. The
// rules are the engine's (engine/fault_rules.h), the counting is the run's (run.h), and how a fault
// is made is known to steering.h.
#pragma once

#include <optional>

#include "engine/address.h"
#include "engine/fault_rules.h"

namespace nextaddr {

// Reads the rules of the configuration, once, from the library's start. Not async-signal-safe.
void load_faults();

// At the end of a run: tells which rules have never matched, so that no test passes because of a
// mistyped name. Without the launcher there is one run for each program, and a shell that only runs
// others has nothing to tell. Nothing in a process that others of the run outlive.
void report_unmatched_faults();

// True when connects may get faults: then every one has to be looked at. One load.
bool connects_have_faults();

// A connection attempt to `address` is about to be made for a connect to `requested`: its fault,
// which is counted and logged; mostly none. What an earlier fault has left on the socket is undone.
// None as well when this connect(2) only tells of an attempt that was made before.
// Async-signal-safe.
Fault draw_fault(int fd, const Address& address, const Endpoint& requested);

// The same for a probe of `address`, and the attempt of the program's socket that may follow it:
// both are one. Touches no socket.
Fault draw_fault_of_probe(const Address& address, const Endpoint& requested);

// A lookup of `name`, which may be null, is about to be made: the EAI_ error of getaddrinfo(3), or
// the h_errno of gethostbyname(3), with which it is to fail; mostly nothing. Numeric names never
// fail so.
std::optional<int> fault_of_getaddrinfo(const char* name);
std::optional<int> fault_of_gethostbyname(const char* name);

}  // namespace nextaddr
