// Longer than other files: this is one state machine, in which each step may lead to any other one.
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

std::uint32_t ms_between(std::uint64_t from, std::uint64_t to) {
  return to > from ? static_cast<std::uint32_t>(std::min<std::uint64_t>(to - from, UINT32_MAX)) : 0;
}

// No pass of probes lasts longer: the kernel gives every attempt up long before.
constexpr std::uint64_t kLongestPassMs = 3'600'000;

// How often probes are looked at, which raise no event. `age_ms`: how long ago the last one was
// made.
std::uint32_t look_every_ms(std::uint32_t age_ms) { return std::clamp(age_ms / 16, 5u, 50u); }

}  // namespace

void ConnectAttempts::begin(bool waits, std::uint64_t now_ms, std::uint32_t first_look_ms) {
  // Sets only what is read before planned(): most connects never come that far.
  state_ = State::kFirst;
  began_ms_ = program_began_ms_ = now_ms;
  first_look_ms_ = now_ms + first_look_ms;
  held_until_ms_ = 0;
  fault_ = {};
  error_ = 0;
  moves_ = 0;
  waits_ = waits;
  planned_ = instead_ = was_telling_ = false;
}

Action ConnectAttempts::elsewhere(SocketPhase phase) {
  // An attempt is in flight on the socket, or it is connected already.
  if (!has_failed(phase)) return leave(0);
  instead_ = true;
  next_rtt_ms_ = 0;
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
    Distance distance = attempt.distance;
    // A probe has heard of this address since it was silent or failed, if it ever did.
    if (next_rtt_ms_ != 0) {
      distance = {distance.rtt_ms != 0 ? distance.rtt_ms : next_rtt_ms_, 0, false};
    }
    in_flight(attempt.began_ms, distance);
    return wait();
  }
  // connect(2) that waits has waited for a tick already, and a delay (a fault) must be ended in
  // time: both plan now. For all others there is time until the first look.
  const bool plans_now = waits_ || held_until_ms_ != 0;
  return plans_now ? plan(SocketPhase::kConnecting, EINPROGRESS) : wait();
}

Action ConnectAttempts::seen(SocketPhase phase, std::uint64_t now_ms) {
  if (phase == SocketPhase::kConnecting && now_ms < until_ms()) return wait();
  if (phase == SocketPhase::kConnected || phase == SocketPhase::kEnded) return connected(now_ms);
  if (state_ == State::kTelling) {
    if (has_failed(phase)) return leave(error_);
    state_ = State::kFailed;
    return {Kind::kWithdraw};
  }
  if (!planned_) return plan(phase, 0);
  seen_phase_ = phase;
  return look_again(now_ms);
}

Action ConnectAttempts::error_read(int error, std::uint64_t now_ms) {
  // When somebody else has read the error, connect(2) answers ECONNABORTED.
  return error != 0 ? ended(error, now_ms) : leave(ECONNABORTED);
}

Action ConnectAttempts::ended(int error, std::uint64_t now_ms) {
  // Only shutdown(2) by another thread ends an attempt in flight with ECONNRESET; no packet can.
  if (error == ECONNRESET || state_ == State::kTelling) return leave(error);
  return planned_ ? failed(error, now_ms) : plan(SocketPhase::kClosed, error);
}

Action ConnectAttempts::planned(const Destinations& destinations, const Limits& limits,
                                Distance distance, std::uint64_t now_ms) {
  const std::size_t count = destinations.candidates.count();
  // Where there is nowhere else to go the kernel does the rest, unless a delay (a fault) has to be
  // ended.
  if (count == 0 || (count == 1 && held_until_ms_ == 0)) {
    return leave(seen_error_ == 0 && !instead_ ? EINPROGRESS : seen_error_);
  }
  planned_ = true;
  limits_ = limits;
  requested_ = static_cast<std::uint16_t>(destinations.requested);
  schedule_ = Schedule(destinations);
  answered_ = gone_to_ = {};
  best_ = PositionSet::kNone;
  probes_ = 0;
  asked_ = 0;
  pass_ms_ = schedule_.spares_any() ? kSilentMs : kSilentForMs;
  quick_pass_ms_ = kSilentMs;
  last_probe_ms_ = began_ms_;
  last_wait_ms_ = 0;
  last_wait_is_longer_ = false;
  requested_error_ = 0;
  log_ = {};
  log_.begin(requested_, began_ms_, fault_);
  if (instead_) {
    const std::size_t first = schedule_.take_next();
    // Nothing is won by asking another address first when all are parked.
    if (first == PositionSet::kNone || first == requested_ || destinations.parked.has(first)) {
      return leave(0);
    }
    log_.end(kParked, began_ms_);
    moves_ = 1;
    state_ = State::kAsking;
    position_ = requested_;
    next_ = static_cast<std::uint16_t>(first);
    return {Kind::kConnect, Lesson::kNothing, 0, next_};
  }
  // The requested address is the one that was asked, also if another process has parked it
  // meanwhile.
  position_ = requested_;
  schedule_.take(requested_);
  schedule_.note_heard(requested_);
  in_flight(began_ms_, distance);
  return go_on(now_ms);
}

