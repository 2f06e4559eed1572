// Turns the result of a finished lookup into knowledge of the host table. Only looks: results reach
// the program untouched, errno and h_errno are left alone, and whatever goes wrong just leaves the
// host unknown.
#pragma once

#include <netdb.h>

#include "table_lock.h"

namespace nextaddr {

// Null `hints`: none. A number looked up to be bound to (AI_PASSIVE) teaches nothing.
void observe_addrinfo(const char* node, const addrinfo* hints, const addrinfo* result,
                      MayWait may_wait);

// A gaicb whose lookup has succeeded.
void observe_request(const gaicb* request, MayWait may_wait);

// gethostbyname and its kin. Null `entry`: nothing was found.
void observe_hostent(const char* name, const hostent* entry, MayWait may_wait);

}  // namespace nextaddr
