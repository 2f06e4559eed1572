#include "fault/injection.h"

#include <netinet/in.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>

#include "engine/address.h"
#include "engine/outcome.h"
#include "log/report.h"
#include "os/errno_kept.h"
#include "os/kernel.h"
#include "os/libc.h"
#include "os/socket.h"

namespace nextaddr {
namespace {

// The IP_MINTTL of a socket that a fault has made deaf: packets that arrive with less are dropped,
// and so is every answer from loopback, where they set out with 64. It is not the 255 that programs
// set themselves (RFC 5082) and os/deafness.h, so that lift_fault() knows its own.
constexpr int kDeaf = 254;

// `lo` is the first device of every network namespace.
constexpr int kLoopbackDevice = 1;

bool make_deaf(int fd) {
  const int present = min_ttl(fd);
  return present == kDeaf || (present == 0 && set_min_ttl(fd, kDeaf));
}

// The address of loopback with port 0, in the form and family of an attempt's. Returns its length.
socklen_t loopback_like(const Endpoint& to, sockaddr_storage& out) {
  Address here;
  static_cast<void>(parse_address(to.address.is_ipv4() ? "127.0.0.1" : "::1", here));
  const Endpoint like{here, 0, 0, to.family};
  return write_sockaddr(here, like, out);
}

// Connects the program's socket to a listener that then goes without accepting.
int connect_and_be_reset(int fd, const Endpoint& to) {
  const int kind = SOCK_STREAM | SOCK_CLOEXEC;
  sockaddr_storage place{};
  Endpoint loopback = to;
  // A v4-mapped place for a listener would need its IPV6_V6ONLY turned off.
  if (to.address.is_ipv4()) loopback.family = AF_INET;
  socklen_t length = loopback_like(loopback, place);
  const int listener = socket(loopback.family, kind, 0);
  auto* address = reinterpret_cast<sockaddr*>(&place);
  const bool listens = listener >= 0 && libc::bind(listener, address, length) == 0 &&
                       listen(listener, 1) == 0 && getsockname(listener, address, &length) == 0;
  if (!listens) {
    if (listener >= 0) kernel::close(listener);
    errno = ECONNRESET;
    return -1;
  }
  Endpoint there;
  static_cast<void>(read_sockaddr(address, length, there));
  there.family = to.family;
  length = write_sockaddr(there.address, there, place);
  const int result = libc::connect(fd, address, length);
  const ErrnoKept errno_kept;
  // The listener is not only closed, because a forked child may have it, too.
  shutdown(listener, SHUT_RDWR);
  kernel::close(listener);
  return result;
}

}  // namespace

bool begins_attempt(int fd) {
  const ErrnoKept errno_kept;
  if (!is_tcp(fd) || !has_failed(socket_phase(fd))) return false;
  // An attempt that has failed leaves both directions shut until connect(2) has told of it, also
  // where its error has been read. POLLERR is no sign: taking back an attempt in flight leaves one.
  // MPTCP has no other.
  const short failed = is_mptcp(fd) ? POLLERR : POLLRDHUP;
  pollfd state{fd, failed, 0};
  return libc::poll(&state, 1, 0) >= 0 && (state.revents & (failed | POLLNVAL)) == 0;
}

void lift_fault(int fd) {
  const ErrnoKept errno_kept;
  if (min_ttl(fd) == kDeaf) set_min_ttl(fd, 0);
}

bool prepare_fault(int fd, const Fault& fault) {
  const ErrnoKept errno_kept;
  if (fault.action == FaultAction::kErrno) return true;
  // Packets to loopback would leave by another device.
  if (const int device = bound_device(fd); device != 0 && device != kLoopbackDevice) return false;
  const bool silent = fault.action == FaultAction::kSilent || fault.action == FaultAction::kDelay;
  return !silent || make_deaf(fd);
}

int connect_with_fault(int fd, const sockaddr* address, socklen_t length, const Fault& fault) {
  if (fault.action == FaultAction::kNone) return libc::connect(fd, address, length);
  Endpoint to;
  if (!read_sockaddr(address, length, to)) return libc::connect(fd, address, length);
  switch (fault.action) {
    case FaultAction::kErrno:
      errno = static_cast<int>(fault.argument);
      return -1;
    case FaultAction::kReset:
      return connect_and_be_reset(fd, to);
    case FaultAction::kSilent:
    case FaultAction::kDelay:
      if (!make_deaf(fd)) return libc::connect(fd, address, length);
      break;
    default:
      break;
  }
  sockaddr_storage nowhere{};
  length = loopback_like(to, nowhere);
  const int result = libc::connect(fd, reinterpret_cast<const sockaddr*>(&nowhere), length);
  if (result != 0 && moves_on(errno) && !parks(errno)) {
    // No IPv6 on this machine, say.
    report_problem("loopback cannot be reached for a fault: ", error_name(errno));
  }
  return result;
}

}  // namespace nextaddr