Action ConnectAttempts::told(int error, std::uint64_t now_ms) {
  if (state_ == State::kTelling) return leave(error);
  if (planned_) log_.end(error, now_ms);
  Action action = leave(error);
  action.about = position_;
  // ETIMEDOUT teaches nothing here: nobody has answered, so the silence may be that of the network.
  if (parks(error) && error != ETIMEDOUT) action.lesson = Lesson::kFailed;
  action.kind = Kind::kTold;
  return action;
}

void ConnectAttempts::telling(Distance distance, std::uint64_t now_ms) {
  state_ = State::kTelling;
  was_telling_ = true;
  position_ = requested_;
  log_.begin(requested_, now_ms, {});
  attempt_began_ms_ = now_ms;
  // A server that is being stopped refuses first and is silent a moment later. Its refusal is true,
  // and nobody is to wait for the kernel's time-out instead.
  patience_ms_ = distance.rtt_ms != 0 ? overdue_ms(distance.rtt_ms) : kSilentMs;
}

void ConnectAttempts::probing(std::size_t position, Distance distance, std::uint64_t now_ms) {
  if (probes_ < kMostProbes) probing_[probes_++] = static_cast<std::uint16_t>(position);
  last_probe_ms_ = now_ms;
  next_look_ms_ = now_ms + look_every_ms(0);
  // In the last wait a probe of the requested address does not put off those of the others.
  if (position == requested_ && requested_error_ != 0) return;
  asked_ = static_cast<std::uint8_t>(std::min(asked_ + 1, UINT8_MAX));
  next_probe_ms_ = std::max(next_probe_ms_, now_ms + delay_after(distance, now_ms));
}

Action ConnectAttempts::probed(std::size_t position, Probe probe, int error, std::uint32_t ms,
                               std::uint64_t now_ms) {
  Action learnt{Kind::kWait, Lesson::kNothing, static_cast<std::uint16_t>(position), 0, ms};
  if (probe == Probe::kSilent) {
    schedule_.note_silent(position);
    log_.note(position, EINPROGRESS, ms);
    learnt.lesson = Lesson::kSilent;
    return learnt;
  }
  auto* end = probing_.begin() + probes_;
  auto* gone = std::remove(probing_.begin(), end, static_cast<std::uint16_t>(position));
  probes_ = static_cast<std::uint8_t>(gone - probing_.begin());
  switch (probe) {
    case Probe::kHeard:
      // The requested address has refused the program's own attempt: what was heard is most likely
      // a refusal, too.
      if (position == requested_ && !schedule_.candidates().has(position)) break;
      [[fallthrough]];
    case Probe::kAnswered:
      if (position == requested_) schedule_.readmit(position);
      schedule_.note_heard(position);
      // An address in gone_to_ has answered probes and not the program's socket: nothing is won by
      // going there again and again, and an attempt that is left so soon could not succeed.
      if (gone_to_.has(position) || !schedule_.candidates().has(position)) break;
      answered_.add(position);
      ms = std::max(ms, 1u);
      if (best_ == PositionSet::kNone || ms < best_ms_) {
        if (best_ == PositionSet::kNone) answered_ms_ = now_ms;
        best_ = static_cast<std::uint16_t>(position);
        best_ms_ = ms;
      }
      break;
    case Probe::kFailed:
      learnt.silent_ms = 0;  // it was heard
      // No candidate any more: the requested address has refused once more.
      if (!schedule_.candidates().has(position)) break;
      schedule_.drop(position);
      forget_answer(position);
      log_.note(position, error, ms);
      if (position == requested_) {
        requested_error_ = error;
        if (last_wait_ms_ == 0) begin_last_wait(now_ms);
      }
      if (parks(error)) learnt.lesson = Lesson::kFailed;
      if (limits_.probes) next_probe_ms_ = now_ms;
      break;
    case Probe::kNone:
      limits_.probes = false;
      schedule_.put_back(position);
      next_probe_ms_ = std::max(now_ms, attempt_began_ms_ + delay_after(distance_, now_ms));
      break;
    default:
      if (limits_.probes) next_probe_ms_ = std::min(next_probe_ms_, now_ms);
      break;
  }
  return learnt;
}

