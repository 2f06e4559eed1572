#include "os/program_settings.h"

#include <atomic>
#include <cerrno>

#include "os/arguments.h"
#include "os/clock.h"
#include "os/descriptors.h"
#include "os/libc.h"
#include "os/sandbox.h"
#include "os/socket.h"

namespace nextaddr {
namespace {

constinit std::atomic<bool> fastopen_connect{false};
constinit std::atomic<bool> send_timeout_used{false};
constinit std::atomic<bool> options_kept{false};
constinit std::atomic<bool> ways_chosen{false};
constinit std::atomic<bool> ports_chosen{false};

// The descriptor numbers of sockets whose port the program has named by bind(2), and of those that
// it has bound to an address. By number, because that is what servers do with those they listen at,
// for which no connect is to pay.
constinit DescriptorSet port_numbers{};
constinit DescriptorSet source_numbers{};

// Descriptor numbers of sockets that had TCP_MAXSEG, TCP_WINDOW_CLAMP or SO_PEEK_OFF set.
constinit DescriptorSet option_numbers{};

bool take(DescriptorSet& numbers, int fd) {
  if (!numbers.has(fd)) return false;
  numbers.remove(fd);
  return true;
}

void note(std::atomic<bool>& flag) { flag.store(true, std::memory_order_relaxed); }
bool is_noted(const std::atomic<bool>& flag) { return flag.load(std::memory_order_relaxed); }

in_port_t port_of(const sockaddr_in6& address) { return address.sin6_port; }
static_assert(offsetof(sockaddr_in, sin_port) == offsetof(sockaddr_in6, sin6_port));

bool is_source(const sockaddr_in6& bound, socklen_t length) {
  Endpoint endpoint;
  return read_sockaddr(reinterpret_cast<const sockaddr*>(&bound), length, endpoint) &&
         !is_unspecified(endpoint.address);
}

// Where bind(2) has put a socket without being told a port. Asked of the kernel, because the
// program may have bound it by another descriptor. Its length is 0 when it was not bound, or
// connected since: getsockname(2) then names a port that connect(2) has chosen.
socklen_t bound_address(int fd, sockaddr_in6& out) {
  socklen_t length = sizeof out;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&out), &length) == 0 &&
      (port_of(out) != 0 || is_source(out, length)) && !has_sent_a_syn(fd)) {
    return length;
  }
  out = {};
  return 0;
}

// The value that TCP_MAXSEG has where none is set (TCP_MSS_DEFAULT in the kernel).
constexpr int kUnlimitedSegment = 536;

}  // namespace

void note_option(int fd, OptionKind kind) {
  switch (kind) {
    case OptionKind::kFastopen:
      return note(fastopen_connect);
    case OptionKind::kKept:
      note(options_kept);
      return option_numbers.add(fd);
    case OptionKind::kSendTimeout:
      return note(send_timeout_used);
    case OptionKind::kSteering:
      return note(ways_chosen);
    case OptionKind::kOther:
      return;
  }
}

void note_bind(int fd, const sockaddr* address, socklen_t length) {
  if (!may_be_read(address) || length < sizeof(sockaddr_in)) return;
  Endpoint bound;
  if (!read_sockaddr(address, length, bound)) return;
  if (!is_unspecified(bound.address)) source_numbers.add(fd);
  if (bound.port != 0) {
    port_numbers.add(fd);
  } else if (!is_noted(ports_chosen) && sandbox() != Sandbox::kCertain && is_tcp(fd)) {
    note(ports_chosen);
  }
}

bool fastopen_connect_was_used() { return is_noted(fastopen_connect); }

void look_for_send_timeout(int fd) {
  if (is_set(send_timeout(fd))) note(send_timeout_used);
}

ProgramSettings ProgramSettings::of(int fd, bool waits) {
  ProgramSettings settings;
  if (waits && is_noted(send_timeout_used)) settings.send_timeout = nextaddr::send_timeout(fd);
  if (is_noted(options_kept)) settings.read_options(fd);
  settings.has_own_port = take(port_numbers, fd);
  if (is_noted(ports_chosen)) settings.bound_length = bound_address(fd, settings.bound);
  settings.is_steered =
      (settings.bound_length != 0 && is_source(settings.bound, settings.bound_length)) ||
      ((is_noted(ways_chosen) || source_numbers.has(fd)) && nextaddr::is_steered(fd));
  return settings;
}

// After a connect, one that has failed too, the kernel tells values of its own. Without one what it
// tells is the program's, whichever duplicate of the descriptor that was set by.
void ProgramSettings::read_options(int fd) {
  const bool is_fresh = was_never_connected(fd);
  if (!is_fresh && !option_numbers.has(fd)) return;
  max_segment = option_value(fd, IPPROTO_TCP, TCP_MAXSEG);
  if (max_segment == kUnlimitedSegment) max_segment = 0;
  window_clamp = option_value(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP);
  peek_offset = option_value(fd, SOL_SOCKET, SO_PEEK_OFF);
  // The option was set on an earlier socket of this number.
  if (is_fresh && max_segment == 0 && window_clamp == 0 && peek_offset == -1) {
    option_numbers.remove(fd);
  }
}

bool ProgramSettings::put_back(int socket) const {
  if (max_segment != 0) {
    libc::setsockopt(socket, IPPROTO_TCP, TCP_MAXSEG, &max_segment, sizeof max_segment);
  }
  if (window_clamp != 0) {
    libc::setsockopt(socket, IPPROTO_TCP, TCP_WINDOW_CLAMP, &window_clamp, sizeof window_clamp);
  }
  if (peek_offset != -1) {
    libc::setsockopt(socket, SOL_SOCKET, SO_PEEK_OFF, &peek_offset, sizeof peek_offset);
  }
  if (port_of(bound) == 0) return true;
  // A port that the program has named stays by itself; then bind(2) answers EINVAL. (getsockname(2)
  // does not tell: it goes on naming a port that is the socket's no more.)
  const auto* address = reinterpret_cast<const sockaddr*>(&bound);
  return libc::bind(socket, address, bound_length) == 0 || errno == EINVAL;
}

}  // namespace nextaddr
