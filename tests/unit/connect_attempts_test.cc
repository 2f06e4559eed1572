// The machine of one connect: each row of its table, each end there is, and thousands of connects
// against a simulated network and clock, and a plain model of the contract. No sockets, no real
// time: every run is a function of its seed. The driver here must never decide anything: it does
// what the machine says.
#include "engine/connect_attempts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/outcome.h"

namespace nextaddr {
namespace {

using Action = ConnectAttempts::Action;
using Attempt = ConnectAttempts::Attempt;
using Distance = ConnectAttempts::Distance;
using Kind = Action::Kind;
using Lesson = ConnectAttempts::Lesson;
using Limits = ConnectAttempts::Limits;
using Probe = ConnectAttempts::Probe;
using State = ConnectAttempts::State;

constexpr std::uint64_t kStart = 1'000'000;
constexpr std::uint64_t kNever = ~std::uint64_t{0};
constexpr Limits kDefaults{100, 0, true, 0};
constexpr std::uint32_t kKernelMs = 127'000;

// ---- The simulated network, and the program ----

// How one simulated address behaves: an error or an acceptance `answers_after_ms` after it was
// asked, or nothing.
struct Host {
  int error = 0;  // 0: accepts
  std::uint64_t answers_after_ms = 0;
  bool silent = false;
  bool ipv6 = false;
  bool parked = false;
  bool known_silent = false;      // a moment ago, to another connect
  bool loses_first_syn = false;   // of the program's socket
  bool for_probes_only = false;   // another one of its servers has the program's flow, and is dead
  std::uint64_t up_after_ms = 0;  // since the connect began; before that it refuses
  Distance distance{};
  Fault fault{};                                   // made of each attempt at it
  SocketPhase accepted = SocketPhase::kConnected;  // how the socket stands when it is looked at
};

struct World {
  std::vector<Host> hosts;
  std::size_t requested = 0;
  Limits limits = kDefaults;
  std::uint32_t kernel_ms = kKernelMs;  // how long the kernel tries one address
  bool waits = true;                    // in connect(2)
  std::uint32_t first_look_ms = 10;
  bool nowhere = false;  // the program walks a list that has failed: it is found nowhere to go

  // ---- Disturbances ----
  std::size_t no_probe_from = kNever;             // the one with this number cannot be made
  std::uint64_t shut_down_after_ms = kNever;      // by another thread
  bool error_is_stolen = false;                   // read by another thread
  std::size_t socket_lost_before = kNever;        // the attempt with this number, from 0
  std::size_t forgotten = PositionSet::kNone;     // its address
  std::size_t answered_when_taken_back = kNever;  // the attempt with this number, from 0
  bool tells_the_truth = false;                   // SO_ERROR is the first to find a failure
  std::uint64_t signal_every_ms = kNever;  // each ends connect(2), and the program calls it again
  int comes_back = 0;                      // after its own time was up
};

// An attempt of the program's socket.
struct Asked {
  std::size_t position;
  std::uint64_t at_ms;     // times are since the connect began
  std::uint64_t given_ms;  // how long it was waited for
  int outcome;             // 0, an error, or EINPROGRESS for silence
};

// A probe.
struct Probed {
  std::size_t position;
  std::uint64_t at_ms;
  bool operator==(const Probed&) const = default;
};

struct Taught {
  Lesson lesson;
  std::size_t position;
  std::uint32_t silent_ms = 0;
  bool operator==(const Taught&) const = default;
};

struct Logged {
  std::size_t position;
  int error;
  std::uint64_t took_ms;
  Fault fault;
};

struct Played {
  std::vector<Asked> asked;
  std::vector<Probed> probed;
  std::vector<Taught> lessons;
  std::vector<Logged> log;
  std::map<std::size_t, std::vector<std::uint64_t>> syns;
  std::map<std::size_t, std::set<int>> errors;      // of the socket or of probes
  std::map<std::size_t, std::uint64_t> refused_ms;  // since when
  ConnectAttempts machine;
  int result = -1;  // 0 connected, else errno
  std::uint64_t took_ms = 0;
  std::size_t most_probes = 0;
  bool any_answered = false;   // a probe
  bool probes_failed = false;  // could not be made
  bool left_in_flight = false;
  bool forgot = false;         // the address to ask was known no more
  bool lost = false;           // so was the socket
  bool answered_late = false;  // in the last moment, when the socket was to be taken back
  bool told = false;           // the program has the failure as it is
  int resumed = 0;

  [[nodiscard]] State end() const { return machine.state(); }
};

// Plays one connect() as src/connect does, on a clock that moves only when something waits.
class Player {
 public:
  explicit Player(const World& world) : world_(world) {
    if (!world_.waits) world_.limits.program_ms = 0;
    if (!world_.limits.probes) world_.limits.kernel_ms = world_.kernel_ms;
    for (std::size_t i = 0; i < world_.hosts.size(); ++i) {
      if (world_.hosts[i].known_silent && i != world_.requested) silent_ms_[i] = kStart;
    }
  }

  Played play() {
    const bool parked = world_.hosts[world_.requested].parked;
    begin();
    Action action = parked ? machine().elsewhere(SocketPhase::kClosed) : ask(world_.requested);
    instead_ = parked;
    for (int guard = 0; guard < 400'000 && !testing::Test::HasFatalFailure(); ++guard) {
      if (is_answered_late(action)) action = answer_late();
      note_lesson(action);
      if (action.kind == Kind::kLeave && instead_ && run_.asked.empty()) {
        instead_ = false;
        run_.log.clear();
        begin();
        action = ask(world_.requested);
      } else if (!ends_with(action)) {
        action = carry_out(action);
      } else {
        run_.left_in_flight = action.kind == Kind::kPause;
        run_.result = run_.left_in_flight ? EINPROGRESS : machine().error();
        run_.took_ms = now_ - kStart;
        note_end_in_log();
        return run_;
      }
    }
    ADD_FAILURE() << "the connect never ends";
    return run_;
  }

 private:
  struct Asking {
    std::size_t position;
    std::uint64_t began;
    std::uint64_t answer_ms;
    int error;
    bool silence_told;
  };

  ConnectAttempts& machine() { return run_.machine; }
  [[nodiscard]] std::size_t position() const { return run_.asked.back().position; }
  [[nodiscard]] const Host& host() const { return world_.hosts[position()]; }
  Asked& asked() { return run_.asked.back(); }

  // ---- What is learnt ----

  void note_lesson(const Action& action) {
    if (action.lesson == Lesson::kNothing) return;
    // No position is known before the connect is planned.
    const std::size_t about = machine().is_planned() ? action.about : world_.requested;
    const bool of_silence = action.lesson != Lesson::kFailed;
    const bool is_the_last = action.kind == Kind::kDeliver || action.kind == Kind::kTold;
    EXPECT_FALSE(is_the_last && !of_silence && asked().outcome == ETIMEDOUT)
        << "silence, where nobody has answered, may be the network's own";
    run_.lessons.push_back({action.lesson, about, of_silence ? action.silent_ms : 0});
    if (of_silence && action.silent_ms >= kSilentMs) silent_ms_[about] = now_;
    if (action.lesson != Lesson::kLeft) return;
    EXPECT_EQ(about, position());
    forget_probe(about);
    probes_.push_back(probe_of(about));
    machine().probing(about, {}, now_);
  }

  // ---- The socket ----

  // An attempt in flight that is to be taken back may be answered just now. Then nothing is to be
  // learnt of its silence.
  bool is_answered_late(const Action& action) {
    const bool takes_back = action.kind == Kind::kConnect || action.kind == Kind::kDeliver;
    return takes_back && !run_.asked.empty() && asked().outcome == EINPROGRESS &&
           run_.asked.size() - 1 == world_.answered_when_taken_back;
  }

  Action answer_late() {
    run_.answered_late = true;
    asked().outcome = 0;
    return machine().seen(host().accepted, now_);
  }

  void begin() { machine().begin(world_.waits, now_, world_.first_look_ms); }

  bool ends_with(const Action& action) {
    return action.kind == Kind::kConnected || action.kind == Kind::kDeliver ||
           action.kind == Kind::kLeave || action.kind == Kind::kTold ||
           (action.kind == Kind::kPause && run_.resumed >= world_.comes_back);
  }

  Action carry_out(const Action& action) {
    switch (action.kind) {
      case Kind::kPlan:
        return plan();
      case Kind::kReadError: {
        const int error = world_.error_is_stolen ? 0 : socket_error_;
        if (error != 0) end_attempt(error);
        return machine().error_read(error, now_);
      }
      case Kind::kConnect:
        return move_to(action.position);
      case Kind::kRelease: {
        EXPECT_EQ(action.position, position());
        EXPECT_EQ(host().fault.action, FaultAction::kDelay);
        EXPECT_EQ(now_ - kStart, asked().at_ms + host().fault.argument);
        Attempt made;
        made.outcome = connect_socket();
        return tell(made);
      }
      case Kind::kProbe:
        return ask_by_probe(action.position);
      case Kind::kWait:
        return wait();
      case Kind::kPause:
        EXPECT_EQ(machine().state(), State::kPaused);
        return come_back();
      default:
        ADD_FAILURE() << "not to be carried out";
        return {Kind::kLeave};
    }
  }

  Action plan() {
    EXPECT_EQ(machine().state(), State::kPlanning);
    Destinations all;
    all.requested = world_.requested;
    for (std::size_t i = 0; i < world_.hosts.size(); ++i) {
      if (world_.nowhere && i != world_.requested) continue;
      const Host& host = world_.hosts[i];
      all.candidates.add(i);
      if (host.ipv6) all.ipv6.add(i);
      if (host.parked && (i != world_.requested || instead_)) all.parked.add(i);
      if (host.known_silent && i != world_.requested) all.silent.add(i);
    }
    const Distance distance = world_.hosts[world_.requested].distance;
    if (instead_) run_.log.push_back({world_.requested, kParked, 0, {}});
    return machine().planned(all, world_.limits, distance, now_);
  }

  [[nodiscard]] bool is_known_silent(std::size_t of) const {
    const auto found = silent_ms_.find(of);
    return found != silent_ms_.end() && now_ - found->second < kSilentForMs - kProbeMs;
  }

  // Checks the contract about where the socket may go (design 2.7).
  void check_move(std::size_t to) {
    if (run_.asked.empty()) return;
    const bool in_silence = asked().outcome == EINPROGRESS;
    const std::uint64_t given = now_ - kStart - asked().at_ms;
    const bool is_heard = heard_.contains(to) || heard_again_.contains(to);
    EXPECT_TRUE(is_heard || heard_.empty()) << "somebody else has answered";
    if (!in_silence) {
      EXPECT_TRUE(is_heard || !is_known_silent(to) || to == world_.requested)
          << "to one that is known to be silent";
      return;
    }
    // Without probes each address has its share of the time, and no more.
    if (!world_.limits.probes) return;
    if (is_heard) {
      const std::uint32_t rtt = host().distance.rtt_ms;
      // When there is little time, the wait is a share of it.
      const bool has_time = world_.limits.program_ms == 0 && run_.refused_ms.empty();
      if (rtt != 0 && has_time) {
        EXPECT_GE(given, std::min<std::uint64_t>(rtt + rtt / 2 + kOverdueMarginMs, 2000))
            << "not overdue";
      } else if (rtt == 0 && has_time && !next_rtt_known_) {
        EXPECT_GE(given, world_.limits.attempt_delay_ms) << "not overdue";
      } else if (run_.refused_ms.empty()) {
        EXPECT_GE(given, kShortestDelayMs) << "not overdue";
      }
      return;
    }
    ADD_FAILURE() << "left in silence for one that has not answered";
  }

  Action move_to(std::size_t to) {
    EXPECT_EQ(machine().position(), run_.asked.empty() ? world_.requested : position())
        << "whose attempt is in flight";
    check_move(to);
    EXPECT_FALSE(refused_.contains(to)) << "it has refused";
    if (run_.asked.size() >= world_.socket_lost_before) {
      run_.lost = true;
      return machine().lost_socket();
    }
    if (to == world_.forgotten) {
      run_.forgot = true;
      return machine().lost_address();
    }
    next_rtt_known_ = heard_.erase(to) + heard_again_.erase(to) != 0;
    if (next_rtt_known_) gone_to_.insert(to);
    return ask(to);
  }

  // Asks the address: what comes back at once, and everything else is in flight.
  Action ask(std::size_t to) {
    note_end_in_log();
    run_.asked.push_back({to, now_ - kStart, 0, EINPROGRESS});
    Attempt made;
    made.outcome = EINPROGRESS;
    made.began_ms = now_;
    made.distance = host().distance;
    made.fault = host().fault;
    run_.log.push_back({to, 0, 0, made.fault});
    answer_ms_ = gives_up_ms_ = syn_ms_ = kNever;
    switch (made.fault.action) {
      case FaultAction::kRefuse:
        made.outcome = ECONNREFUSED;
        break;
      case FaultAction::kReset:  // after its handshake
        answer_ms_ = now_;
        made.outcome = world_.waits ? 0 : EINPROGRESS;
        break;
      case FaultAction::kErrno:
        made.outcome = static_cast<int>(made.fault.argument);
        break;
      case FaultAction::kSilent:
        gives_up_ms_ = now_ + world_.kernel_ms;
        break;
      case FaultAction::kDelay:
        break;
      default:
        made.outcome = connect_socket();
    }
    return tell(made);
  }

  Action tell(const Attempt& made) {
    if (made.outcome != EINTR && made.outcome != EINPROGRESS) end_attempt(made.outcome);
    const Action next = machine().started(made, now_);
    if (machine().is_planned()) {
      EXPECT_EQ(machine().position(), position());
    }
    return next;
  }

  void end_attempt(int outcome) {
    asked().outcome = outcome;
    if (outcome != 0) note_error(position(), outcome);
  }

  void note_error(std::size_t of, int error) {
    run_.errors[of].insert(error);
    run_.refused_ms.try_emplace(of, now_ - kStart);
    if (moves_on(error)) refused_.insert(of);
  }

  void note_end_in_log() {
    if (run_.asked.empty()) return;
    run_.log.back().error = asked().outcome;
    run_.log.back().took_ms = asked().given_ms;
  }

  struct Answer {
    std::uint64_t at_ms;
    int error;
  };

  [[nodiscard]] Answer network(std::size_t of, std::uint64_t from_ms) const {
    const Host& host = world_.hosts[of];
    const std::uint64_t answer = from_ms + host.answers_after_ms;
    if (from_ms < kStart + host.up_after_ms) return {answer, ECONNREFUSED};
    if (host.silent) return {kNever, 0};
    return {answer, host.error};
  }

  // Every third attempt is cut short by a signal that the program does not hear of.
  int connect_socket() {
    Answer answer = network(position(), now_);
    if (host().for_probes_only && answer.error == 0) answer.at_ms = kNever;
    if (host().loses_first_syn && attempts_at(position()) == 1)
      answer = network(position(), now_ + 1000);
    const bool at_once = answer.at_ms == now_;
    answer_ms_ = answer.at_ms;
    socket_error_ = answer.error;
    gives_up_ms_ = now_ + world_.kernel_ms;
    syn_ms_ = syn_began_ms_ = now_;
    if (at_once && (answer.error != 0 || world_.waits)) return answer.error;
    return run_.asked.size() % 3 == 0 ? EINTR : EINPROGRESS;
  }

  [[nodiscard]] long attempts_at(std::size_t where) const {
    return std::count_if(run_.asked.begin(), run_.asked.end(),
                         [&](const Asked& asked) { return asked.position == where; });
  }

  // ---- Probes ----

  Asking probe_of(std::size_t of) {
    Asking probe{of, now_, kNever, 0, false};
    const Fault& fault = world_.hosts[of].fault;
    Answer answer = network(of, fault.action == FaultAction::kDelay ? now_ + fault.argument : now_);
    if (fault.action == FaultAction::kSilent) answer.at_ms = kNever;
    if (fault.action == FaultAction::kRefuse) answer = {now_, ECONNREFUSED};
    if (fault.action == FaultAction::kErrno) answer = {now_, static_cast<int>(fault.argument)};
    probe.answer_ms = answer.at_ms;
    probe.error = answer.error;
    run_.syns[of].push_back(now_ - kStart);
    if (answer.at_ms > now_ + 1000) run_.syns[of].push_back(now_ - kStart + 1000);
    return probe;
  }