Action ConnectAttempts::resumed(bool waits, std::uint32_t program_ms, std::uint64_t now_ms) {
  waits_ = waits;
  program_began_ms_ = now_ms;
  if (!planned_) return wait();
  limits_.program_ms = program_ms;
  if (state_ == State::kPaused) state_ = held_until_ms_ != 0 ? State::kHeldBack : State::kAsking;
  return wait();
}

void ConnectAttempts::bound() {
  probes_ = std::min<std::uint8_t>(probes_, static_cast<std::uint8_t>(kMostProbes));
}

Action ConnectAttempts::lost_socket() { return leave(EBADF); }

Action ConnectAttempts::lost_address() {
  return deliver(requested_error_ != 0 ? requested_error_ : EHOSTUNREACH, Lesson::kNothing);
}

// ---- Decisions ----

// Keeps the observation for go_on(), until planned() has told where else the connect may go.
Action ConnectAttempts::plan(SocketPhase phase, int error) {
  state_ = State::kPlanning;
  seen_phase_ = phase;
  seen_error_ = error;
  return {Kind::kPlan};
}

// Handles the observation that plan() has kept.
Action ConnectAttempts::go_on(std::uint64_t now_ms) {
  if (seen_error_ == 0) return look_again(now_ms);
  // The attempt may have been answered while the driver planned: the socket is looked at first.
  if (seen_error_ == EINPROGRESS) return wait();
  return failed(seen_error_, now_ms);
}

// Goes on from seen_phase_, which is neither kConnected nor kEnded.
Action ConnectAttempts::look_again(std::uint64_t now_ms) {
  switch (seen_phase_) {
    case SocketPhase::kConnecting:
      return next_step(now_ms);
    case SocketPhase::kGivenUp:
      if (requested_error_ != 0) return {Kind::kReadError};
      // Whichever address the kernel has given up: in this time it would have given up the
      // requested one.
      requested_error_ = ETIMEDOUT;
      // The kernel tells ETIMEDOUT to whoever asks, so that nothing is left to do, unless
      // connect(2) waits for it here or there is an address left to ask.
      if (waits_ || next_position() != PositionSet::kNone) return {Kind::kReadError};
      return told(ETIMEDOUT, now_ms);
    default:
      return {Kind::kReadError};
  }
}

// The attempt is in flight, and something may be due.
Action ConnectAttempts::next_step(std::uint64_t now_ms) {
  const std::uint64_t due = until_ms();
  if (now_ms < due) return wait();
  // While the program was busy elsewhere no address could be asked: the last wait begins once more
  // then, one time. What was due while all kMostProbes probes were under way is not late.
  const std::uint32_t late_ms = ms_between(std::max(due, next_look_ms_), now_ms);
  if (last_wait_ms_ != 0 && !last_wait_is_longer_ && late_ms > kAskAgainMs) {
    last_wait_is_longer_ = true;
    last_wait_ms_ = now_ms + kLastWaitMs;
  }
  if (held_until_ms_ != 0 && now_ms >= held_until_ms_) {
    return {Kind::kRelease, Lesson::kNothing, 0, position_};
  }
  if (now_ms >= program_until()) {
    log_.end(EINPROGRESS, now_ms);
    state_ = State::kPaused;
    return {Kind::kPause, Lesson::kNothing, position_, position_};
  }
  // At its end the last wait lets the socket move to an address that has answered.
  const bool is_last = last_wait_ms_ != 0 && now_ms >= last_wait_ms_;
  if (best_ != PositionSet::kNone && (is_last || now_ms >= overdue_at())) {
    log_.end(EINPROGRESS, now_ms);
    const Lesson lesson = is_dead(now_ms) ? Lesson::kFailed : Lesson::kLeft;
    return with_silence(move_to(best_, lesson, now_ms), now_ms);
  }
  if (is_last) {
    log_.end(EINPROGRESS, now_ms);
    const bool was_silent = !silence_told_ && now_ms >= attempt_began_ms_ + kSilentMs;
    return with_silence(deliver(requested_error_, was_silent ? Lesson::kSilent : Lesson::kNothing),
                        now_ms);
  }
  if (!limits_.probes && now_ms >= next_probe_ms_) {
    log_.end(EINPROGRESS, now_ms);
    // Not next_position(): whom a probe asks that is no more looked at would be gone to for ever.
    std::size_t next = schedule_.next_due();
    if (next != PositionSet::kNone && best_ != PositionSet::kNone) next = best_;
    const Action action =
        next != PositionSet::kNone
            ? move_to(next, Lesson::kSilent, now_ms)
            : deliver(requested_error_ != 0 ? requested_error_ : ETIMEDOUT, Lesson::kSilent);
    return with_silence(action, now_ms);
  }
  if (!silence_told_ && now_ms >= attempt_began_ms_ + kSilentMs) {
    silence_told_ = true;
    schedule_.note_silent(position_);
    return with_silence({Kind::kWait, Lesson::kSilent, position_, position_}, now_ms);
  }
  next_look_ms_ = now_ms + look_every_ms(ms_between(last_probe_ms_, now_ms));
  return limits_.probes && probes_ < kMostProbes ? next_probe(now_ms) : wait();
}

