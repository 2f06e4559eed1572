// Connects that returned to the program before they were finished (EINTR, or its SO_SNDTIMEO ran
// out), so that its next connect() on the same socket goes on instead of starting over.
//
// Keyed by SO_COOKIE, which no later socket ever has: an entry whose socket is gone just stays
// unused, so close and dup need no hook. Private memory, no lock, async-signal-safe; when all slots
// are taken the oldest is forgotten.
#pragma once

#include <cstdint>

#include "engine/host_table.h"
#include "engine/schedule.h"

namespace nextaddr {

struct UnfinishedConnect {
  Endpoint requested;
  DestinationList list;
  Schedule schedule;
};

// Keeps a copy. Not for a vfork child.
void keep_unfinished(std::uint64_t cookie, const UnfinishedConnect& connect);

// Takes out what was kept for this socket; false when there is nothing.
bool take_unfinished(std::uint64_t cookie, UnfinishedConnect& out);

}  // namespace nextaddr