  void forget_probe(std::size_t of) {
    std::erase_if(probes_, [&](const Asking& probe) { return probe.position == of; });
  }

  [[nodiscard]] bool is_probed(std::size_t of) const {
    return std::any_of(probes_.begin(), probes_.end(),
                       [&](const Asking& probe) { return probe.position == of; });
  }

  Action ask_by_probe(std::size_t of) {
    EXPECT_LT(of, world_.hosts.size());
    EXPECT_FALSE(is_probed(of)) << "it is being asked";
    EXPECT_TRUE(of != position() || of == world_.requested);
    EXPECT_TRUE(!refused_.contains(of) || of == world_.requested) << "it has refused";
    EXPECT_TRUE(now_ - kStart >= kSilentMs || !world_.hosts[of].known_silent ||
                of == world_.requested)
        << "it is known to be silent";
    EXPECT_FALSE(run_.probes_failed);
    const std::size_t number = run_.probed.size();
    const int error = world_.hosts[of].error;
    if (number >= world_.no_probe_from || (error != 0 && !moves_on(error))) {
      run_.probes_failed = true;
      world_.limits.probes = false;
      machine().probed(of, Probe::kNone, 0, 0, now_);
    } else {
      run_.probed.push_back({of, now_ - kStart});
      probes_.push_back(probe_of(of));
      run_.most_probes = std::max(run_.most_probes, probes_.size());
      machine().probing(of, world_.hosts[of].distance, now_);
      look_at_probes();
    }
    return machine().seen(look(), now_);
  }

  void look_at_probes() {
    for (std::size_t i = probes_.size(); i-- > 0;) {
      const Asking probe = probes_[i];
      const std::uint64_t took = now_ - probe.began;
      const auto tell = [&](Probe what) {
        const Action learnt = machine().probed(probe.position, what, probe.error,
                                               static_cast<std::uint32_t>(took), now_);
        if (what == Probe::kFailed) {
          EXPECT_EQ(learnt.silent_ms, 0u) << "a refusal is no silence";
        }
        note_lesson(learnt);
      };
      if (probe.answer_ms <= now_) {
        probes_.erase(probes_.begin() + static_cast<std::ptrdiff_t>(i));
        if (probe.error == 0) {
          run_.any_answered = true;
          refused_.erase(probe.position);
          (gone_to_.contains(probe.position) ? heard_again_ : heard_).insert(probe.position);
          silent_ms_.erase(probe.position);
          tell(Probe::kAnswered);
        } else {
          heard_.erase(probe.position);
          heard_again_.erase(probe.position);
          if (!refused_.contains(probe.position)) note_in_log(probe.position, probe.error, took);
          note_error(probe.position, probe.error);
          refused_.insert(probe.position);
          tell(Probe::kFailed);
        }
      } else if (took >= kProbeMs) {
        probes_.erase(probes_.begin() + static_cast<std::ptrdiff_t>(i));
        tell(Probe::kOver);
      } else if (took >= kSilentMs && !probe.silence_told) {
        probes_[i].silence_told = true;
        note_in_log(probe.position, EINPROGRESS, took);
        tell(Probe::kSilent);
      }
    }
  }

  void note_in_log(std::size_t of, int error, std::uint64_t took_ms) {
    run_.log.insert(run_.log.end() - 1, {of, error, took_ms, {}});
  }

  // ---- Time ----

  [[nodiscard]] std::uint64_t shut_down_ms() {
    if (world_.shut_down_after_ms == kNever) return kNever;
    const std::uint64_t at = kStart + world_.shut_down_after_ms;
    return at < kStart + asked().at_ms || at >= answer_ms_ ? kNever : at;
  }

  SocketPhase look() {
    if (shut_down_ms() <= now_) {
      socket_error_ = ECONNRESET;
      return SocketPhase::kClosed;
    }
    if (answer_ms_ <= now_) {
      if (host().fault.action == FaultAction::kReset) return SocketPhase::kEnded;
      return socket_error_ == 0 ? host().accepted : SocketPhase::kClosed;
    }
    if (gives_up_ms_ <= now_) {
      socket_error_ = ETIMEDOUT;
      return SocketPhase::kGivenUp;
    }
    return SocketPhase::kConnecting;
  }

  Action wait() {
    EXPECT_FALSE(ConnectAttempts::is_over(machine().state()));
    const std::uint64_t event = std::min({answer_ms_, gives_up_ms_, shut_down_ms()});
    const std::uint64_t until = machine().until_ms();
    const std::uint64_t before = now_;
    if (signal_ms_ < std::min(event, until)) {
      let_pass_until(signal_ms_);
      return come_back();
    }
    EXPECT_FALSE(event == kNever && until == kNever) << "nobody wakes it any more";
    let_pass_until(std::min(event, until));
    // Each address may have something to tell in one moment, but nothing is asked for in vain.
    looks_ = now_ == before ? looks_ + 1 : 0;
    if (looks_ > 100) {
      ADD_FAILURE() << "it does not wait at all";
      return {Kind::kLeave};
    }
    look_at_probes();
    const SocketPhase phase = look();
    if (has_failed(phase) && world_.tells_the_truth && !world_.error_is_stolen) {
      run_.told = true;
      end_attempt(socket_error_);
      return machine().told(socket_error_, now_);
    }
    const Action next = machine().seen(phase, now_);
    if (next.kind == Kind::kConnected) asked().outcome = 0;
    if (next.kind == Kind::kTold && phase == SocketPhase::kGivenUp) end_attempt(ETIMEDOUT);
    return next;
  }

  // As the kernel does, a SYN is sent again after 1, 3, 7 .. seconds.
  void let_pass_until(std::uint64_t then_ms) {
    now_ = std::max(now_, then_ms);
    asked().given_ms = now_ - kStart - asked().at_ms;
    for (; syn_ms_ <= now_ && syn_ms_ < gives_up_ms_ && gives_up_ms_ != kNever;
         syn_ms_ += syn_ms_ - syn_began_ms_ + 1000) {
      run_.syns[position()].push_back(syn_ms_ - kStart);
    }
  }

  Action come_back() {
    ++run_.resumed;
    if (world_.signal_every_ms != kNever) signal_ms_ = now_ + world_.signal_every_ms;
    // The connect goes on without the program while it is busy elsewhere.
    EXPECT_EQ(machine().resumed(false, 0, now_).kind, Kind::kWait);
    const Action next = machine().resumed(world_.waits, world_.limits.program_ms, now_);
    EXPECT_EQ(next.kind, Kind::kWait);
    EXPECT_NE(machine().state(), State::kPaused);
    return next;
  }

