// Built for speed: every healthy connect comes by.
#include "connect/entry.h"

#include <fcntl.h>
#include <netinet/in.h>

#include <cerrno>

#include "config.h"
#include "connect/blocking.h"
#include "connect/nonblocking.h"
#include "connect/pending_connects.h"
#include "connect/probes.h"
#include "fault/faults.h"
#include "log/report.h"
#include "os/arguments.h"
#include "os/descriptors.h"
#include "os/libc.h"
#include "os/own_connections.h"
#include "os/program_settings.h"
#include "os/socket.h"
#include "process/process.h"

namespace nextaddr {
namespace {

// True when a pattern of --only or --skip leaves the host alone on this port: the host table knows
// only which hosts are left alone on all ports.
__attribute__((noinline, cold)) bool left_alone_on_port(const Endpoint& requested) {
  DestinationList unused;
  return !host_table().destinations(requested.address, ntohs(requested.port), config().filter,
                                    unused);
}

// Descriptor numbers under which a TCP socket was connected before. The next socket of that number
// mostly is one, too; if it is not, its SO_SNDTIMEO is borrowed for nothing, and its connect is
// taken for one of TCP.
constinit DescriptorSet tcp_numbers{};

// is_tcp(), without its system call for most connects.
bool is_taken_for_tcp(int fd) {
  if (tcp_numbers.has(fd)) return true;
  if (!is_tcp(fd)) return false;
  look_for_send_timeout(fd);
  tcp_numbers.add(fd);
  return true;
}

}  // namespace

bool wants_failover(const sockaddr* address, socklen_t length, Endpoint& requested) {
  if (!may_be_read(address) || !read_sockaddr(address, length, requested) || !active())
    return false;
  if (connects_have_faults() ||
      (host_table().may_fail_over(requested.address) &&
       !(config().filter.knows_ports() && left_alone_on_port(requested))) ||
      reports_every_connect()) {
    return true;
  }
  // This server may name another port of its own by this connection (is_learnt_port() in
  // connect/connect_operation.cc).
  note_connect_to(requested.address, requested.port);
  return false;
}

int connect_with_failover(int fd, const sockaddr* address, socklen_t length,
                          const Endpoint& requested) {
  // A datagram socket is connected to send, or to know its route: nothing is learnt from that, not
  // even a port.
  if (!is_taken_for_tcp(fd)) {
    forget_connect(fd);
    return libc::connect(fd, address, length);
  }
  note_connect_to(requested.address, requested.port);
  // connect(2) to a link-local address binds the socket to its device. When the program has bound
  // it to one before, it could not be told afterwards whose binding it is: the kernel alone
  // connects it.
  if (is_link_local(requested.address) && bound_device(fd) != 0) {
    return libc::connect(fd, address, length);
  }
  // A program that never waits comes by here at least, where its probes can be looked after.
  probes::look_after();
  // With TCP_FASTOPEN_CONNECT connect(2) returns 0 before a packet has been sent: that is turned
  // off.
  if (fastopen_connect_was_used()) forgo_fastopen(fd);
  const int flags = status_flags(fd);
  // With O_ASYNC a signal tells the program of the first failure, whatever we hide (fcntl(2)).
  if ((flags & O_ASYNC) != 0) return libc::connect(fd, address, length);
  if ((flags & O_NONBLOCK) != 0) return connect_nonblocking(fd, address, length, requested);
  return connect_blocking(fd, address, length, requested);
}

ssize_t connect_and_send(int fd, const void* data, size_t size, int flags, const sockaddr* address,
                         socklen_t length, const Endpoint& requested) {
  if (!is_tcp(fd)) return libc::sendto(fd, data, size, flags, address, length);
  if (connect_with_failover(fd, address, length, requested) != 0) return -1;
  return libc::sendto(fd, data, size, flags & ~MSG_FASTOPEN, nullptr, 0);
}

ssize_t connect_and_send(int fd, const msghdr* message, int flags, const Endpoint& requested) {
  if (!is_tcp(fd)) return libc::sendmsg(fd, message, flags);
  const auto* address = static_cast<const sockaddr*>(message->msg_name);
  if (connect_with_failover(fd, address, message->msg_namelen, requested) != 0) return -1;
  msghdr connected = *message;
  connected.msg_name = nullptr;
  connected.msg_namelen = 0;
  return libc::sendmsg(fd, &connected, flags & ~MSG_FASTOPEN);
}

}  // namespace nextaddr
