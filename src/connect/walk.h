// A walk: a thread that connects to one address of a host after the other, because it judges the
// servers itself (libpq's target_session_attrs). It asks for an address only after it has done with
// the one before, and must reach every live one: so an address that it got in the place of another
// is not given to it once more, and addresses that it has asked for come after those that it has
// not.
//
// Walks are each thread's own, and only of its last few connects. To ask for an address again, or
// to do nothing for kWalkMs, begins a new walk. Must never be relied on for more than the order.
// Async-signal-safe; the caller holds signals back.
#pragma once

#include <cstdint>

#include "engine/address.h"
#include "engine/host_table.h"

namespace nextaddr::walk {

inline constexpr std::uint64_t kWalkMs = 10'000;

// This thread is about to connect to `address`. All ports here are in network order.
void note_asked(const Address& address, in_port_t port);

// This thread has asked another address in the place of `address`, which note_asked() was told of.
void note_skipped(const Address& address, in_port_t port);

// A connect of this thread to `asked` has ended at `address`, with this socket.
void note_given(const Address& asked, const Address& address, in_port_t port, int fd,
                std::uint64_t cookie);

// True when this thread got an address in the place of another since its walk began, however long
// ago. A load.
bool has_given();

// True when this thread got `address` in the place of another in this walk, and the socket that it
// got last is closed. A load when it got none.
bool was_given(const Address& address, in_port_t port);

// The positions of the list that this thread asked for in this walk, or got in the place of
// another; never the requested one.
PositionSet touched(const HostTable& table, const DestinationList& list, in_port_t port);

}  // namespace nextaddr::walk
