// The machine of one connect: each row of its table, and thousands of connects against a simulated
// network and clock, and a plain model of the contract. No sockets, no real time: every run is a
// function of its seed. The driver here must never decide anything: it does what the machine says.
#include "engine/connect_attempts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/outcome.h"

namespace nextaddr {
namespace {

using Action = ConnectAttempts::Action;
using Attempt = ConnectAttempts::Attempt;
using Kind = Action::Kind;
using Lesson = ConnectAttempts::Lesson;
using Limits = ConnectAttempts::Limits;
using State = ConnectAttempts::State;

constexpr std::uint64_t kStart = 1'000'000;
constexpr std::uint64_t kNever = ~std::uint64_t{0};
constexpr Limits kDefaults{200, 127'000, 0};

// ---- The simulated network, and the program ----

// How one simulated address behaves: an error or an acceptance `answers_after_ms` after it was
// asked, or nothing.
struct Host {
  bool ipv6 = false;
  int error = 0;  // 0: accepts
  std::uint64_t answers_after_ms = 0;
  bool silent = false;
  bool parked = false;
  std::uint32_t own_delay_ms = 0;
  Fault fault{};                                   // made of each attempt at it
  SocketPhase accepted = SocketPhase::kConnected;  // how the socket stands when it is looked at
};

struct World {
  std::vector<Host> hosts;
  std::size_t requested = 0;
  Limits limits = kDefaults;
  bool waits = true;  // in connect(2); else on the socket, and nobody counts its time
  std::uint32_t first_look_ms = 10;
  bool nowhere = false;  // the program walks a list that has failed: it is found nowhere to go

  // ---- Disturbances ----
  std::uint64_t shut_down_after_ms = kNever;  // by another thread
  bool error_is_stolen = false;               // read by another thread
  std::size_t socket_lost_before = kNever;    // the attempt with this number, from 0
  std::size_t forgotten = PositionSet::kNone;
  std::size_t answered_when_taken_back = kNever;  // the attempt with this number, from 0
  bool tells_the_truth = false;                   // SO_ERROR is the first to find a failure
  std::uint64_t signal_every_ms = kNever;  // each ends connect(2), and the program calls it again
  int comes_back = 0;                      // after its own time was up
};

struct Asked {
  std::size_t position;
  std::uint64_t at_ms;
  std::uint64_t given_ms;  // how long it was waited for
  int outcome;             // 0, an error, or EINPROGRESS for silence
  int silences;            // how often it was given up, by us or by the program
};

struct Taught {
  Lesson lesson;
  std::size_t position;
  bool operator==(const Taught& other) const {
    return lesson == other.lesson && position == other.position;
  }
};

struct Played {
  std::vector<Asked> asked;
  std::vector<Taught> lessons;
  ConnectAttempts machine;
  int result = -1;  // 0 connected, else errno
  std::uint64_t took_ms = 0;
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
  }

  Played play() {
    const bool parked = world_.hosts[world_.requested].parked;
    begin();
    Action action = parked ? machine().elsewhere(SocketPhase::kClosed) : ask(world_.requested);
    instead_ = parked;
    for (int guard = 0; guard < 200'000; ++guard) {
      if (is_answered_late(action)) action = answer_late(action);
      note_lesson(action);
      if (action.kind == Kind::kLeave && instead_ && run_.asked.empty()) {
        instead_ = false;
        begin();
        action = ask(world_.requested);
      } else if (!ends_with(action)) {
        action = carry_out(action);
      } else {
        run_.left_in_flight = action.kind == Kind::kPause;
        run_.result = run_.left_in_flight ? EINPROGRESS : machine().error();
        run_.took_ms = now_ - kStart;
        return run_;
      }
    }
    ADD_FAILURE() << "the connect never ends";
    return run_;
  }

 private:
  ConnectAttempts& machine() { return run_.machine; }
  [[nodiscard]] const Host& host() const { return world_.hosts[run_.asked.back().position]; }

  // Nobody knows positions before it is planned.
  void note_lesson(const Action& action) {
    if (action.lesson == Lesson::kNothing) return;
    run_.lessons.push_back(
        {action.lesson, machine().is_planned() ? action.about : world_.requested});
  }

  // What is in flight and to be taken back may be answered just now. Then nothing is to be learnt
  // of its silence.
  bool is_answered_late(const Action& action) {
    const bool takes_back = action.kind == Kind::kConnect || action.kind == Kind::kDeliver;
    return takes_back && !run_.asked.empty() && run_.asked.back().outcome == EINPROGRESS &&
           run_.asked.size() - 1 == world_.answered_when_taken_back;
  }

  Action answer_late(const Action& action) {
    run_.answered_late = true;
    if (action.lesson == Lesson::kSilent) --run_.asked.back().silences;
    run_.asked.back().outcome = 0;
    return machine().seen(host().accepted, now_);
  }

  void begin() { machine().begin(world_.waits, now_, world_.first_look_ms); }

  bool ends_with(const Action& action) {
    return action.kind == Kind::kConnected || action.kind == Kind::kDeliver ||
           action.kind == Kind::kLeave ||
           (action.kind == Kind::kPause && run_.resumed >= world_.comes_back);
  }

  Action carry_out(const Action& action) {
    switch (action.kind) {
      case Kind::kPlan:
        return plan();
      case Kind::kReadError: {
        const int error = world_.error_is_stolen ? 0 : socket_error_;
        if (error != 0) run_.asked.back().outcome = error;
        return machine().error_read(error, now_);
      }
      case Kind::kConnect:
        EXPECT_EQ(machine().position(),
                  run_.asked.empty() ? world_.requested : run_.asked.back().position)
            << "whose attempt is in flight";
        if (run_.asked.size() >= world_.socket_lost_before) {
          run_.lost = true;
          return machine().lost_socket();
        }
        if (action.position == world_.forgotten) {
          run_.forgot = true;
          return machine().lost_address();
        }
        return ask(action.position);
      case Kind::kRelease: {
        EXPECT_EQ(action.position, run_.asked.back().position);
        EXPECT_EQ(host().fault.action, FaultAction::kDelay);
        EXPECT_EQ(now_, run_.asked.back().at_ms + host().fault.argument);
        Attempt made;
        made.outcome = connect_socket();
        return tell(made);
      }
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
    }
    const std::uint32_t own_delay = world_.hosts[world_.requested].own_delay_ms;
    return count_silence(machine().planned(all, world_.limits, own_delay, now_));
  }

  // Asks the address: what comes back at once, and everything else is in flight.
  Action ask(std::size_t position) {
    run_.asked.push_back({position, now_, 0, EINPROGRESS, 0});
    Attempt made;
    made.began_ms = now_;
    made.own_delay_ms = host().own_delay_ms;
    made.fault = host().fault;
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
      case FaultAction::kDelay:
        answer_ms_ = kNever;
        made.outcome = EINPROGRESS;
        break;
      default:
        made.outcome = connect_socket();
    }
    return tell(made);
  }

  Action tell(const Attempt& made) {
    if (made.outcome != EINTR) run_.asked.back().outcome = made.outcome;
    const Action next = machine().started(made, now_);
    if (machine().is_planned()) {
      EXPECT_EQ(machine().position(), run_.asked.back().position);
    }
    return next;
  }