  World world_;
  Played run_;
  std::vector<Asking> probes_;
  std::set<std::size_t> heard_;        // have answered a probe, and not been gone to since
  std::set<std::size_t> gone_to_;      // for that reason
  std::set<std::size_t> heard_again_;  // since then, which may count or not
  std::set<std::size_t> refused_;      // have answered with an error last
  std::map<std::size_t, std::uint64_t> silent_ms_;  // are known to be, since then
  std::uint64_t now_ = kStart;
  std::uint64_t answer_ms_ = kNever;
  std::uint64_t gives_up_ms_ = kNever;
  std::uint64_t syn_ms_ = kNever;  // the next one is sent
  std::uint64_t syn_began_ms_ = kNever;
  std::uint64_t signal_ms_ =
      world_.signal_every_ms == kNever ? kNever : kStart + world_.signal_every_ms;
  std::size_t looks_ = 0;  // in this millisecond
  int socket_error_ = 0;
  bool instead_ = false;
  bool next_rtt_known_ = false;  // of the attempt under way: from the answer to a probe
};

Played play(const World& world) { return Player(world).play(); }
Played play(const std::vector<Host>& hosts, std::size_t requested = 0,
            const Limits& limits = kDefaults) {
  World world;
  world.hosts = hosts;
  world.requested = requested;
  world.limits = limits;
  return play(world);
}

Host live(std::uint64_t after_ms = 0) { return {0, after_ms}; }
Host failing(int error, std::uint64_t after_ms = 0) { return {error, after_ms}; }
Host refused(std::uint64_t after_ms = 0) { return failing(ECONNREFUSED, after_ms); }
Host silent() { return {0, 0, true}; }
Host over_ipv6(Host host) {
  host.ipv6 = true;
  return host;
}
Host parked(Host host) {
  host.parked = true;
  return host;
}
Host known_silent(Host host) {
  host.known_silent = true;
  return host;
}
Host known(Host host, std::uint32_t rtt_ms) {
  host.distance.rtt_ms = rtt_ms;
  return host;
}
Host with_fault(Host host, FaultAction action, std::uint32_t argument = 0) {
  host.fault = {action, 1, argument};
  return host;
}

using Positions = std::vector<std::size_t>;
using Lessons = std::vector<Taught>;
using Probes = std::vector<Probed>;
using Times = std::vector<std::uint64_t>;

Positions order(const Played& run) {
  Positions positions;
  for (const Asked& asked : run.asked) positions.push_back(asked.position);
  return positions;
}

Positions probed(const Played& run) {
  Positions positions;
  for (const Probed& probe : run.probed) positions.push_back(probe.position);
  return positions;
}

Times began(const Played& run) {
  Times times;
  for (const Asked& asked : run.asked) times.push_back(asked.at_ms);
  return times;
}

// ---- What becomes of a connect ----

TEST(Connect, HealthyAndFarIsLeftForNobody) {
  const Played run = play({live(400), live(400), live(400)});
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(run.took_ms, 400u);
  EXPECT_EQ(order(run), (Positions{0}));
  EXPECT_EQ(run.probed, (Probes{{1, 100}, {2, 200}}));
  EXPECT_EQ(run.lessons, Lessons{});
}

TEST(Connect, WhoseDistanceIsKnownNeedsNoProbeInThatTime) {
  Played run = play({known(live(230), 140), live(10)});
  EXPECT_EQ(run.took_ms, 230u);
  EXPECT_EQ(run.probed, Probes{}) << "it is overdue after 240 ms";
  run = play({known(live(400), 300), known(live(20), 20)});
  EXPECT_EQ(run.probed, (Probes{{1, 330}})) << "where it is far, others are asked before";
  EXPECT_EQ(order(run), (Positions{0})) << "but it is overdue after 480 ms";
  EXPECT_EQ(run.took_ms, 400u);
  run = play({known(silent(), 300), live(20)});
  EXPECT_EQ(began(run), (Times{0, 480}));
}

TEST(Connect, UnequalOnesAreNotLeftForAGraceOfTheAnswersTime) {
  Played run = play({live(390), live(200)});
  EXPECT_EQ(run.took_ms, 390u) << "the other one has answered after 300, and the grace is 100";
  EXPECT_EQ(order(run), (Positions{0}));
  run = play({live(170), live(30)});
  EXPECT_EQ(order(run), (Positions{0, 1})) << "the grace is 30";
  EXPECT_LE(run.took_ms, 170u + 30u);
  run = play({live(420), live(150)});
  EXPECT_EQ(order(run), (Positions{0, 1}));
  EXPECT_LE(run.took_ms, 420u + 150u) << "worse by one round trip of the nearer, and once";
  EXPECT_EQ(play({known(live(420), 420), live(150)}).took_ms, 420u);
}

TEST(Connect, KnownDistanceIsOverdueAfterHalfAsLongAgain) {
  const Played run = play({known(live(1000), 100), known(live(20), 20)});
  EXPECT_EQ(run.probed, (Probes{{1, 180}}));
  EXPECT_EQ(order(run), (Positions{0, 1}));
  EXPECT_EQ(began(run), (Times{0, 200})) << "and no grace";
}

TEST(Connect, OthersAreTakenToBeAsFarAsTheOneThatIsKnown) {
  const Played run = play({known(silent(), 300), silent(), known(silent(), 20), live(20)});
  EXPECT_EQ(run.probed, (Probes{{1, 330}, {2, 660}, {3, 720}}));
}

TEST(Connect, FirstSilentIsLeftForTheSecondThatAnswers) {
  Played run = play({silent(), live(20)});
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(order(run), (Positions{0, 1}));
  EXPECT_LE(run.took_ms, 200u);
  EXPECT_EQ(run.probed, (Probes{{1, 100}}));
  EXPECT_EQ(run.lessons, (Lessons{{Lesson::kLeft, 0, 140}}));
  run = play({silent(), live(300)});
  EXPECT_EQ(order(run), (Positions{0, 1}));
  EXPECT_LE(run.took_ms, 1000u);
}

TEST(Connect, TwoSilentAreLeftForTheThirdThatAnswers) {
  const Played run = play({silent(), silent(), live(20)});
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(order(run), (Positions{0, 2}));
  EXPECT_LE(run.took_ms, 300u);
  EXPECT_EQ(run.probed, (Probes{{1, 100}, {2, 200}}));
  EXPECT_EQ(run.lessons, (Lessons{{Lesson::kLeft, 0, 240}}));
}

TEST(Connect, RefusedMovesOnAtOnce) {
  const Played run = play({refused(), refused(), live()});
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(run.took_ms, 0u);
  EXPECT_EQ(order(run), (Positions{0, 1, 2}));
  EXPECT_EQ(run.probed, Probes{});
}

TEST(Connect, RefusalOfAProbeIsTheTurnOfTheNext) {
  const Played run = play({silent(), refused(10), refused(), live(20)});
  EXPECT_EQ(run.probed, (Probes{{1, 100}, {2, 110}, {3, 110}}));
  EXPECT_EQ(order(run), (Positions{0, 3}));
}

TEST(Connect, ErrorMovesToWhoHasAnswered) {
  const Played run = play({refused(135), live(20), live(10)});
  EXPECT_EQ(order(run), (Positions{0, 1}));
  EXPECT_EQ(began(run), (Times{0, 135})) << "there is nothing to be patient with any more";
  EXPECT_EQ(run.took_ms, 155u);
}

TEST(Connect, ErrorMovesToWhoHasNotBeenAskedThenToWhoIsBeingAsked) {
  Played run = play({refused(130), silent(), live(20)});
  EXPECT_EQ(run.probed, (Probes{{1, 100}}));
  EXPECT_EQ(order(run), (Positions{0, 2}));
  run = play({refused(130), live(90)});
  EXPECT_EQ(run.probed, (Probes{{1, 100}}));
  EXPECT_EQ(order(run), (Positions{0, 1}));
  EXPECT_EQ(run.took_ms, 220u);
}

TEST(Connect, RefusedThenSilentIsToldInTheEnd) {
  const Played run = play({refused(), silent(), silent()});
  EXPECT_EQ(run.end(), State::kFailed);
  EXPECT_EQ(run.result, ECONNREFUSED);
  EXPECT_EQ(run.took_ms, kLastWaitMs);
  EXPECT_EQ(order(run), (Positions{0, 1})) << "never in silence";
  EXPECT_EQ(run.probed, (Probes{{2, 100}, {0, 400}, {0, 800}, {0, 1200}}));
  EXPECT_EQ(
      run.lessons,
      (Lessons{{Lesson::kFailed, 0}, {Lesson::kSilent, 1, 1000}, {Lesson::kSilent, 2, 1000}}));
}

TEST(Connect, RefusedThenKnownToBeSilentIsToldAtOnce) {
  Played run = play({refused(), known_silent(silent()), known_silent(live())});
  EXPECT_EQ(run.result, ECONNREFUSED);
  EXPECT_EQ(run.took_ms, 0u);
  EXPECT_EQ(order(run), (Positions{0}));
  run = play({refused(1500), silent(), silent()});
  EXPECT_EQ(run.result, ECONNREFUSED);
  EXPECT_EQ(run.took_ms, 1500u) << "it is known by now";
  EXPECT_EQ(order(run), (Positions{0}));
}

TEST(Connect, RefusedThenSilentTakesHalfOfTheProgramsTime) {
  Limits limits = kDefaults;
  limits.program_ms = 1000;
  Played run = play({refused(), silent(), silent()}, 0, limits);
  EXPECT_EQ(run.result, ECONNREFUSED);
  EXPECT_EQ(run.took_ms, 500u);
  run = play({refused(600), silent()}, 0, limits);
  EXPECT_EQ(run.took_ms, 600u) << "and no longer than it has taken";
  limits.program_ms = 10'000;
  EXPECT_EQ(play({refused(), silent()}, 0, limits).took_ms, kLastWaitMs);
}

TEST(Connect, RefusedOneThatComesUpMeanwhileIsReached) {
  std::vector<Host> hosts{live(10), silent(), silent()};
  hosts[0].up_after_ms = 500;
  const Played run = play(hosts);
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(order(run), (Positions{0, 1, 0}));
  EXPECT_LE(run.took_ms, 900u);
  EXPECT_EQ(run.lessons.size(), 2u);
  EXPECT_EQ(run.lessons[0], (Taught{Lesson::kFailed, 0}));
  EXPECT_EQ(run.lessons[1],
            (Taught{Lesson::kLeft, 1, static_cast<std::uint32_t>(run.asked[1].given_ms)}));
}

TEST(Connect, RequestedSilentAndAllOthersRefuseIsTheKernels) {
  World world;
  world.hosts = {silent(), refused(10), failing(EHOSTUNREACH, 20)};
  for (const bool waits : {true, false}) {
    world.waits = waits;
    const Played run = play(world);
    EXPECT_EQ(run.result, ETIMEDOUT);
    EXPECT_EQ(run.took_ms, kKernelMs);
    EXPECT_EQ(order(run), (Positions{0}));
    EXPECT_EQ(run.lessons,
              (Lessons{{Lesson::kFailed, 1}, {Lesson::kFailed, 2}, {Lesson::kSilent, 0, 1000}}));
  }
}

TEST(Connect, AllSilentIsTheKernels) {
  World world;
  world.hosts = {silent(), silent(), silent()};
  for (const bool waits : {true, false}) {
    world.waits = waits;
    const Played run = play(world);
    EXPECT_EQ(run.end(), waits ? State::kFailed : State::kLeft)
        << "the kernel tells it, unless in connect(2)";
    EXPECT_EQ(run.result, ETIMEDOUT);
    EXPECT_EQ(run.took_ms, kKernelMs);
    EXPECT_EQ(order(run), (Positions{0}));
    EXPECT_EQ(probed(run), (Positions{1, 2, 1, 2, 1, 2})) << "once more after 30 s, then 60";
    EXPECT_GE(run.probed[2].at_ms, 30'000u);
    EXPECT_GE(run.probed[4].at_ms, 90'000u);
  }
}

TEST(Connect, WhoWasSilentAMomentAgoIsAskedWhenNobodyElseAnswers) {
  World world;
  world.hosts = {silent(), known_silent(live(20)), silent()};
  const Played run = play(world);
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(run.probed, (Probes{{2, 100}, {1, 1100}}));
  EXPECT_LE(run.took_ms, 1200u);
}

TEST(Connect, LostSecondHandshakeIsMadeElsewhere) {
  std::vector<Host> hosts{silent(), live(20), live(30)};
  hosts[1].loses_first_syn = true;
  Played run = play(hosts);
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(order(run), (Positions{0, 1, 2}));
  EXPECT_LE(run.took_ms, 300u);
  hosts[2] = silent();
  run = play(hosts);
  EXPECT_EQ(order(run), (Positions{0, 1})) << "where there is an elsewhere";
  EXPECT_EQ(run.took_ms, run.asked[1].at_ms + 1020);
}

// The address was left in silence, but only the packet of its attempt was lost.
TEST(Connect, OneThatWasLeftIsGoneBackToWhenItAnswers) {
  std::vector<Host> hosts{live(20), live(20)};
  hosts[0].loses_first_syn = true;
  hosts[1].for_probes_only = true;
  const Played run = play(hosts);
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(order(run), (Positions{0, 1, 0}));
  EXPECT_LE(run.took_ms, 300u);
}

TEST(Connect, AnswerToAProbeIsNoPromise) {
  std::vector<Host> hosts{silent(), live(20), live(20), live(30)};
  hosts[1].for_probes_only = hosts[2].for_probes_only = true;
  Played run = play(hosts);
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(order(run), (Positions{0, 1, 2, 3}));
  EXPECT_LE(run.took_ms, 400u);
  run = play({silent(), refused(20), failing(ECONNREFUSED, 20), live(30)});
  EXPECT_EQ(order(run), (Positions{0, 3}));
}

TEST(Connect, AnswersToProbesAloneDoNotKeepARefusalFromBeingToldForever) {
  std::vector<Host> hosts{live(10), silent()};
  hosts[0].up_after_ms = 100;
  hosts[0].for_probes_only = true;
  const Played run = play(hosts);
  EXPECT_EQ(run.result, ECONNREFUSED);
  EXPECT_LE(run.took_ms, kLastWaitMs + kSilentMs);
}

TEST(Connect, AllSilentAfterAMoveTakesNoLongerThanTheKernel) {
  World world;
  world.hosts = {silent(), live(20)};
  world.hosts[1].for_probes_only = true;
  for (const bool waits : {true, false}) {
    world.waits = waits;
    const Played run = play(world);
    EXPECT_EQ(run.result, ETIMEDOUT);
    EXPECT_LE(run.took_ms, kKernelMs + 500);
  }
}

TEST(Connect, ParkedOneAndAllOthersSilentTakeNoLongerThanTheKernel) {
  World world;
  world.hosts = {parked(silent()), silent()};
  for (const bool waits : {true, false}) {
    world.waits = waits;
    const Played run = play(world);
    EXPECT_EQ(order(run), (Positions{1}));
    EXPECT_EQ(run.result, ETIMEDOUT);
    EXPECT_EQ(run.took_ms, kKernelMs);
  }
}

TEST(Connect, ParkedOneThatRefusesAProbeHasRefused) {
  const Played run = play({parked(refused()), silent()});
  EXPECT_EQ(order(run), (Positions{1}));
  EXPECT_EQ(run.probed.front(), (Probed{0, 100}));
  EXPECT_EQ(run.result, ECONNREFUSED);
  EXPECT_EQ(run.took_ms, 100u + kLastWaitMs);
}

// The wait is not bounded for an address that is known to live.
TEST(Connect, HalfOfTheProgramsTimeIsNotTheEndOfWhoHasAnswered) {
  Limits limits = kDefaults;
  limits.program_ms = 300;
  const Played run = play({refused(200), live(80)}, 0, limits);
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(began(run), (Times{0, 200}));
}

// A program whose processes end in a moment meets the dead address each time: none lives to see its
// probe end.
TEST(Connect, FoundDeadBeforeOrSilentForItsKnownDistanceTwiceIsFoundDead) {
  std::vector<Host> hosts{silent(), live(20)};
  hosts[0].distance.rtt_ms = 20;
  Played run = play(hosts);
  EXPECT_EQ(run.lessons, (Lessons{{Lesson::kLeft, 0, overdue_ms(20) + 20}}));
  hosts[0].distance.silent_ms = overdue_ms(20);
  run = play(hosts);
  EXPECT_EQ(run.lessons, (Lessons{{Lesson::kFailed, 0}}));
  hosts[0].distance = {0, 60'000, true};
  run = play(hosts);
  EXPECT_EQ(run.lessons, (Lessons{{Lesson::kFailed, 0}}));
  EXPECT_LE(run.took_ms, 200u) << "and is not waited for as if it were far";
}

TEST(Connect, OnceSilentIsWaitedForAsLongAsInARace) {
  std::vector<Host> hosts{live(kMayBeFarMs), live(20)};
  for (const std::uint32_t silent_ms : {100u, 60'000u}) {
    hosts[0] = live(kMayBeFarMs);
    hosts[0].distance.silent_ms = silent_ms;
    Played run = play(hosts);
    EXPECT_EQ(run.took_ms, kMayBeFarMs) << "it is overdue after that";
    hosts[0] = silent();
    hosts[0].distance.silent_ms = silent_ms;
    run = play(hosts);
    EXPECT_EQ(began(run), (Times{0, kMayBeFarMs})) << "however long it was";
    EXPECT_EQ(run.lessons, (Lessons{{Lesson::kFailed, 0}})) << "a probe would find out no more";
  }
  hosts = {silent(), live(1500)};
  const Played run = play(hosts);
  EXPECT_GE(run.asked[1].at_ms, 1600u);
  EXPECT_TRUE(std::none_of(run.lessons.begin(), run.lessons.end(), [](const Taught& lesson) {
    return lesson.lesson == Lesson::kFailed;
  })) << "it was not silent before";
}

TEST(Connect, ProgramsOwnTimeIsSharedAndKept) {
  Limits limits = kDefaults;
  limits.program_ms = 100;
  const Played reached = play({silent(), silent(), live(10)}, 0, limits);
  EXPECT_EQ(reached.result, 0);
  EXPECT_EQ(reached.probed, (Probes{{1, 33}, {2, 66}}));
  EXPECT_LT(reached.took_ms, 100u);
  const Played none = play({silent(), silent()}, 0, limits);
  EXPECT_EQ(none.result, EINPROGRESS);
  EXPECT_TRUE(none.left_in_flight);
  EXPECT_EQ(none.took_ms, 100u);
}

TEST(Connect, EachOfMoreThanThereIsTimeForIsAskedOnce) {
  std::vector<Host> hosts(1000, silent());
  Played run = play(hosts);
  EXPECT_EQ(run.result, ETIMEDOUT);
  EXPECT_LE(run.took_ms, kKernelMs + kLastWaitMs);
  EXPECT_EQ(run.most_probes, kMostProbes);
  const Positions all = probed(run);
  EXPECT_EQ(std::set<std::size_t>(all.begin(), all.end()).size(), all.size());
  hosts.resize(400, silent());
  hosts.push_back(live(20));
  run = play(hosts);
  EXPECT_EQ(run.result, 0);
}

// The attempt is not overdue, but there is no time left for it.
TEST(Connect, RefusalIsNotToldBeforeWhoHasAnsweredWasGoneTo) {
  Limits limits = kDefaults;
  limits.attempt_delay_ms = 600;
  const Played run = play({refused(), silent(), live(780)}, 0, limits);
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(order(run), (Positions{0, 1, 2}));
  EXPECT_EQ(began(run)[2], kLastWaitMs) << "its grace would end later";
}

TEST(Connect, LastWaitIsSharedHoweverOftenTheRequestedOneIsAskedAgain) {
  const Played run = play({refused(), known(silent(), 1500), live(20)});
  EXPECT_EQ(run.probed, (Probes{{0, 400}, {2, kLastWaitMs / 2}}));
  EXPECT_EQ(began(run), (Times{0, 0, kLastWaitMs / 2 + 20}));
}

TEST(Connect, RequestedAddressFirstThenTheResolversOrder) {
  const Played run = play({refused(), refused(), refused(), refused()}, 2);
  EXPECT_EQ(order(run), (Positions{2, 0, 1, 3}));
  EXPECT_EQ(run.result, ECONNREFUSED);
}

TEST(Connect, FamiliesAlternate) {
  EXPECT_EQ(order(play({refused(), over_ipv6(refused()), over_ipv6(refused()), over_ipv6(refused()),
                        refused()},
                       1)),
            (Positions{1, 0, 2, 4, 3}));
  EXPECT_EQ(probed(play({silent(), silent(), over_ipv6(silent()), over_ipv6(live())})),
            (Positions{2, 1, 3}));
}

TEST(Connect, EightProbesAtATime) {
  std::vector<Host> hosts(20, silent());
  hosts.push_back(live(20));
  const Played run = play(hosts);
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(run.most_probes, kMostProbes);
  EXPECT_EQ(run.probed[0].at_ms, 100u);
  EXPECT_EQ(run.probed[1].at_ms, 200u);
  EXPECT_EQ(run.probed[7].at_ms, 200u + 6 * 250u) << "the later ones, 250 ms apart";
  EXPECT_GE(run.probed[8].at_ms, 2100u) << "a silent one gives its place to the next";
  EXPECT_LE(run.took_ms, 6000u);
}

TEST(Connect, ParkedAreAskedLast) {
  const std::vector<Host> hosts{parked(live()), refused(), parked(refused()), refused(), live()};
  EXPECT_EQ(order(play(hosts)), (Positions{1, 3, 4}));
  EXPECT_EQ(order(play(hosts, 3)), (Positions{3, 1, 4}));
}

TEST(Connect, ParkedAreNeverDropped) {
  const Played run = play({parked(refused()), refused(), parked(live())});
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(order(run), (Positions{1, 0, 2}));
}

TEST(Connect, WhenAllAreParkedTheOrderIsTheUsualOne) {
  const Played run = play({parked(refused()), parked(refused()), parked(refused())}, 1);
  EXPECT_EQ(order(run), (Positions{1, 0, 2}));
  EXPECT_EQ(run.result, ECONNREFUSED);
}

TEST(Connect, ParkedOneIsAskedAsUsualWhenAllOthersAreSilent) {
  EXPECT_EQ(order(play({parked(live()), known_silent(live())})), (Positions{0}));
}

TEST(Connect, ParkedOneThatLivesIsReachedByAProbe) {
  const Played run = play({parked(live(20)), silent()});
  EXPECT_EQ(order(run), (Positions{1, 0}));
  EXPECT_LE(run.took_ms, 200u);
}

TEST(Connect, ErrorIsTheRequestedAddresss) {
  const std::vector<Host> hosts{refused(), failing(EHOSTUNREACH), refused()};
  EXPECT_EQ(play(hosts, 1).result, EHOSTUNREACH);
  EXPECT_EQ(play(hosts, 0).result, ECONNREFUSED);
}

TEST(Connect, ErrorsOfTheCallAreDeliveredAtOnce) {
  for (const int error :
       {EBADF, ENOTSOCK, EFAULT, EISCONN, EALREADY, EAFNOSUPPORT, EAGAIN, ENOBUFS, ENOMEM}) {
    const Played run = play({failing(error), live()});
    EXPECT_EQ(run.result, error);
    EXPECT_EQ(run.asked.size(), 1u);
  }
}

TEST(Connect, ErrorOfTheCallAtALaterAddressDeliversTheRequestedOnes) {
  EXPECT_EQ(play({refused(), failing(ENOBUFS), live()}).result, ECONNREFUSED);
}

TEST(Connect, InterruptedAndResumedItIsTheSame) {
  World world;
  world.hosts = {silent(), live(20)};
  world.signal_every_ms = 30;
  const Played run = play(world);
  EXPECT_EQ(order(run), (Positions{0, 1}));
  EXPECT_LE(run.took_ms, 200u);
  EXPECT_GE(run.resumed, 3);
}

TEST(Connect, ResumedGoesOnWithWhatIsInFlight) {
  World world;
  world.hosts = {live(700), refused()};
  world.limits.program_ms = 300;
  world.comes_back = 3;
  const Played run = play(world);
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(run.resumed, 2);
  EXPECT_EQ(order(run), (Positions{0}));
  EXPECT_EQ(run.took_ms, 700u);
}

TEST(Connect, NowhereElseToGoIsTheKernels) {
  World world;
  world.hosts = {silent()};
  Played run = play(world);
  EXPECT_EQ(run.end(), State::kLeft);
  EXPECT_EQ(run.result, EINPROGRESS);
  EXPECT_EQ(run.took_ms, 0u);
  EXPECT_TRUE(run.lessons.empty());
  world.hosts = {refused(), live()};
  world.nowhere = true;
  run = play(world);
  EXPECT_EQ(run.end(), State::kLeft);
  EXPECT_EQ(run.result, ECONNREFUSED);
}

TEST(Connect, FirstAttemptOfANonBlockingOneIsLookedAtLater) {
  World world;
  world.hosts = {live(150), live(200)};
  world.waits = false;
  world.first_look_ms = 100;
  const Played run = play(world);
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(run.took_ms, 150u);
  EXPECT_EQ(order(run), (Positions{0}));
  EXPECT_EQ(run.probed, (Probes{{1, 100}})) << "its delay counts from its beginning";
  EXPECT_TRUE(run.machine.is_planned());
  world.hosts = {live(50), live()};
  EXPECT_FALSE(play(world).machine.is_planned()) << "most connects never are";
}

TEST(Connect, ShutdownByAnotherThreadEndsIt) {
  World world;
  world.hosts = {silent(), silent(), silent()};
  for (const std::uint64_t after : {5, 100, 300}) {
    world.shut_down_after_ms = after;
    const Played run = play(world);
    EXPECT_EQ(run.end(), State::kLeft);
    EXPECT_EQ(run.result, ECONNRESET);
    EXPECT_EQ(run.took_ms, after);
  }
}

TEST(Connect, ErrorReadBySomebodyElseIsNotGuessed) {
  World world;
  world.hosts = {refused(50), live()};
  world.error_is_stolen = true;
  const Played run = play(world);
  EXPECT_EQ(run.end(), State::kLeft);
  EXPECT_EQ(run.result, ECONNABORTED);
  EXPECT_TRUE(run.lessons.empty());
}

TEST(Connect, ConnectionThatIsGoneAgainWasOne) {
  World world;
  world.hosts = {live(50), live()};
  world.hosts[0].accepted = SocketPhase::kEnded;
  for (const bool waits : {true, false}) {
    world.waits = waits;
    const Played run = play(world);
    EXPECT_EQ(run.result, 0) << "what came after it is the program's to see";
    EXPECT_EQ(order(run), (Positions{0}));
    EXPECT_TRUE(run.lessons.empty());
  }
}

TEST(Connect, RefusalOnPurposeMovesOn) {
  const Played run = play({with_fault(live(), FaultAction::kRefuse), live()});
  EXPECT_EQ(order(run), (Positions{0, 1}));
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(run.lessons, (Lessons{{Lesson::kFailed, 0}}));
}

TEST(Connect, ResetOnPurposeIsAConnectionWhoeverWaits) {
  World world;
  world.hosts = {with_fault(silent(), FaultAction::kReset), live()};
  for (const bool waits : {true, false}) {
    world.waits = waits;
    const Played run = play(world);
    EXPECT_EQ(run.end(), State::kConnected);
    EXPECT_EQ(order(run), (Positions{0}));
    EXPECT_TRUE(run.lessons.empty());
  }
}

TEST(Connect, ErrorOfAShutdownMadeOnPurposeEndsItToo) {
  const Host reset = with_fault(live(), FaultAction::kErrno, ECONNRESET);
  Played run = play({reset, live()});
  EXPECT_EQ(run.end(), State::kLeft);
  EXPECT_EQ(run.result, ECONNRESET);
  EXPECT_TRUE(run.lessons.empty());
  run = play({refused(), reset, live()});
  EXPECT_EQ(run.end(), State::kLeft);
  EXPECT_EQ(run.result, ECONNRESET) << "and not the requested address's error";
  EXPECT_EQ(run.lessons, (Lessons{{Lesson::kFailed, 0}}));
}

TEST(Connect, AnsweredInTheLastMomentIsConnectedThere) {
  World world;
  world.hosts = {silent(), live(20)};
  world.answered_when_taken_back = 0;
  for (const SocketPhase phase : {SocketPhase::kConnected, SocketPhase::kEnded}) {
    world.hosts[0].accepted = phase;
    const Played run = play(world);
    EXPECT_EQ(run.end(), State::kConnected);
    EXPECT_EQ(run.result, 0);
    EXPECT_EQ(run.took_ms, 140u);
    EXPECT_EQ(order(run), (Positions{0}));
    EXPECT_EQ(run.machine.position(), 0);
    EXPECT_EQ(run.lessons, Lessons{}) << "it was not silent after all";
  }
}

TEST(Connect, AnsweredBeforeTheFailureIsDeliveredIsConnected) {
  World world;
  world.hosts = {refused(), silent()};
  world.answered_when_taken_back = 1;
  const Played run = play(world);
  EXPECT_EQ(run.end(), State::kConnected);
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(run.took_ms, kLastWaitMs);
  EXPECT_EQ(order(run), (Positions{0, 1}));
  EXPECT_EQ(run.machine.position(), 1);
}

TEST(Connect, FailureThatTheProgramWasToldIsNotGoneOnWith) {
  World world;
  world.tells_the_truth = true;
  for (const bool waits : {true, false}) {
    world.waits = waits;
    world.hosts = {refused(5), live()};
    Played run = play(world);
    EXPECT_EQ(run.end(), State::kLeft);
    EXPECT_EQ(run.result, ECONNREFUSED);
    EXPECT_EQ(order(run), (Positions{0}));
    EXPECT_EQ(run.lessons, (Lessons{{Lesson::kFailed, 0}}));
    EXPECT_EQ(run.machine.is_planned(), waits);
    world.hosts = {failing(ENETUNREACH), failing(EHOSTUNREACH, 50), live()};
    run = play(world);
    EXPECT_EQ(run.result, EHOSTUNREACH) << "the truth, and not the requested address's error";
    EXPECT_EQ(run.lessons, (Lessons{{Lesson::kFailed, 1}}));
  }
}

TEST(Connect, DelayedAttemptIsReleasedInTime) {
  const Played run = play({with_fault(live(30), FaultAction::kDelay, 150), silent()});
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(order(run), (Positions{0}));
  EXPECT_EQ(run.took_ms, 180u);
}

TEST(Connect, DelayedAttemptIsLeftForOneThatHasAnswered) {
  const Played run = play({with_fault(live(), FaultAction::kDelay, 5000), live(20)});
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(order(run), (Positions{0, 1}));
  EXPECT_LE(run.took_ms, 200u);
  EXPECT_EQ(play({with_fault(live(), FaultAction::kDelay, 5000), silent()}).took_ms, 5000u);
}

TEST(Connect, DelayIsEndedWhereThereIsNowhereElseToGo) {
  const Played run = play({with_fault(live(), FaultAction::kDelay, 300)});
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(run.took_ms, 300u);
}

TEST(Connect, DelayGoesOnWhileTheProgramsTimeIsUp) {
  World world;
  world.hosts = {with_fault(live(), FaultAction::kDelay, 250)};
  world.limits.program_ms = 100;
  world.comes_back = 2;
  const Played run = play(world);
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(run.took_ms, 250u);
}

TEST(Connect, LostSocketEndsIt) {
  World world;
  world.hosts = {refused(), live()};
  world.socket_lost_before = 1;
  const Played run = play(world);
  EXPECT_EQ(run.end(), State::kLeft);
  EXPECT_EQ(run.result, EBADF);
  EXPECT_EQ(run.asked.size(), 1u);
}

TEST(Connect, LostAddressDeliversTheRequestedOnesError) {
  World world;
  world.hosts = {refused(), live()};
  world.forgotten = 1;
  EXPECT_EQ(play(world).result, ECONNREFUSED);
  world.hosts[0] = silent();
  EXPECT_EQ(play(world).result, EHOSTUNREACH);
}

// ---- Without probes ----

Limits without_probes() {
  Limits limits = kDefaults;
  limits.probes = false;
  return limits;
}

TEST(WithoutProbes, EachIsAskedForASecondAndOnce) {
  const Played run = play({silent(), silent(), live(20)}, 0, without_probes());
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(order(run), (Positions{0, 1, 2}));
  EXPECT_EQ(began(run), (Times{0, 1000, 2000}));
  EXPECT_EQ(run.probed, Probes{});
  EXPECT_EQ(run.lessons, (Lessons{{Lesson::kSilent, 0, 1000}, {Lesson::kSilent, 1, 1000}}));
}

TEST(WithoutProbes, FarOnesAreReachedWhereTheyAreAsked) {
  EXPECT_EQ(play({live(600), live(600)}, 0, without_probes()).took_ms, 600u);
  EXPECT_EQ(began(play({known(silent(), 900), live(20)}, 0, without_probes())), (Times{0, 1380}));
}

TEST(WithoutProbes, AllSilentTakesAsLongAsTheKernel) {
  const Played run = play({silent(), silent(), silent()}, 0, without_probes());
  EXPECT_EQ(run.end(), State::kFailed);
  EXPECT_EQ(run.result, ETIMEDOUT);
  EXPECT_EQ(run.took_ms, kKernelMs);
  EXPECT_EQ(began(run), (Times{0, 1000, 2000}));
  EXPECT_EQ(run.lessons.back(), (Taught{Lesson::kSilent, 2, kKernelMs - 2000}));
}

TEST(WithoutProbes, RefusedThenSilentIsToldInTheEndToo) {
  const Played run = play({refused(), silent(), silent()}, 0, without_probes());
  EXPECT_EQ(run.result, ECONNREFUSED);
  EXPECT_EQ(run.took_ms, kLastWaitMs);
  EXPECT_EQ(order(run), (Positions{0, 1, 2}));
}

TEST(WithoutProbes, NobodyElseToAskIsTheKernels) {
  World world;
  world.limits = without_probes();
  world.hosts = {silent(), known_silent(live())};
  world.waits = false;
  const Played run = play(world);
  EXPECT_EQ(run.end(), State::kLeft);
  EXPECT_EQ(run.result, ETIMEDOUT);
  EXPECT_EQ(order(run), (Positions{0}));
}

// The kernel ends it, however long that takes: TCP_SYNCNT and such are the program's.
TEST(WithoutProbes, KernelsTimeIsTheKernelsToEnd) {
  World world;
  world.limits = without_probes();
  world.hosts = {silent(), known_silent(live())};
  ConnectAttempts machine;
  machine.begin(false, kStart, 10);
  machine.started({EINPROGRESS, kStart, {}, {}}, kStart);
  machine.seen(SocketPhase::kConnecting, kStart + 10);
  Destinations all;
  for (const std::size_t position : {0u, 1u}) all.candidates.add(position);
  all.silent.add(1);
  world.limits.kernel_ms = 3000;
  machine.planned(all, world.limits, {}, kStart + 10);
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, kStart + 1000).lesson, Lesson::kSilent);
  EXPECT_EQ(machine.until_ms(), kNever);
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, kStart + 5000).kind, Kind::kWait);
}

TEST(WithoutProbes, OneThatCannotBeMadeIsTheEndOfThem) {
  World world;
  world.hosts = {silent(), live(20)};
  world.no_probe_from = 0;
  Played run = play(world);
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(began(run), (Times{0, 1000}));
  world.hosts = {silent(), silent(), live(20)};
  world.no_probe_from = 1;
  run = play(world);
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(order(run), (Positions{0, 2}));
  world.hosts = {silent(), silent(), silent()};
  world.no_probe_from = 0;
  run = play(world);
  EXPECT_EQ(run.result, ETIMEDOUT);
  EXPECT_EQ(began(run), (Times{0, 1000, 2000}));
  EXPECT_GE(run.asked.back().given_ms, 3000u);
}

TEST(WithoutProbes, WhatOneUnderWayHearsStillCounts) {
  World world;
  world.hosts = {silent(), live(250), refused(), live()};
  world.no_probe_from = 1;
  const Played run = play(world);
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(order(run), (Positions{0, 1}));
  EXPECT_LE(run.took_ms, 800u);
}

TEST(WithoutProbes, RefusalOfOneUnderWayEndsNoAttempt) {
  World world;
  world.hosts = {silent(), refused(250), live()};
  world.no_probe_from = 1;
  EXPECT_EQ(began(play(world)), (Times{0, 1000}));
}

// ---- What is learnt ----

TEST(Lessons, OnlyFailuresOfTheAddressPark) {
  for (const int error : {ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, EHOSTDOWN}) {
    EXPECT_EQ(play({failing(error), live()}).lessons, (Lessons{{Lesson::kFailed, 0}}))
        << error_name(error);
    EXPECT_EQ(play({silent(), failing(error), live()}).lessons.front(),
              (Taught{Lesson::kFailed, 1}))
        << error_name(error);
  }
  for (const int error :
       {ENETUNREACH, ENETDOWN, EADDRNOTAVAIL, EACCES, EPERM, EINVAL, ENOBUFS, EBADF}) {
    EXPECT_EQ(play({failing(error), live()}).lessons, Lessons{}) << error_name(error);
  }
  EXPECT_EQ(play({silent(), failing(ENETUNREACH), live()}).lessons.front().lesson, Lesson::kLeft);
}

TEST(Lessons, SilenceIsOneSecondOfIt) {
  const Played run = play({live(1500), silent()});
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(run.lessons.size(), 2u);
  EXPECT_EQ(run.lessons[0], (Taught{Lesson::kSilent, 0, 1000}));
  EXPECT_EQ(run.lessons[1].lesson, Lesson::kSilent);
  EXPECT_EQ(run.lessons[1].position, 1u);
  EXPECT_GE(run.lessons[1].silent_ms, 1000u);
  EXPECT_EQ(play({live(999), silent()}).lessons, Lessons{});
}

TEST(Lessons, LastOneFailedIsNotedWithTheDelivery) {
  const Played run = play({refused(), failing(EHOSTUNREACH)});
  EXPECT_EQ(run.lessons, (Lessons{{Lesson::kFailed, 0}, {Lesson::kFailed, 1}}));
}

TEST(Lessons, RefusingOnceMoreIsNoneOfThem) {
  const Played run = play({refused(), silent()});
  EXPECT_EQ(run.lessons, (Lessons{{Lesson::kFailed, 0}, {Lesson::kSilent, 1, 1000}}));
}

TEST(Lessons, NothingOfAShutdown) {
  World world;
  world.hosts = {silent(), live()};
  world.shut_down_after_ms = 50;
  EXPECT_TRUE(play(world).lessons.empty());
  world.tells_the_truth = true;
  const Played told = play(world);
  EXPECT_EQ(told.result, ECONNRESET);
  EXPECT_TRUE(told.lessons.empty());
}

// ---- The table ----

Destinations destinations(std::size_t count, std::size_t requested = 0) {
  Destinations all;
  all.requested = requested;
  for (std::size_t i = 0; i < count; ++i) all.candidates.add(i);
  return all;
}

constexpr std::uint64_t kNow = 1000;
constexpr Fault kDelayed{FaultAction::kDelay, 0, 50};

Attempt attempt(int outcome, std::uint64_t began_ms = kNow, const Fault& fault = {}) {
  return {outcome, began_ms, {}, fault};
}

// A connect in each of the states that are not the end. The requested address is 0, asked at kNow,
// and a probe is due at 1100.
ConnectAttempts first(bool waits = false) {
  ConnectAttempts machine;
  machine.begin(waits, kNow, 100);
  if (!waits) machine.started(attempt(EINPROGRESS), kNow);
  return machine;
}
ConnectAttempts planning(const Fault& fault = {}) {
  ConnectAttempts machine = first(true);
  machine.started(attempt(EINPROGRESS, kNow, fault), kNow);
  return machine;
}
ConnectAttempts planning_after(int error) {
  ConnectAttempts machine = first(true);
  machine.started(attempt(error), kNow);
  return machine;
}
ConnectAttempts planning_elsewhere() {
  ConnectAttempts machine = first(true);
  machine.elsewhere(SocketPhase::kClosed);
  return machine;
}
ConnectAttempts asking(const Limits& limits = kDefaults, std::size_t count = 3) {
  ConnectAttempts machine = planning();
  machine.planned(destinations(count), limits, {}, kNow);
  return machine;
}
ConnectAttempts asking_without_waiting() {
  ConnectAttempts machine = first();
  machine.seen(SocketPhase::kConnecting, 1100);
  machine.planned(destinations(3), kDefaults, {}, 1100);
  return machine;
}
// The requested address is alone, because the other one has refused a probe.
ConnectAttempts asking_alone(bool waits) {
  ConnectAttempts machine = waits ? planning() : first();
  if (!waits) machine.seen(SocketPhase::kConnecting, 1100);
  machine.planned(destinations(2), kDefaults, {}, 1100);
  machine.probing(1, {}, 1100);
  machine.probed(1, Probe::kFailed, ECONNREFUSED, 5, 1105);
  return machine;
}
// The requested address has refused.
ConnectAttempts asking_the_last() {
  ConnectAttempts machine = asking(kDefaults, 2);
  machine.ended(ECONNREFUSED, 1010);
  machine.started(attempt(EINPROGRESS, 1010), 1010);
  return machine;
}
// The driver has looked as often as it should.
ConnectAttempts look_until(std::uint64_t end_ms, ConnectAttempts machine) {
  for (std::uint64_t now_ms = 1100; now_ms <= end_ms; now_ms += 100) {
    machine.seen(SocketPhase::kConnecting, now_ms);
  }
  return machine;
}
ConnectAttempts told_to_connect() {
  ConnectAttempts machine = asking();
  machine.ended(EHOSTDOWN, 1010);
  return machine;
}
// The attempt is not overdue before 1140.
ConnectAttempts another_has_answered(ConnectAttempts machine = asking()) {
  machine.seen(SocketPhase::kConnecting, 1100);
  machine.probing(1, {}, 1100);
  machine.probed(1, Probe::kAnswered, 0, 20, 1120);
  return machine;
}
// Nothing was heard of the attempt in flight.
ConnectAttempts told_to_leave_it() {
  ConnectAttempts machine = another_has_answered();
  machine.seen(SocketPhase::kConnecting, 1140);
  return machine;
}
ConnectAttempts told_to_read() {
  ConnectAttempts machine = asking();
  machine.seen(SocketPhase::kClosed, 1010);
  return machine;
}
ConnectAttempts held(const Limits& limits = kDefaults, std::uint32_t delay_ms = 50) {
  ConnectAttempts machine = planning({FaultAction::kDelay, 0, delay_ms});
  machine.planned(destinations(3), limits, {}, kNow);
  return machine;
}
constexpr Limits kShort{100, 30, true, 0};
ConnectAttempts paused() {
  ConnectAttempts machine = asking(kShort);
  machine.seen(SocketPhase::kConnecting, 1030);
  return machine;
}
// Everybody has failed, the requested address with this error.
ConnectAttempts failed_with(int error) {
  ConnectAttempts machine = asking(kDefaults, 2);
  machine.ended(error, 1010);
  machine.started(attempt(ECONNREFUSED, 1010), 1010);
  return machine;
}
// And it is asked once more.
ConnectAttempts telling(std::uint32_t rtt_ms = 0) {
  ConnectAttempts machine = failed_with(EHOSTDOWN);
  machine.telling({rtt_ms, 0}, 1010);
  return machine;
}
ConnectAttempts paused_while_held() {
  ConnectAttempts machine = held(kShort);
  machine.seen(SocketPhase::kConnecting, 1030);
  return machine;
}
constexpr Limits kWithout{100, 0, false, 127'000};

// What is observed next. Plain data, because a table of functions takes minutes to compile.
struct Observation {
  enum class What : std::uint8_t {
    kStarted,
    kSeen,
    kErrorRead,
    kEnded,
    kPlanned,
    kTold,
    kResumed,
    kElsewhere,
    kLostSocket,
    kLostAddress,
  };

  What what;
  int error = 0;
  SocketPhase phase = SocketPhase::kClosed;
  std::uint64_t now_ms = kNow;
  Fault fault{};
  Destinations all{};
  bool waits = false;

  Action tell(ConnectAttempts& machine) const {
    switch (what) {
      case What::kStarted:
        return machine.started(attempt(error, kNow, fault), now_ms);
      case What::kSeen:
        return machine.seen(phase, now_ms);
      case What::kErrorRead:
        return machine.error_read(error, now_ms);
      case What::kEnded:
        return machine.ended(error, now_ms);
      case What::kPlanned:
        return machine.planned(all, kDefaults, {}, now_ms);
      case What::kTold:
        return machine.told(error, now_ms);
      case What::kResumed:
        return machine.resumed(waits, 0, now_ms);
      case What::kElsewhere:
        return machine.elsewhere(phase);
      case What::kLostSocket:
        return machine.lost_socket();
      default:
        return machine.lost_address();
    }
  }
};

using What = Observation::What;

Observation seen(SocketPhase phase, std::uint64_t now_ms) {
  return {.what = What::kSeen, .phase = phase, .now_ms = now_ms};
}
Observation started(int outcome, const Fault& fault = {}) {
  return {.what = What::kStarted, .error = outcome, .fault = fault};
}
Observation ended(int error) { return {.what = What::kEnded, .error = error, .now_ms = 1010}; }
Observation error_read(int error) {
  return {.what = What::kErrorRead, .error = error, .now_ms = 1010};
}
Observation planned(const Destinations& all, std::uint64_t now_ms = kNow) {
  return {.what = What::kPlanned, .now_ms = now_ms, .all = all};
}
Observation told(int error) { return {.what = What::kTold, .error = error, .now_ms = 1010}; }
Observation resumed(bool waits) { return {.what = What::kResumed, .now_ms = 1040, .waits = waits}; }
Observation elsewhere(SocketPhase phase) { return {.what = What::kElsewhere, .phase = phase}; }
constexpr Observation kLostSocket{.what = What::kLostSocket};
constexpr Observation kLostAddress{.what = What::kLostAddress};

struct Row {
  const char* what;
  State from;
  ConnectAttempts machine;
  Observation observed;
  Kind kind;
  State to;
  Lesson lesson = Lesson::kNothing;
  int error = 0;
};

void check(const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    ConnectAttempts machine = row.machine;
    ASSERT_EQ(machine.state(), row.from);
    // The attempt that has just begun, or that was in flight.
    const bool begins = row.observed.what == What::kStarted && row.from == State::kAsking;
    const std::size_t position = begins ? 1 : machine.is_planned() ? machine.position() : 0;
    const Action action = row.observed.tell(machine);
    EXPECT_EQ(action.kind, row.kind);
    EXPECT_EQ(machine.state(), row.to);
    EXPECT_EQ(action.lesson, row.lesson);
    EXPECT_TRUE(row.lesson == Lesson::kNothing || action.about == position);
    EXPECT_EQ(ConnectAttempts::is_over(row.to) ? machine.error() : 0, row.error);
  }
}

using Phase = SocketPhase;

TEST(Table, WhatFollowsEachObservationInFirst) {
  const State from = State::kFirst;
  check({
      {"connected at once", from, first(true), started(0), Kind::kConnected, State::kConnected},
      {"refused at once", from, first(true), started(ECONNREFUSED), Kind::kPlan, State::kPlanning},
      {"an error of the call", from, first(true), started(ENOBUFS), Kind::kPlan, State::kPlanning},
      {"in flight, and connect(2) waits", from, first(true), started(EINPROGRESS), Kind::kPlan,
       State::kPlanning},
      {"in flight in spite of a signal", from, first(true), started(EINTR), Kind::kPlan,
       State::kPlanning},
      {"in flight, and nobody waits", from, first(), started(EINPROGRESS), Kind::kWait,
       State::kFirst},
      {"a delay has to be ended", from, first(), started(EINPROGRESS, kDelayed), Kind::kPlan,
       State::kPlanning},
      {"too early to look", from, first(), seen(Phase::kConnecting, 1099), Kind::kWait,
       State::kFirst},
      {"silence", from, first(), seen(Phase::kConnecting, 1100), Kind::kPlan, State::kPlanning},
      {"connected", from, first(), seen(Phase::kConnected, 1010), Kind::kConnected,
       State::kConnected},
      {"failed", from, first(), seen(Phase::kClosed, 1010), Kind::kPlan, State::kPlanning},
      {"given up", from, first(), seen(Phase::kGivenUp, 1010), Kind::kPlan, State::kPlanning},
      {"connected, and gone", from, first(), seen(Phase::kEnded, 1010), Kind::kConnected,
       State::kConnected},
      {"connected and gone, while connect(2) waits", from, first(true), seen(Phase::kEnded, 1010),
       Kind::kConnected, State::kConnected},
      {"ended", from, first(), ended(ECONNREFUSED), Kind::kPlan, State::kPlanning},
      {"the program knows", from, first(), told(EHOSTUNREACH), Kind::kTold, State::kLeft,
       Lesson::kFailed, EHOSTUNREACH},
      {"the program knows of an error of ours", from, first(), told(ENETUNREACH), Kind::kTold,
       State::kLeft, Lesson::kNothing, ENETUNREACH},
      {"the program knows of a shutdown", from, first(), told(ECONNRESET), Kind::kTold,
       State::kLeft, Lesson::kNothing, ECONNRESET},
      {"shut down", from, first(), ended(ECONNRESET), Kind::kLeave, State::kLeft, Lesson::kNothing,
       ECONNRESET},
      {"shut down at once", from, first(true), started(ECONNRESET), Kind::kLeave, State::kLeft,
       Lesson::kNothing, ECONNRESET},
      {"a fault is no exception", from, first(true),
       started(ECONNRESET, {FaultAction::kReset, 0, 0}), Kind::kLeave, State::kLeft,
       Lesson::kNothing, ECONNRESET},
      {"nor a delay", from, first(true), started(ECONNRESET, kDelayed), Kind::kLeave, State::kLeft,
       Lesson::kNothing, ECONNRESET},
      {"the program comes back", from, first(), resumed(true), Kind::kWait, State::kFirst},
      {"another socket", from, first(), kLostSocket, Kind::kLeave, State::kLeft, Lesson::kNothing,
       EBADF},
      {"parked", from, first(true), elsewhere(Phase::kClosed), Kind::kPlan, State::kPlanning},
      {"parked, but on its way", from, first(true), elsewhere(Phase::kConnecting), Kind::kLeave,
       State::kLeft},
      {"parked, but connected", from, first(true), elsewhere(Phase::kConnected), Kind::kLeave,
       State::kLeft},
      {"parked, but connected before", from, first(true), elsewhere(Phase::kEnded), Kind::kLeave,
       State::kLeft},
  });
}

TEST(Table, WhatFollowsEachObservationInPlanning) {
  const State from = State::kPlanning;
  ConnectAttempts closed = first();
  closed.seen(Phase::kClosed, 1010);
  ConnectAttempts given_up = first();
  given_up.seen(Phase::kGivenUp, 1010);
  Destinations requested_parked = destinations(3);
  requested_parked.parked.add(0);
  Destinations all_parked = destinations(2);
  all_parked.parked = all_parked.candidates;
  Destinations parked_and_silent = destinations(2);
  parked_and_silent.parked = parked_and_silent.silent = parked_and_silent.candidates;
  check({
      {"in flight", from, planning(), planned(destinations(3)), Kind::kWait, State::kAsking},
      {"in flight, and looked at too late", from, planning(), planned(destinations(3), 5000),
       Kind::kWait, State::kAsking},
      {"in flight, and delayed", from, planning(kDelayed), planned(destinations(3)), Kind::kWait,
       State::kHeldBack},
      {"delayed, and nowhere to go", from, planning(kDelayed), planned(destinations(1)),
       Kind::kWait, State::kHeldBack},
      {"delayed, and not even there", from, planning(kDelayed), planned({}), Kind::kLeave,
       State::kLeft, Lesson::kNothing, EINPROGRESS},
      {"nowhere", from, planning(), planned({}), Kind::kLeave, State::kLeft, Lesson::kNothing,
       EINPROGRESS},
      {"nowhere but here", from, planning(), planned(destinations(1)), Kind::kLeave, State::kLeft,
       Lesson::kNothing, EINPROGRESS},
      {"failed, and nowhere", from, planning_after(EHOSTUNREACH), planned({}), Kind::kLeave,
       State::kLeft, Lesson::kNothing, EHOSTUNREACH},
      {"seen closed, and nowhere", from, closed, planned({}), Kind::kLeave, State::kLeft,
       Lesson::kNothing, EINPROGRESS},
      {"seen closed", from, closed, planned(destinations(2), 1010), Kind::kReadError,
       State::kAsking},
      {"given up, and others are there", from, given_up, planned(destinations(2), 1010),
       Kind::kReadError, State::kAsking},
      {"failed", from, planning_after(ECONNREFUSED), planned(destinations(2)), Kind::kConnect,
       State::kAsking, Lesson::kFailed},
      {"failed, and not by itself", from, planning_after(ENETUNREACH), planned(destinations(2)),
       Kind::kConnect, State::kAsking},
      {"an error of the call", from, planning_after(ENOBUFS), planned(destinations(2)),
       Kind::kDeliver, State::kFailed, Lesson::kNothing, ENOBUFS},
      {"parked", from, planning_elsewhere(), planned(requested_parked), Kind::kConnect,
       State::kAsking},
      {"all parked", from, planning_elsewhere(), planned(all_parked), Kind::kLeave, State::kLeft},
      {"all silent too", from, planning_elsewhere(), planned(parked_and_silent), Kind::kLeave,
       State::kLeft},
      {"parked, and nowhere", from, planning_elsewhere(), planned(destinations(1)), Kind::kLeave,
       State::kLeft},
      {"the program knows", from, planning(), told(ECONNREFUSED), Kind::kTold, State::kLeft,
       Lesson::kFailed, ECONNREFUSED},
      {"another socket", from, planning(), kLostSocket, Kind::kLeave, State::kLeft,
       Lesson::kNothing, EBADF},
  });
  // The first look at a connect that no connect(2) waits for.
  ConnectAttempts silent = first();
  silent.seen(Phase::kConnecting, 1100);
  check({
      {"too early for a probe", from, silent, planned(destinations(2), 1099), Kind::kWait,
       State::kAsking},
      {"silent", from, silent, planned(destinations(2), 1100), Kind::kProbe, State::kAsking},
  });
}

TEST(Table, WhatFollowsEachObservationInAsking) {
  const State from = State::kAsking;
  Limits program = kDefaults;
  program.program_ms = 150;
  check({
      {"too early to look", from, asking(), seen(Phase::kConnecting, 1099), Kind::kWait, from},
      {"its delay is over", from, asking(), seen(Phase::kConnecting, 1100), Kind::kProbe, from},
      {"a second of silence", from, asking(), seen(Phase::kConnecting, 2000), Kind::kWait, from,
       Lesson::kSilent},
      {"another one has answered, and it is not overdue", from, another_has_answered(),
       seen(Phase::kConnecting, 1139), Kind::kWait, from},
      {"overdue", from, another_has_answered(), seen(Phase::kConnecting, 1140), Kind::kConnect,
       from, Lesson::kLeft},
      {"without probes it is patient", from, asking(kWithout), seen(Phase::kConnecting, 1999),
       Kind::kWait, from},
      {"without probes it moves in silence", from, asking(kWithout), seen(Phase::kConnecting, 2000),
       Kind::kConnect, from, Lesson::kSilent},
      {"the program's time", from, asking(program), seen(Phase::kConnecting, 1150), Kind::kPause,
       State::kPaused},
      {"after a refusal there is time", from, asking_the_last(), seen(Phase::kConnecting, 2009),
       Kind::kProbe, from},
      {"and its end", from, look_until(2400, asking_the_last()),
       seen(Phase::kConnecting, 1010 + kLastWaitMs), Kind::kDeliver, State::kFailed,
       Lesson::kNothing, ECONNREFUSED},
      {"which is none when nobody has looked", from, asking_the_last(),
       seen(Phase::kConnecting, 1010 + kLastWaitMs), Kind::kWait, from, Lesson::kSilent},
      {"connected", from, asking(), seen(Phase::kConnected, 1010), Kind::kConnected,
       State::kConnected},
      {"closed", from, asking(), seen(Phase::kClosed, 1010), Kind::kReadError, from},
      {"given up, and others are there", from, asking(), seen(Phase::kGivenUp, 1010),
       Kind::kReadError, from},
      {"given up, and nobody else is there", from, asking_alone(false),
       seen(Phase::kGivenUp, 128'000), Kind::kTold, State::kLeft, Lesson::kNothing, ETIMEDOUT},
      {"given up, and connect(2) waits", from, asking_alone(true), seen(Phase::kGivenUp, 128'000),
       Kind::kReadError, from},
      {"given up after a refusal", from, asking_the_last(), seen(Phase::kGivenUp, 1500),
       Kind::kReadError, from},
      {"connected, and gone", from, asking(), seen(Phase::kEnded, 1010), Kind::kConnected,
       State::kConnected},
      {"connected and gone, while nobody waits", from, asking_without_waiting(),
       seen(Phase::kEnded, 1110), Kind::kConnected, State::kConnected},
      {"its error", from, told_to_read(), error_read(ECONNREFUSED), Kind::kConnect, from,
       Lesson::kFailed},
      {"an error of ours", from, told_to_read(), error_read(ENETUNREACH), Kind::kConnect, from},
      {"an error of the call", from, told_to_read(), error_read(ENOBUFS), Kind::kDeliver,
       State::kFailed, Lesson::kNothing, ENOBUFS},
      {"an error somebody else has read", from, told_to_read(), error_read(0), Kind::kLeave,
       State::kLeft, Lesson::kNothing, ECONNABORTED},
      {"shut down", from, told_to_read(), error_read(ECONNRESET), Kind::kLeave, State::kLeft,
       Lesson::kNothing, ECONNRESET},
      {"ended", from, asking(), ended(EHOSTDOWN), Kind::kConnect, from, Lesson::kFailed},
      {"ended by a shutdown", from, asking(), ended(ECONNRESET), Kind::kLeave, State::kLeft,
       Lesson::kNothing, ECONNRESET},
      {"the program knows", from, asking(), told(EHOSTDOWN), Kind::kTold, State::kLeft,
       Lesson::kFailed, EHOSTDOWN},
      {"the program knows of another's", from, asking_the_last(), told(ETIMEDOUT), Kind::kTold,
       State::kLeft, Lesson::kNothing, ETIMEDOUT},
      {"the program knows of an error of ours", from, asking(), told(EACCES), Kind::kTold,
       State::kLeft, Lesson::kNothing, EACCES},
      {"the program knows of an error of the call", from, asking(), told(ENOBUFS), Kind::kTold,
       State::kLeft, Lesson::kNothing, ENOBUFS},
      {"nobody left to ask", from, asking_the_last(), ended(EHOSTDOWN), Kind::kDeliver,
       State::kFailed, Lesson::kFailed, ECONNREFUSED},
      {"asked, in flight", from, told_to_connect(), started(EINPROGRESS), Kind::kWait, from},
      {"asked, in flight in spite of a signal", from, told_to_connect(), started(EINTR),
       Kind::kWait, from},
      {"asked, and delayed", from, told_to_connect(), started(EINPROGRESS, kDelayed), Kind::kWait,
       State::kHeldBack},
      {"asked, and connected", from, told_to_connect(), started(0), Kind::kConnected,
       State::kConnected},
      {"asked, and refused", from, told_to_connect(), started(ECONNREFUSED), Kind::kConnect, from,
       Lesson::kFailed},
      {"asked, and shut down", from, told_to_connect(), started(ECONNRESET), Kind::kLeave,
       State::kLeft, Lesson::kNothing, ECONNRESET},
      {"answered in the last moment", from, told_to_leave_it(), seen(Phase::kConnected, 1141),
       Kind::kConnected, State::kConnected},
      {"answered in the last moment, and gone", from, told_to_leave_it(), seen(Phase::kEnded, 1141),
       Kind::kConnected, State::kConnected},
      {"known no more, while silent", from, told_to_leave_it(), kLostAddress, Kind::kDeliver,
       State::kFailed, Lesson::kNothing, EHOSTUNREACH},
      {"known no more", from, told_to_connect(), kLostAddress, Kind::kDeliver, State::kFailed,
       Lesson::kNothing, EHOSTDOWN},
      {"another socket", from, told_to_connect(), kLostSocket, Kind::kLeave, State::kLeft,
       Lesson::kNothing, EBADF},
      {"the program comes back", from, asking(), resumed(true), Kind::kWait, from},
  });
}

TEST(Table, WhatFollowsEachObservationInHeldBack) {
  const State from = State::kHeldBack;
  ConnectAttempts released = held();
  released.seen(Phase::kConnecting, 1050);
  check({
      {"too early to look", from, held(), seen(Phase::kConnecting, 1049), Kind::kWait, from},
      {"its delay is over", from, held(), seen(Phase::kConnecting, 1050), Kind::kRelease, from},
      {"its delay ends with its turn", from, held(kDefaults, 100), seen(Phase::kConnecting, 1100),
       Kind::kRelease, from},
      {"released", from, released, started(EINPROGRESS), Kind::kWait, State::kAsking},
      {"released in spite of a signal", from, released, started(EINTR), Kind::kWait,
       State::kAsking},
      {"released, and connected", from, released, started(0), Kind::kConnected, State::kConnected},
      {"released, and refused", from, released, started(ECONNREFUSED), Kind::kConnect,
       State::kAsking, Lesson::kFailed},
      {"released, and shut down", from, released, started(ECONNRESET), Kind::kLeave, State::kLeft,
       Lesson::kNothing, ECONNRESET},
      {"another one is to be asked before", from, held(kDefaults, 500),
       seen(Phase::kConnecting, 1100), Kind::kProbe, from},
      {"another one has answered before", from, another_has_answered(held(kDefaults, 500)),
       seen(Phase::kConnecting, 1140), Kind::kConnect, State::kAsking, Lesson::kLeft},
      {"without probes its patience is over before", from, held(kWithout, 5000),
       seen(Phase::kConnecting, 2000), Kind::kConnect, State::kAsking, Lesson::kSilent},
      {"the program's time", from, held(kShort, 500), seen(Phase::kConnecting, 1030), Kind::kPause,
       State::kPaused},
      {"connected", from, held(), seen(Phase::kConnected, 1010), Kind::kConnected,
       State::kConnected},
      {"connected, and gone", from, held(), seen(Phase::kEnded, 1010), Kind::kConnected,
       State::kConnected},
      {"ended", from, held(), ended(ECONNREFUSED), Kind::kConnect, State::kAsking, Lesson::kFailed},
      {"the program knows", from, held(), told(ECONNREFUSED), Kind::kTold, State::kLeft,
       Lesson::kFailed, ECONNREFUSED},
      {"shut down", from, held(), ended(ECONNRESET), Kind::kLeave, State::kLeft, Lesson::kNothing,
       ECONNRESET},
      {"the program comes back", from, held(), resumed(true), Kind::kWait, from},
      {"another socket", from, held(), kLostSocket, Kind::kLeave, State::kLeft, Lesson::kNothing,
       EBADF},
  });
}

TEST(Table, WhatFollowsEachObservationInPaused) {
  const State from = State::kPaused;
  check({
      {"the program comes back", from, paused(), resumed(true), Kind::kWait, State::kAsking},
      {"it waits by itself", from, paused(), resumed(false), Kind::kWait, State::kAsking},
      {"it comes back to one held back", from, paused_while_held(), resumed(true), Kind::kWait,
       State::kHeldBack},
      {"the program knows", from, paused(), told(EHOSTUNREACH), Kind::kTold, State::kLeft,
       Lesson::kFailed, EHOSTUNREACH},
      {"another socket", from, paused(), kLostSocket, Kind::kLeave, State::kLeft, Lesson::kNothing,
       EBADF},
  });
}

TEST(Table, FailedButForTheLastMoment) {
  const State from = State::kFailed;
  ConnectAttempts late = look_until(2500, asking_the_last());
  ConnectAttempts forgotten = told_to_leave_it();
  forgotten.lost_address();
  check({
      {"answered", from, late, seen(Phase::kConnected, 3000), Kind::kConnected, State::kConnected},
      {"answered, and gone", from, late, seen(Phase::kEnded, 3000), Kind::kConnected,
       State::kConnected},
      {"answered, as the next one is not known", from, forgotten, seen(Phase::kConnected, 1201),
       Kind::kConnected, State::kConnected},
  });
}

TEST(Table, WhatFollowsEachObservationInTelling) {
  const State from = State::kTelling;
  check({
      {"too early to look", from, telling(), seen(Phase::kConnecting, 2009), Kind::kWait, from},
      {"silent for a second", from, telling(), seen(Phase::kConnecting, 2010), Kind::kWithdraw,
       State::kFailed, Lesson::kNothing, EHOSTDOWN},
      {"not yet overdue", from, telling(20), seen(Phase::kConnecting, 1069), Kind::kWait, from},
      {"overdue", from, telling(20), seen(Phase::kConnecting, 1070), Kind::kWithdraw,
       State::kFailed, Lesson::kNothing, EHOSTDOWN},
      {"refused once more", from, telling(), seen(Phase::kClosed, 1020), Kind::kLeave, State::kLeft,
       Lesson::kNothing, EHOSTDOWN},
      {"ended, and the program knows", from, telling(), ended(ENETDOWN), Kind::kLeave, State::kLeft,
       Lesson::kNothing, ENETDOWN},
      {"the program is told", from, telling(), told(ENETDOWN), Kind::kLeave, State::kLeft,
       Lesson::kNothing, ENETDOWN},
      {"answered", from, telling(), seen(Phase::kConnected, 1020), Kind::kConnected,
       State::kConnected},
      {"answered, and gone", from, telling(), seen(Phase::kEnded, 1020), Kind::kConnected,
       State::kConnected},
      {"connect(2) once more", from, telling(), resumed(true), Kind::kWait, from},
      {"another socket", from, telling(), kLostSocket, Kind::kLeave, State::kLeft, Lesson::kNothing,
       EBADF},
  });
}

TEST(Telling, OfAllErrorsButATimeOut) {
  for (const int error : {ECONNREFUSED, EHOSTUNREACH, EHOSTDOWN, ENETUNREACH}) {
    SCOPED_TRACE(error_name(error));
    ConnectAttempts machine = failed_with(error);
    ASSERT_EQ(machine.state(), State::kFailed);
    ASSERT_EQ(machine.error(), error);
    EXPECT_TRUE(machine.can_be_had_again());
    machine.telling({}, 1010);
    machine.seen(SocketPhase::kClosed, 1020);
    EXPECT_TRUE(machine.is_told_by_kernel());
  }
  ConnectAttempts machine = failed_with(ETIMEDOUT);
  ASSERT_EQ(machine.error(), ETIMEDOUT);
  EXPECT_FALSE(machine.can_be_had_again()) << "it would take as long again";
}

TEST(Telling, OfAServerThatIsSilentAMomentLaterButOnce) {
  ConnectAttempts machine = telling();
  machine.seen(SocketPhase::kConnecting, 2010);
  EXPECT_FALSE(machine.can_be_had_again());
  EXPECT_EQ(machine.error(), EHOSTDOWN);
  // The socket was answered as it was about to be taken back.
  EXPECT_EQ(machine.seen(SocketPhase::kConnected, 2010).kind, Kind::kConnected);
  EXPECT_EQ(machine.log().attempts(), 3U) << "the last of which is that one";
  machine.begin(false, 3000, 100);
  EXPECT_TRUE(machine.can_be_had_again()) << "and the next connect begins anew";
}

TEST(Table, OnlyTheLastThreeAreTheEnd) {
  for (const State state : {State::kFirst, State::kPlanning, State::kAsking, State::kHeldBack,
                            State::kPaused, State::kTelling}) {
    EXPECT_FALSE(ConnectAttempts::is_over(state));
  }
  for (const State state : {State::kConnected, State::kFailed, State::kLeft}) {
    EXPECT_TRUE(ConnectAttempts::is_over(state));
  }
  for (const Phase phase : {Phase::kClosed, Phase::kGivenUp}) EXPECT_TRUE(has_failed(phase));
  for (const Phase phase : {Phase::kConnecting, Phase::kConnected, Phase::kEnded}) {
    EXPECT_FALSE(has_failed(phase));
  }
}

// ---- Times ----

TEST(Resumed, ProgramsTimeBeginsAnew) {
  ConnectAttempts machine = paused();
  machine.resumed(true, 300, 1310);
  EXPECT_EQ(machine.state(), State::kAsking);
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 1609).kind, Kind::kProbe);
  machine.probing(1, {}, 1609);
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 1610).kind, Kind::kPause);
  machine.resumed(false, 0, 1620);
  EXPECT_NE(machine.seen(SocketPhase::kConnecting, 100'000).kind, Kind::kPause)
      << "it has no time of its own any more";
}

TEST(Resumed, ProgramsTimeBeginsAnewBeforeItIsPlannedToo) {
  ConnectAttempts machine = first();
  // A second later the program waits for the connect in connect(2), for half a second.
  machine.resumed(true, 500, 2000);
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 2000).kind, Kind::kPlan);
  const Action action = machine.planned(destinations(2), {100, 500, true, 0}, {}, 2000);
  EXPECT_EQ(action.kind, Kind::kWait);
  EXPECT_EQ(action.lesson, Lesson::kSilent) << "its time is not up";
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 2499).kind, Kind::kProbe);
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 2500).kind, Kind::kPause);
}

