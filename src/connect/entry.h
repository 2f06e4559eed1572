// connect(2) with failover, where a hook comes in: which connects are taken care of, and whether
// that is done to the end (blocking.h) or only begun (nonblocking.h).
#pragma once

#include <sys/socket.h>

#include "engine/address.h"

namespace nextaddr {

// True when connect(fd, address, length) is one to take care of: its host has other addresses, or
// it may get a fault. `requested` is then filled. Cheap, no system call.
bool wants_failover(const sockaddr* address, socklen_t length, Endpoint& requested);

// connect(2) with failover. Returns, errno and blocking as connect(2); a cancellation point;
// async-signal-safe. EINPROGRESS: threads that sleep in an epoll set since before may have to be
// woken (wait/epoll_waker.h).
int connect_with_failover(int fd, const sockaddr* address, socklen_t length,
                          const Endpoint& requested);

// TCP Fast Open puts data, or only the wish for it, before the handshake. For a host with several
// addresses failover is worth more: both become an ordinary connect, which wget2 and axel then get.

// sendto(2) with MSG_FASTOPEN: connects, then sends. Errors as of the one that failed.
ssize_t connect_and_send(int fd, const void* data, size_t size, int flags, const sockaddr* address,
                         socklen_t length, const Endpoint& requested);
// sendmsg(2) likewise.
ssize_t connect_and_send(int fd, const msghdr* message, int flags, const Endpoint& requested);

}  // namespace nextaddr