// The attempt goes on, and there is room for one more probe beside it.
Action ConnectAttempts::next_probe(std::uint64_t now_ms) {
  if (last_wait_ms_ != 0 && now_ms >= ask_again_ms_) {
    ask_again_ms_ = now_ms + kAskAgainMs;
    if (!is_probed(requested_)) {
      schedule_.take(requested_);
      return {Kind::kProbe, Lesson::kNothing, 0, requested_};
    }
  }
  if (!schedule_.has_due() && now_ms >= next_pass_at()) {
    if (schedule_.spares_any()) {
      schedule_.ask_spared();
      pass_ms_ = kSilentForMs;
    } else {
      if (is_quick_pass()) {
        quick_pass_ms_ *= 2;
      } else {
        pass_ms_ = std::min(2 * pass_ms_, kLongestPassMs);
      }
      schedule_.start_again(position_);
      gone_to_ = {};
    }
    for (std::size_t i = 0; i < probes_; ++i) schedule_.take(probing_[i]);
    // The next pass is pass_ms_ away also where nobody is due because probes of all are under way.
    last_probe_ms_ = now_ms;
  }
  if (now_ms < next_probe_ms_) return wait();
  const std::size_t next = schedule_.take_next();
  if (next == PositionSet::kNone) return wait();
  return {Kind::kProbe, Lesson::kNothing, 0, static_cast<std::uint16_t>(next)};
}

std::uint64_t ConnectAttempts::program_until() const {
  return limits_.program_ms != 0 && planned_ ? program_began_ms_ + limits_.program_ms : kNever;
}

// When the attempt under way is overdue, in milliseconds, given that best_ has answered.
std::uint64_t ConnectAttempts::overdue_at() const {
  if (distance_.rtt_ms != 0) return attempt_began_ms_ + patience_ms_;
  const std::uint32_t took = best_ms_ != 0 ? best_ms_ : kLongestGraceMs;
  const std::uint64_t grace = answered_ms_ + std::min(took, kLongestGraceMs);
  const std::uint32_t before = may_be_far() ? kMayBeFarMs : 0;
  return std::max(grace, attempt_began_ms_ + std::max(patience_ms_, before));
}

// Whether the next pass comes soon: where the socket has gone in vain to one that had answered it
// is the network, or the servers, that change from one moment to the next, and who is silent now,
// or has been left too soon, may answer long before a lost SYN is sent again. There are few such
// passes, or the kernel would never give up.
bool ConnectAttempts::is_quick_pass() const {
  return gone_to_.next(0) != PositionSet::kNone && quick_pass_ms_ < kSilentForMs;
}

// When all are asked once more, those to which the socket has gone in vain included.
std::uint64_t ConnectAttempts::next_pass_at() const {
  const std::uint64_t usual = last_probe_ms_ + pass_ms_;
  if (!is_quick_pass()) return usual;
  const std::uint64_t since = std::max(attempt_began_ms_, last_probe_ms_);
  return std::min(usual, since + std::max(quick_pass_ms_, patience_ms_));
}

// True when all that is known of the address of this attempt is that it was silent before.
bool ConnectAttempts::may_be_far() const {
  return distance_.silent_ms != 0 && distance_.rtt_ms == 0 && !distance_.has_failed;
}