TEST(Planned, RequestedAddressIsTheOneUnderWayEvenIfParkedMeanwhile) {
  ConnectAttempts machine = planning_after(ECONNREFUSED);
  Destinations all = destinations(2, 1);
  all.parked.add(1);
  const Action action = machine.planned(all, kDefaults, {}, kNow);
  EXPECT_EQ(action.about, 1);
  EXPECT_EQ(action.position, 0);
}

TEST(Planned, RequestedAddressKeepsItsOwnDelayFromItsBeginning) {
  ConnectAttempts machine = first();
  machine.seen(SocketPhase::kConnecting, 1010);
  EXPECT_EQ(machine.state(), State::kFirst);
  machine.seen(SocketPhase::kConnecting, 1100);
  machine.planned(destinations(2), kDefaults, {100, 0}, 1110);
  EXPECT_EQ(machine.until_ms(), 1180u) << "by its known round trip";
}

TEST(Started, TimesCountFromWhereItBeganHoweverLongTheCallTook) {
  ConnectAttempts machine = told_to_connect();
  machine.started(attempt(EINPROGRESS, 1010), 1100);
  EXPECT_EQ(machine.until_ms(), 1110u);
  EXPECT_EQ(machine.attempt_began_ms(), 1010u);
  machine = told_to_connect();
  machine.started(attempt(EINPROGRESS, 1010, kDelayed), 1030);
  EXPECT_EQ(machine.until_ms(), 1060u);
}

