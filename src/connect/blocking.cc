// Built for speed: every healthy connect comes by.
#include "connect/blocking.h"

#include <poll.h>

#include <cerrno>
#include <cstdint>
#include <optional>

#include "connect/connect_operation.h"
#include "connect/pending_connects.h"
#include "connect/request.h"
#include "engine/outcome.h"
#include "fault/faults.h"
#include "fault/injection.h"
#include "log/report.h"
#include "memory/memory.h"
#include "os/clock.h"
#include "os/errno_kept.h"
#include "os/libc.h"
#include "os/program_settings.h"
#include "os/signals.h"
#include "os/socket.h"
#include "process/process.h"

namespace nextaddr {
namespace {

using State = ConnectOperation::State;

// Whether the program's own connect(2) would have returned EINTR for the signal that has ended our
// wait. With a timeout set it always does (signal(7)).
bool interrupts(const timeval& program_timeout, const sigset_t& mask) {
  return is_set(program_timeout) || !connect_would_restart(mask);
}

// Waits for the end of the connect as connect(2) would, from one attempt to the next. Signals are
// blocked except in the waits, which have `mask`: one that comes between two steps ends the next
// wait. `interrupted`: one has come already. `resumed`: the program has called connect(2) again for
// a connect that had returned to it.
int wait_to_the_end(ConnectOperation& operation, bool interrupted, bool resumed,
                    const sigset_t& mask) {
  State state = operation.state();
  bool at_once = true;
  while (!ConnectAttempts::is_over(state) && state != State::kPaused) {
    if ((interrupted || operation.was_interrupted()) &&
        interrupts(operation.settings().send_timeout, mask)) {
      keep_pending(operation);
      return fail_with(EINTR);
    }
    interrupted = false;
    pollfd socket{operation.fd(), POLLOUT, 0};
    const std::uint64_t now = now_ms();
    const std::uint64_t until = operation.until_ms();
    const timespec limit = timespec_of_ms(until > now ? until - now : 0);
    const bool has_limit = until != ConnectAttempts::kNever;
    const int ready = libc::ppoll(&socket, 1, has_limit ? &limit : nullptr, &mask);
    if (ready < 0 && errno != EINTR) return -1;
    if (ready < 0) {
      interrupted = true;
      continue;
    }
    state = operation.advance((socket.revents & POLLERR) != 0);
    at_once = false;
  }
  switch (state) {
    case State::kConnected:
      return at_once ? 0 : operation.mark_connected();
    case State::kPaused:
      keep_pending(operation);
      // connect(2) answers EALREADY when it is called again while an attempt is in flight.
      return fail_with(resumed ? EALREADY : EINPROGRESS);
    default:
      return fail_with(operation.error());
  }
}

// True when another thread has closed the descriptor while connect(2) was in it, and the number has
// another socket by now. The socket's cookie is known only from after the first attempt, so that a
// healthy connect does not pay for it: whether that socket was ever connected has to do.
bool is_another_by_now(int fd, int first) {
  return (first == EINPROGRESS || first == ECONNREFUSED || first == ETIMEDOUT) &&
         sandbox() == Sandbox::kNone && was_never_connected(fd);
}

// The first attempt of a blocking connect did not succeed at once: `first` is EINPROGRESS, or its
// error. The connect's result, or nothing when an attempt in flight is to be left to the kernel.
__attribute__((noinline, cold)) std::optional<int> after_first_attempt(
    int fd, const Endpoint& requested, const ProgramSettings& settings, int first,
    const Fault& fault, const sigset_t& mask) {
  const bool in_flight = first == EINPROGRESS || first == EALREADY || first == EINTR;
  if (!in_flight && !moves_on(first)) return fail_with(first);
  ConnectOperation operation;
  if (take_pending(fd, requested, operation)) {
    operation.resume(true, settings.send_timeout);
    if (!in_flight) operation.ended(first);
    return wait_to_the_end(operation, first == EINTR, true, mask);
  }
  // An attempt in flight that we did not start may be going anywhere: only the kernel knows.
  if (first != EALREADY && operation.prepare(fd, requested, settings, true) &&
      (fault.action != FaultAction::kNone || !is_another_by_now(fd, first)) &&
      operation.started(in_flight ? EINPROGRESS : first, fault) != State::kLeft) {
    return wait_to_the_end(operation, first == EINTR, false, mask);
  }
  if (!in_flight) return fail_with(first);
  if (first == EINTR && interrupts(settings.send_timeout, mask)) return fail_with(EINTR);
  // The kernel's own wait would begin after signals are let in, and so not be ended by one that is
  // pending now.
  if (connect_is_interrupted(mask, is_set(settings.send_timeout))) return fail_with(EINTR);
  return {};
}

// The requested address is to be asked last: asks another one instead. The connect's result, or
// nothing when the requested one is to be asked as usual.
__attribute__((noinline, cold)) std::optional<int> connect_elsewhere(
    int fd, const Endpoint& requested, const ProgramSettings& settings, const sigset_t& mask,
    const Request& request) {
  ConnectOperation operation;
  // A connect that is pending on this socket goes on where it was.
  if (knows_connect(fd) || !operation.prepare(fd, requested, settings, true)) return {};
  if (operation.elsewhere(request.to_be_probed, request.was_given) == State::kLeft) return {};
  return wait_to_the_end(operation, false, false, mask);
}

// The first attempt has succeeded at once, and there is something to be learnt or told. What is
// taken for TCP by its number may be another kind of socket (connect/entry.cc): nothing answers
// that.
[[gnu::noinline]] void learn_from_first(int fd, const Endpoint& requested,
                                        const ProgramSettings& settings, const Fault& fault,
                                        std::uint64_t began_us) {
  const ErrnoKept errno_kept;
  // A datagram socket is connected without a packet.
  constexpr std::uint64_t kNoPacketUs = 50;
  const std::uint64_t took_us = began_us != 0 ? now_us() - began_us : 0;
  const bool is_doubtful = took_us < kNoPacketUs || reports_every_connect() ||
                           is_failing(fd, requested.address, requested.port);
  if (is_doubtful && !is_tcp(fd)) return;
  if (reports_every_connect()) report_only_attempt(requested, fault, 0, took_us / 1000);
  if (settings.is_steered) return;
  note_success(fd, requested.address, requested.port);
  if (began_us != 0) note_rtt(fd, requested.address, requested.port, took_us);
}

}  // namespace

int connect_blocking(int fd, const sockaddr* address, socklen_t length, const Endpoint& requested) {
  const ProgramSettings settings = ProgramSettings::of(fd, true);
  int first = 0;
  Fault fault;
  {
    // Signals are blocked so that one that comes between two steps is not lost: it ends the next
    // wait.
    const SignalsBlocked blocked;
    const Request request = look_up_request(fd, requested);
    if (request.goes_elsewhere()) {
      const auto result = connect_elsewhere(fd, requested, settings, blocked.before(), request);
      if (result) return *result;
    }
    fault = draw_fault(fd, requested.address, requested);
    const std::uint64_t began_us = wants_rtt() || reports_every_connect() ? now_us() : 0;
    const auto connect = [&] { return connect_with_fault(fd, address, length, fault); };
    if (briefly(fd, settings.send_timeout, connect) == 0) {
      request.has_begun(requested);
      if (began_us != 0 || is_failing(fd, requested.address, requested.port)) {
        learn_from_first(fd, requested, settings, fault, began_us);
      }
      return 0;
    }
    first = errno;
    if (first != EISCONN && first != EALREADY) request.has_begun(requested);
    const auto result =
        after_first_attempt(fd, requested, settings, first, fault, blocked.before());
    if (result) return *result;
  }
  // connect(2) called again waits for the attempt in flight, as it would have at first. It does not
  // look at the address, unless somebody has shut the socket down meanwhile.
  const int result = connect_with_fault(fd, address, length, fault);
  if (result != 0 && errno == EALREADY && first == EINPROGRESS) errno = EINPROGRESS;
  return result;
}

}  // namespace nextaddr
