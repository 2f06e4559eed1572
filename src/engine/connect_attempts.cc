#include "engine/connect_attempts.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "engine/outcome.h"

namespace nextaddr {

using Action = ConnectAttempts::Action;
using Kind = ConnectAttempts::Action::Kind;

namespace {

bool is_in_flight(int outcome) { return outcome == EINPROGRESS || outcome == EINTR; }

}  // namespace

void ConnectAttempts::begin(bool waits, std::uint64_t now_ms, std::uint32_t first_look_ms) {
  // Only what is needed until it is planned: most connects never are.
  state_ = State::kFirst;
  began_ms_ = program_began_ms_ = now_ms;
  patient_until_ms_ = now_ms + first_look_ms;
  held_until_ms_ = 0;
  fault_ = {};
  error_ = 0;
  waits_ = waits;
  planned_ = instead_ = false;
}

Action ConnectAttempts::elsewhere(SocketPhase phase) {
  // The socket is on its way already.
  if (phase != SocketPhase::kClosed) return leave(0);
  instead_ = true;
  return plan(phase, 0);
}

// ---- Observations ----

Action ConnectAttempts::started(const Attempt& attempt, std::uint64_t now_ms) {
  const bool released = state_ == State::kHeldBack;
  if (released) {
    state_ = State::kAsking;
    held_until_ms_ = 0;
  } else {
    fault_ = attempt.fault;
    if (planned_) {
      position_ = next_;
      held_until_ms_ = 0;
      log_.begin(position_, attempt.began_ms, fault_);
    }
  }
  if (attempt.outcome == 0) return connected(now_ms);
  if (!is_in_flight(attempt.outcome)) return ended(attempt.outcome, now_ms);
  if (released) return wait();
  if (fault_.action == FaultAction::kDelay) held_until_ms_ = attempt.began_ms + fault_.argument;
  if (planned_) {
    in_flight(attempt.began_ms, attempt.own_delay_ms);
    return wait();
  }
  // Who waits in connect(2) has waited for a moment already, and somebody has to end a delay. For
  // all others there is time until the first look.
  const bool plans_now = waits_ || held_until_ms_ != 0;
  return plans_now ? plan(SocketPhase::kConnecting, EINPROGRESS) : wait();
}

Action ConnectAttempts::seen(SocketPhase phase, std::uint64_t now_ms) {
  if (phase == SocketPhase::kConnecting && now_ms < until_ms()) return wait();
  if (phase == SocketPhase::kConnected || phase == SocketPhase::kEnded) return connected(now_ms);
  if (!planned_) return plan(phase, 0);
  seen_phase_ = phase;
  return look_again(now_ms);
}

Action ConnectAttempts::error_read(int error, std::uint64_t now_ms) {
  // What connect(2) answers when somebody else has read the error.
  return error != 0 ? ended(error, now_ms) : leave(ECONNABORTED);
}

Action ConnectAttempts::ended(int error, std::uint64_t now_ms) {
  // shutdown(2) from another thread ends a connect in flight so; no packet can.
  if (error == ECONNRESET) return leave(error);
  return planned_ ? failed(error, now_ms) : plan(SocketPhase::kClosed, error);
}

Action ConnectAttempts::planned(const Destinations& destinations, const Limits& limits,
                                std::uint32_t requested_delay_ms, std::uint64_t now_ms) {
  const std::size_t count = destinations.candidates.count();
  // A delay has to be ended also where there is nowhere else to go.
  if (count == 0 || (count == 1 && held_until_ms_ == 0)) {
    return leave(seen_error_ == 0 && !instead_ ? EINPROGRESS : seen_error_);
  }
  planned_ = true;
  limits_ = limits;
  requested_ = static_cast<std::uint16_t>(destinations.requested);
  schedule_ = Schedule(destinations, limits.attempt_delay_ms, limits.kernel_ms);
  // Whoever has parked the requested address meanwhile: it is the one that has been asked.
  if (!instead_) schedule_.take(requested_);
  position_ = instead_ ? static_cast<std::uint16_t>(schedule_.take_next()) : requested_;
  preferred_ = PositionSet::kNone;
  requested_error_ = 0;
  silent_ = {};
  log_ = {};
  log_.begin(requested_, began_ms_, fault_);
  if (instead_) {
    if (position_ == requested_) return leave(0);
    log_.end(kParked, began_ms_);
    state_ = State::kAsking;
    next_ = std::exchange(position_, requested_);
    return {Kind::kConnect, Lesson::kNothing, 0, next_};
  }
  in_flight(began_ms_, requested_delay_ms);
  return go_on(now_ms);
}

Action ConnectAttempts::told(int error, std::uint64_t now_ms) {
  if (planned_) log_.end(error, now_ms);
  Action action = leave(error);
  action.about = position_;
  if (parks(error)) action.lesson = Lesson::kFailed;
  return action;
}

void ConnectAttempts::probed(std::size_t position, int error) {
  if (error == 0) {
    preferred_ = static_cast<std::uint16_t>(position);
    return;
  }
  if (position == requested_) requested_error_ = error;
  schedule_.drop(position);
}

Action ConnectAttempts::resumed(bool waits, std::uint32_t program_ms, std::uint64_t now_ms) {
  waits_ = waits;
  program_began_ms_ = now_ms;
  if (!planned_) return wait();
  limits_.program_ms = program_ms;
  // Where nobody else is to be asked, what is in flight goes on.
  patient_until_ms_ = schedule_.only_one_left()
                          ? deadline()
                          : std::min(std::max(patient_until_ms_, now_ms), deadline());
  if (state_ == State::kPaused) state_ = held_until_ms_ != 0 ? State::kHeldBack : State::kAsking;
  return wait();
}

Action ConnectAttempts::lost_socket() { return leave(EBADF); }

Action ConnectAttempts::lost_address() {
  return deliver(requested_error_ != 0 ? requested_error_ : EHOSTUNREACH, Lesson::kNothing);
}

// ---- Decisions ----

// For what was seen: it is gone on with once it is known where else the connect may go.
Action ConnectAttempts::plan(SocketPhase phase, int error) {
  state_ = State::kPlanning;
  seen_phase_ = phase;
  seen_error_ = error;
  return {Kind::kPlan};
}

Action ConnectAttempts::go_on(std::uint64_t now_ms) {
  if (seen_error_ == 0) return look_again(now_ms);
  // It may have been answered while the driver planned.
  if (seen_error_ == EINPROGRESS) return wait();
  return failed(seen_error_, now_ms);
}

Action ConnectAttempts::look_again(std::uint64_t now_ms) {
  if (seen_phase_ != SocketPhase::kConnecting) return {Kind::kReadError};
  if (now_ms < until_ms()) return wait();
  if (until_ms() == held_until_ms_) return {Kind::kRelease, Lesson::kNothing, 0, position_};
  return silent(now_ms);
}

std::uint64_t ConnectAttempts::deadline() const {
  const std::uint64_t kernel = began_ms_ + limits_.kernel_ms;
  if (limits_.program_ms == 0) return kernel;
  return std::min(kernel, program_began_ms_ + limits_.program_ms);
}

std::uint64_t ConnectAttempts::until_ms() const {
  return held_until_ms_ != 0 ? std::min(patient_until_ms_, held_until_ms_) : patient_until_ms_;
}

void ConnectAttempts::in_flight(std::uint64_t now_ms, std::uint32_t own_delay_ms) {
  const std::uint64_t end = deadline();
  patient_until_ms_ = end;
  if (!schedule_.only_one_left() && now_ms < end) {
    const std::uint64_t patience = schedule_.patience_ms(end - now_ms, own_delay_ms);
    patient_until_ms_ = std::min(end, now_ms + patience);
  }
  state_ = held_until_ms_ != 0 ? State::kHeldBack : State::kAsking;
}

Action ConnectAttempts::silent(std::uint64_t now_ms) {
  log_.end(EINPROGRESS, now_ms);
  silent_.add(position_);
  const bool program_time_is_up =
      limits_.program_ms != 0 && now_ms >= program_began_ms_ + limits_.program_ms;
  if (!program_time_is_up) return ask_next(Lesson::kSilent, now_ms);
  state_ = State::kPaused;
  return {Kind::kPause, Lesson::kSilent, position_, position_};
}

Action ConnectAttempts::failed(int error, std::uint64_t now_ms) {
  log_.end(error, now_ms);
  if (position_ == requested_) requested_error_ = error;
  const Lesson lesson = parks(error) ? Lesson::kFailed : Lesson::kNothing;
  if (!moves_on(error)) return deliver(requested_error_ != 0 ? requested_error_ : error, lesson);
  schedule_.drop(position_);
  return ask_next(lesson, now_ms);
}

Action ConnectAttempts::ask_next(Lesson lesson, std::uint64_t now_ms) {
  std::size_t next = PositionSet::kNone;
  if (now_ms < deadline()) {
    const std::size_t preferred = std::exchange(preferred_, PositionSet::kNone);
    next = schedule_.take(preferred) ? preferred : schedule_.take_next();
  }
  if (next == PositionSet::kNone) {
    return deliver(requested_error_ != 0 ? requested_error_ : ETIMEDOUT, lesson);
  }
  next_ = static_cast<std::uint16_t>(next);
  state_ = State::kAsking;
  return {Kind::kConnect, lesson, position_, next_};
}

Action ConnectAttempts::connected(std::uint64_t now_ms) {
  if (planned_) {
    log_.end(0, now_ms);
    silent_.remove(position_);
  }
  state_ = State::kConnected;
  error_ = 0;
  return {Kind::kConnected};
}

Action ConnectAttempts::leave(int error) {
  state_ = State::kLeft;
  error_ = error;
  return {Kind::kLeave};
}

Action ConnectAttempts::deliver(int error, Lesson lesson) {
  state_ = State::kFailed;
  error_ = error;
  return {Kind::kDeliver, lesson, position_, position_};
}

bool can_be_had_again(int error) { return error != ETIMEDOUT; }

}  // namespace nextaddr
