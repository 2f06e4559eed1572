// connect(2) with failover, as the hooks enter it: which connects are taken care of, and whether
// that is done to the end (connect/blocking.h) or only begun (connect/nonblocking.h). Must never
// cost a healthy connect of another host a system call.
#pragma once

#include <sys/socket.h>

#include "engine/address.h"

namespace nextaddr {

// True when connect(fd, address, length) is one to take care of: its host has other addresses, or
// it may get a fault, or every connect is reported (log/report.h). `requested` is then filled. No
// system call; async-signal-safe.
bool wants_failover(const sockaddr* address, socklen_t length, Endpoint& requested);

// connect(2) with failover. Returns, errno and blocking as connect(2); a cancellation point;
// async-signal-safe. After EINPROGRESS the caller has to wake threads that sleep in an epoll set
// since before (wake_epoll_sleepers(), wait/epoll_waker.h).
int connect_with_failover(int fd, const sockaddr* address, socklen_t length,
                          const Endpoint& requested);

// TCP Fast Open (RFC 7413, tcp(7)) sends data with the SYN. For a host with several addresses
// failover is worth more: these calls become an ordinary connect, after which the data is sent.

// sendto(2) with MSG_FASTOPEN: connects, then sends. Returns and errno as of the one of both that
// failed, else of the second.
ssize_t connect_and_send(int fd, const void* data, size_t size, int flags, const sockaddr* address,
                         socklen_t length, const Endpoint& requested);
// sendmsg(2) likewise.
ssize_t connect_and_send(int fd, const msghdr* message, int flags, const Endpoint& requested);

}  // namespace nextaddr
