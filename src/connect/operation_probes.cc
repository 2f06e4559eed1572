// What a connect asks of probes (connect/probes.h), and what it tells the machine of them. Must
// never keep a probe that the machine has not asked for.
#include <algorithm>
#include <cerrno>

#include "connect/connect_operation.h"
#include "fault/faults.h"
#include "fault/injection.h"
#include "memory/memory.h"
#include "os/clock.h"
#include "os/pin.h"
#include "os/socket.h"

namespace nextaddr {

using Action = ConnectAttempts::Action;

probes::Handle ConnectOperation::probe(const Address& address) {
  // A socket that was sent to a link-local address has been bound to its device by the kernel, not
  // by the program (connect/entry.cc).
  return probes::ask(socket_, address, requested_, settings_, !is_link_local(current_));
}

ConnectOperation::Asked* ConnectOperation::asked_at(std::size_t position) {
  for (std::size_t i = 0; i < asked_; ++i) {
    if (probes_[i].position == position) return &probes_[i];
  }
  return nullptr;
}

// A place for a probe of `position`; null: there is none. When all are taken, the first that was
// answered makes room: its fault is drawn anew, should its address ever be asked.
ConnectOperation::Asked* ConnectOperation::place_for(std::size_t position) {
  if (Asked* asked = asked_at(position)) forget(*asked);
  for (std::size_t i = 0; asked_ == probes_.size() && i < asked_; ++i) {
    if (probes_[i].answered) forget(probes_[i]);
  }
  if (asked_ == probes_.size()) return nullptr;
  Asked& asked = probes_[asked_++];
  asked = {now_ms(), {}, {}, static_cast<std::uint16_t>(position), false, false};
  return &asked;
}

void ConnectOperation::forget(Asked& asked) {
  probes::release(asked.probe);
  asked = probes_[--asked_];
}

void ConnectOperation::let_go() {
  while (asked_ != 0) forget(probes_[asked_ - 1]);
}

[[gnu::noinline]] Action ConnectOperation::ask(const Action& action) {
  using Probe = ConnectAttempts::Probe;
  const std::size_t position = action.position;
  Address address;
  Asked* asked = address_at(position, address) ? place_for(position) : nullptr;
  bool is_made = asked != nullptr;
  if (is_made) {
    asked->fault =
        position == list_.requested ? requested_fault_ : draw_fault_of_probe(address, requested_);
    const FaultAction fault = asked->fault.action;
    if (fault == FaultAction::kNone || fault == FaultAction::kReset) {
      asked->probe = probe(address);
      is_made = asked->probe.serial != 0;
      if (!is_made) forget(*asked);
    }
  }
  if (is_made) {
    attempts_.probing(position, distance_of(socket_, address, requested_.port), now_ms());
    // A probe for which there is no route has failed already.
    look_at_probes();
  } else {
    attempts_.probed(position, Probe::kNone, 0, 0, now_ms());
  }
  return attempts_.seen(socket_phase(socket_), now_ms());
}

// As probes::look(); for a probe that was not made because of its fault, what that fault makes of
// it.
probes::Findings ConnectOperation::findings_of(Asked& asked) {
  using probes::State;
  const auto took = static_cast<std::uint32_t>(now_ms() - asked.began_ms);
  const probes::Findings silent{took < kProbeMs ? State::kAsking : State::kOver, 0, took};
  Address address;
  switch (asked.fault.action) {
    case FaultAction::kRefuse:
      return {State::kFailed, ECONNREFUSED, took};
    case FaultAction::kErrno:
      return {State::kFailed, static_cast<int>(asked.fault.argument), took};
    case FaultAction::kDelay:
      if (took < asked.fault.argument || !address_at(asked.position, address)) return silent;
      asked.fault = {};
      asked.probe = probe(address);
      break;
    case FaultAction::kSilent:
      return silent;
    default:
      // Where the connect was begun in another process, its probes are not here: the address is
      // asked by another one.
      if (!probes::is_here(asked.probe) && address_at(asked.position, address)) {
        asked.probe = probe(address);
      }
      break;
  }
  probes::Findings found = probes::look(asked.probe);
  // The probe may be younger than the asking (made anew here), or older (made by another connect):
  // the longer silence counts.
  if (found.state == State::kAsking) found.ms = std::max(found.ms, took);
  return found;
}

void ConnectOperation::look_at_probes() {
  using Probe = ConnectAttempts::Probe;
  for (std::size_t i = asked_; i-- > 0;) {
    Asked& asked = probes_[i];
    if (asked.answered) continue;
    const std::uint16_t position = asked.position;
    const probes::Findings found = findings_of(asked);
    const auto tell = [&](Probe what) {
      const Action learnt = attempts_.probed(position, what, found.error, found.ms, now_ms());
      if (!found.is_local) remember(learnt);
    };
    Address address;
    switch (found.state) {
      case probes::State::kAsking:
        if (found.ms < kSilentMs || asked.silence_told) break;
        asked.silence_told = true;
        tell(Probe::kSilent);
        break;
      case probes::State::kAnswered:
        asked.answered = true;
        probes::release(asked.probe);
        if (found.exact && !steered_ && address_at(position, address)) {
          note_rtt(socket_, address, requested_.port, std::uint64_t{1000} * found.ms);
        }
        tell(found.unsure ? Probe::kHeard : Probe::kAnswered);
        break;
      case probes::State::kFailed:
        forget(asked);
        tell(Probe::kFailed);
        break;
      case probes::State::kOver:
        forget(asked);
        tell(Probe::kOver);
        break;
    }
  }
}

// The fault of the attempt that the program's socket is about to make at `position`: that of its
// probe, if there was one, as far as it is not over.
Fault ConnectOperation::fault_for(std::size_t position) {
  Asked* asked = asked_at(position);
  if (asked == nullptr) return draw_fault(socket_, current_, requested_);
  Fault fault = asked->fault;
  const auto took = static_cast<std::uint32_t>(now_ms() - asked->began_ms);
  forget(*asked);
  if (!connects_have_faults()) return {};
  lift_fault(socket_);
  if (fault.action == FaultAction::kDelay) fault.argument -= std::min(fault.argument, took);
  return fault.action != FaultAction::kNone && prepare_fault(socket_, fault) ? fault : Fault{};
}

}  // namespace nextaddr
