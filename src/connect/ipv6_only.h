// A socket on which the program has set IPV6_V6ONLY reaches IPv4 addresses only without it: the
// option is lifted for an attempt at one, and goes on reading as the program has set it. The host
// was looked up for both families: the program means either.
//
// The kernel refuses the change once the socket has a port, so it is made before an attempt, on a
// socket that was never bound or has been taken back. Must never touch a socket that has not the
// option set, nor answer for one that was not lifted. Async-signal-safe.
#pragma once

#include <sys/socket.h>

#include <atomic>
#include <cstdint>

namespace nextaddr {

// Turns the option off on `socket`, whose cookie is `cookie` (os/pin.h). False when the kernel
// refuses.
bool lift_ipv6_only(int socket, std::uint64_t cookie);
// Turns it on again, for an attempt at an IPv6 address.
void set_ipv6_only_again(int socket, std::uint64_t cookie);

// False while there has been no socket from which the option was lifted.
inline constinit std::atomic<bool> ipv6_only_was_lifted{false};

// After a getsockopt(2) of IPV6_V6ONLY that has succeeded: what it told becomes what the program
// has set. errno is left alone.
void tell_ipv6_only(int fd, void* value, const socklen_t* length);

}  // namespace nextaddr
