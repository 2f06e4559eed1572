// Built for speed: every healthy connect comes by.
#include "os/socket.h"

#include <linux/errqueue.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>

#include "engine/schedule.h"
#include "os/errno_kept.h"
#include "os/kernel.h"
#include "os/libc.h"
#include "os/sandbox.h"
#include "os/signals.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

namespace nextaddr {
namespace {

void set_send_timeout(int fd, const timeval& timeout) {
  libc::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
}

template <typename Value>
bool get_option(int fd, int level, int name, Value& out) {
  socklen_t length = sizeof out;
  return libc::getsockopt(fd, level, name, &out, &length) == 0;
}

void disconnect(int fd) {
  sockaddr_storage nowhere{};
  nowhere.ss_family = AF_UNSPEC;
  // The length of an in6 sockaddr: an AF_INET6 socket refuses less.
  libc::connect(fd, reinterpret_cast<const sockaddr*>(&nowhere), sizeof(sockaddr_in6));
}

// Linux before 5.14, and what emulates Linux, does not tell the namespace of a socket. That of the
// thread is told, by an inode. 0, not known, in any other namespace than the first that was asked
// for.
[[gnu::cold]] std::uint64_t network_of_process() {
  static constinit std::atomic<std::uint64_t> first{0};
  if (sandbox() != Sandbox::kNone) return 0;
  struct stat status {};
  if (kernel::stat("/proc/thread-self/ns/net", status) != 0) return 0;
  std::uint64_t known = 0;
  first.compare_exchange_strong(known, status.st_ino, std::memory_order_relaxed);
  return known == 0 || known == status.st_ino ? status.st_ino : 0;
}

}  // namespace

int option_value(int fd, int level, int name) {
  int value = 0;
  return get_option(fd, level, name, value) ? value : 0;
}

timeval send_timeout(int fd) {
  timeval timeout{};
  get_option(fd, SOL_SOCKET, SO_SNDTIMEO, timeout);
  return timeout;
}

timeval receive_timeout(int fd) {
  timeval timeout{};
  get_option(fd, SOL_SOCKET, SO_RCVTIMEO, timeout);
  return timeout;
}

int briefly(int fd, const timeval& program_timeout, Callable<int> connect) {
  const CancellationPoint later;
  // The shortest time that can be set: the kernel rounds it up to one tick.
  set_send_timeout(fd, {0, 1});
  const int result = connect();
  {
    const ErrnoKept errno_kept;
    set_send_timeout(fd, program_timeout);
  }
  return result;
}

bool is_tcp(int fd) {
  const int protocol = option_value(fd, SOL_SOCKET, SO_PROTOCOL);
  return protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP;
}

bool is_mptcp(int fd) { return option_value(fd, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_MPTCP; }

int min_ttl(int fd) { return option_value(fd, IPPROTO_IP, IP_MINTTL); }

bool set_min_ttl(int fd, int ttl) {
  return libc::setsockopt(fd, IPPROTO_IP, IP_MINTTL, &ttl, sizeof ttl) == 0 &&
         (option_value(fd, SOL_SOCKET, SO_DOMAIN) != AF_INET6 ||
          libc::setsockopt(fd, IPPROTO_IPV6, IPV6_MINHOPCOUNT, &ttl, sizeof ttl) == 0);
}

int bound_device(int fd) { return option_value(fd, SOL_SOCKET, SO_BINDTOIFINDEX); }

int status_flags(int fd) {
  const int flags = kernel::fcntl(fd, F_GETFL);
  return flags != -1 ? flags : O_NONBLOCK;
}

bool is_non_blocking(int fd) { return (status_flags(fd) & O_NONBLOCK) != 0; }

bool is_ipv6_only(int fd) { return option_value(fd, IPPROTO_IPV6, IPV6_V6ONLY) != 0; }

bool unbind_device(int fd) {
  constexpr int kNone = 0;
  return libc::setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &kNone, sizeof kNone) == 0;
}

void forgo_fastopen(int fd) {
  if (option_value(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT) == 0) return;
  constexpr int kOff = 0;
  libc::setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &kOff, sizeof kOff);
}

std::uint32_t kernel_patience_of(int fd) {
  constexpr int kDefaultSynRetries = 6;  // tcp(7), tcp_syn_retries
  int retries = kDefaultSynRetries;
  get_option(fd, IPPROTO_TCP, TCP_SYNCNT, retries);
  const std::uint32_t patience = kernel_patience_ms(retries);
  const int user_timeout = option_value(fd, IPPROTO_TCP, TCP_USER_TIMEOUT);
  return user_timeout > 0 ? std::min(patience, static_cast<std::uint32_t>(user_timeout)) : patience;
}

namespace {

// True when the kernel has sent the SYN again as often as it does.
bool has_asked_enough(int fd, const tcp_info& info) {
  int retries = 0;
  return get_option(fd, IPPROTO_TCP, TCP_SYNCNT, retries) && retries > 0 &&
         info.tcpi_total_retrans >= static_cast<unsigned>(retries);
}

}  // namespace

SocketPhase socket_phase(int fd) {
  tcp_info info{};
  get_option(fd, IPPROTO_TCP, TCP_INFO, info);
  switch (info.tcpi_state) {
    case TCP_SYN_SENT:
    case TCP_SYN_RECV:
      return SocketPhase::kConnecting;
    case TCP_CLOSE:
    case 0:  // not told: an error of the socket, which the next step finds
      // The round-trip time is first measured by the answer to the SYN.
      if (info.tcpi_rtt != 0) return SocketPhase::kEnded;
      return info.tcpi_total_retrans != 0 && has_asked_enough(fd, info) ? SocketPhase::kGivenUp
                                                                        : SocketPhase::kClosed;
    default:
      return SocketPhase::kConnected;
  }
}