// Whether the address of this attempt, which is overdue while another one has answered, is dead: it
// failed or was silent before, and is silent again for so long that a probe would find out no more.
// So processes that end before a probe does also find addresses dead.
bool ConnectAttempts::is_dead(std::uint64_t now_ms) const {
  if (!distance_.has_failed && distance_.silent_ms == 0) return false;
  // patience_ms_ does not do, because the program's own time may have cut it short.
  const std::uint32_t enough = distance_.rtt_ms != 0 ? overdue_ms(distance_.rtt_ms)
                               : may_be_far()        ? kMayBeFarMs
                                                     : limits_.attempt_delay_ms;
  return now_ms >= attempt_began_ms_ + enough;
}

bool ConnectAttempts::is_probed(std::size_t position) const {
  const auto* end = probing_.begin() + probes_;
  return std::find(probing_.begin(), end, static_cast<std::uint16_t>(position)) != end;
}

std::uint64_t ConnectAttempts::until_ms() const {
  if (state_ == State::kTelling) return attempt_began_ms_ + patience_ms_;
  if (!planned_) {
    return held_until_ms_ != 0 ? std::min(first_look_ms_, held_until_ms_) : first_look_ms_;
  }
  std::uint64_t until = program_until();
  const auto no_later = [&](std::uint64_t than) { until = std::min(until, than); };
  if (held_until_ms_ != 0) no_later(held_until_ms_);
  if (best_ != PositionSet::kNone) no_later(overdue_at());
  if (last_wait_ms_ != 0) no_later(last_wait_ms_);
  if (!silence_told_) no_later(attempt_began_ms_ + kSilentMs);
  if (probes_ != 0) no_later(next_look_ms_);
  if (!limits_.probes) {
    no_later(next_probe_ms_);
  } else if (probes_ != kMostProbes) {
    if (last_wait_ms_ != 0) no_later(ask_again_ms_);
    if (schedule_.has_due()) {
      no_later(next_probe_ms_);
    } else if (schedule_.candidates().count() > 1) {
      no_later(next_pass_at());
    }
  }
  return until;
}

// How long an attempt that begins now may take before it is overdue.
std::uint32_t ConnectAttempts::patience(Distance distance, std::uint64_t now_ms) const {
  std::uint32_t patience =
      distance.rtt_ms != 0 ? overdue_ms(distance.rtt_ms) : limits_.attempt_delay_ms;
  if (!limits_.probes) patience = std::max(patience, kSilentMs);
  return share_of(patience, now_ms);
}

// The connection attempt delay after an attempt or a probe that begins now.
std::uint32_t ConnectAttempts::delay_after(Distance distance, std::uint64_t now_ms) const {
  // Without probes nobody else is asked before it is overdue.
  if (!limits_.probes) return patience(distance, now_ms);
  std::uint32_t delay = limits_.attempt_delay_ms;
  if (distance.rtt_ms != 0) {
    delay = probe_delay_ms(distance.rtt_ms);
  } else {
    if (asked_ > 1) delay = delay * kLaterDelayPercent / 100;
    // The addresses of a host are often as far as each other.
    if (distance_.rtt_ms != 0) {
      delay = std::max(delay, probe_delay_ms(distance_.rtt_ms));
    }
  }
  return share_of(delay, now_ms);
}

// `delay_ms`, or less when the program's time or the last wait ends too soon for all that are due:
// the time left is shared between them, as by Go's dialer and curl. Not under kShortestDelayMs.
std::uint32_t ConnectAttempts::share_of(std::uint32_t delay_ms, std::uint64_t now_ms) const {
  const std::uint64_t end = std::min(program_until(), last_wait_ms_ != 0 ? last_wait_ms_ : kNever);
  if (end == kNever) return delay_ms;
  const std::uint64_t share = ms_between(now_ms, end) / (schedule_.due() + 1);
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(delay_ms, std::max<std::uint64_t>(share, kShortestDelayMs)));
}

