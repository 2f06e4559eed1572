// connect(2) with failover on a blocking socket: driven to its end here, with waits of our own that
// keep the program's time, signals and cancellation as connect(2) does.
#pragma once

#include <sys/socket.h>

#include "engine/address.h"

namespace nextaddr {

// Returns, errno and blocking as of connect(2), of a TCP socket; a cancellation point;
// async-signal-safe. `address` is `requested`, as the program gave it.
int connect_blocking(int fd, const sockaddr* address, socklen_t length, const Endpoint& requested);

}  // namespace nextaddr
