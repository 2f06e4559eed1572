// connect(2) with failover that does not wait: it is begun here, and advanced by whatever the
// program waits with (connect/pending_connects.h). Must never wait.
#pragma once

#include <sys/socket.h>

#include "engine/address.h"

namespace nextaddr {

// Returns and errno as of connect(2) on a non-blocking socket of any kind; never blocks; a
// cancellation point; async-signal-safe. `address` is `requested`, as the program gave it.
int connect_nonblocking(int fd, const sockaddr* address, socklen_t length,
                        const Endpoint& requested);

}  // namespace nextaddr
