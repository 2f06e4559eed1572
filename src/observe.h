// Turns the result of a finished lookup into knowledge of the host table. Only looks: results reach
// the program untouched, errno and h_errno are left alone, and whatever goes wrong just leaves the
// host unknown.
#pragma once

#include <netdb.h>

namespace nextaddr {

// `family` is the one asked for (hints->ai_family, or AF_UNSPEC).
void observe_addrinfo(const char* node, int family, const addrinfo* result);

// A gaicb whose lookup has succeeded.
void observe_request(const gaicb* request);

// gethostbyname and its kin. Null `entry`: nothing was found.
void observe_hostent(const char* name, const hostent* entry);

}  // namespace nextaddr