TEST(Started, RoundTripToldByTheProbeIsTheAttemptsOwn) {
  ConnectAttempts machine = told_to_leave_it();
  machine.started(attempt(EINPROGRESS, 1140), 1140);
  EXPECT_EQ(machine.until_ms(), 1140u + overdue_ms(20)) << "another one is asked then";
  machine.probing(2, {}, 1200);
  machine.probed(2, Probe::kAnswered, 0, 0, 1200);
  EXPECT_EQ(machine.until_ms(), 1200u) << "it is overdue, and has no grace";
  machine = told_to_leave_it();
  Attempt known = attempt(EINPROGRESS, 1140);
  known.distance.rtt_ms = 100;
  machine.started(known, 1140);
  EXPECT_EQ(machine.until_ms(), 1140u + overdue_ms(100)) << "unless it is known better";
}

TEST(News, AreMoreAttemptsThanTheFirstOrAFailure) {
  EXPECT_FALSE(asking().has_news());
  EXPECT_FALSE(another_has_answered().has_news()) << "a probe is none";
  EXPECT_TRUE(asking_the_last().has_news());
  ConnectAttempts elsewhere = planning_elsewhere();
  Destinations all = destinations(2);
  all.parked.add(0);
  elsewhere.planned(all, kDefaults, {}, kNow);
  EXPECT_TRUE(elsewhere.has_news()) << "it was not asked where the program wanted";
  ConnectAttempts failed = asking();
  failed.ended(ENOBUFS, 1010);
  EXPECT_TRUE(failed.has_news());
}

