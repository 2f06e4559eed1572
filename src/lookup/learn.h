// Turns the result of a finished lookup into knowledge of the host table. Only looks: results reach
// the program untouched, errno and h_errno are left alone, and whatever goes wrong just leaves the
// host unknown.
#pragma once

#include <netdb.h>

#include "engine/dns_message.h"
#include "process/table_lock.h"

namespace nextaddr {

// Null `hints`: none. A number looked up to be bound to (AI_PASSIVE) teaches nothing.
void observe_addrinfo(const char* node, const addrinfo* hints, const addrinfo* result,
                      MayWait may_wait);

// A gaicb whose lookup has succeeded.
void observe_request(const gaicb* request, MayWait may_wait);

// gethostbyname and its kin. Null `entry`: nothing was found.
void observe_hostent(const char* name, const hostent* entry, MayWait may_wait);

// What a DNS server says of one family of a name. Waits for nothing; the addresses are read to
// their end. Async-signal-safe while signals are held back.
void observe_dns_answer(DnsAnswer& answer);

// It cannot be told whether this is what a server says: the addresses are failed over no more, but
// among themselves.
void shut_addresses(DnsAnswer& answer);

}  // namespace nextaddr
