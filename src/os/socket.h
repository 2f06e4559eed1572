// What failover needs from the kernel about one TCP socket, in a few named steps. Must never decide
// anything. All are async-signal-safe. errno is what the step's own system calls leave.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cstdint>

#include "engine/connect_attempts.h"
#include "os/callable.h"

namespace nextaddr {

// The value of an option that is an int; 0 when the socket has no such option.
int option_value(int fd, int level, int name);

// The program's SO_SNDTIMEO; zero: none.
timeval send_timeout(int fd);
// The program's SO_RCVTIMEO; zero: none.
timeval receive_timeout(int fd);

// A call of connect(2) on a blocking socket, which waits for one kernel tick at most (4 ms at
// HZ=250): a near server has answered by then; for any other the error is EINPROGRESS. Otherwise 0,
// or an error of connect(2). SO_SNDTIMEO bounds it, because O_NONBLOCK would be seen by every
// process that shares the socket; `program_timeout` is put back before it returns, and no
// cancellation of the thread is acted on until then. Signals must be blocked: a handler that jumped
// out would leave the tick behind.
int briefly(int fd, const timeval& program_timeout, Callable<int> connect);

// TCP or MPTCP, the protocols that connect by a handshake and can be taken back.
bool is_tcp(int fd);
bool is_mptcp(int fd);
// O_NONBLOCK, O_ASYNC ..; O_NONBLOCK for what is no descriptor: connect(2) says so at once.
int status_flags(int fd);
bool is_non_blocking(int fd);
bool is_ipv6_only(int fd);
// Packets that have fewer hops left when they arrive are dropped (ip(7), IP_MINTTL; also
// IPV6_MINHOPCOUNT, and the IPv4 that an AF_INET6 socket speaks). 0: none are, or no such option.
int min_ttl(int fd);
bool set_min_ttl(int fd, int ttl);
// The index of the device that the socket is bound to (SO_BINDTODEVICE); 0: none.
int bound_device(int fd);

// Undoes the binding to a device. False: this process may not (CAP_NET_RAW).
bool unbind_device(int fd);

// Turns TCP_FASTOPEN_CONNECT off on a socket that has it on.
void forgo_fastopen(int fd);

// How long the kernel would try one address on this socket, by TCP_SYNCNT and TCP_USER_TIMEOUT, in
// milliseconds.
std::uint32_t kernel_patience_of(int fd);

// Where the handshake stands. Unlike poll(2) this does not take a full send buffer for silence, and
// unlike SO_ERROR it leaves an error where it is.
SocketPhase socket_phase(int fd);

// True when no connect was ever made on this socket: it has no port. (The port of a connect that
// was refused stays where getsockname(2) finds it.)
bool was_never_connected(int fd);
// True when a connect was begun on this socket and the kernel tells so. Unlike the port that tells
// apart what bind(2) and what connect(2) has given it.
bool has_sent_a_syn(int fd);

// The round-trip time of the handshake as the kernel has measured it, in microseconds; 0: not told.
std::uint32_t round_trip_us(int fd);

// Whether data has ever arrived on this TCP connection; true also where the kernel does not tell
// (Linux before 4.1).
bool has_received(int fd);

// Stands for the network namespace of this socket, for all processes of the machine; 0: not told.
std::uint64_t network_of(int fd);

// True when this socket does not go the way that others go: by its mark, its device or the source
// address it is bound to. The last can be told only of one that is not connected, and is not asked
// for in a sandbox.
bool is_steered(int fd);
// The same by its mark or its device alone, unless `to` is an address that has bound the socket to
// that device itself.
bool is_steered_to(int fd, const Address& to);

// The port that this socket has, or has had; 0 in a sandbox.
in_port_t local_port(int fd);

// How many segments it has sent since it was taken back last; 0 where the kernel does not tell
// (Linux before 4.2).
std::uint32_t segments_sent(int fd);

// SO_ERROR, which reading clears.
int pending_error(int fd);

// Empties the socket's error queue, in which the kernel keeps each ICMP error of a handshake (Linux
// since 5.10, for IPv4), also when nobody has asked for that (IP_RECVERR), and for which poll(2)
// says POLLERR until it is read. The error that was queued last; 0: none. Does nothing in a sandbox
// that is certain.
int queued_error(int fd);

// Takes the socket back from a failed or silent attempt: unconnected as before, its options,
// binding and epoll registrations untouched. `leave_ipv4_mode`: an AF_INET6 socket had been sent to
// a v4-mapped address and is to be sent to an IPv6 one.
void take_back(int fd, bool leave_ipv4_mode);

}  // namespace nextaddr
