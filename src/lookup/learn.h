// Turns the result of a finished lookup into knowledge of the host table. Only looks: results reach
// the program untouched, errno and h_errno are left alone, and whatever goes wrong just leaves the
// host unknown, or failed over less. Not async-signal-safe unless a function says so.
#pragma once

#include <netdb.h>

#include "engine/dns_message.h"
#include "process/table_lock.h"

namespace nextaddr {

// A getaddrinfo(3) that has succeeded. Null `hints`: none. A number that was looked up to be bound
// to (AI_PASSIVE) teaches nothing.
void observe_addrinfo(const char* node, const addrinfo* hints, const addrinfo* result,
                      MayWait may_wait);

// A gaicb whose lookup has succeeded.
void observe_request(const gaicb* request, MayWait may_wait);

// gethostbyname and its kin. Null `entry`: nothing was found.
void observe_hostent(const char* name, const hostent* entry, MayWait may_wait);

// An answer in which a DNS server says what the addresses of one family of a name are. Waits for
// nothing; the addresses are read to their end. Async-signal-safe while signals are held back.
void observe_dns_answer(DnsAnswer& answer);

// An answer of which it cannot be told whether a server has given it: its addresses are failed over
// no more, but among themselves.
void shut_addresses(DnsAnswer& answer);

}  // namespace nextaddr
