// The DNS queries of this process that wait for an answer. A full table forgets the oldest, and
// then knows for a while that an answer it does not know may be one to that. Must never wait for a
// lock. Async-signal-safe.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/address.h"
#include "engine/dns_message.h"

namespace nextaddr::dns {

inline constexpr std::size_t kLongestName = 255;

// This question has been put to the server, by the socket that has this cookie (os/pin.h), at this
// descriptor.
void remember_query(int fd, std::uint64_t cookie, const Endpoint& server,
                    const DnsQuestion& question);

// kUnknown: it may be the answer to a query that is not known any more, or that is being looked at.
enum class Match : std::uint8_t { kNone, kFound, kUnknown };

// Removes the query to which a server's answer has come, by the socket that has this cookie. kNone:
// there is no such query.
Match take_query(std::uint64_t cookie, const Endpoint& server, const DnsQuestion& question);

// The program has its answer to this question: forgets the queries that put it to other servers, or
// once more by another socket.
void forget_repetitions(const DnsQuestion& question);

// True when a query that left by this descriptor waits for its answer.
bool any_waits_on(int fd);

// In the child of a fork: forgets all.
void forget_queries();

}  // namespace nextaddr::dns