// The attempt at position_ is in flight since `now_ms`.
void ConnectAttempts::in_flight(std::uint64_t now_ms, Distance distance) {
  attempt_began_ms_ = now_ms;
  distance_ = distance;
  silence_told_ = false;
  next_look_ms_ = now_ms;
  patience_ms_ = patience(distance, now_ms);
  next_probe_ms_ = now_ms + delay_after(distance, now_ms);
  // Without probes the last address is asked until the kernel would have given up the whole
  // connect; the requested one, when there is no other, by the kernel alone.
  if (!limits_.probes && !schedule_.has_due()) {
    const bool is_the_kernels = moves_ == 0 || limits_.kernel_ms == 0;
    next_probe_ms_ = is_the_kernels ? kNever : std::max(now_ms, began_ms_ + limits_.kernel_ms);
  }
  if (best_ != PositionSet::kNone) answered_ms_ = now_ms;
  state_ = held_until_ms_ != 0 ? State::kHeldBack : State::kAsking;
}

Action ConnectAttempts::with_silence(Action action, std::uint64_t now_ms) const {
  action.silent_ms = ms_between(attempt_began_ms_, now_ms);
  return action;
}

// The attempt at position_ has failed with `error`.
Action ConnectAttempts::failed(int error, std::uint64_t now_ms) {
  log_.end(error, now_ms);
  if (position_ == requested_) requested_error_ = error;
  const Lesson lesson = parks(error) ? Lesson::kFailed : Lesson::kNothing;
  if (!moves_on(error)) return deliver(requested_error_ != 0 ? requested_error_ : error, lesson);
  schedule_.drop(position_);
  forget_answer(position_);
  Action action = ask_next(lesson, now_ms);
  if (error == ETIMEDOUT) action = with_silence(action, now_ms);
  // Nobody has answered: silence teaches nothing, as in told().
  if (error == ETIMEDOUT && action.kind == Kind::kDeliver) action.lesson = Lesson::kNothing;
  return action;
}

// Where the socket may go: to who has answered, else to who has not been asked, else to who is
// being asked, else back to the requested address, whose silence is the kernel's.
std::size_t ConnectAttempts::next_position() const {
  if (best_ != PositionSet::kNone) return best_;
  const std::size_t due = schedule_.next_not_silent();
  if (due != PositionSet::kNone) return due;
  for (std::size_t i = 0; i < probes_; ++i) {
    const std::uint16_t position = probing_[i];
    if (schedule_.candidates().has(position) && !schedule_.is_silent(position)) return position;
  }
  const bool requested_is_silent = requested_error_ == 0 && position_ != requested_;
  return requested_is_silent ? requested_ : PositionSet::kNone;
}

// Moves to next_position(); without one, or without time left, the connect has failed.
Action ConnectAttempts::ask_next(Lesson lesson, std::uint64_t now_ms) {
  const std::size_t next = now_ms < program_until() ? next_position() : PositionSet::kNone;
  if (next != PositionSet::kNone) return move_to(next, lesson, now_ms);
  return deliver(requested_error_ != 0 ? requested_error_ : ETIMEDOUT, lesson);
}

Action ConnectAttempts::move_to(std::size_t position, Lesson lesson, std::uint64_t now_ms) {
  const std::uint16_t from = position_;
  const bool has_answered = position == best_;
  next_rtt_ms_ = has_answered ? best_ms_ : 0;
  if (has_answered) gone_to_.add(position);
  forget_answer(position);
  if (position == from) lesson = Lesson::kNothing;
  schedule_.take(position);
  if (requested_error_ != 0) {
    if (last_wait_ms_ == 0) begin_last_wait(now_ms);
    // The program's own attempt gets the time in which the answer to a probe would come once more.
    if (has_answered) last_wait_ms_ = std::max(last_wait_ms_, now_ms + kSilentMs);
  }
  next_ = static_cast<std::uint16_t>(position);
  ++moves_;
  state_ = State::kAsking;
  return {Kind::kConnect, lesson, from, next_};
}

void ConnectAttempts::begin_last_wait(std::uint64_t now_ms) {
  last_wait_ms_ = now_ms + kLastWaitMs;
  ask_again_ms_ = now_ms + kAskAgainMs;
  if (limits_.program_ms != 0) {
    last_wait_ms_ =
        std::min(last_wait_ms_, std::max(now_ms, program_began_ms_ + limits_.program_ms / 2));
  }
}

// The answer of this address to a probe has been used, or is not true any more.
void ConnectAttempts::forget_answer(std::size_t position) {
  answered_.remove(position);
  if (position != best_) return;
  best_ = static_cast<std::uint16_t>(answered_.next(0));
  best_ms_ = 0;
}

Action ConnectAttempts::connected(std::uint64_t now_ms) {
  if (planned_) log_.end(0, now_ms);
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

}  // namespace nextaddr
