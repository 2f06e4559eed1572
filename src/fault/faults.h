// Faults on purpose: which fault a connection attempt or a lookup gets by NEXTADDR_FAULTS. The
// rules are the engine's (engine/fault_rules.h), the counters are the run's (fault/run_counters.h),
// and the kernel is made to produce a fault by fault/injection.h. Must never touch a connect or a
// lookup that no rule covers.
#pragma once

#include <optional>

#include "engine/address.h"
#include "engine/fault_rules.h"

namespace nextaddr {

// Reads the rules of the configuration, once, from the library's start. Without a `reason`: nothing
// is wrong with them; else there are none. Not async-signal-safe.
FaultSyntaxError load_faults();

// At the end of a run: tells which rules have never matched, so that no test passes because of a
// mistyped name. Without the launcher there is one run for each program, and a shell that only runs
// others has nothing to tell. Does nothing in a process that others of the run outlive.
void report_unmatched_faults();

// True when connects may get faults: then every one has to be looked at. One load.
bool connects_have_faults();

// A connection attempt to `address` by the socket `fd` is about to be made for a connect to
// `requested`: its fault, which is counted and logged; mostly none. What an earlier fault has left
// on the socket is undone. None as well when this connect(2) only tells of an attempt that was made
// before. Async-signal-safe.
Fault draw_fault(int fd, const Address& address, const Endpoint& requested);

// The same for a probe of `address`, and for the attempt of the program's socket there that may
// follow it: both have one fault. Touches no socket.
Fault draw_fault_of_probe(const Address& address, const Endpoint& requested);

// A lookup of `name`, which may be null, is about to be made: the EAI_ error of getaddrinfo(3), or
// the h_errno of gethostbyname(3), with which it is to fail; mostly nothing. Numeric names never
// fail so.
std::optional<int> fault_of_getaddrinfo(const char* name);
std::optional<int> fault_of_gethostbyname(const char* name);

}  // namespace nextaddr
