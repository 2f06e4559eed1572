#include "steering.h"

#include <linux/filter.h>
#include <netinet/in.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "engine/address.h"
#include "engine/outcome.h"
#include "errno_kept.h"
#include "libc.h"
#include "report.h"
#include "socket.h"

namespace nextaddr {
namespace {

// Drops every packet. The first instruction only marks it as ours.
constexpr std::array<sock_filter, 2> kDropAll{
    {{BPF_LD | BPF_IMM, 0, 0, 0x6e787472}, {BPF_RET | BPF_K, 0, 0, 0}}};

bool is_same(const sock_filter& a, const sock_filter& b) {
  return a.code == b.code && a.jt == b.jt && a.jf == b.jf && a.k == b.k;
}

// `lo` is the first device of every network namespace.
constexpr int kLoopbackDevice = 1;

enum class Filter : std::uint8_t { kNone, kOurs, kPrograms };

Filter filter_of(int fd) {
  std::array<sock_filter, kDropAll.size()> present{};
  // The kernel counts a filter's length in instructions. It does not show one of another length, or
  // of eBPF.
  socklen_t length = present.size();
  if (libc::getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, present.data(), &length) != 0) {
    return Filter::kPrograms;
  }
  if (length == 0) return Filter::kNone;
  const bool ours = length == present.size() &&
                    std::equal(present.begin(), present.end(), kDropAll.begin(), is_same);
  return ours ? Filter::kOurs : Filter::kPrograms;
}

bool drop_all(int fd) {
  const Filter present = filter_of(fd);
  if (present != Filter::kNone) return present == Filter::kOurs;
  auto filter = kDropAll;
  const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  return libc::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0;
}

// The address of loopback, in the form and family of an attempt's, with port 0.
socklen_t loopback_like(const Endpoint& to, sockaddr_storage& out) {
  Address here;
  static_cast<void>(parse_address(to.address.is_ipv4() ? "127.0.0.1" : "::1", here));
  const Endpoint like{here, 0, 0, to.family};
  return write_sockaddr(here, like, out);
}

// The program's socket is connected to a listener that then goes without accepting.
int connect_and_be_reset(int fd, const Endpoint& to) {
  const int kind = SOCK_STREAM | SOCK_CLOEXEC;
  sockaddr_storage place{};
  Endpoint loopback = to;
  // A v4-mapped place for a listener would need its IPV6_V6ONLY turned off.
  if (to.address.is_ipv4()) loopback.family = AF_INET;
  socklen_t length = loopback_like(loopback, place);
  const int listener = socket(loopback.family, kind, 0);
  auto* address = reinterpret_cast<sockaddr*>(&place);
  const bool listens = listener >= 0 && bind(listener, address, length) == 0 &&
                       listen(listener, 1) == 0 && getsockname(listener, address, &length) == 0;
  if (!listens) {
    if (listener >= 0) close(listener);
    errno = ECONNRESET;
    return -1;
  }
  Endpoint there;
  static_cast<void>(read_sockaddr(address, length, there));
  there.family = to.family;
  length = write_sockaddr(there.address, there, place);
  const int result = libc::connect(fd, address, length);
  int error = result == 0 ? 0 : errno;
  // Not only closed: a forked child may have the listener too.
  shutdown(listener, SHUT_RDWR);
  close(listener);
  if (error == 0) {
    // A connect that waited would have been told, and could be made again.
    error = pending_error(fd);
    if (error != 0) take_back(fd, false);
  }
  errno = error;
  return error == 0 ? 0 : -1;
}

}  // namespace

bool begins_attempt(int fd) {
  const ErrnoKept errno_kept;
  if (!is_tcp(fd) || tcp_phase(fd) != TcpPhase::kClosed) return false;
  // An attempt that has failed leaves both directions shut until connect(2) has told of it, also
  // where its error has been read. POLLERR is no sign: taking back an attempt in flight leaves one.
  // MPTCP has no other.
  const short failed = is_mptcp(fd) ? POLLERR : POLLRDHUP;
  pollfd state{fd, failed, 0};
  return libc::poll(&state, 1, 0) >= 0 && (state.revents & (failed | POLLNVAL)) == 0;
}

void lift_fault(int fd) {
  const ErrnoKept errno_kept;
  constexpr int kUnused = 0;
  if (filter_of(fd) == Filter::kOurs) {
    libc::setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &kUnused, sizeof kUnused);
  }
}

bool can_be_made(int fd, const Fault& fault) {
  const ErrnoKept errno_kept;
  if (fault.action == FaultAction::kErrno) return true;
  // Packets to loopback would leave by another device.
  if (const int device = bound_device(fd); device != 0 && device != kLoopbackDevice) return false;
  const bool needs_filter =
      fault.action == FaultAction::kSilent || fault.action == FaultAction::kDelay;
  return !needs_filter || drop_all(fd);
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
      if (!drop_all(fd)) return libc::connect(fd, address, length);
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
