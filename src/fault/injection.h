// How the kernel is made to produce a fault: the program's own socket is sent to a place on
// loopback where just this happens, so that errno, poll, epoll and SO_ERROR are real. Never sends a
// packet beyond loopback for it, and keeps no descriptor open. Async-signal-safe.
//
// clang-format off
//   refuse        port 0, where nobody can listen
//   silent delay  port 0, on a socket whose IP_MINTTL drops every answer: unlike a listener with
//                 a full queue it needs no descriptor, and goes where the socket goes
//   reset         a listener that is shut down once the connection is in its queue
//   errno         no system call: the error of a connect(2) that finds no route, say
// clang-format on
#pragma once

#include <sys/socket.h>

#include "engine/fault_rules.h"

namespace nextaddr {

// True when a connect(2) on this socket would begin an attempt, rather than tell of one. errno is
// left alone.
bool begins_attempt(int fd);

// Undoes what an earlier fault has left on the socket. errno is left alone.
void lift_fault(int fd);

// Prepares the socket for a fault. False when it cannot be made there: one that is bound to a
// device (SO_BINDTODEVICE) cannot be sent to loopback, and one that takes no IP_MINTTL (MPTCP), or
// has its own, cannot be made deaf. errno is left alone.
bool prepare_fault(int fd, const Fault& fault);

// connect(2) as the fault has it; without one connect(2) itself. Returns and errno as of it; blocks
// no longer than that, and is a cancellation point as that.
int connect_with_fault(int fd, const sockaddr* address, socklen_t length, const Fault& fault);

}  // namespace nextaddr
