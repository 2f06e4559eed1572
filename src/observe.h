// Turns the result of a finished lookup into knowledge of the host table. Only looks: results reach
// the program untouched, errno and h_errno are left alone, and whatever goes wrong just leaves the
// host unknown.
#pragma once

#include <netdb.h>

namespace nextaddr {

// Whether to wait for another process that is writing down what it looked up: an answer that is
// not remembered is failed over less. kYes: some milliseconds, as a lookup may take anyway.
// kNo: where an event loop would stand still.
enum class MayWait : bool { kNo, kYes };

// Null `hints`: none. A lookup made to bind (AI_PASSIVE) teaches nothing.
void observe_addrinfo(const char* node, const addrinfo* hints, const addrinfo* result,
                      MayWait may_wait);

// A gaicb whose lookup has succeeded.
void observe_request(const gaicb* request, MayWait may_wait);

// gethostbyname and its kin. Null `entry`: nothing was found.
void observe_hostent(const char* name, const hostent* entry, MayWait may_wait);

}  // namespace nextaddr
