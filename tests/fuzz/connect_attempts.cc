// libFuzzer: the machine of one connect, against a plain statement of its contract: addresses,
// limits and what becomes of each attempt are the script, and the clock may leap. Must never pass
// over an address, ask one that is no candidate or has answered with an error, take longer than the
// kernel would, learn what was not observed, or tell the program another address's error.
#include "engine/connect_attempts.h"

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "engine/outcome.h"
#include "fuzz.h"

using namespace nextaddr;

namespace {

using Action = ConnectAttempts::Action;
using Kind = Action::Kind;
using Lesson = ConnectAttempts::Lesson;
using State = ConnectAttempts::State;

// Sums up the waits of a kernel that doubles them up to TCP_RTO_MAX.
std::uint64_t patience_of_kernel(int retries) {
  std::uint64_t total = 0;
  for (std::uint64_t i = 0, wait = 1000; i <= static_cast<std::uint64_t>(retries); ++i) {
    total += wait;
    wait = std::min<std::uint64_t>(2 * wait, 120'000);
  }
  return total;
}

struct Host {
  bool candidate = true;
  bool ipv6 = false;
  bool parked = false;
  bool due = false;  // not yet asked in this pass
  bool was_asked = false;
  bool answered = false;    // with an error
  bool was_silent = false;  // for all of its patience
};

struct Logged {
  std::size_t position;
  int error;
  std::uint64_t began_ms;
  std::uint64_t took_ms;
  Fault fault;
};

class Play {
 public:
  explicit Play(Choices choices) : choices_(choices) {
    for (const char c : choices_.line()) {
      if (hosts_.size() < kMaxAddresses) hosts_.push_back(host_named(c));
    }
    if (hosts_.empty()) hosts_.emplace_back();
    requested_ = (choices_.below(256) * 4 + choices_.below(4)) % hosts_.size();
    hosts_[requested_].candidate = true;
    constexpr std::uint32_t kDelays[] = {200, kShortestDelayMs, 1000, 10'000, 50};
    limits_.attempt_delay_ms = choices_.of(kDelays);
    const int retries = std::max(1, static_cast<int>(choices_.below(128)));
    require(kernel_patience_ms(retries) == patience_of_kernel(retries));
    constexpr std::uint32_t kUserTimeouts[] = {~0u, 1, 19, 20, 500, 5000};
    limits_.kernel_ms = std::min(kernel_patience_ms(retries), choices_.of(kUserTimeouts));
    limits_.program_ms = program_timeout();
    const char way = choices_.next();
    waits_ = way != 'n' && way != 'P';
    instead_ = way == 'p' || way == 'P';
    found_ = choices_.next();
    constexpr std::uint32_t kFirstLooks[] = {200, 0, 10, 100, 1000};
    first_look_ms_ = choices_.of(kFirstLooks);
  }

  void play() {
    leave_traces();
    begin();
    Action action = instead_ ? elsewhere() : attempt(requested_);
    while (!over_) {
      action = go_on(action);
      // Silence takes time, and an error takes an address away.
      require(attempts_ <= hosts_.size() + (now_ - kStart) / kShortestDelayMs + resumed_ + 2);
    }
    if (planned_) check_log();
    if (undisturbed_ && state_ == State::kFailed) check_all_were_asked();
  }

 private:
  static constexpr std::uint64_t kStart = 1'000'000;
  static constexpr std::uint32_t kShortestDelayMs = 10;
  static constexpr std::size_t kNobody = ~std::size_t{0};
  static constexpr std::uint64_t kTimes[] = {0, 1, 10, 100, 1000, 100'000, 10'000'000};

  static Host host_named(char c) {
    switch (c) {
      case '4':
        return {};
      case '6':
        return {true, true};
      case 'p':
        return {true, false, true};
      case 'P':
        return {true, true, true};
      case '.':
        return {false};
      default:  // of a stranger, so to speak
        return {false, true};
    }
  }

  std::uint32_t program_timeout() {
    constexpr std::uint32_t kTimeouts[] = {0, 1, 20, 100, 1000, 60'000, 1'000'000};
    return choices_.of(kTimeouts);
  }

  // Of another connect, which the machine has gone through before.
  void leave_traces() {
    Destinations all;
    for (std::size_t i = 0; i < 3; ++i) all.candidates.add(i);
    machine_.begin(true, 1, 1);
    machine_.started({ECONNREFUSED, 1, 0, {FaultAction::kRefuse, 0, 0}}, 1);
    machine_.planned(all, {1, 1000, 1000}, 0, 1);
    machine_.started({EINPROGRESS, 1, 0, {FaultAction::kDelay, 0, 500}}, 1);
    machine_.probed(1, 0);
    machine_.seen(SocketPhase::kConnecting, 400);
    machine_.started({ECONNREFUSED, 400, 0, {FaultAction::kRefuse, 0, 0}}, 400);
  }

  void begin() {
    began_ = program_start_ = now_;
    patient_until_ = now_ + first_look_ms_;
    held_until_ = 0;
    fault_ = {};
    state_ = State::kFirst;
    planned_ = false;
    machine_.begin(waits_, now_, first_look_ms_);
    require(machine_.state() == State::kFirst && !machine_.is_planned());
    require(machine_.until_ms() == patient_until_ && machine_.began_ms() == began_);
  }

  // What the machine answers is what the contract says, and so is its state.
  void expect(const Action& action, Kind kind, State state, Lesson lesson = Lesson::kNothing) {
    require(action.kind == kind);
    require(action.lesson == lesson);
    // Before it is planned, it is about the requested address, whose position nobody knows.
    require(lesson == Lesson::kNothing || !planned_ || action.about == current_);
    state_ = state;
    require(machine_.state() == state && machine_.is_planned() == planned_);
    require(!planned_ || machine_.position() == current_);
    require(ConnectAttempts::is_over(state) ==
            (state == State::kConnected || state == State::kFailed || state == State::kLeft));
    if (kind == Kind::kWait) require(machine_.until_ms() == until());
  }

  [[nodiscard]] std::uint64_t deadline() const {
    const std::uint64_t kernel = began_ + limits_.kernel_ms;
    if (limits_.program_ms == 0) return kernel;
    return std::min(kernel, program_start_ + limits_.program_ms);
  }

  [[nodiscard]] std::uint64_t until() const {
    return held_until_ != 0 ? std::min(held_until_, patient_until_) : patient_until_;
  }

  void let_pass(std::uint64_t at_most) { now_ += std::min(at_most, choices_.of(kTimes)); }
  void let_pass_before_look() { let_pass(until() > now_ ? until() - now_ : 0); }

  // ---- Who is to be asked next ----

  void start_pass() {
    // About a second, then three times as long in each; never longer than the kernel's own patience
    // or shorter than the attempt delay.
    const std::uint64_t before = std::max<std::uint64_t>(pass_patience_, limits_.attempt_delay_ms);
    pass_patience_ = before < 1000 ? 1000 : std::min<std::uint64_t>(3 * before, limits_.kernel_ms);
    for (Host& host : hosts_) host.due = host.candidate && !host.answered;
    last_was_ipv6_ = hosts_[requested_].ipv6;
  }

  [[nodiscard]] std::size_t due() const {
    return static_cast<std::size_t>(
        std::count_if(hosts_.begin(), hosts_.end(), [](const Host& host) { return host.due; }));
  }

  [[nodiscard]] std::size_t standing() const {
    return static_cast<std::size_t>(
        std::count_if(hosts_.begin(), hosts_.end(),
                      [](const Host& host) { return host.candidate && !host.answered; }));
  }

  // The first due one, of those that are parked or not, of a family or any; or nobody.
  std::size_t first_due(bool parked, const bool* ipv6) const {
    for (std::size_t i = 0; i < hosts_.size(); ++i) {
      const Host& host = hosts_[i];
      if (host.due && host.parked == parked && (ipv6 == nullptr || host.ipv6 == *ipv6)) return i;
    }
    return hosts_.size();
  }

  std::size_t expected_next() {
    if (preferred_ < hosts_.size()) {
      const Host& host = hosts_[preferred_];
      const std::size_t preferred = preferred_;
      preferred_ = kNobody;
      if (host.candidate && !host.answered) return preferred;
    }
    if (due() == 0) start_pass();
    const bool parked = first_due(false, nullptr) == hosts_.size();
    const Host& requested = hosts_[requested_];
    if (requested.due && requested.parked == parked) return requested_;
    const bool other_family = !last_was_ipv6_;
    const std::size_t alternating = first_due(parked, &other_family);
    return alternating != hosts_.size() ? alternating : first_due(parked, nullptr);
  }

  void take(std::size_t position) {
    Host& host = hosts_[position];
    require(host.candidate && !host.answered);
    host.due = false;
    host.was_asked = true;
    last_was_ipv6_ = host.ipv6;
  }

  // ---- What the machine asks for ----

  Action go_on(const Action& action) {
    switch (action.kind) {
      case Kind::kWait:
        return wait();
      case Kind::kPlan:
        return plan();
      case Kind::kReadError:
        return read_error();
      case Kind::kConnect:
        return connect(action.position);
      case Kind::kRelease:
        require(action.position == current_);
        held_until_ = 0;
        return attempt(current_, true);
      case Kind::kPause:
        if (choices_.next() == 'i') return resume();
        break;
      case Kind::kLeave:
      case Kind::kTold:
        // The requested address was parked, and is asked all the same.
        if (instead_ && attempts_ == 0) {
          instead_ = false;
          begin();
          return attempt(requested_);
        }
        break;
      case Kind::kDeliver:
        if (const char event = choices_.next(); is_answer(event)) return answered_late(event);
        break;
      default:
        require(action.kind == Kind::kConnected);
    }
    over_ = true;
    return action;
  }

  Action elsewhere() {
    constexpr SocketPhase kPhases[] = {SocketPhase::kClosed, SocketPhase::kConnecting,
                                       SocketPhase::kConnected, SocketPhase::kEnded};
    const SocketPhase phase = choices_.of(kPhases);
    const Action action = machine_.elsewhere(phase);
    if (phase != SocketPhase::kClosed) return expect_left(action, 0);
    return expect_plan(action, phase, 0);
  }

  Action plan() {
    Destinations all;
    all.requested = requested_;
    for (std::size_t i = 0; i < hosts_.size(); ++i) {
      Host& host = hosts_[i];
      if (i == requested_ && instead_) host.parked = true;
      if (found_ == '.' || (found_ == '1' && i != requested_)) host.candidate = false;
      if (host.candidate) all.candidates.add(i);
      if (host.ipv6) all.ipv6.add(i);
      if (host.parked) all.parked.add(i);
      host.due = host.candidate;
    }
    const std::size_t count = standing();
    const std::uint32_t own_delay = std::exchange(own_delay_, 0);
    if (choices_.next() == 'w') let_pass(~0ull);
    if (now_ != began_) undisturbed_ = false;
    const Action action = machine_.planned(all, limits_, own_delay, now_);
    if (count == 0 || (count == 1 && held_until_ == 0)) {
      return expect_left(action, seen_error_ == 0 && !instead_ ? EINPROGRESS : seen_error_);
    }
    planned_ = true;
    pass_patience_ = 0;
    preferred_ = kNobody;
    last_was_ipv6_ = hosts_[requested_].ipv6;
    log_ = {{requested_, 0, began_, 0, fault_}};
    current_ = requested_;
    if (instead_) {
      const std::size_t first = expected_next();
      if (first == requested_) return expect_left(action, 0);
      log_.back().error = kParked;
      expect(action, Kind::kConnect, State::kAsking);
      require(action.position == first);
      return action;
    }
    take(requested_);
    patient_until_ = patience_from(began_, own_delay);
    state_ = held_until_ != 0 ? State::kHeldBack : State::kAsking;
    if (seen_error_ == EINPROGRESS) {
      expect(action, Kind::kWait, state_);
      return action;
    }
    return seen_error_ != 0 ? expect_after_error(action, seen_error_) : expect_after_look(action);
  }

  Action connect(std::size_t position) {
    require(position < hosts_.size());
    take(position);
    char event = choices_.next();
    if (event == 'W') {  // nothing happens for a while
      undisturbed_ = false;
      let_pass(~0ull);
      event = choices_.next();
    }
    if (is_answer(event)) return answered_late(event);
    if (event == 'L') {
      undisturbed_ = false;
      const Action action = machine_.lost_address();
      expect(action, Kind::kDeliver, State::kFailed);
      require(machine_.error() == (requested_error_ != 0 ? requested_error_ : EHOSTUNREACH));
      return action;
    }
    if (event == 'X') return expect_left(machine_.lost_socket(), EBADF);
    return attempt(position, false, event);
  }

  // In the last moment, when the socket was about to be taken back. Nothing that has failed is in
  // flight, nor is anything before the first of all attempts.
  [[nodiscard]] bool is_answer(char event) const {
    return (event == 'K' || event == 'Z') && log_.back().error == EINPROGRESS;
  }

  Action answered_late(char event) {
    if (choices_.next() == 'w') let_pass(~0ull);
    const SocketPhase phase = event == 'K' ? SocketPhase::kConnected : SocketPhase::kEnded;
    return expect_connected(machine_.seen(phase, now_));
  }

  Action attempt(std::size_t position, bool released = false) {
    return attempt(position, released, choices_.next());
  }

  Action attempt(std::size_t position, bool released, char event) {
    if (!released) ++attempts_;
    current_ = position;
    ConnectAttempts::Attempt made;
    made.began_ms = now_;
    made.outcome = EINPROGRESS;
    constexpr int kErrors[] = {ETIMEDOUT, EHOSTUNREACH,  EHOSTDOWN, ECONNREFUSED, ENETUNREACH,
                               ENETDOWN,  EADDRNOTAVAIL, EACCES,    ECONNRESET};
    constexpr int kErrorsOfTheCall[] = {ENOBUFS, EBADF, EAGAIN, EAFNOSUPPORT, ECONNABORTED};
    constexpr std::uint32_t kOwnDelays[] = {20, 21, 100, 1000, 2000};
    switch (event) {
      case 'r':
        made.outcome = ECONNREFUSED;
        break;
      case 'e':
        made.outcome = choices_.of(kErrors);
        break;
      case 'x':
        made.outcome = choices_.of(kErrorsOfTheCall);
        break;
      case 'S':  // another thread shuts it down
        made.outcome = ECONNRESET;
        break;
      case 'R':  // the same on purpose
        made.outcome = ECONNRESET;
        if (!released) made.fault = {FaultAction::kReset, 0, 0};
        break;
      case 'E':
        made.outcome = choices_.of(kErrors);
        if (!released) {
          made.fault = {FaultAction::kErrno, 0, static_cast<std::uint32_t>(made.outcome)};
        }
        break;
      case 'k':
        made.outcome = 0;
        break;
      case 't':
        made.outcome = EINTR;
        break;
      case 'o':
        made.own_delay_ms = choices_.of(kOwnDelays);
        break;
      case 'd':
      case 'D':  // and connect(2) itself takes its time
        if (!released) {
          made.fault = {FaultAction::kDelay, 1, static_cast<std::uint32_t>(choices_.of(kTimes))};
        }
        undisturbed_ &= event == 'd';
        if (event == 'D') let_pass(~0ull);
        break;
      case 'w':  // connect(2) itself takes its time
        undisturbed_ = false;
        let_pass(~0ull);
        break;
      case '_':  // in flight, of which a connect that does not wait is not told
        if (state_ == State::kFirst && !waits_) return {};
        break;
      default:
        event_ = event;
    }
    return tell(made, released);
  }

  Action tell(const ConnectAttempts::Attempt& made, bool released) {
    if (!released) {
      fault_ = made.fault;
      held_until_ = 0;
      if (planned_) log_.push_back({current_, 0, made.began_ms, 0, made.fault});
    }
    const Action action = machine_.started(made, now_);
    if (made.outcome == 0) return expect_connected(action);
    if (made.outcome != EINPROGRESS && made.outcome != EINTR) {
      return expect_after_end(action, made.outcome);
    }
    if (released) {
      expect(action, Kind::kWait, State::kAsking);
      return action;
    }
    if (made.fault.action == FaultAction::kDelay) held_until_ = made.began_ms + made.fault.argument;
    if (!planned_) {
      own_delay_ = made.own_delay_ms;
      if (waits_ || held_until_ != 0) {
        return expect_plan(action, SocketPhase::kConnecting, EINPROGRESS);
      }
      expect(action, Kind::kWait, State::kFirst);
      return action;
    }
    patient_until_ = patience_from(made.began_ms, made.own_delay_ms);
    expect(action, Kind::kWait, held_until_ != 0 ? State::kHeldBack : State::kAsking);
    return action;
  }

  // How long an attempt that began then is waited for: an equal share of the time at most, all of
  // the usual patience where that is less, and all the time there is where nobody else is asked.
  [[nodiscard]] std::uint64_t patience_from(std::uint64_t began, std::uint32_t own_delay) const {
    const std::uint64_t end = deadline();
    if (standing() == 1 || began >= end) return end;
    const std::uint64_t share = std::max<std::uint64_t>((end - began) / (due() + 1), 20);
    const std::uint64_t delay = own_delay != 0 ? own_delay : limits_.attempt_delay_ms;
    const std::uint64_t patience = std::min(share, std::max(pass_patience_, delay));
    require(patience >= kShortestDelayMs);
    return std::min(end, began + patience);
  }

  Action wait() {
    const char event = event_ != '\0' ? event_ : choices_.next();
    event_ = '\0';
    constexpr int kErrors[] = {ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, ENOBUFS};
    switch (event) {
      case 'c':
        return look(SocketPhase::kConnected);
      case 'f':  // an error after a while
        let_pass_before_look();
        error_to_read_ = choices_.of(kErrors);
        return look(SocketPhase::kClosed);
      case 'z':  // that somebody else has read
        error_to_read_ = 0;
        return look(SocketPhase::kClosed);
      case 's':  // another thread shuts it down
        error_to_read_ = ECONNRESET;
        return look(SocketPhase::kClosed);
      case 'u':  // connected, and gone again
        return look(SocketPhase::kEnded);
      case 'e': {
        const int error = choices_.next() == 's' ? ECONNRESET : choices_.of(kErrors);
        return expect_after_end(machine_.ended(error, now_), error);
      }
      case 'T':  // the program is told before anything is decided
        let_pass_before_look();
        return tell_the_truth(choices_.next() == 's' ? ECONNRESET : choices_.of(kErrors));
      case 'l':  // too early
        let_pass_before_look();
        return look(SocketPhase::kConnecting);
      case 'i':  // a signal, and the program comes back to it
        let_pass_before_look();
        return resume();
      case 'p':
        return probe();
      case 'x':
        return expect_left(machine_.lost_socket(), EBADF);
      case 'j':  // nobody looked at the clock for a while
        undisturbed_ = false;
        now_ = std::max(now_, until());
        let_pass(~0ull);
        return look(SocketPhase::kConnecting);
      default:
        now_ = std::max(now_, until());
        return look(SocketPhase::kConnecting);
    }
  }

  Action look(SocketPhase phase) {
    const Action action = machine_.seen(phase, now_);
    if (phase == SocketPhase::kConnecting && now_ < until()) {
      expect(action, Kind::kWait, state_);
      return action;
    }
    if (phase == SocketPhase::kConnected || phase == SocketPhase::kEnded) {
      return expect_connected(action);
    }
    if (!planned_) return expect_plan(action, phase, 0);
    seen_phase_ = phase;
    return expect_after_look(action);
  }

  Action read_error() {
    const Action action = machine_.error_read(error_to_read_, now_);
    return error_to_read_ != 0 ? expect_after_end(action, error_to_read_)
                               : expect_left(action, ECONNABORTED);
  }

  Action tell_the_truth(int error) {
    const Action action = machine_.told(error, now_);
    if (planned_) note_end(error);
    told_ = true;
    return expect_left(action, error, parks(error) ? Lesson::kFailed : Lesson::kNothing);
  }

  Action resume() {
    undisturbed_ = false;
    ++resumed_;
    waits_ = choices_.next() != 'n';
    limits_.program_ms = program_timeout();
    program_start_ = now_;
    if (planned_) {
      // It keeps its patience, and has all the time there is where nobody else is to be asked.
      patient_until_ =
          standing() == 1 ? deadline() : std::min(std::max(patient_until_, now_), deadline());
    }
    if (state_ == State::kPaused) state_ = held_until_ != 0 ? State::kHeldBack : State::kAsking;
    const Action action = machine_.resumed(waits_, limits_.program_ms, now_);
    expect(action, Kind::kWait, state_);
    return action;
  }

  Action probe() {
    // Nobody is probed before it is known where to go.
    if (planned_) {
      undisturbed_ = false;
      const std::size_t position = choices_.below(256) % (hosts_.size() + 1);
      const int error = choices_.next() == 'r' ? ECONNREFUSED : 0;
      machine_.probed(position, error);
      if (error == 0) preferred_ = position;
      if (error != 0 && position == requested_) requested_error_ = error;
      if (error != 0 && position < hosts_.size()) {
        hosts_[position].answered = true;
        hosts_[position].due = false;
      }
    }
    const Action action;
    expect(action, Kind::kWait, state_);
    return action;
  }

  // ---- What it has to answer ----

  Action expect_connected(const Action& action) {
    expect(action, Kind::kConnected, State::kConnected);
    require(machine_.error() == 0);
    if (!planned_) return action;
    note_end(0);
    hosts_[current_].was_silent = false;
    for (std::size_t i = 0; i <= hosts_.size(); ++i) {
      require(machine_.left_in_silence().has(i) == (i < hosts_.size() && hosts_[i].was_silent));
    }
    return action;
  }

  Action expect_left(const Action& action, int error, Lesson lesson = Lesson::kNothing) {
    undisturbed_ = false;
    expect(action, Kind::kTold, State::kLeft, lesson);
    require(machine_.error() == error);
    return action;
  }

  Action expect_plan(const Action& action, SocketPhase phase, int error) {
    seen_phase_ = phase;
    seen_error_ = error;
    expect(action, Kind::kPlan, State::kPlanning);
    return action;
  }

  Action expect_after_end(const Action& action, int error) {
    if (error == ECONNRESET) return expect_left(action, ECONNRESET);
    return planned_ ? expect_after_error(action, error)
                    : expect_plan(action, SocketPhase::kClosed, error);
  }

  Action expect_after_look(const Action& action) {
    if (seen_phase_ != SocketPhase::kConnecting) {
      expect(action, Kind::kReadError, state_);
      return action;
    }
    if (now_ < until()) {
      expect(action, Kind::kWait, state_);
      return action;
    }
    if (until() == held_until_) {
      expect(action, Kind::kRelease, State::kHeldBack);
      return action;
    }
    hosts_[current_].was_silent = true;
    note_end(EINPROGRESS);
    const bool time_is_up = limits_.program_ms != 0 && now_ >= program_start_ + limits_.program_ms;
    if (!time_is_up) return expect_next(action, Lesson::kSilent);
    expect(action, Kind::kPause, State::kPaused, Lesson::kSilent);
    require(machine_.error() == 0);
    return action;
  }

  Action expect_after_error(const Action& action, int error) {
    note_end(error);
    if (current_ == requested_) requested_error_ = error;
    const Lesson lesson = parks(error) ? Lesson::kFailed : Lesson::kNothing;
    if (!moves_on(error)) {
      undisturbed_ = false;
      expect(action, Kind::kDeliver, State::kFailed, lesson);
      require(machine_.error() == (requested_error_ != 0 ? requested_error_ : error));
      return action;
    }
    hosts_[current_].answered = true;
    hosts_[current_].due = false;
    return expect_next(action, lesson);
  }

  Action expect_next(const Action& action, Lesson lesson) {
    if (now_ < deadline() && standing() != 0) {
      expect(action, Kind::kConnect, State::kAsking, lesson);
      require(action.position == expected_next());
    } else {
      expect(action, Kind::kDeliver, State::kFailed, lesson);
      require(machine_.error() == (requested_error_ != 0 ? requested_error_ : ETIMEDOUT));
      // To ask again would take as long again.
      require(can_be_had_again(machine_.error()) == (machine_.error() != ETIMEDOUT));
    }
    return action;
  }

  // ---- The log ----

  void note_end(int error) {
    log_.back().error = error;
    log_.back().took_ms = now_ - log_.back().began_ms;
  }

  // All of a short list, else the first twelve and the last. One that is left to the kernel, and
  // that the program was not told of, has not ended, and is counted only.
  void check_log() const {
    require(machine_.log().attempts() == log_.size());
    std::size_t next = 0;
    const auto check = [&](const AttemptLog::Attempt& told) {
      require(next < log_.size());
      const Logged& made = log_[next++];
      if (state_ == State::kLeft && !told_ && next == log_.size()) return;
      require(told.position == made.position && told.error == made.error);
      require(told.took_ms == static_cast<std::uint32_t>(made.took_ms));
      require(told.fault.action == made.fault.action && told.fault.rule == made.fault.rule);
    };
    machine_.log().for_each(check, [&](const AttemptLog::Attempt& told) {
      require(next == 12);
      next = log_.size() - 1;
      check(told);
    });
    require(next == log_.size());
  }

  // However little time there is: each address gets a share.
  void check_all_were_asked() const {
    const auto count = static_cast<std::uint64_t>(
        std::count_if(hosts_.begin(), hosts_.end(), [](const Host& h) { return h.candidate; }));
    if (deadline() - began_ < kMinPatienceMs * count) return;
    for (const Host& host : hosts_) require(!host.candidate || host.was_asked);
  }

  Choices choices_;
  std::vector<Host> hosts_;
  std::vector<Logged> log_;
  ConnectAttempts machine_;
  ConnectAttempts::Limits limits_;
  std::size_t requested_ = 0;
  std::size_t current_ = 0;
  std::size_t preferred_ = kNobody;  // has answered a probe
  std::uint64_t now_ = kStart;
  std::uint64_t began_ = kStart;
  std::uint64_t program_start_ = kStart;
  std::uint64_t patient_until_ = 0;
  std::uint64_t held_until_ = 0;
  std::uint64_t pass_patience_ = 0;
  std::uint64_t attempts_ = 0;
  std::uint64_t resumed_ = 0;
  std::uint32_t first_look_ms_ = 0;
  std::uint32_t own_delay_ = 0;  // of the requested address
  Fault fault_;
  int requested_error_ = 0;
  int seen_error_ = 0;
  int error_to_read_ = 0;
  SocketPhase seen_phase_ = SocketPhase::kConnecting;
  State state_ = State::kFirst;
  bool waits_ = true;
  bool instead_ = false;  // the requested address is parked, and another asked instead of it
  bool planned_ = false;
  bool told_ = false;
  bool over_ = false;
  bool last_was_ipv6_ = false;
  bool undisturbed_ = true;  // no leap of the clock, no change of limits, no late plan
  char found_ = '\0';        // where else to go: '.' not even there, '1' nowhere
  char event_ = '\0';
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Play(Choices(data, size)).play();
  return 0;
}
