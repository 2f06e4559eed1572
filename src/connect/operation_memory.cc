// What a connect leaves behind: in the memory of addresses, in the host table, and in the log. Must
// never change the socket.
#include <algorithm>
#include <cerrno>

#include "config.h"
#include "connect/connect_operation.h"
#include "connect/walk.h"
#include "fault/faults.h"
#include "fault/run_counters.h"
#include "log/report.h"
#include "memory/memory.h"
#include "os/clock.h"
#include "os/own_connections.h"
#include "os/socket.h"
#include "process/process.h"

namespace nextaddr {

using Action = ConnectAttempts::Action;
using Lesson = ConnectAttempts::Lesson;
using State = ConnectOperation::State;

// Tells the memory what the machine has learnt, but nothing of a socket that goes a way of its own.
void ConnectOperation::remember(const Action& action) {
  if (action.lesson == Lesson::kNothing) return;
  // The source address is told only by a socket that has been taken back, as this one has by now,
  // unless it is left in flight.
  steered_ = steered_ || is_steered(socket_);
  const bool is_of_socket = !is_planned() || action.about == attempts_.position();
  if (steered_ || (is_of_socket && no_route_)) return;
  Address address = current_;
  if (!is_of_socket && !address_at(action.about, address)) return;
  NameBuffer buffer{};
  const std::string_view host = host_table().host_name(list_, buffer);
  if (action.lesson == Lesson::kFailed) {
    return note_failure(socket_, address, requested_.port, action.silent_ms == 0, host);
  }
  note_silence(socket_, address, requested_.port, action.silent_ms, host);
  if (action.lesson == Lesson::kLeft) leave_in_silence(action, address);
}

// The socket has left this address in silence, which may be far and not dead. So a probe that
// outlives this connect asks it once more, and only if that is silent as well is it parked; should
// it answer, its distance is known from then on.
void ConnectOperation::leave_in_silence(const Action& action, const Address& left) {
  // With faults it is silent on purpose, and a probe might find it alive: it is parked at once, as
  // later connects of the same run expect.
  if (connects_have_faults()) return note_failure(socket_, left, requested_.port, false, {});
  Asked* asked = place_for(action.about);
  if (asked == nullptr) return;
  asked->probe = probe(left);
  if (asked->probe.serial == 0) return forget(*asked);
  if (address_memory().usable()) probes::let_linger(asked->probe);
  attempts_.probing(action.about, {}, now_ms());
}

// The probes of a connect end with it. An address that has answered none for long enough is noted
// as silent, so that the next connect asks it last, also in another process.
void ConnectOperation::note_asked_in_vain(std::uint32_t rtt_ms) {
  const std::uint32_t in_vain = in_vain_ms(config().attempt_delay_ms, rtt_ms);
  for (std::size_t i = 0; i < asked_; ++i) {
    Asked& asked = probes_[i];
    if (asked.answered || now_ms() - asked.began_ms < in_vain) continue;
    const probes::Findings found = findings_of(asked);
    Address address;
    if (found.state != probes::State::kAsking || !address_at(asked.position, address)) continue;
    NameBuffer buffer{};
    note_silence(socket_, address, requested_.port, found.ms,
                 host_table().host_name(list_, buffer));
  }
}

// The connect has come to its end, at `current_` or nowhere.
void ConnectOperation::conclude() {
  error_ = attempts_.error();
  if (error_ == 0) {
    note_connect_to(current_, requested_.port);
    if (!steered_) {
      note_success(socket_, current_, requested_.port);
      const std::uint64_t round_trip = round_trip_us(socket_);
      note_rtt(socket_, current_, requested_.port, round_trip);
      note_asked_in_vain(static_cast<std::uint32_t>(round_trip / 1000));
    }
  }
  let_go();
  report();
  if (!is_planned()) return;
  const bool elsewhere = error_ == 0 && current_ != requested_.address;
  if (elsewhere) walk::note_given(requested_.address, current_, requested_.port, fd_, cookie_);
  if (run() != nullptr && elsewhere && attempts_.log().attempts() > 1) ++run()->failovers;
}

// Not inlined: the whole connect would need the room on the stack that a report takes.
__attribute__((noinline)) void ConnectOperation::report() const {
  if (is_planned() && attempts_.has_news() && attempts_.log().attempts() > 1) {
    report_connect(list_, requested_, attempts_.log(), error_, now_ms() - began_ms());
  } else if (!instead_) {
    report_only_attempt(requested_, requested_fault_, error_, now_ms() - began_ms());
  }
}

}  // namespace nextaddr
