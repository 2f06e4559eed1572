// connect(2) with failover, on the program's own socket: a blocking one is driven to its end here;
// a non-blocking one is started, and driven by the program's own waits (flights.h).
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
