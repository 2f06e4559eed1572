// The names that this process has found just now: by these is told whether a number that it looks
// up is one of such a name's addresses handed on (libpq is given the address that Ruby or Python
// has found, and looks it up once more), or a host of its own (a member of a Redis Cluster, a shard
// of memcached).
//
// Must never take a number for a name's in doubt. No lock, no allocation; not async-signal-safe, as
// lookups are not.
#pragma once

#include <cstdint>

#include "engine/address.h"

namespace nextaddr {

// This name has been looked up, for this service (a port in host order; 0: none).
void note_found_name(const char* name, std::uint16_t port);

// False until note_found_name() has been called. One load.
bool any_found_name();

// This address has been looked up by number. True when that repeats what was found under a name
// within the last 10 s, for the same service or none, and no other address of the name was ever
// looked up by number, or is connected.
bool repeats_found_address(const Address& address, std::uint16_t port);

}  // namespace nextaddr