bool was_never_connected(int fd) {
  sockaddr_in6 local{};
  socklen_t length = sizeof local;
  // The port is at the same place in both families.
  return getsockname(fd, reinterpret_cast<sockaddr*>(&local), &length) == 0 && local.sin6_port == 0;
}

bool has_sent_a_syn(int fd) {
  tcp_info info{};
  // The size of a packet on the way there is known from the first one on.
  return get_option(fd, IPPROTO_TCP, TCP_INFO, info) && info.tcpi_pmtu != 0;
}

std::uint32_t round_trip_us(int fd) {
  tcp_info info{};
  // The kernel measures too much when a SYN or its answer was lost and sent again.
  if (!get_option(fd, IPPROTO_TCP, TCP_INFO, info) || info.tcpi_total_retrans != 0) return 0;
  return info.tcpi_rtt;
}

namespace {

// The beginning of struct tcp_info as the kernel has it: that of libc ends before these counters.
struct LongInfo {
  std::uint8_t state;
  char between[127];
  std::uint64_t bytes_received;
  std::uint32_t segments_out;
  std::uint32_t segments_in;
};

}  // namespace

std::uint32_t segments_sent(int fd) {
  LongInfo info{};
  return get_option(fd, IPPROTO_TCP, TCP_INFO, info) ? info.segments_out : 0;
}

bool has_received(int fd) {
  LongInfo info{};
  socklen_t length = sizeof info;
  if (libc::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return true;
  // The end of what the peer sends counts as a byte.
  const bool has_ended = info.state == TCP_CLOSE_WAIT || info.state == TCP_LAST_ACK ||
                         info.state == TCP_CLOSING || info.state == TCP_TIME_WAIT;
  constexpr socklen_t kLeast = offsetof(LongInfo, bytes_received) + sizeof info.bytes_received;
  return length < kLeast || info.bytes_received > (has_ended ? 1 : 0);
}

std::uint64_t network_of(int fd) {
  constexpr int kNetnsCookie = 71;  // SO_NETNS_COOKIE
  const ErrnoKept errno_kept;
  std::uint64_t cookie = 0;
  if (get_option(fd, SOL_SOCKET, kNetnsCookie, cookie)) return cookie;
  return network_of_process();
}

bool is_steered_to(int fd, const Address& to) {
  return option_value(fd, SOL_SOCKET, SO_MARK) != 0 ||
         (!is_link_local(to) && bound_device(fd) != 0);
}

bool is_steered(int fd) {
  if (is_steered_to(fd, {})) return true;
  // In a sandbox the next system call may be the last one.
  if (sandbox() != Sandbox::kNone) return false;
  sockaddr_storage local;
  socklen_t length = sizeof local;
  Endpoint bound;
  const SocketPhase phase = socket_phase(fd);
  if (phase != SocketPhase::kClosed && phase != SocketPhase::kEnded) return false;
  auto* address = reinterpret_cast<sockaddr*>(&local);
  if (getsockname(fd, address, &length) != 0 || !read_sockaddr(address, length, bound)) {
    return true;
  }
  return !is_unspecified(bound.address);
}

in_port_t local_port(int fd) {
  if (sandbox() != Sandbox::kNone) return 0;
  sockaddr_in6 local{};
  socklen_t length = sizeof local;
  getsockname(fd, reinterpret_cast<sockaddr*>(&local), &length);
  return local.sin6_port;  // at the same place in both families
}

int pending_error(int fd) { return option_value(fd, SOL_SOCKET, SO_ERROR); }

int queued_error(int fd) {
  if (sandbox() == Sandbox::kCertain) return 0;
  constexpr int kMost = 64;
  const ErrnoKept errno_kept;
  int error = 0;
  for (int i = 0; i < kMost; ++i) {
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(sock_extended_err) + sizeof(sockaddr_in6))];
    msghdr message{};
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    if (libc::recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) break;
    const cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (header == nullptr) continue;
    const bool is_error = (header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_RECVERR) ||
                          (header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_RECVERR);
    if (!is_error || header->cmsg_len < CMSG_LEN(sizeof(sock_extended_err))) continue;
    sock_extended_err queued;
    std::memcpy(&queued, CMSG_DATA(header), sizeof queued);
    const bool is_icmp =
        queued.ee_origin == SO_EE_ORIGIN_ICMP || queued.ee_origin == SO_EE_ORIGIN_ICMP6;
    if (is_icmp) error = static_cast<int>(queued.ee_errno);
  }
  return error;
}

void take_back(int fd, bool leave_ipv4_mode) {
  disconnect(fd);
  if (leave_ipv4_mode) {
    // Linux (6.18, since long) leaves an AF_INET6 socket in its IPv4 mode after a v4-mapped
    // connect: a later IPv6 connect then sends nothing. A v4-mapped connect that fails at once puts
    // it back into IPv6 mode, and TCP to the broadcast address fails at once, without a packet
    // (ENETUNREACH, net/ipv4/tcp_ipv4.c).
    sockaddr_in6 broadcast{};
    broadcast.sin6_family = AF_INET6;
    broadcast.sin6_port = htons(9);
    broadcast.sin6_addr.s6_addr[10] = broadcast.sin6_addr.s6_addr[11] = 0xff;
    std::fill_n(broadcast.sin6_addr.s6_addr + 12, 4, std::uint8_t{0xff});
    libc::connect(fd, reinterpret_cast<const sockaddr*>(&broadcast), sizeof broadcast);
    disconnect(fd);
  }
  // Taking back an attempt in flight leaves ECONNRESET behind, and one that an ICMP error has ended
  // leaves that, for which poll(2) would call the next connection one with an error.
  pending_error(fd);
  queued_error(fd);
}

}  // namespace nextaddr