  // Every third attempt is cut short by a signal that the program does not hear of.
  int connect_socket() {
    const bool at_once = host().answers_after_ms == 0 && !host().silent;
    answer_ms_ = host().silent ? kNever : now_ + host().answers_after_ms;
    if (at_once && (host().error != 0 || world_.waits)) return host().error;
    return run_.asked.size() % 3 == 0 ? EINTR : EINPROGRESS;
  }

  [[nodiscard]] std::uint64_t shut_down_ms() const {
    if (world_.shut_down_after_ms == kNever) return kNever;
    const std::uint64_t at = kStart + world_.shut_down_after_ms;
    return at < run_.asked.back().at_ms || at >= answer_ms_ ? kNever : at;
  }

  SocketPhase look() {
    if (shut_down_ms() <= now_) {
      socket_error_ = ECONNRESET;
      return SocketPhase::kClosed;
    }
    if (answer_ms_ > now_) return SocketPhase::kConnecting;
    if (host().fault.action == FaultAction::kReset) return SocketPhase::kEnded;
    socket_error_ = host().error;
    return host().error == 0 ? host().accepted : SocketPhase::kClosed;
  }

  Action wait() {
    EXPECT_FALSE(ConnectAttempts::is_over(machine().state()));
    const std::uint64_t event = std::min(answer_ms_, shut_down_ms());
    const std::uint64_t until = machine().until_ms();
    Asked& asked = run_.asked.back();
    if (signal_ms_ < std::min(event, until)) {
      now_ = std::max(now_, signal_ms_);
      asked.given_ms = now_ - asked.at_ms;
      return come_back();
    }
    now_ = std::max(now_, std::min(event, until));
    asked.given_ms = now_ - asked.at_ms;
    const SocketPhase phase = look();
    if (phase == SocketPhase::kClosed && world_.tells_the_truth && !world_.error_is_stolen) {
      run_.told = true;
      asked.outcome = socket_error_;
      return machine().told(socket_error_, now_);
    }
    const Action next = machine().seen(phase, now_);
    if (next.kind == Kind::kConnected) asked.outcome = 0;
    return phase == SocketPhase::kConnecting ? count_silence(next) : next;
  }

  Action count_silence(const Action& action) {
    if (action.lesson == Lesson::kSilent) ++run_.asked.back().silences;
    return action;
  }

  Action come_back() {
    ++run_.resumed;
    if (world_.signal_every_ms != kNever) signal_ms_ = now_ + world_.signal_every_ms;
    // Meanwhile the connect goes on without the program.
    EXPECT_EQ(machine().resumed(false, 0, now_).kind, Kind::kWait);
    const Action next = machine().resumed(world_.waits, world_.limits.program_ms, now_);
    EXPECT_EQ(next.kind, Kind::kWait);
    EXPECT_NE(machine().state(), State::kPaused);
    return next;
  }

