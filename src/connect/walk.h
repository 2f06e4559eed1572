// A walk: a thread that connects to one address of a host after the other, because it judges the
// servers itself (libpq's target_session_attrs). It asks for an address only after it has done with
// the one before, and must reach every live one: so what was given to it in the place of another is
// not given once more, and what it has asked for comes after what it has not.
//
// Each thread's own, and only the last few connects. Asking for an address again, or doing nothing
// for kWalkMs, begins a new walk. Async-signal-safe; whoever calls holds back signals.
#pragma once

#include <cstdint>

#include "engine/address.h"
#include "engine/host_table.h"

namespace nextaddr::walk {

inline constexpr std::uint64_t kWalkMs = 10'000;

// This thread is about to connect to `address`. Ports in network order.
void note_asked(const Address& address, in_port_t port);

// It was not, because another one was asked instead.
void note_skipped(const Address& address, in_port_t port);

// A connect of this thread to `asked` has ended at `address`, with this socket.
void note_given(const Address& asked, const Address& address, in_port_t port, int fd,
                std::uint64_t cookie);

// Something was given out in a walk of this thread, however long ago. A load.
bool has_given();

// It was given out in this walk, and the socket it was given by is gone. A load when nothing was.
bool was_given(const Address& address, in_port_t port);

// Those of the list that were asked for in this walk, or given out, but for the requested one.
PositionSet touched(const HostTable& table, const DestinationList& list, in_port_t port);

}  // namespace nextaddr::walk
