#include "connect/entry.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <optional>

#include "arguments.h"
#include "clock.h"
#include "config.h"
#include "connect/connect_operation.h"
#include "connect/pending_connects.h"
#include "descriptors.h"
#include "engine/outcome.h"
#include "faults.h"
#include "libc.h"
#include "memory/memory.h"
#include "process.h"
#include "signals.h"
#include "socket.h"
#include "steering.h"
#include "wait/epoll_waker.h"
#include "wait/sliced_wait.h"

namespace nextaddr {
namespace {

using Progress = ConnectOperation::Progress;

constinit std::atomic<bool> fastopen_connect_used{false};
constinit std::atomic<bool> send_timeout_used{false};

// By a pattern with a port: the host table knows only which hosts are left alone on all.
__attribute__((noinline, cold)) bool left_alone_on_port(const Endpoint& requested) {
  DestinationList unused;
  return !host_table().destinations(requested.address, ntohs(requested.port), config().filter,
                                    unused);
}

// Descriptor numbers under which a TCP socket was connected before. The next socket of that number
// mostly is one too; if it is not, its SO_SNDTIMEO is borrowed for nothing. Zero pages until used.
constinit std::array<std::atomic<std::uint8_t>, kDescriptors / 8> tcp_numbers{};

// Spares most connects the system call of is_tcp().
bool is_taken_for_tcp(int fd) {
  const auto number = static_cast<std::size_t>(fd);
  if (!in_tables(fd)) return is_tcp(fd);
  std::atomic<std::uint8_t>& eight = tcp_numbers[number / 8];
  const auto bit = static_cast<std::uint8_t>(1u << number % 8);
  if ((eight.load(std::memory_order_relaxed) & bit) != 0) return true;
  if (!is_tcp(fd)) return false;
  eight.fetch_or(bit, std::memory_order_relaxed);
  return true;
}

int fail(int error) {
  errno = error;
  return -1;
}

bool is_set(const timeval& time) { return time.tv_sec != 0 || time.tv_usec != 0; }

// A signal ended a wait: would the program's own connect(2) have returned EINTR? With a timeout set
// it always does (signal(7)).
bool interrupts(const timeval& program_timeout, const sigset_t& mask) {
  return is_set(program_timeout) || !connect_would_restart(mask);
}

// Asking once more is how connect(2) itself learns the result: it marks the socket connected.
int mark_connected(int fd, const ConnectOperation& flight) {
  sockaddr_storage destination;
  const socklen_t length = write_sockaddr(flight.current, flight.requested, destination);
  const int result = libc::connect(fd, reinterpret_cast<const sockaddr*>(&destination), length);
  return result != 0 && errno == EISCONN ? 0 : result;
}

// Waits for a blocking connect as connect(2) would, from one attempt to the next. Signals are
// blocked but for `mask` while it waits: one that comes between two steps ends the next wait.
int wait_to_the_end(int fd, ConnectOperation& flight, Progress progress, bool interrupted,
                    bool resumed, const sigset_t& mask) {
  bool at_once = progress == Progress::kConnected;
  while (progress == Progress::kInFlight) {
    if ((interrupted || flight.interrupted) && interrupts(flight.program_timeout, mask)) {
      keep_flight(fd, flight);
      return fail(EINTR);
    }
    interrupted = false;
    const std::uint64_t now = now_ms();
    pollfd socket{fd, POLLOUT, 0};
    const std::uint64_t left = flight.until_ms > now ? flight.until_ms - now : 0;
    const SliceTime limit(static_cast<std::int64_t>(left) * 1'000'000);
    const int ready = libc::ppoll(&socket, 1, limit.get(), &mask);
    if (ready < 0 && errno != EINTR) return -1;
    if (ready < 0) {
      interrupted = true;
      continue;
    }
    progress = flight.check(fd);
    at_once = false;
  }
  switch (progress) {
    case Progress::kConnected:
      return at_once ? 0 : mark_connected(fd, flight);
    case Progress::kTimeUp:
      keep_flight(fd, flight);
      // What connect(2) answers when it is asked again about an attempt in flight.
      return fail(resumed ? EALREADY : EINPROGRESS);
    default:
      return fail(flight.error);
  }
}

// The first attempt of a blocking connect did not succeed at once: `first` is EINPROGRESS, or its
// error. The connect's result, or nothing when an attempt in flight is to be left to the kernel.
__attribute__((noinline, cold)) std::optional<int> after_first_attempt(
    int fd, const Endpoint& requested, const timeval& program_timeout, int first,
    const Fault& fault, const sigset_t& mask) {
  const bool in_flight = first == EINPROGRESS || first == EALREADY || first == EINTR;
  if (!in_flight && !moves_on(first)) return fail(first);
  ConnectOperation flight;
  if (take_flight(fd, requested, flight)) {
    flight.blocking = true;
    flight.resume(program_timeout);
    const Progress now = in_flight ? Progress::kInFlight : flight.failed(fd, first);
    return wait_to_the_end(fd, flight, now, first == EINTR, true, mask);
  }
  // An attempt in flight that we did not start may be going anywhere: only the kernel knows.
  if (first != EALREADY && flight.prepare(fd, requested, program_timeout, true)) {
    flight.suffer(fault);
    const Progress now = flight.begin(fd, in_flight ? EINPROGRESS : first);
    if (now != Progress::kLost) {
      return wait_to_the_end(fd, flight, now, first == EINTR, false, mask);
    }
  }
  if (!in_flight) return fail(first);
  if (first == EINTR && interrupts(program_timeout, mask)) return fail(EINTR);
  // The kernel's own wait begins after signals are let in.
  if (connect_is_interrupted(mask, is_set(program_timeout))) return fail(EINTR);
  return {};
}

// The requested address is parked: asks another one instead. The connect's result, or nothing when
// the requested one is to be asked as usual.
__attribute__((noinline, cold)) std::optional<int> connect_elsewhere(int fd,
                                                                     const Endpoint& requested,
                                                                     const timeval& program_timeout,
                                                                     const sigset_t& mask) {
  ConnectOperation flight;
  // One that goes on with a connect it has begun before.
  if (has_flight(fd) || !flight.prepare(fd, requested, program_timeout, true)) return {};
  const Progress now = flight.begin_elsewhere(fd);
  if (now == Progress::kLost) return {};
  return wait_to_the_end(fd, flight, now, false, false, mask);
}

int connect_blocking(int fd, const sockaddr* address, socklen_t length, const Endpoint& requested) {
  timeval program_timeout{};
  if (send_timeout_used.load(std::memory_order_relaxed)) program_timeout = send_timeout(fd);
  int first = 0;
  Fault fault;
  {
    // A signal that comes between two steps must not be lost: it ends the next wait.
    const SignalsBlocked blocked;
    if (claim_or_parked(requested.address, requested.port)) {
      const auto result = connect_elsewhere(fd, requested, program_timeout, blocked.before());
      if (result) return *result;
    }
    fault = draw_fault(fd, requested.address, requested);
    const std::uint64_t began_us = wants_rtt() ? now_us() : 0;
    if (briefly_connect(fd, address, length, program_timeout, fault) == 0) {
      note_success(requested.address, requested.port);
      if (began_us != 0) note_rtt(requested.address, requested.port, now_us() - began_us);
      return 0;
    }
    first = errno;
    const auto result =
        after_first_attempt(fd, requested, program_timeout, first, fault, blocked.before());
    if (result) return *result;
  }
  // The kernel waits on as it would have. It looks at no address, unless somebody has shut the
  // socket down meanwhile.
  const int result = connect_with_fault(fd, address, length, fault);
  if (result != 0 && errno == EALREADY && first == EINPROGRESS) errno = EINPROGRESS;
  return result;
}

// A connect(2) that does not wait: it is started here and driven by whatever the program waits
// with.
int connect_without_blocking(int fd, const sockaddr* address, socklen_t length,
                             const Endpoint& requested) {
  if (any_in_flight()) {
    // Asked again: the answer is what has become of it.
    switch (look_at(fd)) {
      case ProgramView::kInFlight:
        return fail(EALREADY);
      case ProgramView::kFailed:
        return fail(take_error(fd));
      case ProgramView::kNotOurs:
        break;
    }
  }
  if (left_to_kernel(fd)) {
    const int result = libc::connect(fd, address, length);
    if (result == 0 || (errno != EALREADY && errno != EINPROGRESS)) drop_flight(fd);
    return result;
  }
  drop_flight(fd);
  const CancellationPoint later;
  if (!owns_memory() || !enter_flight(fd, requested)) return libc::connect(fd, address, length);
  std::optional<int> now;
  if (claim_or_parked(requested.address, requested.port)) now = begin_flight_elsewhere(fd);
  if (!now) {
    const Fault fault = draw_fault(fd, requested.address, requested);
    if (fault.action != FaultAction::kNone) suffer_fault(fd, fault);
    const int result = connect_with_fault(fd, address, length, fault);
    const int first = errno;
    if (result == 0 || (first != EINPROGRESS && !moves_on(first))) {
      drop_flight(fd);
      errno = first;
      return result;
    }
    now = begin_flight(fd, first);
  }
  if (*now == EINPROGRESS) wake_epoll_sleepers(fd);
  return *now == 0 ? 0 : fail(*now);
}

}  // namespace

bool wants_failover(const sockaddr* address, socklen_t length, Endpoint& requested) {
  if (!may_be_read(address) || !read_sockaddr(address, length, requested) || !active())
    return false;
  return connects_have_faults() ||
         (host_table().may_fail_over(requested.address) &&
          !(config().filter.knows_ports() && left_alone_on_port(requested)));
}

int connect_with_failover(int fd, const sockaddr* address, socklen_t length,
                          const Endpoint& requested) {
  // Such a connect says 0 before a packet has been sent.
  if (fastopen_connect_used.load(std::memory_order_relaxed)) forgo_fastopen(fd);
  if (is_non_blocking(fd)) return connect_without_blocking(fd, address, length, requested);
  if (!is_taken_for_tcp(fd)) return libc::connect(fd, address, length);
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

void note_option(int level, int name) {
  if (level == IPPROTO_TCP && name == TCP_FASTOPEN_CONNECT) {
    fastopen_connect_used.store(true, std::memory_order_relaxed);
  }
  // Both names of it: the second is the one with 64-bit time on 32-bit machines.
  if (level == SOL_SOCKET && (name == SO_SNDTIMEO_OLD || name == SO_SNDTIMEO_NEW)) {
    send_timeout_used.store(true, std::memory_order_relaxed);
  }
}

}  // namespace nextaddr