// ---- The last wait ----

// What the machine asks for at that moment; probes are made, and nobody answers.
Action look(ConnectAttempts& machine, std::uint64_t now_ms) {
  Action action = machine.seen(SocketPhase::kConnecting, now_ms);
  while (action.kind == Kind::kProbe) {
    machine.probing(action.position, {}, now_ms);
    action = machine.seen(SocketPhase::kConnecting, now_ms);
  }
  return action;
}

// A probe of an ordinary user cannot tell a refusal from an answer on every kernel.
TEST(LastWait, WhoHasRefusedIsNotGoneToForWhatMayBeARefusal) {
  for (const Probe heard : {Probe::kHeard, Probe::kAnswered}) {
    ConnectAttempts machine = asking(kDefaults, 2);
    const Action moved = machine.ended(ECONNREFUSED, 1010);
    ASSERT_EQ(moved.kind, Kind::kConnect);
    machine.started({EINPROGRESS, 1010, {}, {}}, 1010);
    const Action asked = machine.seen(SocketPhase::kConnecting, 1010 + kAskAgainMs);
    ASSERT_EQ(asked.kind, Kind::kProbe);
    ASSERT_EQ(asked.position, 0u);
    machine.probing(0, {}, 1411);
    machine.probed(0, heard, 0, 1, 1412);
    Action next;
    std::uint64_t now = 1412;
    for (; next.kind == Kind::kWait; now += 100) next = look(machine, now);
    if (heard == Probe::kAnswered) {
      EXPECT_EQ(next.kind, Kind::kConnect);
    } else {
      EXPECT_EQ(next.kind, Kind::kDeliver);
      EXPECT_NEAR(now, 1010 + kLastWaitMs, 201);
    }
  }
}

TEST(LastWait, BeginsOnceMoreForAProgramThatWasBusyElsewhere) {
  ConnectAttempts machine = asking_the_last();
  EXPECT_EQ(look(machine, 1410).kind, Kind::kWait);
  EXPECT_EQ(look(machine, 2400).kind, Kind::kWait);
  for (std::uint64_t now_ms = 2450; now_ms < 3700; now_ms += 50) look(machine, now_ms);
  EXPECT_EQ(machine.state(), State::kAsking);
  EXPECT_EQ(look(machine, 2400 + kLastWaitMs).kind, Kind::kDeliver) << "but once";
  machine = asking_the_last();
  look(machine, 3000);
  EXPECT_EQ(look(machine, 9000).kind, Kind::kDeliver);
}

