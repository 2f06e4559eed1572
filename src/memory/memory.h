// What connects have taught about addresses, and what the next connect is told of it: the meeting
// point of the rules (engine/parking.h), this process's entries (engine/address_memory.h), the file
// all processes share (file.h) and the clock. Nothing is remembered with NEXTADDR_MEMORY=off.
//
// Each function that is about an address is given the socket that asks it, `fd`: what is known is
// known of its network. Nothing is known or noted where that cannot be told.
//
// As long as nothing is failing a connect pays a few atomic operations here, and no system call,
// but for one where its round trip is measured. Async-signal-safe, no lock.
#pragma once

#include <cstdint>
#include <string_view>

#include "engine/address.h"
#include "engine/host_table.h"

namespace nextaddr {

// A host with several addresses has been looked up: takes over what other processes know.
void refresh_memory();

// True when this address is to be asked last: it has failed, and nobody found it well again since.
// False also for the one caller who is to ask it again first, after its parking: then this claims
// it, in the file too, and to all others it is parked meanwhile, so ask once for each connect.
// Ports in network order, as in a sockaddr.
bool claim_or_parked(int fd, const Address& address, in_port_t port);

// The others of the list that are to be asked last.
PositionSet parked_among(int fd, const HostTable& table, const DestinationList& list,
                         in_port_t port);

// This address has failed in a way that parks it: refused, unreachable, or silent while another one
// answered. `host`: its name, for people.
void note_failure(int fd, const Address& address, in_port_t port, std::string_view host);

// It has been silent for its attempt delay. Programs that try address after address by themselves
// (Node) need not meet it in each of these connects: for a moment others are asked before it.
void note_silent(int fd, const Address& address, in_port_t port);

// True when this address is known to be failing, so that note_success() has something to do. One
// load where none is.
bool is_failing(int fd, const Address& address, in_port_t port);

// This address was connected to: it is not failing.
void note_success(int fd, const Address& address, in_port_t port);

// Its connection attempt delay in milliseconds by what is known of it; 0: as configured.
std::uint32_t own_attempt_delay(int fd, const Address& address, in_port_t port);

// No address has a shorter one. Costs no search.
std::uint32_t shortest_attempt_delay();

// True for a few connects of many: the round trip of this one is worth measuring.
bool wants_rtt();
void note_rtt(int fd, const Address& address, in_port_t port, std::uint64_t took_us);

}  // namespace nextaddr
