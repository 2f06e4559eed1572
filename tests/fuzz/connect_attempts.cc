// libFuzzer: the machine of one connect, against a plain statement of its contract: addresses,
// limits, and what becomes of each attempt and each probe are the script, and the clock may leap.
// Must never leave an address in silence for one that has not answered (but where there are no
// probes), ask one that is no candidate or has refused, wait for nothing, keep a refusal to itself,
// learn what was not observed, or tell the program another address's error.
#include "engine/connect_attempts.h"

#include <algorithm>
#include <cerrno>
#include <vector>

#include "engine/outcome.h"
#include "fuzz.h"

using namespace nextaddr;

namespace {

using Action = ConnectAttempts::Action;
using Kind = Action::Kind;
using Lesson = ConnectAttempts::Lesson;
using Probe = ConnectAttempts::Probe;
using State = ConnectAttempts::State;

struct Host {
  bool candidate = true;
  bool ipv6 = false;
  bool parked = false;
  bool known_silent = false;  // a moment ago, to another connect
  bool heard = false;         // has answered a probe, and not been gone to since
  bool gone_to = false;       // for that reason
  bool heard_again = false;   // since then, which may count or not
  bool refused = false;       // has answered with an error last
  bool probed = false;        // right now
  std::uint64_t asked_ms = 0;
};

class Play {
 public:
  explicit Play(Choices choices) : choices_(choices) {
    for (const char c : choices_.line()) {
      if (hosts_.size() < 64) hosts_.push_back(host_named(c));
    }
    if (hosts_.empty()) hosts_.emplace_back();
    requested_ = choices_.below(64) % hosts_.size();
    hosts_[requested_].candidate = true;
    constexpr std::uint32_t kDelays[] = {100, kShortestDelayMs, 1000, 10'000, 50};
    limits_.attempt_delay_ms = choices_.of(kDelays);
    const std::uint32_t kernels[] = {kernel_patience_ms(6), 1, 19, 500, 5000, 0};
    limits_.kernel_ms = choices_.of(kernels);
    limits_.program_ms = program_timeout();
    limits_.probes = choices_.next() != '-';
    const char way = choices_.next();
    waits_ = way != 'n' && way != 'P';
    instead_ = way == 'p' || way == 'P';
    found_ = choices_.next();
  }

  void play() {
    leave_traces();
    machine_.begin(waits_, now_, 100);
    Action action = instead_ ? machine_.elsewhere(phase()) : attempt(requested_);
    for (;;) {
      check(action);
      if (action.kind == Kind::kLeave && instead_ && attempts_ == 0) {
        instead_ = false;
        machine_.begin(waits_, now_, 100);
        action = attempt(requested_);
        continue;
      }
      const bool late = action.kind == Kind::kDeliver && in_flight_ && choices_.next() == 'K';
      if (late) {
        action = machine_.seen(SocketPhase::kConnected, now_);
        require(action.kind == Kind::kConnected && machine_.error() == 0);
      }
      if (ConnectAttempts::is_over(machine_.state())) break;
      action = go_on(action);
      // An attempt follows an error, an answer, or, without probes, a second of silence.
      require(attempts_ <= 2 * hosts_.size() + answers_ + 2);
    }
    if (machine_.state() == State::kFailed && machine_.can_be_had_again()) tell_by_kernel();
  }

 private:
  static constexpr std::uint64_t kStart = 1'000'000;
  static constexpr std::uint64_t kTimes[] = {0, 1, 10, 100, 1000, 31'000, 10'000'000};
  static constexpr int kErrors[] = {ECONNREFUSED, ETIMEDOUT,     EHOSTUNREACH, EHOSTDOWN,
                                    ENETUNREACH,  EADDRNOTAVAIL, EACCES,       ENOBUFS};

  static Host host_named(char c) {
    Host host;
    host.ipv6 = c == '6' || c == 'P' || c == 'S';
    host.parked = c == 'p' || c == 'P';
    host.known_silent = c == 's' || c == 'S';
    host.candidate = c != '.';
    return host;
  }

  std::uint32_t program_timeout() {
    constexpr std::uint32_t kTimeouts[] = {0, 1, 20, 100, 1000, 60'000, 1'000'000};
    return choices_.of(kTimeouts);
  }

  SocketPhase phase() {
    constexpr SocketPhase kPhases[] = {SocketPhase::kClosed, SocketPhase::kConnecting,
                                       SocketPhase::kConnected, SocketPhase::kGivenUp};
    return choices_.of(kPhases);
  }

  ConnectAttempts::Distance distance() {
    constexpr ConnectAttempts::Distance kDistances[] = {{},       {1, 0},    {50, 0},
                                                        {400, 0}, {0, 1200}, {0, 100'000}};
    return choices_.of(kDistances);
  }

  // The machine has gone through another connect before.
  void leave_traces() {
    Destinations all;
    for (std::size_t i = 0; i < 3; ++i) all.candidates.add(i);
    machine_.begin(true, 1, 1);
    machine_.started({ECONNREFUSED, 1, {}, {FaultAction::kRefuse, 0, 0}}, 1);
    machine_.planned(all, {1, 1000, true, 0}, {}, 1);
    machine_.probing(2, {}, 1);
    machine_.probed(2, Probe::kAnswered, 0, 1, 2);
    machine_.started({EINPROGRESS, 2, {}, {FaultAction::kDelay, 0, 500}}, 2);
    machine_.probing(1, {}, 2);
  }

  // ---- What the machine asks for ----

  Action go_on(const Action& action) {
    switch (action.kind) {
      case Kind::kPlan:
        return plan();
      case Kind::kReadError:
        if (error_to_read_ == 0) return machine_.error_read(0, now_);
        return fail_with(error_to_read_, [&](int e) { return machine_.error_read(e, now_); });
      case Kind::kConnect:
        return connect(action.position);
      case Kind::kRelease:
        require(action.position == current_);
        return attempt(current_, true);
      case Kind::kProbe:
        return ask(action.position);
      case Kind::kPause:
        return resume();
      default:
        return wait();
    }
  }

  Action plan() {
    Destinations all;
    all.requested = requested_;
    for (std::size_t i = 0; i < hosts_.size(); ++i) {
      Host& host = hosts_[i];
      if (i == requested_) host.parked = instead_;
      if (found_ == '.' || (found_ == '1' && i != requested_)) host.candidate = false;
      if (host.candidate) all.candidates.add(i);
      if (host.ipv6) all.ipv6.add(i);
      if (host.parked) all.parked.add(i);
      if (host.known_silent) all.silent.add(i);
    }
    if (choices_.next() == 'w') now_ += choices_.of(kTimes);
    // A refusal that has come meanwhile is known only now.
    if (!requested_errors_.empty()) told_by_ms_ = now_ + kLastWaitMs;
    if (instead_) return machine_.planned(all, limits_, {}, now_);
    distance_ = distance();
    return machine_.planned(all, limits_, distance_, now_);
  }

  // Checks where the socket may go, and when.
  Action connect(std::size_t to) {
    require(to < hosts_.size());
    Host& host = hosts_[to];
    require(host.candidate && !host.refused);
    const bool any_heard =
        std::any_of(hosts_.begin(), hosts_.end(), [](const Host& each) { return each.heard; });
    require(host.heard || host.heard_again || !any_heard);
    if (in_flight_ && attempts_ != 0) {
      require(host.heard || host.heard_again || !limits_.probes);
      const std::uint64_t given = now_ - attempt_began_;
      // The program's time, and the last wait, are shared.
      const bool is_known = distance_.rtt_ms != 0 && has_time_ && told_by_ms_ == 0;
      if (is_known) require(given >= overdue_ms(distance_.rtt_ms));
      require(given >= kShortestDelayMs || told_by_ms_ != 0);
    }
    const char event = choices_.next();
    if (event == 'K' && in_flight_ && attempts_ != 0) {
      const Action action = machine_.seen(SocketPhase::kEnded, now_);
      require(action.kind == Kind::kConnected);
      return action;
    }
    if (event == 'L') {
      lost_ = true;
      return machine_.lost_address();
    }
    if (event == 'X') return machine_.lost_socket();
    const bool is_heard = host.heard || host.heard_again;
    if (told_by_ms_ != 0 && is_heard) told_by_ms_ = std::max(told_by_ms_, now_ + kSilentMs);
    host.gone_to |= host.heard;
    host.heard = host.heard_again = false;
    return attempt(to, false, event);
  }

  Action attempt(std::size_t to, bool released = false) {
    return attempt(to, released, choices_.next());
  }

  Action attempt(std::size_t to, bool released, char event) {
    current_ = to;
    in_flight_ = true;
    ConnectAttempts::Attempt made;
    made.began_ms = now_;
    made.outcome = EINPROGRESS;
    if (!released) {
      ++attempts_;
      attempt_began_ = now_;
      distance_ = {};
      has_time_ = limits_.program_ms == 0;
    }
    switch (event) {
      case 'r':
        made.outcome = ECONNREFUSED;
        break;
      case 'e':
        made.outcome = choices_.of(kErrors);
        break;
      case 'S':  // another thread shuts it down
        made.outcome = ECONNRESET;
        break;
      case 'k':
        made.outcome = 0;
        break;
      case 't':
        made.outcome = EINTR;
        break;
      case 'o':
        made.distance = distance();
        if (!released) distance_ = made.distance;
        break;
      case 'd':
        if (!released) {
          made.fault = {FaultAction::kDelay, 1, static_cast<std::uint32_t>(choices_.of(kTimes))};
        }
        break;
      case 'w':  // connect(2) itself takes its time
        now_ += choices_.of(kTimes);
        break;
      default:
        event_ = event;
    }
    if (made.outcome == EINPROGRESS || made.outcome == EINTR || made.outcome == 0) {
      return machine_.started(made, now_);
    }
    return fail_with(made.outcome, [&](int error) {
      made.outcome = error;
      return machine_.started(made, now_);
    });
  }

  template <typename Tell>
  Action fail_with(int error, Tell tell) {
    in_flight_ = false;
    note_error(current_, error);
    return tell(error);
  }

  void note_error(std::size_t position, int error) {
    if (position == requested_) note_requested_error(error);
    if (moves_on(error)) hosts_[position].refused = true;
    hosts_[position].heard = hosts_[position].heard_again = false;
    last_error_ = error;
    failed_.push_back(position);
  }

  void note_requested_error(int error) {
    if (requested_errors_.empty()) told_by_ms_ = now_ + kLastWaitMs;
    requested_errors_.push_back(error);
  }

  // ---- Probes ----

  Action ask(std::size_t of) {
    require(limits_.probes && of < hosts_.size());
    Host& host = hosts_[of];
    // When there are more addresses than the machine keeps in mind, it may ask those that were left
    // in silence again.
    require(host.candidate && (!host.probed || left_ != 0));
    require(of == requested_ || (!host.refused && of != current_));
    require(of == requested_ || !host.known_silent || now_ - kStart >= kSilentMs);
    if (choices_.next() == 'N') {
      limits_.probes = false;
      machine_.probed(of, Probe::kNone, 0, 0, now_);
    } else {
      host.probed = true;
      host.asked_ms = now_;
      require(count_probed() <= kMostProbes + left_);
      machine_.probing(of, distance(), now_);
    }
    return machine_.seen(SocketPhase::kConnecting, now_);
  }

  [[nodiscard]] std::size_t count_probed() const {
    return static_cast<std::size_t>(
        std::count_if(hosts_.begin(), hosts_.end(), [](const Host& host) { return host.probed; }));
  }

  void hear_something(std::size_t from) {
    hear(from, from % 4 != 3 ? Probe::kAnswered : Probe::kHeard);
  }

  // Something is heard of the first probe whose position is `from` or higher.
  void hear(std::size_t from, Probe what) {
    for (std::size_t i = 0; i < hosts_.size(); ++i) {
      const std::size_t of = (from + i) % hosts_.size();
      Host& host = hosts_[of];
      if (!host.probed) continue;
      const auto took = static_cast<std::uint32_t>(now_ - host.asked_ms);
      const int error = what == Probe::kFailed ? kErrors[from % 7] : 0;
      if (what != Probe::kSilent) host.probed = false;
      const bool once_more = host.refused;
      const Action learnt = machine_.probed(of, what, error, took, now_);
      require(learnt.about == of || learnt.lesson == Lesson::kNothing);
      require((learnt.lesson == Lesson::kSilent) == (what == Probe::kSilent));
      require((learnt.lesson == Lesson::kFailed) == (!once_more && parks(error)));
      if (what == Probe::kAnswered || what == Probe::kHeard) {
        ++answers_;
        // What has refused the program does not answer any more, but for the requested one.
        if (of == requested_ && what == Probe::kAnswered) host.refused = false;
        host.heard = !host.refused && !host.gone_to;
        host.heard_again = !host.refused;
      } else if (what == Probe::kFailed) {
        if (of == requested_) note_requested_error(error);
        host.refused = true;
        host.heard = host.heard_again = false;
      }
      return;
    }
  }

  // The requested address is asked once more, so that the kernel tells its error: which is told
  // within a time, by one or the other.
  void tell_by_kernel() {
    const int error = machine_.error();
    const ConnectAttempts::Distance distance = this->distance();
    machine_.telling(distance, now_);
    const std::uint64_t until = machine_.until_ms();
    require(until > now_ && until - now_ <= std::max(kSilentMs, overdue_ms(400)));
    while (machine_.state() == State::kTelling) {
      switch (choices_.next()) {
        case 'c':
          require(machine_.seen(SocketPhase::kConnected, now_).kind == Kind::kConnected);
          return;
        case 'f':
          require(machine_.seen(SocketPhase::kClosed, now_).kind == Kind::kLeave);
          require(machine_.error() == error && machine_.is_told_by_kernel());
          return;
        case 'E':
          machine_.ended(ENOBUFS, now_);
          require(machine_.error() == ENOBUFS && machine_.is_told_by_kernel());
          return;
        case 'T':
          machine_.told(ENOBUFS, now_);
          require(machine_.error() == ENOBUFS);
          return;
        case 'i':
          machine_.resumed(true, 1, now_);
          break;
        case 'l':
          now_ += std::min(choices_.of(kTimes), until - now_ - 1);
          require(machine_.seen(SocketPhase::kConnecting, now_).kind == Kind::kWait);
          break;
        default:
          require(machine_.until_ms() == until);
          now_ = until;
          require(machine_.seen(SocketPhase::kConnecting, now_).kind == Kind::kWithdraw);
      }
      if (choices_.ended()) now_ = until - 1;
    }
    require(machine_.state() == State::kFailed && machine_.error() == error);
    require(!machine_.can_be_had_again());
  }

  // ---- Time ----

  Action wait() {
    const char event = event_ != '\0' ? event_ : choices_.next();
    event_ = '\0';
    const std::uint64_t until = machine_.until_ms();
    // A connect that is played no longer hears nothing, and then the kernel gives up.
    if (choices_.ended() && event == '\0') {
      hear(0, Probe::kOver);
      if (until == ConnectAttempts::kNever || now_ - kStart > 200'000) return give_up();
    }
    switch (event) {
      case 'c':
        return machine_.seen(SocketPhase::kConnected, now_);
      case 'u':  // connected, and gone again
        return machine_.seen(SocketPhase::kEnded, now_);
      case 'f':
        error_to_read_ = choices_.of(kErrors);
        return machine_.seen(SocketPhase::kClosed, now_);
      case 'z':  // an error that somebody else has read
        error_to_read_ = 0;
        return machine_.seen(SocketPhase::kClosed, now_);
      case 'g':
        return give_up();
      case 'E': {
        const int error = choices_.next() == 's' ? ECONNRESET : choices_.of(kErrors);
        return fail_with(error, [&](int e) { return machine_.ended(e, now_); });
      }
      case 'T': {
        const int error = choices_.of(kErrors);
        return fail_with(error, [&](int e) { return machine_.told(e, now_); });
      }
      case 'a':
        hear_something(choices_.below(64));
        break;
      case 'r':
        hear(choices_.below(64), Probe::kFailed);
        break;
      case 'o':
        hear(choices_.below(64), Probe::kOver);
        break;
      case 'q':
        hear(choices_.below(64), Probe::kSilent);
        break;
      case 'l':  // too early
        now_ += std::min(choices_.of(kTimes), until > now_ ? until - now_ : 0);
        break;
      case 'i':  // a signal, and the program comes back to it
        return resume();
      case 'x':
        return machine_.lost_socket();
      case 'j':  // nobody looked at the clock for a while
        now_ = std::max(now_, until == ConnectAttempts::kNever ? now_ : until);
        now_ += choices_.of(kTimes);
        break;
      default:
        if (until != ConnectAttempts::kNever) now_ = std::max(now_, until);
    }
    // No address has been asked meanwhile.
    const bool is_late = until < now_ && now_ - until > kAskAgainMs;
    if (told_by_ms_ != 0 && is_late) told_by_ms_ = std::max(told_by_ms_, now_ + kLastWaitMs);
    const bool waits = event == '\0' && until != ConnectAttempts::kNever;
    idle_ = now_ == looked_ && waits ? idle_ + 1 : 0;
    require(idle_ < 3 * hosts_.size() + 10);
    looked_ = now_;
    return machine_.seen(SocketPhase::kConnecting, now_);
  }

  Action give_up() {
    error_to_read_ = ETIMEDOUT;
    // Whichever address the kernel has given up, it would have given up the requested one as well.
    if (machine_.is_planned() && requested_errors_.empty()) note_requested_error(ETIMEDOUT);
    const Action action = machine_.seen(SocketPhase::kGivenUp, now_);
    if (action.kind == Kind::kLeave || action.kind == Kind::kTold) failed_.push_back(current_);
    return action;
  }

  Action resume() {
    waits_ = choices_.next() != 'n';
    limits_.program_ms = program_timeout();
    const Action action = machine_.resumed(waits_, limits_.program_ms, now_);
    require(action.kind == Kind::kWait && machine_.state() != State::kPaused);
    // A connect that comes back for ever is played no longer.
    if (limits_.program_ms != 0 && choices_.ended()) return machine_.lost_socket();
    return action;
  }

  // ---- What holds whatever happens ----

  void check(const Action& action) {
    const State state = machine_.state();
    const bool asking = state == State::kAsking || state == State::kHeldBack;
    switch (action.kind) {
      case Kind::kWait:
        require(asking || state == State::kFirst);
        check_wait();
        break;
      case Kind::kPlan:
        require(state == State::kPlanning && !machine_.is_planned());
        break;
      case Kind::kReadError:
      case Kind::kProbe:
        require(asking && machine_.is_planned());
        break;
      case Kind::kConnect:
        require(state == State::kAsking);
        break;
      case Kind::kRelease:
        require(state == State::kHeldBack);
        break;
      case Kind::kConnected:
        require(state == State::kConnected && machine_.error() == 0);
        break;
      case Kind::kPause:
        require(state == State::kPaused);
        break;
      case Kind::kDeliver:
        require(state == State::kFailed);
        check_error();
        break;
      case Kind::kLeave:
        require(state == State::kLeft);
        break;
      case Kind::kTold:
        require(state == State::kLeft && machine_.error() != 0);
        break;
      case Kind::kWithdraw:
        require(false);
    }
    check_lesson(action);
  }

  void check_wait() const {
    if (!machine_.is_planned() || told_by_ms_ == 0 || current_ == requested_) return;
    require(machine_.until_ms() <= std::max(now_, told_by_ms_));
  }

  void check_error() const {
    const int error = machine_.error();
    require(error != 0);
    require(machine_.can_be_had_again() == (error != ETIMEDOUT));
    if (!requested_errors_.empty()) {
      const auto& all = requested_errors_;
      require(std::find(all.begin(), all.end(), error) != all.end());
    } else {
      require(error == (lost_ ? EHOSTUNREACH : ETIMEDOUT) || error == last_error_);
    }
  }

  void check_lesson(const Action& action) {
    if (action.lesson == Lesson::kNothing || !machine_.is_planned()) return;
    require(action.about == current_);
    if (action.lesson == Lesson::kFailed && !in_flight_) {
      require(!failed_.empty() && failed_.back() == current_);
      // When nobody has answered, the silence may be the network's own.
      require(last_error_ != ETIMEDOUT || action.kind == Kind::kConnect);
      return;
    }
    require(in_flight_ &&
            action.silent_ms == std::min<std::uint64_t>(now_ - attempt_began_, UINT32_MAX));
    if (action.lesson == Lesson::kFailed) {  // once more
      require(action.kind == Kind::kConnect);
      require(distance_.silent_ms != 0 || distance_.has_failed);
      const std::uint32_t enough = distance_.rtt_ms != 0  ? overdue_ms(distance_.rtt_ms)
                                   : distance_.has_failed ? limits_.attempt_delay_ms
                                                          : kMayBeFarMs;
      require(action.silent_ms >= enough);
    } else if (action.lesson == Lesson::kLeft) {
      require(action.kind == Kind::kConnect);
      ++left_;
      hosts_[current_].probed = true;
      hosts_[current_].asked_ms = now_;
      machine_.probing(current_, {}, now_);
    } else {
      require(!limits_.probes || action.silent_ms >= kSilentMs);
    }
  }

  Choices choices_;
  std::vector<Host> hosts_;
  std::vector<std::size_t> failed_;
  std::vector<int> requested_errors_;
  ConnectAttempts machine_;
  ConnectAttempts::Limits limits_;
  std::size_t requested_ = 0;
  std::size_t current_ = 0;
  std::size_t left_ = 0;  // how many were left in silence, and have a probe each
  std::size_t idle_ = 0;
  std::uint64_t now_ = kStart;
  std::uint64_t looked_ = 0;
  std::uint64_t attempt_began_ = kStart;
  std::uint64_t told_by_ms_ = 0;  // the requested one has refused, and that is told by then
  std::uint64_t attempts_ = 0;
  std::uint64_t answers_ = 0;
  ConnectAttempts::Distance distance_;  // of the attempt under way
  int error_to_read_ = 0;
  int last_error_ = 0;
  bool waits_ = true;
  bool instead_ = false;  // the requested address is parked, and another asked instead of it
  bool in_flight_ = false;
  bool lost_ = false;
  bool has_time_ = true;  // the program waits for ever, since this attempt began
  char found_ = '\0';     // where else to go: '.' not even there, '1' nowhere
  char event_ = '\0';
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Play(Choices(data, size)).play();
  return 0;
}