TEST(LastWait, IsNotLongerForOneThatLooksALittleLate) {
  ConnectAttempts machine = asking_the_last();
  for (const std::uint64_t now_ms : {1410, 1810, 2010, 2210}) look(machine, now_ms);
  EXPECT_EQ(look(machine, 2210 + kAskAgainMs).kind, Kind::kDeliver);
}

// What is due then is so only because there was no room for a probe.
TEST(LastWait, IsNotLongerWhereAllProbesAreUnderWay) {
  ConnectAttempts machine = asking({10, 0, true, 0}, 20);
  for (std::uint64_t now_ms = kNow; now_ms <= 2900; now_ms += 10) look(machine, now_ms);
  machine.ended(ECONNREFUSED, 2900);
  machine.started(attempt(EINPROGRESS, 2900), 2900);
  std::uint64_t now_ms = 2910;
  for (; now_ms < 4200; now_ms += 10) EXPECT_EQ(look(machine, now_ms).kind, Kind::kWait);
  machine.probed(1, Probe::kOver, 0, 2000, 4200);
  EXPECT_EQ(look(machine, 4200).kind, Kind::kWait);
  while (now_ms < 2900 + kLastWaitMs) look(machine, now_ms += 10);
  EXPECT_EQ(machine.state(), State::kFailed);
}

// ---- Probes ----

TEST(Probes, AreLookedAtOftenAtFirst) {
  ConnectAttempts machine = asking();
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 1100).kind, Kind::kProbe);
  machine.probing(1, {}, 1100);
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 1100).kind, Kind::kWait);
  EXPECT_EQ(machine.until_ms(), 1105u);
  machine = asking(kDefaults, 2);
  machine.seen(SocketPhase::kConnecting, 1100);
  machine.probing(1, {}, 1100);
  machine.seen(SocketPhase::kConnecting, 1900);
  EXPECT_EQ(machine.until_ms(), 1950u);
}

TEST(Probes, NearestOneThatAnsweredIsGoneTo) {
  ConnectAttempts machine = asking(kDefaults, 4);
  for (const std::size_t position : {1u, 2u, 3u}) machine.probing(position, {}, 1100);
  machine.probed(1, Probe::kAnswered, 0, 30, 1130);
  machine.probed(2, Probe::kAnswered, 0, 10, 1130);
  machine.probed(3, Probe::kAnswered, 0, 30, 1130);
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 1139).kind, Kind::kWait);
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 1140).position, 2);
  EXPECT_EQ(machine.started(attempt(ECONNREFUSED, 1140), 1140).position, 1) << "then the others";
  EXPECT_EQ(machine.started(attempt(ECONNREFUSED, 1140), 1140).position, 3);
  EXPECT_EQ(machine.started(attempt(ECONNREFUSED, 1140), 1140).position, 0)
      << "then the requested one, which is only silent";
}

TEST(Probes, RoundTripOfNobodyElseIsTakenForTheNextOnes) {
  ConnectAttempts machine = asking(kDefaults, 4);
  machine.probing(1, {}, 1100);
  machine.probing(2, {}, 1100);
  machine.probed(1, Probe::kAnswered, 0, 10, 1110);
  machine.probed(2, Probe::kAnswered, 0, 400, 1500);
  machine.seen(SocketPhase::kConnecting, 1500);
  EXPECT_EQ(machine.started(attempt(ENETUNREACH, 1500), 1500).position, 2);
  machine.started(attempt(EINPROGRESS, 1500), 1500);
  machine.probing(3, {}, 1500);
  machine.probed(3, Probe::kAnswered, 0, 1, 1501);
  EXPECT_EQ(machine.until_ms(), 1600u) << "it is as one whose round trip is not known";
}

TEST(Probes, RefusalEndsWhatAnAnswerHasBegun) {
  ConnectAttempts machine = another_has_answered();
  machine.probing(2, {}, 1120);
  machine.probed(2, Probe::kAnswered, 0, 5, 1125);
  machine.probing(2, {}, 1126);
  machine.probed(2, Probe::kFailed, ECONNREFUSED, 5, 1131);
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 1300).position, 1);
}

TEST(Probes, AnswerOfOneThatHasRefusedTheProgramIsNone) {
  ConnectAttempts machine = asking(kDefaults, 2);
  machine.seen(SocketPhase::kConnecting, 1100);
  machine.probing(1, {}, 1100);
  machine.ended(ECONNREFUSED, 1110);
  EXPECT_EQ(machine.started(attempt(ECONNREFUSED, 1110), 1110).kind, Kind::kDeliver);
  machine = another_has_answered();
  machine.seen(SocketPhase::kConnecting, 1140);
  machine.probing(0, {}, 1140);
  machine.started(attempt(EINPROGRESS, 1140), 1140);
  machine.ended(ECONNREFUSED, 1150);
  EXPECT_EQ(machine.started(attempt(EINPROGRESS, 1150), 1150).kind, Kind::kWait);
  machine.probed(1, Probe::kAnswered, 0, 50, 1160);
  EXPECT_NE(machine.seen(SocketPhase::kConnecting, 2000).kind, Kind::kConnect);
}

// The socket moved to the address while its probe was under way.
ConnectAttempts probed_and_moved_to() {
  ConnectAttempts machine = asking(kDefaults, 2);
  machine.seen(SocketPhase::kConnecting, 1100);
  machine.probing(1, {}, 1100);
  machine.ended(ECONNREFUSED, 1110);
  machine.started(attempt(EINPROGRESS, 1110), 1110);
  machine.probed(1, Probe::kAnswered, 0, 200, 1300);
  return machine;
}

TEST(Probes, SocketIsConnectedOnceMoreWhereItIsAndNothingIsLearntOfThat) {
  ConnectAttempts machine = probed_and_moved_to();
  const Action action = machine.seen(SocketPhase::kConnecting, 1400);
  EXPECT_EQ(action.kind, Kind::kConnect);
  EXPECT_EQ(action.position, 1);
  EXPECT_EQ(action.lesson, Lesson::kNothing) << "it has only just answered";
}

TEST(Probes, AnswerIsForgottenWhenTheSocketItselfIsRefused) {
  ConnectAttempts machine = probed_and_moved_to();
  EXPECT_EQ(machine.ended(ECONNREFUSED, 1310).kind, Kind::kDeliver);
  EXPECT_EQ(machine.error(), ECONNREFUSED);
}

TEST(Probes, SilentOneGivesItsPlaceToTheNextAtOnce) {
  ConnectAttempts machine = asking({10'000, 0, true, 0});
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 11'000).lesson, Lesson::kSilent);
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 11'000).position, 1);
  machine.probing(1, {}, 11'000);
  machine.probed(1, Probe::kSilent, 0, 1000, 12'000);
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 12'000).kind, Kind::kWait);
  machine.probed(1, Probe::kOver, 0, 2000, 13'000);
  EXPECT_EQ(machine.until_ms(), 13'000u);
  const Action action = machine.seen(SocketPhase::kConnecting, 13'000);
  EXPECT_EQ(action.kind, Kind::kProbe);
  EXPECT_EQ(action.position, 2);
}

TEST(Probes, AnswerOfWhoHasBeenGoneToCountsAgainInTheNextPass) {
  ConnectAttempts machine = told_to_leave_it();
  machine.started(attempt(EINPROGRESS, 1140), 1140);
  machine.probing(2, {}, 1240);
  machine.probed(2, Probe::kAnswered, 0, 20, 1260);
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 1300).position, 2);
  machine.started(attempt(EINPROGRESS, 1300), 1300);
  machine.probing(1, {}, 1300);
  machine.probed(1, Probe::kAnswered, 0, 20, 1320);
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 2300).lesson, Lesson::kSilent);
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 2310).kind, Kind::kProbe);
  machine.probing(1, {}, 2310);
  machine.probed(1, Probe::kAnswered, 0, 20, 2330);
  const Action action = machine.seen(SocketPhase::kConnecting, 2330);
  EXPECT_EQ(action.kind, Kind::kConnect);
  EXPECT_EQ(action.position, 1);
}

// Two addresses answer probes, and never the program's socket: each pass takes twice as long as the
// one before, and in the end the kernel's own time is up.
TEST(Connect, AnswersToProbesAloneAreGoneAfterLessAndLessOften) {
  std::vector<Host> hosts{silent(), live(20), live(20)};
  hosts[1].for_probes_only = hosts[2].for_probes_only = true;
  const Played run = play(hosts);
  EXPECT_EQ(run.result, ETIMEDOUT);
  EXPECT_LE(run.asked.size(), 24u);
  EXPECT_LE(run.took_ms, 3 * kKernelMs);
}

// As where addresses come and go: the one that lives was left in the moment in which a packet was
// lost, for one that fell silent as soon as it had answered.
TEST(Connect, WhoWasLeftTooSoonIsGoneBackToWithinSeconds) {
  std::vector<Host> hosts{silent(), live(20), live(20)};
  hosts[1].loses_first_syn = true;
  hosts[2].for_probes_only = true;
  const Played run = play(hosts);
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(order(run), (Positions{0, 1, 2, 1}));
  EXPECT_LE(run.took_ms, 2 * kSilentMs);
}

TEST(Probes, SilenceOfAPassIsNotThatOfTheNext) {
  ConnectAttempts machine = asking(kDefaults, 2);
  machine.seen(SocketPhase::kConnecting, 1100);
  machine.probing(1, {}, 1100);
  machine.seen(SocketPhase::kConnecting, 2000);
  machine.probed(1, Probe::kSilent, 0, 1000, 2100);
  machine.probed(1, Probe::kOver, 0, 2000, 3100);
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 1100 + kSilentForMs).kind, Kind::kProbe);
  machine.probing(1, {}, 31'100);
  const Action action = machine.ended(EHOSTUNREACH, 31'110);
  EXPECT_EQ(action.kind, Kind::kConnect) << "it may be on its way up";
  EXPECT_EQ(action.position, 1);
}

TEST(Probes, OneIsEnoughForTheRequestedAddress) {
  // The requested address is parked, and the kernel gives up another one before it was asked.
  ConnectAttempts machine = planning_elsewhere();
  Destinations all = destinations(4);
  all.parked.add(0);
  machine.planned(all, {10'000, 0, true, 0}, {}, kNow);
  machine.started(attempt(EINPROGRESS), kNow);
  EXPECT_EQ(machine.seen(SocketPhase::kGivenUp, 1900).kind, Kind::kReadError);
  EXPECT_EQ(machine.error_read(ETIMEDOUT, 1900).position, 2);
  machine.started(attempt(EINPROGRESS, 1900), 1900);
  int asked = 0;
  for (std::uint64_t now_ms = 1900; now_ms <= 1900 + kLastWaitMs; now_ms += 50) {
    const Action action = machine.seen(SocketPhase::kConnecting, now_ms);
    if (action.kind != Kind::kProbe) continue;
    machine.probing(action.position, {}, now_ms);
    asked += static_cast<int>(action.position == 0);
  }
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(machine.state(), State::kFailed);
}

TEST(Probes, TellWhatTheyHaveLearnt) {
  ConnectAttempts machine = asking(kDefaults, 4);
  for (const std::size_t position : {1u, 2u, 3u}) machine.probing(position, {}, 1100);
  Action action = machine.probed(1, Probe::kSilent, 0, 1001, 2101);
  EXPECT_EQ(action.lesson, Lesson::kSilent);
  EXPECT_EQ(action.about, 1);
  EXPECT_EQ(action.silent_ms, 1001u);
  action = machine.probed(2, Probe::kFailed, EHOSTUNREACH, 1001, 2101);
  EXPECT_EQ(action.lesson, Lesson::kFailed);
  EXPECT_EQ(action.about, 2);
  EXPECT_EQ(machine.probed(3, Probe::kFailed, ENETUNREACH, 1001, 2101).lesson, Lesson::kNothing);
  EXPECT_EQ(machine.probed(1, Probe::kOver, 0, 2000, 3100).lesson, Lesson::kNothing);
}

// ---- Between what is asked for and its doing ----

std::vector<AttemptLog::Attempt> logged(const ConnectAttempts& machine) {
  std::vector<AttemptLog::Attempt> all;
  const auto keep = [&](const AttemptLog::Attempt& attempt) { all.push_back(attempt); };
  machine.log().for_each(keep, keep);
  return all;
}

AttemptLog::Attempt logged(const ConnectAttempts& machine, std::size_t number) {
  const std::vector<AttemptLog::Attempt> all = logged(machine);
  EXPECT_LT(number, all.size());
  return all.at(number);
}

TEST(LastMoment, PositionIsThatOfTheAttemptInFlightUntilTheNextHasBegun) {
  ConnectAttempts machine = another_has_answered();
  const Action action = machine.seen(SocketPhase::kConnecting, 1140);
  EXPECT_EQ(action.kind, Kind::kConnect);
  EXPECT_EQ(action.about, 0);
  EXPECT_EQ(action.position, 1);
  EXPECT_EQ(action.silent_ms, 140u);
  EXPECT_EQ(machine.position(), 0);
  EXPECT_EQ(machine.log().attempts(), 1u);
  machine.started(attempt(EINPROGRESS, 1140), 1140);
  EXPECT_EQ(machine.position(), 1);
  EXPECT_EQ(machine.log().attempts(), 2u);
}

TEST(LastMoment, SoItIsWhereTheNextFailsAtOnce) {
  ConnectAttempts machine = told_to_leave_it();
  const Action action = machine.started(attempt(ECONNREFUSED, 1140), 1140);
  EXPECT_EQ(action.about, 1);
  EXPECT_EQ(action.position, 2);
  EXPECT_EQ(machine.position(), 1);
}

TEST(LastMoment, RequestedAddressIsThePositionBeforeAnotherIsAskedInstead) {
  ConnectAttempts machine = planning_elsewhere();
  Destinations all = destinations(3, 1);
  all.parked.add(1);
  EXPECT_EQ(machine.planned(all, kDefaults, {}, kNow).position, 0);
  EXPECT_EQ(machine.position(), 1);
  machine.started(attempt(EINPROGRESS), kNow);
  EXPECT_EQ(machine.position(), 0);
  EXPECT_EQ(logged(machine, 0).error, kParked);
}

TEST(LastMoment, AnswerIsThatOfTheAttemptInFlight) {
  for (const SocketPhase phase : {SocketPhase::kConnected, SocketPhase::kEnded}) {
    ConnectAttempts machine = told_to_leave_it();
    EXPECT_EQ(machine.seen(phase, 1142).kind, Kind::kConnected);
    EXPECT_EQ(machine.position(), 0);
    EXPECT_EQ(machine.error(), 0);
    EXPECT_EQ(machine.log().attempts(), 1u);
    EXPECT_EQ(logged(machine, 0).position, 0);
    EXPECT_EQ(logged(machine, 0).error, 0);
    EXPECT_EQ(logged(machine, 0).took_ms, 142u);
  }
}

TEST(LastMoment, AnswerComesBeforeTheErrorThatWasToBeDelivered) {
  ConnectAttempts machine = look_until(2400, asking_the_last());
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 2500).kind, Kind::kDeliver);
  EXPECT_EQ(machine.error(), ECONNREFUSED);
  EXPECT_EQ(machine.seen(SocketPhase::kConnected, 3001).kind, Kind::kConnected);
  EXPECT_EQ(machine.position(), 1);
  EXPECT_EQ(machine.error(), 0);
  EXPECT_EQ(logged(machine, 1).error, 0);
}

TEST(LastMoment, DelayIsThatOfTheAttemptInFlight) {
  ConnectAttempts machine = another_has_answered(held(kDefaults, 500));
  machine.seen(SocketPhase::kConnecting, 1140);
  machine.started(attempt(EINPROGRESS, 1140), 1140);
  EXPECT_EQ(machine.state(), State::kAsking) << "the next one has no delay";
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 1500).kind, Kind::kProbe);
}

TEST(Told, EndsTheAttemptInTheLogWithTheLessonOfItsError) {
  ConnectAttempts machine = told_to_leave_it();
  machine.started(attempt(EINPROGRESS, 1140), 1140);
  const Action action = machine.told(EHOSTUNREACH, 1170);
  EXPECT_EQ(action.about, 1);
  EXPECT_EQ(machine.log().attempts(), 2u);
  EXPECT_EQ(logged(machine, 1).error, EHOSTUNREACH);
  EXPECT_EQ(logged(machine, 1).took_ms, 30u);
  EXPECT_EQ(logged(machine, 0).error, EINPROGRESS);
}