  World world_;
  Played run_;
  std::uint64_t now_ = kStart;
  std::uint64_t answer_ms_ = kNever;
  std::uint64_t signal_ms_ =
      world_.signal_every_ms == kNever ? kNever : kStart + world_.signal_every_ms;
  int socket_error_ = 0;
  bool instead_ = false;
};

Played play(const World& world) { return Player(world).play(); }
Played play(const std::vector<Host>& hosts, std::size_t requested, const Limits& limits) {
  World world;
  world.hosts = hosts;
  world.requested = requested;
  world.limits = limits;
  return play(world);
}

Host live(std::uint64_t after_ms = 0) { return {false, 0, after_ms, false}; }
Host refused(bool ipv6 = false) { return {ipv6, ECONNREFUSED, 0, false}; }
Host silent(bool ipv6 = false) { return {ipv6, 0, 0, true}; }
Host failing(int error, std::uint64_t after_ms = 0) { return {false, error, after_ms, false}; }
Host parked(Host host) {
  host.parked = true;
  return host;
}
Host with_fault(Host host, FaultAction action, std::uint32_t argument = 0) {
  host.fault = {action, 1, argument};
  return host;
}

std::vector<std::size_t> order(const Played& run) {
  std::vector<std::size_t> positions;
  for (const Asked& asked : run.asked) positions.push_back(asked.position);
  return positions;
}

std::vector<std::uint64_t> patience(const Played& run) {
  std::vector<std::uint64_t> given;
  for (const Asked& asked : run.asked) given.push_back(asked.given_ms);
  return given;
}

std::vector<std::size_t> left_in_silence(const Played& run) {
  std::vector<std::size_t> positions;
  const PositionSet& silent = run.machine.left_in_silence();
  for (std::size_t i = silent.next(0); i != PositionSet::kNone; i = silent.next(i + 1)) {
    positions.push_back(i);
  }
  return positions;
}

using Positions = std::vector<std::size_t>;
using Lessons = std::vector<Taught>;
using Times = std::vector<std::uint64_t>;

// ---- What becomes of a connect ----

TEST(Connect, RefusedMovesOnAtOnce) {
  const Played run = play({refused(), refused(), live()}, 0, kDefaults);
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(run.took_ms, 0u);
  EXPECT_EQ(order(run), (Positions{0, 1, 2}));
}

TEST(Connect, SilenceCostsTheAttemptDelay) {
  const Played run = play({silent(), silent(), live()}, 0, kDefaults);
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(run.took_ms, 400u);
}

TEST(Connect, RequestedAddressFirstThenTheResolversOrder) {
  const Played run = play({refused(), refused(), refused(), refused()}, 2, kDefaults);
  EXPECT_EQ(order(run), (Positions{2, 0, 1, 3}));
  EXPECT_EQ(run.result, ECONNREFUSED);
}

TEST(Connect, FamiliesAlternate) {
  std::vector<Host> hosts;
  for (const bool ipv6 : {false, true, true, true, false}) hosts.push_back(refused(ipv6));
  EXPECT_EQ(order(play(hosts, 1, kDefaults)), (Positions{1, 0, 2, 4, 3}));
}

TEST(Connect, SlowServerIsReachedInALaterPass) {
  const Played run = play({live(700), silent()}, 0, kDefaults);
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(order(run), (Positions{0, 1, 0}));
  EXPECT_EQ(run.took_ms, 200u + 200u + 700u);
}

TEST(Connect, PatienceGrows) {
  const Played run = play({silent(), silent()}, 0, kDefaults);
  Times given = patience(run);
  ASSERT_GE(given.size(), 8u);
  given.resize(8);
  EXPECT_EQ(given, (Times{200, 200, 1000, 1000, 3000, 3000, 9000, 9000}));
  EXPECT_EQ(run.result, ETIMEDOUT);
  EXPECT_EQ(run.took_ms, 127'000u);
}

TEST(Connect, LastOneStandingGetsAllTheTime) {
  const Played run = play({silent(), refused()}, 0, kDefaults);
  EXPECT_EQ(order(run), (Positions{0, 1, 0}));
  EXPECT_EQ(run.took_ms, 127'000u);
  EXPECT_EQ(run.result, ETIMEDOUT);
}

TEST(Connect, ParkedAreAskedLast) {
  const std::vector<Host> hosts{parked(live()), refused(), parked(refused()), refused(), live()};
  EXPECT_EQ(order(play(hosts, 0, kDefaults)), (Positions{1, 3, 4}));
  EXPECT_EQ(order(play(hosts, 3, kDefaults)), (Positions{3, 1, 4}));
}

TEST(Connect, ParkedAreNeverDropped) {
  const std::vector<Host> hosts{parked(refused()), refused(), parked(live())};
  const Played run = play(hosts, 0, kDefaults);
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(order(run), (Positions{1, 0, 2}));
}

TEST(Connect, WhenAllAreParkedTheOrderIsTheUsualOne) {
  const std::vector<Host> hosts{parked(refused()), parked(refused()), parked(refused())};
  const Played run = play(hosts, 1, kDefaults);
  EXPECT_EQ(order(run), (Positions{1, 0, 2}));
  EXPECT_EQ(run.result, ECONNREFUSED);
}

TEST(Connect, FamiliesAlternateAfterAParkedRequestedAddressToo) {
  const std::vector<Host> hosts{parked(refused()), refused(true), parked(refused()),
                                parked(refused(true))};
  EXPECT_EQ(order(play(hosts, 0, kDefaults)), (Positions{1, 0, 3, 2}));
}

TEST(Connect, AnAddressMayHaveAnAttemptDelayOfItsOwn) {
  std::vector<Host> hosts{silent(), silent()};
  hosts[0].own_delay_ms = 25;
  hosts[1].own_delay_ms = 1500;
  Times given = patience(play(hosts, 0, kDefaults));
  given.resize(3);
  EXPECT_EQ(given, (Times{25, 1500, 1000})) << "later passes wait longer";
}

TEST(Connect, ErrorIsTheRequestedAddresss) {
  std::vector<Host> hosts{refused(), refused(), refused()};
  hosts[1].error = EHOSTUNREACH;
  EXPECT_EQ(play(hosts, 1, kDefaults).result, EHOSTUNREACH);
  EXPECT_EQ(play(hosts, 0, kDefaults).result, ECONNREFUSED);
}

TEST(Connect, ErrorsOfTheCallAreDeliveredAtOnce) {
  for (const int error :
       {EBADF, ENOTSOCK, EFAULT, EISCONN, EALREADY, EAFNOSUPPORT, EAGAIN, ENOBUFS, ENOMEM}) {
    std::vector<Host> hosts{refused(), live()};
    hosts[0].error = error;
    const Played run = play(hosts, 0, kDefaults);
    EXPECT_EQ(run.result, error);
    EXPECT_EQ(run.asked.size(), 1u);
  }
}

TEST(Connect, ErrorOfTheCallAtALaterAddressDeliversTheRequestedOnes) {
  EXPECT_EQ(play({refused(), failing(ENOBUFS), live()}, 0, kDefaults).result, ECONNREFUSED);
  EXPECT_EQ(play({silent(), failing(ENOBUFS), live()}, 0, kDefaults).result, ENOBUFS);
}

TEST(Connect, ProgramsOwnTimeIsSharedAndKept) {
  Limits limits = kDefaults;
  limits.program_ms = 100;
  const Played reached = play({silent(), silent(), live()}, 0, limits);
  EXPECT_EQ(reached.result, 0);
  EXPECT_LT(reached.took_ms, 100u);
  const Played none = play({silent(), silent()}, 0, limits);
  EXPECT_EQ(none.result, EINPROGRESS);
  EXPECT_TRUE(none.left_in_flight);
  EXPECT_EQ(none.took_ms, 100u);
}

TEST(Connect, ThousandSilentAddressesAreAllAskedInTheKernelsTime) {
  std::vector<Host> hosts(1000, silent());
  hosts.push_back(live());
  const Played run = play(hosts, 0, kDefaults);
  EXPECT_EQ(run.result, 0);
  EXPECT_LT(run.took_ms, 127'000u);
}

TEST(Connect, ResumedKeepsItsPatienceAndItsPlace) {
  World world;
  world.hosts = {silent(), live()};
  // Interrupted every 20 ms, the attempt still ends after 200.
  world.signal_every_ms = 20;
  const Played run = play(world);
  EXPECT_EQ(order(run), (Positions{0, 1}));
  EXPECT_EQ(patience(run), (Times{200, 0}));
  EXPECT_EQ(run.resumed, 9);
}

TEST(Connect, ResumedGoesOnWithWhatIsInFlight) {
  World world;
  world.hosts = {live(700), refused()};
  world.limits.program_ms = 300;
  world.comes_back = 3;
  const Played run = play(world);
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(run.resumed, 2);
  EXPECT_EQ(order(run), (Positions{0, 1, 0}));
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
  world.hosts = {live(150), live()};
  world.waits = false;
  world.first_look_ms = 100;
  const Played run = play(world);
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(run.took_ms, 150u);
  EXPECT_EQ(order(run), (Positions{0})) << "the first look is not the end of its patience";
  EXPECT_TRUE(run.machine.is_planned());
  world.hosts = {live(50), live()};
  EXPECT_FALSE(play(world).machine.is_planned()) << "most connects never are";
}

TEST(Connect, ShutdownByAnotherThreadEndsIt) {
  World world;
  world.hosts = {silent(), silent(), live()};
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
  world.hosts = {failing(ECONNREFUSED, 50), live()};
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
  const Played run = play({with_fault(live(), FaultAction::kRefuse), live()}, 0, kDefaults);
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
  Played run = play({reset, live()}, 0, kDefaults);
  EXPECT_EQ(run.end(), State::kLeft);
  EXPECT_EQ(run.result, ECONNRESET);
  EXPECT_TRUE(run.lessons.empty());
  run = play({refused(), reset, live()}, 0, kDefaults);
  EXPECT_EQ(run.end(), State::kLeft);
  EXPECT_EQ(run.result, ECONNRESET) << "and not the requested address's error";
  EXPECT_EQ(run.lessons, (Lessons{{Lesson::kFailed, 0}}));
}

TEST(Connect, AnsweredInTheLastMomentIsConnectedThere) {
  World world;
  world.hosts = {silent(), silent(), live()};
  world.answered_when_taken_back = 1;
  for (const SocketPhase phase : {SocketPhase::kConnected, SocketPhase::kEnded}) {
    world.hosts[1].accepted = phase;
    const Played run = play(world);
    EXPECT_EQ(run.end(), State::kConnected);
    EXPECT_EQ(run.result, 0);
    EXPECT_EQ(run.took_ms, 400u);
    EXPECT_EQ(order(run), (Positions{0, 1}));
    EXPECT_EQ(run.machine.position(), 1);
    EXPECT_EQ(run.lessons, (Lessons{{Lesson::kSilent, 0}})) << "it was not silent after all";
    EXPECT_EQ(left_in_silence(run), (Positions{0}));
  }
}

TEST(Connect, AnsweredBeforeTheFailureIsDeliveredIsConnected) {
  World world;
  world.hosts = {silent(), refused()};
  world.answered_when_taken_back = 2;
  const Played run = play(world);
  EXPECT_EQ(run.end(), State::kConnected);
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(run.took_ms, 127'000u);
  EXPECT_EQ(order(run), (Positions{0, 1, 0}));
  EXPECT_EQ(run.machine.position(), 0);
  EXPECT_TRUE(left_in_silence(run).empty());
}

TEST(Connect, FailureThatTheProgramWasToldIsNotGoneOnWith) {
  World world;
  world.tells_the_truth = true;
  for (const bool waits : {true, false}) {
    world.waits = waits;
    world.hosts = {failing(ECONNREFUSED, 5), live()};
    Played run = play(world);
    EXPECT_EQ(run.end(), State::kLeft);
    EXPECT_EQ(run.result, ECONNREFUSED);
    EXPECT_EQ(order(run), (Positions{0}));
    EXPECT_EQ(run.lessons, (Lessons{{Lesson::kFailed, 0}}));
    EXPECT_EQ(run.machine.is_planned(), waits);
    world.hosts = {silent(), failing(EHOSTUNREACH, 50), live()};
    run = play(world);
    EXPECT_EQ(run.result, EHOSTUNREACH) << "the truth, and not the requested address's error";
    EXPECT_EQ(run.lessons, (Lessons{{Lesson::kSilent, 0}, {Lesson::kFailed, 1}}));
  }
}

TEST(Connect, DelayedAttemptIsReleasedInTime) {
  const Played run = play({with_fault(live(30), FaultAction::kDelay, 150), silent()}, 0, kDefaults);
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(order(run), (Positions{0}));
  EXPECT_EQ(run.took_ms, 180u);
}

TEST(Connect, DelayOutlivesNoPatience) {
  const Played run = play({with_fault(live(), FaultAction::kDelay, 5000), silent()}, 0, kDefaults);
  EXPECT_EQ(run.result, 0);
  Times given = patience(run);
  given.resize(6);
  EXPECT_EQ(given, (Times{200, 200, 1000, 1000, 3000, 3000}));
  EXPECT_EQ(run.asked.back().given_ms, 5000u);
}

TEST(Connect, DelayIsEndedWhereThereIsNowhereElseToGo) {
  const Played run = play({with_fault(live(), FaultAction::kDelay, 300)}, 0, kDefaults);
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

// ---- What is learnt ----

TEST(Lessons, OnlyFailuresOfTheAddressPark) {
  for (const int error : {ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, EHOSTDOWN}) {
    const Played run = play({failing(error), live()}, 0, kDefaults);
    EXPECT_EQ(run.lessons, (Lessons{{Lesson::kFailed, 0}})) << error_name(error);
  }
  for (const int error :
       {ENETUNREACH, ENETDOWN, EADDRNOTAVAIL, EACCES, EPERM, EINVAL, ENOBUFS, EBADF}) {
    const Played run = play({failing(error), live()}, 0, kDefaults);
    EXPECT_TRUE(run.lessons.empty()) << error_name(error);
  }
}

TEST(Lessons, SilenceIsTheAddresssOnlyAfterAnotherHasAnswered) {
  const Played reached =
      play({silent(), failing(ECONNREFUSED, 10), silent(), live()}, 0, kDefaults);
  EXPECT_EQ(reached.lessons,
            (Lessons{{Lesson::kSilent, 0}, {Lesson::kFailed, 1}, {Lesson::kSilent, 2}}));
  EXPECT_EQ(left_in_silence(reached), (Positions{0, 2}));
}

TEST(Lessons, WhoAnswersLateWasNotLeftInSilence) {
  const Played run = play({live(700), silent()}, 0, kDefaults);
  EXPECT_EQ(run.lessons, (Lessons{{Lesson::kSilent, 0}, {Lesson::kSilent, 1}}));
  EXPECT_EQ(left_in_silence(run), (Positions{1}));
}

TEST(Lessons, ProgramsOwnTimeTeachesSilenceToo) {
  Limits limits = kDefaults;
  limits.program_ms = 100;
  const Played run = play({silent(), silent()}, 0, limits);
  EXPECT_EQ(run.lessons, (Lessons{{Lesson::kSilent, 0}, {Lesson::kSilent, 1}}));
}

TEST(Lessons, LastOneFailedIsNotedWithTheDelivery) {
  const Played run = play({refused(), failing(EHOSTUNREACH)}, 0, kDefaults);
  EXPECT_EQ(run.lessons, (Lessons{{Lesson::kFailed, 0}, {Lesson::kFailed, 1}}));
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

TEST(CanBeHadAgain, AllButATimeOut) {
  for (const int error : {ECONNREFUSED, EHOSTUNREACH, EHOSTDOWN, ECONNRESET, ENETUNREACH, EACCES}) {
    EXPECT_TRUE(can_be_had_again(error)) << error_name(error);
  }
  EXPECT_FALSE(can_be_had_again(ETIMEDOUT)) << "it would take as long again";
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
  return {outcome, began_ms, 0, fault};
}

// In each of the states that are not the end. The requested address is 0, asked at kNow, and its
// patience ends at 1200.
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
  machine.planned(destinations(count), limits, 0, kNow);
  return machine;
}
ConnectAttempts asking_without_waiting() {
  ConnectAttempts machine = first();
  machine.seen(SocketPhase::kConnecting, 1100);
  machine.planned(destinations(3), kDefaults, 0, 1100);
  return machine;
}
ConnectAttempts asking_the_last() {
  ConnectAttempts machine = asking(kDefaults, 2);
  machine.ended(ECONNREFUSED, 1010);
  machine.started(attempt(EINPROGRESS, 1010), 1010);
  return machine;
}
ConnectAttempts told_to_connect() {
  ConnectAttempts machine = asking();
  machine.ended(EHOSTDOWN, 1010);
  return machine;
}
// Nothing was heard of the one in flight.
ConnectAttempts told_to_leave_it() {
  ConnectAttempts machine = asking();
  machine.seen(SocketPhase::kConnecting, 1200);
  return machine;
}
ConnectAttempts told_to_read() {
  ConnectAttempts machine = asking();
  machine.seen(SocketPhase::kClosed, 1010);
  return machine;
}
ConnectAttempts held(const Limits& limits = kDefaults, std::uint32_t delay_ms = 50) {
  ConnectAttempts machine = planning({FaultAction::kDelay, 0, delay_ms});
  machine.planned(destinations(3), limits, 0, kNow);
  return machine;
}
constexpr Limits kShort{200, 127'000, 30};
ConnectAttempts paused() {
  ConnectAttempts machine = asking(kShort);
  machine.resumed(true, 30, kNow);
  machine.seen(SocketPhase::kConnecting, 1030);
  return machine;
}
ConnectAttempts paused_while_held() {
  ConnectAttempts machine = held(kShort);
  machine.resumed(true, 20, kNow);
  machine.seen(SocketPhase::kConnecting, 1020);
  return machine;
}

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
        return machine.planned(all, kDefaults, 0, now_ms);
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
    // The one that has just begun, or that was in flight.
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

TEST(Table, First) {
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
      {"connected, and gone", from, first(), seen(Phase::kEnded, 1010), Kind::kConnected,
       State::kConnected},
      {"connected and gone, while connect(2) waits", from, first(true), seen(Phase::kEnded, 1010),
       Kind::kConnected, State::kConnected},
      {"ended", from, first(), ended(ECONNREFUSED), Kind::kPlan, State::kPlanning},
      {"the program knows", from, first(), told(EHOSTUNREACH), Kind::kLeave, State::kLeft,
       Lesson::kFailed, EHOSTUNREACH},
      {"the program knows of an error of ours", from, first(), told(ENETUNREACH), Kind::kLeave,
       State::kLeft, Lesson::kNothing, ENETUNREACH},
      {"the program knows of a shutdown", from, first(), told(ECONNRESET), Kind::kLeave,
       State::kLeft, Lesson::kNothing, ECONNRESET},
      {"shut down", from, first(), ended(ECONNRESET), Kind::kLeave, State::kLeft, Lesson::kNothing,
       ECONNRESET},
      {"shut down at once", from, first(true), started(ECONNRESET), Kind::kLeave, State::kLeft,
       Lesson::kNothing, ECONNRESET},
      {"a fault is no exception", from, first(true),
       started(ECONNRESET, {FaultAction::kReset, 0, 0}), Kind::kLeave, State::kLeft,
       Lesson::kNothing, ECONNRESET},
      {"nor is an error on purpose", from, first(true),
       started(ECONNRESET, {FaultAction::kErrno, 0, ECONNRESET}), Kind::kLeave, State::kLeft,
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

TEST(Table, Planning) {
  const State from = State::kPlanning;
  ConnectAttempts closed = first();
  closed.seen(Phase::kClosed, 1010);
  Destinations requested_parked = destinations(3);
  requested_parked.parked.add(0);
  Destinations all_parked = destinations(2);
  all_parked.parked = all_parked.candidates;
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
      {"failed", from, planning_after(ECONNREFUSED), planned(destinations(2)), Kind::kConnect,
       State::kAsking, Lesson::kFailed},
      {"failed, and not by itself", from, planning_after(ENETUNREACH), planned(destinations(2)),
       Kind::kConnect, State::kAsking},
      {"an error of the call", from, planning_after(ENOBUFS), planned(destinations(2)),
       Kind::kDeliver, State::kFailed, Lesson::kNothing, ENOBUFS},
      {"parked", from, planning_elsewhere(), planned(requested_parked), Kind::kConnect,
       State::kAsking},
      {"all parked", from, planning_elsewhere(), planned(all_parked), Kind::kLeave, State::kLeft},
      {"parked, and nowhere", from, planning_elsewhere(), planned(destinations(1)), Kind::kLeave,
       State::kLeft},
      {"the program knows", from, planning(), told(ECONNREFUSED), Kind::kLeave, State::kLeft,
       Lesson::kFailed, ECONNREFUSED},
      {"another socket", from, planning(), kLostSocket, Kind::kLeave, State::kLeft,
       Lesson::kNothing, EBADF},
  });
  // The first look of one that nobody waits for.
  ConnectAttempts silent = first();
  silent.seen(Phase::kConnecting, 1100);
  check({
      {"not yet silent", from, silent, planned(destinations(2), 1199), Kind::kWait, State::kAsking},
      {"silent", from, silent, planned(destinations(2), 1200), Kind::kConnect, State::kAsking,
       Lesson::kSilent},
  });
}

TEST(Table, Asking) {
  const State from = State::kAsking;
  Limits kernel = kDefaults;
  kernel.kernel_ms = 150;
  Limits program = kDefaults;
  program.program_ms = 150;
  check({
      {"too early to look", from, asking(), seen(Phase::kConnecting, 1199), Kind::kWait, from},
      {"silence", from, asking(), seen(Phase::kConnecting, 1200), Kind::kConnect, from,
       Lesson::kSilent},
      {"the kernel's time", from, asking(kernel), seen(Phase::kConnecting, 1150), Kind::kDeliver,
       State::kFailed, Lesson::kSilent, ETIMEDOUT},
      {"the program's time", from, asking(program), seen(Phase::kConnecting, 1150), Kind::kPause,
       State::kPaused, Lesson::kSilent},
      {"the kernel's time after a refusal", from, asking_the_last(),
       seen(Phase::kConnecting, 1000 + 127'000), Kind::kDeliver, State::kFailed, Lesson::kSilent,
       ECONNREFUSED},
      {"connected", from, asking(), seen(Phase::kConnected, 1010), Kind::kConnected,
       State::kConnected},
      {"closed", from, asking(), seen(Phase::kClosed, 1010), Kind::kReadError, from},
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
      {"the program knows", from, asking(), told(EHOSTDOWN), Kind::kLeave, State::kLeft,
       Lesson::kFailed, EHOSTDOWN},
      {"the program knows of another's", from, asking_the_last(), told(ETIMEDOUT), Kind::kLeave,
       State::kLeft, Lesson::kFailed, ETIMEDOUT},
      {"the program knows of an error of ours", from, asking(), told(EACCES), Kind::kLeave,
       State::kLeft, Lesson::kNothing, EACCES},
      {"the program knows of an error of the call", from, asking(), told(ENOBUFS), Kind::kLeave,
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
      {"answered in the last moment", from, told_to_leave_it(), seen(Phase::kConnected, 1201),
       Kind::kConnected, State::kConnected},
      {"answered in the last moment, and gone", from, told_to_leave_it(), seen(Phase::kEnded, 1201),
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

TEST(Table, HeldBack) {
  const State from = State::kHeldBack;
  Limits kernel = kDefaults;
  kernel.kernel_ms = 150;
  ConnectAttempts released = held();
  released.seen(Phase::kConnecting, 1050);
  check({
      {"too early to look", from, held(), seen(Phase::kConnecting, 1049), Kind::kWait, from},
      {"its delay is over", from, held(), seen(Phase::kConnecting, 1050), Kind::kRelease, from},
      {"its delay ends with its patience", from, held(kDefaults, 200),
       seen(Phase::kConnecting, 1200), Kind::kRelease, from},
      {"released", from, released, started(EINPROGRESS), Kind::kWait, State::kAsking},
      {"released in spite of a signal", from, released, started(EINTR), Kind::kWait,
       State::kAsking},
      {"released, and connected", from, released, started(0), Kind::kConnected, State::kConnected},
      {"released, and refused", from, released, started(ECONNREFUSED), Kind::kConnect,
       State::kAsking, Lesson::kFailed},
      {"released, and shut down", from, released, started(ECONNRESET), Kind::kLeave, State::kLeft,
       Lesson::kNothing, ECONNRESET},
      {"its patience is over before", from, held(kDefaults, 500), seen(Phase::kConnecting, 1200),
       Kind::kConnect, State::kAsking, Lesson::kSilent},
      {"the kernel's time", from, held(kernel, 500), seen(Phase::kConnecting, 1150), Kind::kDeliver,
       State::kFailed, Lesson::kSilent, ETIMEDOUT},
      {"the program's time", from, held(kShort, 500), seen(Phase::kConnecting, 1030), Kind::kPause,
       State::kPaused, Lesson::kSilent},
      {"connected", from, held(), seen(Phase::kConnected, 1010), Kind::kConnected,
       State::kConnected},
      {"connected, and gone", from, held(), seen(Phase::kEnded, 1010), Kind::kConnected,
       State::kConnected},
      {"ended", from, held(), ended(ECONNREFUSED), Kind::kConnect, State::kAsking, Lesson::kFailed},
      {"the program knows", from, held(), told(ECONNREFUSED), Kind::kLeave, State::kLeft,
       Lesson::kFailed, ECONNREFUSED},
      {"shut down", from, held(), ended(ECONNRESET), Kind::kLeave, State::kLeft, Lesson::kNothing,
       ECONNRESET},
      {"the program comes back", from, held(), resumed(true), Kind::kWait, from},
      {"another socket", from, held(), kLostSocket, Kind::kLeave, State::kLeft, Lesson::kNothing,
       EBADF},
  });
}

TEST(Table, Paused) {
  const State from = State::kPaused;
  check({
      {"the program comes back", from, paused(), resumed(true), Kind::kWait, State::kAsking},
      {"it waits by itself", from, paused(), resumed(false), Kind::kWait, State::kAsking},
      {"it comes back to one held back", from, paused_while_held(), resumed(true), Kind::kWait,
       State::kHeldBack},
      {"the program knows", from, paused(), told(EHOSTUNREACH), Kind::kLeave, State::kLeft,
       Lesson::kFailed, EHOSTUNREACH},
      {"another socket", from, paused(), kLostSocket, Kind::kLeave, State::kLeft, Lesson::kNothing,
       EBADF},
  });
}

TEST(Table, FailedButForTheLastMoment) {
  const State from = State::kFailed;
  ConnectAttempts late = asking();
  late.seen(Phase::kConnecting, 1000 + 127'000);
  ConnectAttempts forgotten = told_to_leave_it();
  forgotten.lost_address();
  check({
      {"answered", from, late, seen(Phase::kConnected, 128'001), Kind::kConnected,
       State::kConnected},
      {"answered, and gone", from, late, seen(Phase::kEnded, 128'001), Kind::kConnected,
       State::kConnected},
      {"answered, as the next one is not known", from, forgotten, seen(Phase::kConnected, 1201),
       Kind::kConnected, State::kConnected},
  });
}

TEST(Table, OnlyTheLastThreeAreTheEnd) {
  for (const State state :
       {State::kFirst, State::kPlanning, State::kAsking, State::kHeldBack, State::kPaused}) {
    EXPECT_FALSE(ConnectAttempts::is_over(state));
  }
  for (const State state : {State::kConnected, State::kFailed, State::kLeft}) {
    EXPECT_TRUE(ConnectAttempts::is_over(state));
  }
}

// ---- Times ----

TEST(Resumed, OnlyOneLeftGetsAllTheTimeThereIs) {
  ConnectAttempts machine = planning();
  machine.planned(destinations(2), {200, 60'000, 300}, 0, kNow);
  machine.ended(ECONNREFUSED, kNow);
  machine.started(attempt(EINPROGRESS), kNow);
  EXPECT_EQ(machine.until_ms(), 1300u);
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 1300).kind, Kind::kPause);
  machine.resumed(true, 300, 1310);
  EXPECT_EQ(machine.until_ms(), 1610u);
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 1610).kind, Kind::kPause);
  machine.resumed(false, 0, 1620);
  EXPECT_EQ(machine.until_ms(), 61'000u);
}

TEST(Resumed, PatienceIsKeptButNotBeyondTheProgramsTime) {
  ConnectAttempts machine = asking();
  machine.resumed(true, 0, 1100);
  EXPECT_EQ(machine.until_ms(), 1200u);
  machine.resumed(true, 50, 1100);
  EXPECT_EQ(machine.until_ms(), 1150u);
  machine.resumed(true, 0, 5000);
  EXPECT_EQ(machine.until_ms(), 5000u) << "what is over is over now";
}

TEST(Resumed, ProgramsTimeBeginsAnewBeforeItIsPlannedToo) {
  ConnectAttempts machine = first();
  // A second later the program waits for it in connect(2), for half a second.
  machine.resumed(true, 500, 2000);
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 2000).kind, Kind::kPlan);
  const Action action = machine.planned(destinations(2), {200, 127'000, 500}, 0, 2000);
  EXPECT_EQ(action.kind, Kind::kConnect) << "its time is not up";
  machine.started(attempt(EINPROGRESS, 2000), 2000);
  EXPECT_EQ(machine.until_ms(), 2200u);
}

TEST(Planned, RequestedAddressIsTheOneUnderWayEvenIfParkedMeanwhile) {
  ConnectAttempts machine = planning_after(ECONNREFUSED);
  Destinations all = destinations(2, 1);
  all.parked.add(1);
  const Action action = machine.planned(all, kDefaults, 0, kNow);
  EXPECT_EQ(action.about, 1);
  EXPECT_EQ(action.position, 0);
}

TEST(Planned, RequestedAddressKeepsItsOwnDelayFromItsBeginning) {
  ConnectAttempts machine = first();
  machine.seen(SocketPhase::kConnecting, 1100);
  machine.planned(destinations(2), kDefaults, 130, 1110);
  EXPECT_EQ(machine.until_ms(), 1130u);
}

TEST(Started, TimesCountFromWhereItBeganHoweverLongTheCallTook) {
  ConnectAttempts machine = told_to_connect();
  machine.started(attempt(EINPROGRESS, 1010), 1100);
  EXPECT_EQ(machine.until_ms(), 1210u);
  machine = told_to_connect();
  machine.started(attempt(EINPROGRESS, 1010, kDelayed), 1030);
  EXPECT_EQ(machine.until_ms(), 1060u);
}

// ---- Between what is asked for and its doing ----

AttemptLog::Attempt logged(const ConnectAttempts& machine, std::size_t number) {
  std::vector<AttemptLog::Attempt> all;
  const auto keep = [&](const AttemptLog::Attempt& attempt) { all.push_back(attempt); };
  machine.log().for_each(keep, keep);
  EXPECT_LT(number, all.size());
  return all.at(number);
}

TEST(LastMoment, PositionIsThatOfTheAttemptInFlightUntilTheNextHasBegun) {
  ConnectAttempts machine = asking();
  const Action action = machine.seen(SocketPhase::kConnecting, 1200);
  EXPECT_EQ(action.kind, Kind::kConnect);
  EXPECT_EQ(action.about, 0);
  EXPECT_EQ(action.position, 1);
  EXPECT_EQ(machine.position(), 0);
  EXPECT_EQ(machine.log().attempts(), 1u);
  machine.started(attempt(EINPROGRESS, 1200), 1200);
  EXPECT_EQ(machine.position(), 1);
  EXPECT_EQ(machine.log().attempts(), 2u);
}

TEST(LastMoment, SoItIsWhereTheNextFailsAtOnce) {
  ConnectAttempts machine = told_to_leave_it();
  const Action action = machine.started(attempt(ECONNREFUSED, 1200), 1200);
  EXPECT_EQ(action.about, 1);
  EXPECT_EQ(action.position, 2);
  EXPECT_EQ(machine.position(), 1);
}

TEST(LastMoment, RequestedAddressIsThePositionBeforeAnotherIsAskedInstead) {
  ConnectAttempts machine = planning_elsewhere();
  Destinations all = destinations(3, 1);
  all.parked.add(1);
  EXPECT_EQ(machine.planned(all, kDefaults, 0, kNow).position, 0);
  EXPECT_EQ(machine.position(), 1);
  machine.started(attempt(EINPROGRESS), kNow);
  EXPECT_EQ(machine.position(), 0);
}

TEST(LastMoment, AnswerIsThatOfTheAttemptInFlight) {
  for (const SocketPhase phase : {SocketPhase::kConnected, SocketPhase::kEnded}) {
    ConnectAttempts machine = told_to_leave_it();
    machine.started(attempt(EINPROGRESS, 1200), 1200);
    machine.seen(SocketPhase::kConnecting, 1400);
    EXPECT_TRUE(machine.left_in_silence().has(1));
    EXPECT_EQ(machine.seen(phase, 1402).kind, Kind::kConnected);
    EXPECT_EQ(machine.position(), 1);
    EXPECT_EQ(machine.error(), 0);
    EXPECT_TRUE(machine.left_in_silence().has(0));
    EXPECT_FALSE(machine.left_in_silence().has(1));
    EXPECT_EQ(machine.log().attempts(), 2u);
    EXPECT_EQ(logged(machine, 0).error, EINPROGRESS);
    EXPECT_EQ(logged(machine, 1).position, 1);
    EXPECT_EQ(logged(machine, 1).error, 0);
    EXPECT_EQ(logged(machine, 1).took_ms, 202u);
  }
}

TEST(LastMoment, AnswerComesBeforeTheErrorThatWasToBeDelivered) {
  ConnectAttempts machine = asking_the_last();
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 128'000).kind, Kind::kDeliver);
  EXPECT_EQ(machine.error(), ECONNREFUSED);
  EXPECT_EQ(machine.seen(SocketPhase::kConnected, 128'001).kind, Kind::kConnected);
  EXPECT_EQ(machine.position(), 1);
  EXPECT_EQ(machine.error(), 0);
  EXPECT_TRUE(machine.left_in_silence().next(0) == PositionSet::kNone);
  EXPECT_EQ(logged(machine, 1).error, 0);
}

TEST(LastMoment, DelayIsThatOfTheAttemptInFlight) {
  ConnectAttempts machine = held(kDefaults, 500);
  machine.seen(SocketPhase::kConnecting, 1200);
  machine.started(attempt(EINPROGRESS, 1200), 1200);
  EXPECT_EQ(machine.state(), State::kAsking) << "the next one has no delay";
  EXPECT_EQ(machine.until_ms(), 1400u);
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 1400).kind, Kind::kConnect);
}

TEST(Told, EndsTheAttemptInTheLogWithTheLessonOfItsError) {
  ConnectAttempts machine = told_to_leave_it();
  machine.started(attempt(EINPROGRESS, 1200), 1200);
  const Action action = machine.told(EHOSTUNREACH, 1230);
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

TEST(Begin, NothingIsLeftOfTheConnectBefore) {
  ConnectAttempts machine = held();
  machine.ended(ECONNREFUSED, 1010);
  machine.started(attempt(EINPROGRESS, 1010, kDelayed), 1010);
  machine.begin(false, 5000, 100);
  EXPECT_EQ(machine.state(), State::kFirst);
  EXPECT_FALSE(machine.is_planned());
  EXPECT_EQ(machine.until_ms(), 5100u);
  EXPECT_EQ(machine.began_ms(), 5000u);
  machine.started(attempt(ECONNREFUSED, 5000), 5000);
  const Action action = machine.planned(destinations(2, 1), kDefaults, 0, 5000);
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
  machine.planned(destinations(2), kDefaults, 0, 1100);
  EXPECT_EQ(logged(machine, 0).fault.action, FaultAction::kNone);
}

// ---- Probes ----

TEST(Probed, TheOneThatAnsweredIsAskedNext) {
  ConnectAttempts machine = asking(kDefaults, 4);
  machine.probed(2, 0);
  machine.probed(3, 0);
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 1199).kind, Kind::kWait);
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 1200).position, 3) << "the last to answer";
  machine.started(attempt(EINPROGRESS, 1200), 1200);
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 1400).position, 1)
      << "then the others in their order: an answer to a probe is no promise";
}

TEST(Probed, TheOneThatRefusedIsAskedNoMore) {
  ConnectAttempts machine = asking(kDefaults, 4);
  machine.probed(1, ECONNREFUSED);
  machine.probed(2, 0);
  machine.probed(2, ECONNREFUSED);
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 1200).position, 3);
  EXPECT_EQ(machine.started(attempt(ECONNREFUSED, 1200), 1200).position, 0);
  const Action action = machine.started(attempt(ENETUNREACH, 1200), 1200);
  EXPECT_EQ(action.kind, Kind::kDeliver);
  EXPECT_EQ(machine.error(), ENETUNREACH);
}

TEST(Probed, RefusalOfTheRequestedAddressIsItsError) {
  ConnectAttempts machine = planning_elsewhere();
  Destinations all = destinations(2);
  all.parked.add(0);
  EXPECT_EQ(machine.planned(all, kDefaults, 0, kNow).position, 1);
  machine.started(attempt(EINPROGRESS), kNow);
  machine.probed(0, EHOSTDOWN);
  EXPECT_EQ(machine.ended(ECONNREFUSED, 1010).kind, Kind::kDeliver);
  EXPECT_EQ(machine.error(), EHOSTDOWN);
}

TEST(Probed, NoCandidateIsNotAsked) {
  ConnectAttempts machine = asking(kDefaults, 2);
  machine.probed(7, 0);
  EXPECT_EQ(machine.seen(SocketPhase::kConnecting, 1200).position, 1);
}

// ---- The contract (design 2.5 to 2.7 and 2.11), said once more ----

bool is_disturbed(const World& world) {
  return world.shut_down_after_ms != kNever || world.error_is_stolen || world.nowhere ||
         world.socket_lost_before != kNever || world.forgotten != PositionSet::kNone ||
         world.signal_every_ms != kNever || world.comes_back != 0 || world.tells_the_truth;
}

void check_order(const World& world, const Played& run) {
  const std::vector<Host>& hosts = world.hosts;
  const bool all_parked =
      std::all_of(hosts.begin(), hosts.end(), [](const Host& host) { return host.parked; });
  if (!hosts[world.requested].parked || all_parked || world.nowhere) {
    EXPECT_EQ(run.asked.front().position, world.requested) << "the requested address comes first";
  }
  std::size_t first_pass = 0;
  for (bool parked_before = false; first_pass < std::min(hosts.size(), run.asked.size());) {
    const bool is_parked = hosts[run.asked[first_pass++].position].parked;
    EXPECT_FALSE(parked_before && !is_parked) << "a parked address was asked before another";
    parked_before |= is_parked;
  }
}

// What each address was asked, and how long. Answers the errors there were.
std::map<std::size_t, int> check_attempts(const World& world, std::uint64_t whole,
                                          const Played& run) {
  std::map<std::size_t, int> errors;
  std::map<std::size_t, int> times;
  std::map<std::size_t, std::uint64_t> longest;
  const bool cut_off = run.end() == State::kLeft || run.resumed != 0 || run.took_ms >= whole;
  for (const Asked& asked : run.asked) {
    EXPECT_FALSE(errors.contains(asked.position)) << "answered with an error, asked again";
    if (asked.outcome != 0 && asked.outcome != EINPROGRESS) errors[asked.position] = asked.outcome;
    EXPECT_GE(asked.given_ms, longest[asked.position]) << "patience shrank";
    if (times[asked.position] > 0 && asked.outcome == EINPROGRESS && !cut_off) {
      longest[asked.position] = asked.given_ms;
    }
    ++times[asked.position];
    // Nobody is asked a second time before everybody still standing was asked a first time, and so
    // on.
    int fewest = times[asked.position];
    for (std::size_t i = 0; i < world.hosts.size(); ++i) {
      if (!errors.contains(i)) fewest = std::min(fewest, times[i]);
    }
    EXPECT_LE(times[asked.position], fewest + 1) << "an address was passed over";
  }
  return errors;
}

// What was learnt is what was observed.
void check_lessons(const Played& run) {
  Lessons expected;
  Positions silent;
  for (const Asked& asked : run.asked) {
    for (int i = 0; i < asked.silences; ++i) expected.push_back({Lesson::kSilent, asked.position});
    if (asked.silences != 0) silent.push_back(asked.position);
    // What is left to the kernel is not our failure to judge, unless the program was told.
    const bool was_left =
        run.end() == State::kLeft && !run.lost && !run.told && &asked == &run.asked.back();
    if (!was_left && parks(asked.outcome)) expected.push_back({Lesson::kFailed, asked.position});
  }
  EXPECT_EQ(run.lessons, expected);
  if (run.end() != State::kConnected || !run.machine.is_planned()) return;
  std::sort(silent.begin(), silent.end());
  silent.erase(std::unique(silent.begin(), silent.end()), silent.end());
  silent.erase(std::remove(silent.begin(), silent.end(), run.asked.back().position), silent.end());
  EXPECT_EQ(left_in_silence(run), silent);
}

void check_log(const World& world, const Played& run) {
  if (!run.machine.is_planned() || (run.end() == State::kLeft && !run.told)) return;
  std::vector<Asked> asked = run.asked;
  // Not asked at all, but listed first.
  const bool parked = asked.front().position != world.requested;
  if (parked) asked.insert(asked.begin(), {world.requested, kStart, 0, kParked, 0});
  EXPECT_EQ(run.machine.log().attempts(), asked.size());
  std::size_t next = 0;
  const auto check_one = [&](const AttemptLog::Attempt& told) {
    ASSERT_LT(next, asked.size());
    const Fault fault = parked && next == 0 ? Fault{} : world.hosts[asked[next].position].fault;
    EXPECT_EQ(told.position, asked[next].position);
    EXPECT_EQ(told.error, asked[next].outcome);
    EXPECT_EQ(told.took_ms, asked[next].given_ms);
    EXPECT_EQ(told.fault.action, fault.action);
    EXPECT_EQ(told.fault.argument, fault.argument);
    ++next;
  };
  run.machine.log().for_each(check_one, [&](const AttemptLog::Attempt& last) {
    next = asked.size() - 1;
    check_one(last);
  });
  EXPECT_EQ(next, asked.size());
}

// True when a live address is there that has to be found.
bool is_to_be_reached(const World& world, std::uint64_t whole) {
  if (is_disturbed(world)) return false;
  bool found = false;
  for (const Host& host : world.hosts) {
    const FaultAction fault = host.fault.action;
    const int error =
        fault == FaultAction::kErrno ? static_cast<int>(host.fault.argument) : host.error;
    // It ends the connect whatever the others do.
    if (error != 0 && !moves_on(error)) return false;
    found |= fault == FaultAction::kNone && !host.silent && error == 0 &&
             host.answers_after_ms < kMinPatienceMs &&
             (host.own_delay_ms == 0 || host.own_delay_ms >= kMinPatienceMs) &&
             whole >= world.hosts.size() * kMinPatienceMs * 4;
  }
  return found;
}

void check_contract(const World& world, const Played& run) {
  const std::uint64_t kernel = world.limits.kernel_ms;
  const std::uint64_t program = world.waits ? world.limits.program_ms : 0;
  const std::uint64_t whole = program != 0 && run.resumed == 0 ? std::min(kernel, program) : kernel;
  if (run.forgot && run.asked.empty()) {  // instead of a parked one, and nobody was asked
    EXPECT_EQ(run.result, EHOSTUNREACH);
    return;
  }
  ASSERT_FALSE(run.asked.empty());
  check_order(world, run);
  const std::map<std::size_t, int> errors = check_attempts(world, whole, run);
  check_lessons(run);
  check_log(world, run);
  // The first look may come later than a very short time that the kernel was told.
  EXPECT_LE(run.took_ms, std::max<std::uint64_t>(whole, world.waits ? 0 : world.first_look_ms))
      << "longer than the kernel gives one address";
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
      EXPECT_TRUE(run.resumed != 0 || run.took_ms == program);
      break;
    case State::kLeft:
      EXPECT_TRUE(world.hosts.size() == 1 || is_disturbed(world) || last == ECONNRESET)
          << "left, but not alone";
      if (run.lost) {
        EXPECT_EQ(run.result, EBADF);
      } else if (world.error_is_stolen && last == EINPROGRESS && run.result != EINPROGRESS) {
        EXPECT_EQ(run.result, ECONNABORTED);
      } else {
        EXPECT_EQ(run.result, last) << "it is the kernel's answer";
      }
      break;
    case State::kFailed:
      if (errors.contains(world.requested)) {
        EXPECT_EQ(run.result, errors.at(world.requested)) << "not the requested address's error";
      } else if (run.forgot) {
        EXPECT_EQ(run.result, EHOSTUNREACH);
      } else if (last != EINPROGRESS && !moves_on(last)) {
        EXPECT_EQ(run.result, last);
      } else {
        EXPECT_EQ(run.result, ETIMEDOUT);
      }
      break;
    default:
      ADD_FAILURE() << "no end";
  }
  if (run.end() == State::kLeft) return;
  EXPECT_FALSE(is_to_be_reached(world, whole)) << "failed although a live address was there";
}

class Dice {
 public:
  explicit Dice(unsigned seed) : random_(seed) {}
  std::uint32_t below(std::uint32_t n) { return static_cast<std::uint32_t>(random_()) % n; }
  bool one_in(std::uint32_t n) { return below(n) == 0; }

 private:
  std::mt19937 random_;
};

// The last one is no packet's, but may be made on purpose.
constexpr int kErrors[] = {ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH,  EHOSTDOWN,
                           ENETUNREACH,  ENETDOWN,  EADDRNOTAVAIL, EACCES,
                           EPERM,        EINVAL,    ENOBUFS,       ECONNRESET};

World random_network(unsigned seed, Dice& dice) {
  World world;
  world.hosts.resize(1 + dice.below(seed % 10 == 0 ? 40 : 6));
  for (Host& host : world.hosts) {
    host.ipv6 = dice.one_in(2);
    host.answers_after_ms = dice.one_in(3) ? 0 : dice.below(dice.one_in(2) ? 100 : 5000);
    host.silent = dice.one_in(3);
    host.parked = seed % 2 == 0 && dice.one_in(3);
    host.error = dice.one_in(2) ? 0 : kErrors[dice.below(11)];
  }
  world.limits = {10 + dice.below(2000), kernel_patience_ms(static_cast<int>(1 + dice.below(6))),
                  dice.one_in(3) ? 1 + dice.below(3000) : 0};
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
    if (dice.one_in(4)) host.own_delay_ms = 10 + dice.below(1000);
    if (dice.one_in(8)) host.accepted = SocketPhase::kEnded;
  }
  if (dice.one_in(4)) world.limits.kernel_ms = 1 + dice.below(3000);
  if (dice.one_in(4)) world.shut_down_after_ms = dice.below(dice.one_in(2) ? 500 : 5000);
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
  // None of them is tested in vain.
  for (const State end : {State::kConnected, State::kFailed, State::kLeft, State::kPaused}) {
    EXPECT_GT(ends[end], 200);
  }
  EXPECT_GT(answered_late, 200);
  EXPECT_GT(told, 200);
}

}  // namespace
}  // namespace nextaddr
