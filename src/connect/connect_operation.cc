#include "connect/connect_operation.h"

#include <netinet/in.h>

#include <algorithm>
#include <cerrno>

#include "clock.h"
#include "config.h"
#include "engine/outcome.h"
#include "faults.h"
#include "memory/memory.h"
#include "process.h"
#include "report.h"
#include "run.h"
#include "socket.h"
#include "steering.h"

namespace nextaddr {

using Step = Schedule::Step;
using Progress = ConnectOperation::Progress;

namespace {

// Weeks are forever.
std::uint32_t milliseconds(const timeval& time) {
  constexpr std::int64_t kMost = INT32_MAX;
  const std::int64_t exact =
      std::int64_t{1000} * std::min<std::int64_t>(time.tv_sec, kMost) + (time.tv_usec + 999) / 1000;
  return static_cast<std::uint32_t>(std::min(exact, kMost));
}

// shutdown(2) from another thread ends a connect in flight so; no packet can, before the handshake
// is complete, but a fault.
bool was_shut_down(int fd, int outcome, const Fault& fault) {
  const bool on_purpose =
      fault.action == FaultAction::kReset || fault.action == FaultAction::kErrno;
  return outcome == ECONNRESET && !on_purpose && tcp_phase(fd) == TcpPhase::kClosed;
}

// A connect(2) that does not wait, and fails so, has found no route: the socket is as before.
bool leaves_untouched(int outcome) {
  return outcome == ENETUNREACH || outcome == EHOSTUNREACH || outcome == EINVAL ||
         outcome == EACCES;
}

// A non-blocking socket's connect returns at once; a blocking one's must be made to.
int connect_without_waiting(int fd, const sockaddr_storage& to, socklen_t length,
                            const timeval& program_timeout, const Fault& fault) {
  const auto* address = reinterpret_cast<const sockaddr*>(&to);
  return is_non_blocking(fd) ? connect_with_fault(fd, address, length, fault)
                             : briefly_connect(fd, address, length, program_timeout, fault);
}

}  // namespace

bool ConnectOperation::prepare(int fd, const Endpoint& wanted, const timeval& timeout,
                               bool blocks) {
  cookie = socket_cookie(fd);
  requested = wanted;
  current = wanted.address;
  program_timeout = timeout;
  began_us = now_us();
  began_ms = began_us / 1000;
  // Then it is planned, and this address given the delay it has.
  until_ms = began_ms + shortest_attempt_delay();
  delayed_until_ms = 0;
  fault = requested_fault = {};
  error = 0;
  blocking = blocks;
  planned = interrupted = untouched = false;
  return cookie != 0;
}

void ConnectOperation::suffer(const Fault& first) {
  fault = requested_fault = first;
  begin_delay(began_ms);
  wait_until(until_ms);
}

void ConnectOperation::wait_until(std::uint64_t patient_until) {
  patient_until_ms = patient_until;
  until_ms = delayed_until_ms != 0 ? std::min(patient_until, delayed_until_ms) : patient_until;
}

void ConnectOperation::begin_delay(std::uint64_t now) {
  delayed_until_ms = fault.action == FaultAction::kDelay ? now + fault.argument : 0;
}

bool ConnectOperation::find_destinations(int fd, bool requested_is_parked) {
  HostTable& table = host_table();
  if (!table.destinations(requested.address, ntohs(requested.port), config().filter, list)) {
    return false;
  }
  if (requested.family == AF_INET) {
    list.candidates.drop(list.ipv6);
  } else if (is_ipv6_only(fd)) {
    list.candidates.keep(list.ipv6);
  }
  if (!list.candidates.has(list.requested) || list.candidates.count() < 2) return false;
  const auto now = static_cast<std::uint32_t>(now_ms());
  if (table.walks_exhausted(list, own_pid(), now)) {
    // A parked one has not been asked yet: the program's own connect is about to.
    if (!requested_is_parked) table.note_walked(list, now);
    return false;
  }
  return true;
}

bool ConnectOperation::plan(int fd, bool requested_is_parked) {
  if (!owns_memory() || !is_tcp(fd)) return false;
  if (!find_destinations(fd, requested_is_parked)) {
    if (delayed_until_ms == 0) return false;
    // Nowhere else to go, but somebody has to end the delay.
    list = {};
    list.candidates.add(list.requested);
  }
  const Schedule::Limits limits{config().attempt_delay_ms, kernel_patience_of(fd),
                                blocking ? milliseconds(program_timeout) : 0};
  PositionSet parked = parked_among(host_table(), list, requested.port);
  if (requested_is_parked) parked.add(list.requested);
  schedule = Schedule(list.candidates, list.ipv6, list.requested, limits, began_ms, parked);
  wait_until(schedule.in_flight(began_ms, own_attempt_delay(current, requested.port)).until_ms);
  log = {};
  log.begin(list.requested, began_ms, fault);
  if (requested_is_parked) log.end(kParked, began_ms);
  silent = {};
  planned = true;
  return true;
}

Progress ConnectOperation::begin_elsewhere(int fd) {
  if (tcp_phase(fd) != TcpPhase::kClosed || !plan(fd, true)) return lost(0);
  const std::uint16_t first = schedule.position();
  if (first == list.requested) return lost(0);
  untouched = true;
  return proceed(fd, {Step::Kind::kAttempt, first, 0, 0});
}

void ConnectOperation::note_outcome(int outcome, std::uint64_t now) {
  log.end(outcome, now);
  if (!parks(outcome)) return;
  NameBuffer host{};
  note_failure(current, requested.port, host_table().host_name(list, host));
}

// Silence alone may be the network's: only when another address has answered is it the address's.
void ConnectOperation::note_silence() {
  NameBuffer host{};
  for (std::size_t i = silent.next(0); i != PositionSet::kNone; i = silent.next(i + 1)) {
    Address address;
    if (i != schedule.position() && host_table().address_at(list, i, address)) {
      note_failure(address, requested.port, host_table().host_name(list, host));
    }
  }
}

bool ConnectOperation::owns(int fd) const { return socket_cookie(fd) == cookie; }

Progress ConnectOperation::begin(int fd, int first) {
  if (first != EINPROGRESS) {
    untouched = !blocking && leaves_untouched(first);
    return failed(fd, first);
  }
  return plan(fd) ? Progress::kInFlight : lost(first);
}

Progress ConnectOperation::failed(int fd, int outcome) {
  if (was_shut_down(fd, outcome, fault)) return lost(outcome);
  if (!planned && !plan(fd)) return lost(outcome);
  const std::uint64_t now = now_ms();
  note_outcome(outcome, now);
  return proceed(fd, schedule.failed(outcome, now));
}

void ConnectOperation::resume(const timeval& timeout) {
  program_timeout = timeout;
  if (planned)
    wait_until(schedule.resumed(now_ms(), blocking ? milliseconds(timeout) : 0).until_ms);
}

// No further attempt is ours to make: the program closed the socket or shut it down, or there is
// nowhere else to go.
Progress ConnectOperation::lost(int with) {
  error = with;
  return Progress::kLost;
}

Progress ConnectOperation::conclude(int fd, int outcome) {
  if (outcome == 0) {
    note_success(current, requested.port);
    note_rtt(current, requested.port, round_trip_us(fd));
    if (planned) {
      log.end(0, now_ms());
      note_silence();
    }
  }
  if (planned && log.attempts() > 1) {
    report_connect(list, requested, log, outcome, now_ms() - began_ms);
    if (run() != nullptr && outcome == 0 && current != requested.address) ++run()->failovers;
  }
  error = outcome;
  return outcome == 0 ? Progress::kConnected : Progress::kFailed;
}

Progress ConnectOperation::check(int fd) {
  if (!owns(fd)) return lost(EBADF);
  const TcpPhase phase = tcp_phase(fd);
  if (phase == TcpPhase::kConnecting && now_ms() < until_ms) return Progress::kInFlight;
  if (phase == TcpPhase::kConnected) return conclude(fd, 0);
  if (phase == TcpPhase::kClosedAfterIt && !blocking) return conclude(fd, 0);
  if (!planned && !plan(fd)) return lost(EINPROGRESS);
  const std::uint64_t now = now_ms();
  if (phase == TcpPhase::kConnecting) {
    if (now < until_ms) return Progress::kInFlight;
    if (until_ms == delayed_until_ms) return end_delay(fd);
    log.end(EINPROGRESS, now);
    silent.add(schedule.position());
    note_silent(current, requested.port);
    return proceed(fd, schedule.silent(now));
  }
  const int outcome = pending_error(fd);
  if (outcome == 0 && phase == TcpPhase::kClosedUnused) return conclude(fd, 0);
  // What connect(2) answers when somebody else has read the error.
  if (outcome == 0) return lost(ECONNABORTED);
  if (was_shut_down(fd, outcome, fault)) return lost(outcome);
  note_outcome(outcome, now);
  return proceed(fd, schedule.failed(outcome, now));
}

int ConnectOperation::leave_to_kernel(int fd) {
  sockaddr_storage destination;
  const socklen_t length = write_sockaddr(requested.address, requested, destination);
  // The same fault once more, not the next one of its rule. Nobody would end a delay.
  if (requested_fault.action == FaultAction::kDelay) requested_fault = {};
  if (connect_without_waiting(fd, destination, length, program_timeout, requested_fault) == 0) {
    return 0;
  }
  return errno == EINPROGRESS || errno == EINTR ? 0 : errno;
}

// The delay of the attempt under way is over: now it goes to its address.
Progress ConnectOperation::end_delay(int fd) {
  sockaddr_storage destination;
  const socklen_t length = write_sockaddr(current, requested, destination);
  take_back(fd, false);
  lift_fault(fd);
  delayed_until_ms = 0;
  wait_until(patient_until_ms);
  const int result = connect_without_waiting(fd, destination, length, program_timeout, {});
  if (result == 0) return conclude(fd, 0);
  const int outcome = errno;
  interrupted = outcome == EINTR;
  return outcome == EINPROGRESS || interrupted ? Progress::kInFlight : failed(fd, outcome);
}

void ConnectOperation::take_back_for(int fd, const Address& next) {
  const bool on_ipv6_socket = requested.family == AF_INET6;
  take_back(fd, on_ipv6_socket && current.is_ipv4() && !next.is_ipv4());
}

bool ConnectOperation::address_at(std::size_t position, Address& out) const {
  if (position == list.requested) {
    out = requested.address;
    return true;
  }
  return host_table().address_at(list, position, out);
}

Progress ConnectOperation::proceed(int fd, Step step) {
  interrupted = false;
  while (step.kind == Step::Kind::kAttempt) {
    if (!owns(fd)) return lost(EBADF);
    Address next;
    sockaddr_storage destination;
    if (!address_at(step.position, next)) {
      // Forgotten meanwhile, after so many lookups that the table was rewritten twice.
      step = {Step::Kind::kDeliver, step.position, EHOSTUNREACH, 0};
      break;
    }
    const socklen_t length = write_sockaddr(next, requested, destination);
    // To take it back raises an event, which another thread may fetch once the next attempt has
    // succeeded.
    if (!untouched) take_back_for(fd, next);
    untouched = false;
    current = next;
    const std::uint64_t began = now_ms();
    fault = draw_fault(fd, current, requested);
    if (step.position == list.requested) requested_fault = fault;
    begin_delay(began);
    log.begin(step.position, began, fault);
    const int result = connect_without_waiting(fd, destination, length, program_timeout, fault);
    const int outcome = result == 0 ? 0 : errno;
    if (outcome == EINPROGRESS || outcome == EINTR) {
      interrupted = outcome == EINTR;
      step = schedule.in_flight(began, own_attempt_delay(current, requested.port));
      continue;
    }
    if (outcome == 0) return conclude(fd, 0);
    untouched = !blocking && leaves_untouched(outcome);
    const std::uint64_t now = now_ms();
    note_outcome(outcome, now);
    step = schedule.failed(outcome, now);
  }
  switch (step.kind) {
    case Step::Kind::kWait:
      wait_until(step.until_ms);
      return Progress::kInFlight;
    case Step::Kind::kYield:
      return Progress::kTimeUp;
    default:
      // It is next connected to the requested address, by leave_to_kernel() or the program.
      take_back_for(fd, requested.address);
      if (connects_have_faults()) lift_fault(fd);
      if (log.attempts() > 1) {
        host_table().note_exhausted(list, own_pid(), static_cast<std::uint32_t>(now_ms()));
      }
      return conclude(fd, step.error);
  }
}

}  // namespace nextaddr
