// What connects have taught about addresses, and what the next connect is told of it: the meeting
// point of the rules (engine/parking.h), this process's entries (engine/address_memory.h), the file
// all processes share (memory/file.h) and the clock. Nothing is remembered with
// NEXTADDR_MEMORY=off.
//
// Each function that is about an address is given the socket that asks it, `fd`, because what is
// known is known of its network; nothing is known or noted where that cannot be told. Ports are in
// network order, as in a sockaddr.
//
// As long as nothing is failing a connect pays a few atomic operations here, and no system call,
// but for one where its round trip is measured. Async-signal-safe, no lock.
#pragma once

#include <cstdint>
#include <string_view>

#include "engine/address.h"
#include "engine/connect_attempts.h"
#include "engine/host_table.h"

namespace nextaddr {

// A host with several addresses has been looked up: takes over what other processes know, unless
// that has been done within the last 100 ms.
void refresh_memory();

// Saves the round-trip times of this process to the file. When it ends, because no connect is to
// wait for that.
void save_rtts();

// How an address that is about to be asked stands.
enum class Standing : std::uint8_t {
  kWell,       // asked in its place
  kAskedLast,  // it failed, or was silent a moment ago, and was not found well since
  // The same, and the caller is to find out by a probe how it is: it has claimed that, in the file
  // too, so it asks once for each connect.
  kToBeProbed,
};

// How the address stands, which may claim it. `probes`: the caller can make some; otherwise whoever
// has claimed an address asks it in its place.
Standing standing_of(int fd, const Address& address, in_port_t port, bool probes);

// Adds to out.parked and out.silent the positions of the list, but for the requested one, that are
// to be asked last and by no probe; and to `lately_silent` those, the requested one included, that
// were silent a moment ago, for however short a time.
void find_bad_ones(int fd, const HostTable& table, const DestinationList& list, in_port_t port,
                   Destinations& out, PositionSet& lately_silent);

// This address has failed in a way that parks it: it has refused, is unreachable, or was found dead
// by its silence. `was_heard`: it has answered, so that it is not silent. `host`: its name, for
// people; empty: as known.
void note_failure(int fd, const Address& address, in_port_t port, bool was_heard,
                  std::string_view host);

// This address has been silent for `silent_ms`: others are asked before it for kSilentForMs.
void note_silence(int fd, const Address& address, in_port_t port, std::uint32_t silent_ms,
                  std::string_view host);

// True when this address is known to be failing, so that note_success() has something to do. One
// load where none is.
bool is_failing(int fd, const Address& address, in_port_t port);

// This address was connected to, or has answered a probe: it is not failing.
void note_success(int fd, const Address& address, in_port_t port);

// What is known of how far the address is; nothing when the user has set the delay.
ConnectAttempts::Distance distance_of(int fd, const Address& address, in_port_t port);

// The shortest connection attempt delay that any address may have, in milliseconds. Costs no
// search.
std::uint32_t shortest_attempt_delay();

// True for a few connects of many: the round trip of this one is worth measuring.
bool wants_rtt();
// A round trip to this address took this long; 0: that is not known.
void note_rtt(int fd, const Address& address, in_port_t port, std::uint64_t took_us);

}  // namespace nextaddr
