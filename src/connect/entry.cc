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

// By a pattern with a port: the host table knows only which hosts are left alone on all.
__attribute__((noinline, cold)) bool left_alone_on_port(const Endpoint& requested) {
  DestinationList unused;
  return !host_table().destinations(requested.address, ntohs(requested.port), config().filter,
                                    unused);
}

// Descriptor numbers under which a TCP socket was connected before. The next socket of that number
// mostly is one too; if it is not, its SO_SNDTIMEO is borrowed for nothing.
constinit DescriptorSet tcp_numbers{};

// Spares most connects the system call of is_tcp().
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
  // The server that is asked may tell of a port of its own by this connection, too.
  note_connect_to(requested.address, requested.port);
  return false;
}

int connect_with_failover(int fd, const sockaddr* address, socklen_t length,
                          const Endpoint& requested) {
  // Neither a port, nor anything else is learnt from a datagram socket that is connected to know
  // its route.
  if (!is_taken_for_tcp(fd)) {
    forget_connect(fd);
    return libc::connect(fd, address, length);
  }
  note_connect_to(requested.address, requested.port);
  // It will be bound to the device of that address: whether the program had bound it to that, too,
  // could not be told afterwards.
  if (is_link_local(requested.address) && bound_device(fd) != 0) {
    return libc::connect(fd, address, length);
  }
  // Programs that wait for nothing come by here at least.
  probes::look_after();
  // Such a connect says 0 before a packet has been sent.
  if (fastopen_connect_was_used()) forgo_fastopen(fd);
  const int flags = status_flags(fd);
  // A signal tells such a program of the first failure, whatever we hide (fcntl(2), O_ASYNC).
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
