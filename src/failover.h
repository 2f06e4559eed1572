// Drives one blocking connect() over the addresses of its host, on the program's own socket: asks
// the schedule what to do, does it, and returns what the program is to see. The only place that
// connects a socket twice.
//
// Must never allocate, lock, keep a descriptor open, or touch a socket that is no longer the
// program's (checked by SO_COOKIE before each step that follows a wait).
#pragma once

#include <sys/socket.h>

#include "engine/address.h"

namespace nextaddr {

// True when connect(fd, address, length) is one to take care of: `requested` is then filled. Cheap,
// no system call.
bool wants_failover(const sockaddr* address, socklen_t length, Endpoint& requested);

// connect(2) with failover. Returns, errno and blocking as connect(2); a cancellation point;
// async-signal-safe.
int connect_with_failover(int fd, const sockaddr* address, socklen_t length,
                          const Endpoint& requested);

}  // namespace nextaddr