TEST(Told, LogOfTheConnectBeforeIsNotItsOwn) {
  ConnectAttempts machine = told_to_leave_it();
  machine.begin(false, 5000, 100);
  machine.told(ECONNREFUSED, 5010);
  EXPECT_FALSE(machine.is_planned());
  EXPECT_EQ(logged(machine, 0).error, EINPROGRESS) << "of a log that is not there yet";
}

TEST(Log, ProbesThatCameToNothingStandBeforeTheAttemptThatGoesOn) {
  ConnectAttempts machine = asking(kDefaults, 4);
  for (const std::size_t position : {1u, 2u, 3u}) machine.probing(position, {}, 1100);
  machine.probed(1, Probe::kFailed, ECONNREFUSED, 7, 1107);
  machine.probed(2, Probe::kAnswered, 0, 20, 1120);
  machine.probed(3, Probe::kSilent, 0, 1000, 2100);
  machine.seen(SocketPhase::kConnected, 2110);
  const std::vector<AttemptLog::Attempt> all = logged(machine);
  ASSERT_EQ(all.size(), 3u) << "one that has answered is the attempt that follows, if any does";
  EXPECT_EQ(all[0].position, 1);
  EXPECT_EQ(all[0].error, ECONNREFUSED);
  EXPECT_EQ(all[0].took_ms, 7u);
  EXPECT_EQ(all[1].position, 3);
  EXPECT_EQ(all[1].error, EINPROGRESS);
  EXPECT_EQ(all[1].took_ms, 1000u);
  EXPECT_EQ(all[2].position, 0);
  EXPECT_EQ(all[2].error, 0);
  EXPECT_EQ(all[2].took_ms, 1110u);
}

TEST(Begin, NothingIsLeftOfTheConnectBefore) {
  ConnectAttempts machine = another_has_answered(held());
  machine.ended(ECONNREFUSED, 1130);
  machine.started(attempt(EINPROGRESS, 1130, kDelayed), 1130);
  machine.probing(2, {}, 1130);
  machine.begin(false, 5000, 100);
  EXPECT_EQ(machine.state(), State::kFirst);
  EXPECT_FALSE(machine.is_planned());
  EXPECT_EQ(machine.until_ms(), 5100u);
  EXPECT_EQ(machine.began_ms(), 5000u);
  EXPECT_EQ(machine.attempt_began_ms(), 5000u);
  machine.started(attempt(ECONNREFUSED, 5000), 5000);
  const Action action = machine.planned(destinations(2, 1), kDefaults, {}, 5000);
  EXPECT_EQ(action.kind, Kind::kConnect);
  EXPECT_EQ(action.about, 1);
  machine.started(attempt(EHOSTUNREACH, 5000), 5000);
  EXPECT_EQ(machine.state(), State::kFailed);
  EXPECT_EQ(machine.error(), ECONNREFUSED);
  EXPECT_EQ(machine.log().attempts(), 2u);
}

TEST(Begin, FaultOfTheConnectBeforeIsForgottenEvenIfNothingIsToldOfTheFirstAttempt) {
  ConnectAttempts machine = first(true);
  machine.started(attempt(ECONNREFUSED, kNow, {FaultAction::kRefuse, 0, 0}), kNow);
  machine.begin(false, kNow, 100);
  machine.seen(SocketPhase::kConnecting, 1100);
  machine.planned(destinations(2), kDefaults, {}, 1100);
  machine.seen(SocketPhase::kConnected, 1101);
  EXPECT_EQ(logged(machine, 0).fault.action, FaultAction::kNone);
}

// ---- The contract (design 2.5 to 2.9 and 2.11), said once more ----

bool is_disturbed(const World& world) {
  return world.shut_down_after_ms != kNever || world.error_is_stolen || world.nowhere ||
         world.socket_lost_before != kNever || world.forgotten != PositionSet::kNone ||
         world.signal_every_ms != kNever || world.comes_back != 0 || world.tells_the_truth;
}

void check_log(const Played& run) {
  if (!run.machine.is_planned() || (run.end() == State::kLeft && !run.told)) return;
  ASSERT_EQ(run.machine.log().attempts(), run.log.size());
  std::size_t next = 0;
  const auto check_one = [&](const AttemptLog::Attempt& told) {
    ASSERT_LT(next, run.log.size());
    const Logged& expected = run.log[next];
    EXPECT_EQ(told.position, expected.position);
    EXPECT_EQ(told.error, expected.error);
    EXPECT_EQ(told.took_ms, expected.took_ms);
    EXPECT_EQ(told.fault.action, expected.fault.action);
    ++next;
  };
  run.machine.log().for_each(check_one, [&](const AttemptLog::Attempt& last) {
    next = run.log.size() - 1;
    check_one(last);
  });
  EXPECT_EQ(next, run.log.size());
}

// True when the address may be found dead: it was found dead before, or was silent before and is so
// now for longer than its distance accounts for; for a second where that is not known.
bool was_left_dead(const World& world, const Played& run, std::size_t position) {
  const Distance& distance = world.hosts[position].distance;
  const std::uint32_t needed = distance.rtt_ms != 0  ? overdue_ms(distance.rtt_ms)
                               : distance.has_failed ? world.limits.attempt_delay_ms
                                                     : kMayBeFarMs;
  return (distance.has_failed || distance.silent_ms != 0) &&
         std::any_of(run.asked.begin(), run.asked.end(), [&](const Asked& asked) {
           return asked.position == position && asked.outcome == EINPROGRESS &&
                  asked.given_ms >= needed;
         });
}

// Checks that what was learnt is what was observed: each failure of an address once, and no silence
// of an address that was not silent. Only a time-out that ended the connect is no address's
// failure.
void check_lessons(const World& world, const Played& run) {
  std::map<std::size_t, int> failures;
  for (const Taught& lesson : run.lessons) {
    if (lesson.lesson == Lesson::kFailed) {
      ASSERT_TRUE(run.errors.contains(lesson.position) ||
                  was_left_dead(world, run, lesson.position));
      ++failures[lesson.position];
    } else {
      EXPECT_LE(lesson.silent_ms, run.took_ms + 1);
    }
  }
  const Asked& last = run.asked.back();
  if (run.end() == State::kLeft) return;
  for (const auto& [position, errors] : run.errors) {
    const bool nobodys = last.outcome == ETIMEDOUT && position == last.position;
    EXPECT_TRUE(failures[position] != 0 || nobodys ||
                !std::any_of(errors.begin(), errors.end(), parks));
  }
}

// SYNs to each address, while nobody has answered: no more than a socket of the kernel's own sends.
void check_syns(const Played& run) {
  if (run.any_answered || run.asked.size() != 1 || run.asked[0].outcome != EINPROGRESS) return;
  for (const auto& [position, times] : run.syns) {
    if (run.errors.contains(position)) continue;
    Times sorted = times;
    std::sort(sorted.begin(), sorted.end());
    std::uint64_t kernel = 0;
    for (const std::uint64_t at : sorted) {
      EXPECT_GE(at, kernel) << "to position " << position;
      kernel = 2 * kernel + 1000;
    }
  }
}

// How long the program may be kept when the requested address has refused, and nobody answers.
void check_last_wait(const World& world, const Played& run) {
  if (run.end() != State::kFailed || run.any_answered || is_disturbed(world)) return;
  if (!run.refused_ms.contains(world.requested)) return;
  const std::uint64_t from = run.refused_ms.at(world.requested);
  std::uint64_t most = from + kLastWaitMs;
  if (world.limits.program_ms != 0 && world.waits) {
    most =
        std::min<std::uint64_t>(most, std::max<std::uint64_t>(from, world.limits.program_ms / 2));
  }
  EXPECT_LE(run.took_ms, most) << "a refusal is told late";
}

// True when a live address is there that has to be found.
bool is_to_be_reached(const World& world, const Played& run) {
  if (is_disturbed(world) || run.probes_failed || !world.limits.probes) return false;
  if (world.limits.program_ms != 0 || world.kernel_ms < 60'000 || world.hosts.size() > 6) {
    return false;
  }
  bool found = false;
  for (std::size_t i = 0; i < world.hosts.size(); ++i) {
    const Host& host = world.hosts[i];
    // This error ends the connect whatever the other addresses do.
    const int error = host.fault.action == FaultAction::kErrno
                          ? static_cast<int>(host.fault.argument)
                          : host.error;
    if (error != 0 && !moves_on(error)) return false;
    found |= host.fault.action == FaultAction::kNone && !host.silent && host.error == 0 &&
             host.up_after_ms == 0 && host.answers_after_ms < 100 && !host.for_probes_only &&
             !host.loses_first_syn && !host.known_silent && i != world.forgotten;
  }
  return found;
}

void check_contract(const World& world, const Played& run) {
  if (run.forgot && run.asked.empty()) {  // instead of a parked one, and nobody was asked
    EXPECT_EQ(run.result, EHOSTUNREACH);
    return;
  }
  ASSERT_FALSE(run.asked.empty());
  check_log(run);
  check_lessons(world, run);
  check_syns(run);
  check_last_wait(world, run);
  EXPECT_LE(run.most_probes, kMostProbes + 2) << "and one of each that was left in silence";
  if (!run.any_answered && world.limits.probes && !run.probes_failed) {
    EXPECT_LE(run.took_ms, world.kernel_ms + 6000 * world.hosts.size())
        << "nobody answers, and the kernel has given up";
  }
  const int last = run.asked.back().outcome;
  switch (run.end()) {
    case State::kConnected:
      EXPECT_EQ(run.result, 0);
      EXPECT_EQ(last, 0);
      if (run.machine.is_planned()) {
        EXPECT_EQ(run.machine.position(), run.asked.back().position);
      }
      return;
    case State::kPaused:
      EXPECT_TRUE(run.left_in_flight);
      EXPECT_EQ(run.result, EINPROGRESS);
      EXPECT_TRUE(run.resumed != 0 || run.took_ms == world.limits.program_ms);
      break;
    case State::kLeft:
      EXPECT_TRUE(world.hosts.size() == 1 || is_disturbed(world) || last == ECONNRESET ||
                  last == ETIMEDOUT)
          << "left, but not alone";
      if (run.lost) {
        EXPECT_EQ(run.result, EBADF);
      } else if (world.error_is_stolen && last == EINPROGRESS && run.result != EINPROGRESS) {
        EXPECT_EQ(run.result, ECONNABORTED);
      } else {
        EXPECT_EQ(run.result, last) << "it is the kernel's answer";
      }
      return;
    case State::kFailed:
      if (run.errors.contains(world.requested)) {
        EXPECT_TRUE(run.errors.at(world.requested).contains(run.result)) << "not its own error";
      } else if (run.forgot) {
        EXPECT_TRUE(run.result == EHOSTUNREACH || run.result == ETIMEDOUT);
      } else if (last != EINPROGRESS && !moves_on(last)) {
        EXPECT_EQ(run.result, last);
      } else {
        EXPECT_EQ(run.result, ETIMEDOUT);
      }
      break;
    default:
      ADD_FAILURE() << "no end";
  }
  EXPECT_FALSE(is_to_be_reached(world, run)) << "failed although a live address was there";
}

class Dice {
 public:
  explicit Dice(unsigned seed) : random_(seed) {}
  std::uint32_t below(std::uint32_t n) { return static_cast<std::uint32_t>(random_()) % n; }
  bool one_in(std::uint32_t n) { return below(n) == 0; }

 private:
  std::mt19937 random_;
};

// The last error comes from no packet, but may be made on purpose.
constexpr int kErrors[] = {ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH,  EHOSTDOWN,
                           ENETUNREACH,  ENETDOWN,  EADDRNOTAVAIL, EACCES,
                           EPERM,        EINVAL,    ENOBUFS,       ECONNRESET};

World random_network(unsigned seed, Dice& dice) {
  World world;
  world.hosts.resize(1 + dice.below(seed % 10 == 0 ? 40 : 6));
  for (Host& host : world.hosts) {
    host.ipv6 = dice.one_in(2);
    host.answers_after_ms = dice.one_in(3) ? 0 : dice.below(dice.one_in(2) ? 100 : 3000);
    host.silent = dice.one_in(seed % 3 == 0 ? 1 : 3);
    host.parked = seed % 2 == 0 && dice.one_in(3);
    host.known_silent = seed % 4 == 0 && dice.one_in(3);
    host.error = dice.one_in(2) || seed % 7 == 0 ? 0 : kErrors[dice.below(dice.one_in(4) ? 11 : 4)];
    host.loses_first_syn = dice.one_in(8);
    host.for_probes_only = dice.one_in(8);
    if (dice.one_in(8)) host.up_after_ms = dice.below(3000);
    if (dice.one_in(4)) {
      host.distance.rtt_ms = std::max<std::uint32_t>(
          1, static_cast<std::uint32_t>(host.answers_after_ms) + dice.below(20));
    }
    if (dice.one_in(8)) host.distance.silent_ms = dice.below(3000);
    host.distance.has_failed = dice.one_in(16);
  }
  world.limits.attempt_delay_ms = dice.one_in(2) ? kDefaultAttemptDelayMs : 10 + dice.below(500);
  world.limits.program_ms = dice.one_in(3) ? 1 + dice.below(3000) : 0;
  world.limits.probes = !dice.one_in(5);
  world.kernel_ms = kernel_patience_ms(static_cast<int>(1 + dice.below(6)));
  world.requested = dice.below(static_cast<std::uint32_t>(world.hosts.size()));
  world.waits = !dice.one_in(4);
  return world;
}

Fault random_fault(Dice& dice) {
  switch (dice.below(6)) {
    case 0:
      return {FaultAction::kRefuse, 2, 0};
    case 1:
      return {FaultAction::kSilent, 3, 0};
    case 2:
      return {FaultAction::kReset, 4, 0};
    case 3:
      return {FaultAction::kErrno, 5, static_cast<std::uint32_t>(kErrors[dice.below(12)])};
    default:
      return {FaultAction::kDelay, 6, dice.below(dice.one_in(2) ? 300 : 4000)};
  }
}

void disturb(World& world, Dice& dice) {
  for (Host& host : world.hosts) {
    if (dice.one_in(4)) host.fault = random_fault(dice);
    if (dice.one_in(8)) host.accepted = SocketPhase::kEnded;
  }
  if (dice.one_in(4)) world.kernel_ms = 1 + dice.below(3000);
  if (dice.one_in(4)) world.shut_down_after_ms = dice.below(dice.one_in(2) ? 500 : 5000);
  if (dice.one_in(6)) world.no_probe_from = dice.below(4);
  world.error_is_stolen = dice.one_in(10);
  world.nowhere = dice.one_in(10);
  world.tells_the_truth = dice.one_in(8);
  if (dice.one_in(4)) world.answered_when_taken_back = dice.below(4);
  if (dice.one_in(10)) world.socket_lost_before = 1 + dice.below(4);
  if (dice.one_in(10)) {
    const auto position = dice.below(static_cast<std::uint32_t>(world.hosts.size()));
    if (position != world.requested) world.forgotten = position;
  }
  if (dice.one_in(3)) world.signal_every_ms = 5 + dice.below(1000);
  world.comes_back = static_cast<int>(dice.below(4));
}

TEST(Connect, TenThousandRandomNetworksKeepTheContract) {
  for (unsigned seed = 0; seed < 10'000; ++seed) {
    Dice dice(seed);
    const World world = random_network(seed, dice);
    SCOPED_TRACE("seed " + std::to_string(seed));
    check_contract(world, play(world));
    if (HasFailure()) return;
  }
}

TEST(Connect, TenThousandDisturbedOnesKeepItToo) {
  std::map<State, int> ends;
  int answered_late = 0;
  int told = 0;
  for (unsigned seed = 0; seed < 10'000; ++seed) {
    Dice dice(seed);
    World world = random_network(seed, dice);
    disturb(world, dice);
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Played run = play(world);
    check_contract(world, run);
    ++ends[run.end()];
    answered_late += static_cast<int>(run.answered_late);
    told += static_cast<int>(run.told);
    if (HasFailure()) return;
  }
  // Each kind of connect occurs often enough to be tested.
  for (const State end : {State::kConnected, State::kFailed, State::kLeft, State::kPaused}) {
    EXPECT_GT(ends[end], 200);
  }
  EXPECT_GT(answered_late, 200);
  EXPECT_GT(told, 200);
}

}  // namespace
}  // namespace nextaddr
