// The state machine of one connect(): it decides which address the program's socket asks, whom else
// probes ask meanwhile (RFC 8305), when the socket moves, what the memory learns from it, and what
// the program is told in the end. Whoever drives it (src/connect/connect_operation.h, the unit
// tests, the fuzzer, the simulated fleet) says what was observed, and does what is answered.
//
// Pure: no system call, no clock, no allocation. Times are milliseconds of any monotonic clock,
// results are errno values of connect(2). Must never decide by anything but what it was told.
//
// The program's socket is the only one the program has, and there is only one. So other addresses
// are asked by probes beside it (connect/probes.h), which can tell that an address answers and
// nothing more; the socket moves when its own attempt has failed, or is overdue and another address
// has answered. A move makes that handshake a second time. An address that is silent is left for no
// other reason, but where there are no probes (Limits::probes).
//
// clang-format off
//   state        what is under way                     left by
//   kFirst       the attempt at the requested          an error, or silence -> kPlanning
//                address; nobody has looked yet        connected            -> kConnected
//                where else this connect may go
//   kPlanning    the driver looks                      planned()            -> kAsking, kHeldBack
//                                                      planned(nowhere)     -> kLeft
//   kAsking      the attempt at position(), and        its delay is over    -> kAsking, and a probe
//                probes of others                      overdue, and another
//                                                      one has answered     -> kAsking elsewhere
//                                                      an error             -> kAsking elsewhere, or
//                                                      nobody left to ask   -> kFailed, kLeft
//                                                      connected            -> kConnected
//                                                      the program's time   -> kPaused
//   kHeldBack    the attempt at position() is          its delay is over    -> kAsking
//                delayed on purpose (a fault)          and as kAsking
//   kPaused      the program's own time is up; the     resumed()            -> kAsking
//                attempt goes on
//   kConnected   the end: the socket is connected
//   kFailed      the end: every address failed, error() is for the program, unless the attempt in
//                flight is answered in the last moment -> kConnected
//   kLeft        the end: what follows is between the program and the kernel; error() is what
//                connect(2) returns, if it has not yet
//
// The ends, when nobody answers. The requested address is silent, whatever the others do: it is the
// kernel's, which gives up when it would have given up, with its own ETIMEDOUT. The requested one
// has refused and the rest stay silent: its refusal is told after kLastWaitMs or half of the
// program's time, and at once when all of them are known to be silent.
// clang-format on
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "engine/attempt_log.h"
#include "engine/fault_rules.h"
#include "engine/position_set.h"
#include "engine/schedule.h"

namespace nextaddr {

// Where the handshake on the program's socket stands.
enum class SocketPhase : std::uint8_t {
  kConnecting,
  kConnected,
  kClosed,  // and no handshake was ever completed
  // The same, because the kernel has asked as often as it asks: the error is ETIMEDOUT.
  kGivenUp,
  // The connection was there, and has been reset or closed since. A completed handshake is a
  // connection, whoever looks when: what came after it is the program's to see.
  kEnded,
};

// There is no connection, and will be none by itself.
inline bool has_failed(SocketPhase phase) {
  return phase == SocketPhase::kClosed || phase == SocketPhase::kGivenUp;
}

class ConnectAttempts {
 public:
  enum class State : std::uint8_t {
    kFirst,
    kPlanning,
    kAsking,
    kHeldBack,
    kPaused,
    kConnected,
    kFailed,
    kLeft,
  };

  // What the observation teaches about one address.
  enum class Lesson : std::uint8_t {
    kNothing,
    kFailed,  // it failed in a way that parks it
    kSilent,  // it has been silent for `silent_ms`
    // The same, and another one has answered: it is asked once more by a probe that outlives the
    // connect, since only who stays silent is parked.
    kLeft,
  };

  // What has become of a probe.
  enum class Probe : std::uint8_t {
    kAnswered,  // after `ms`
    kHeard,     // the same, or it has refused
    kFailed,    // with an error: it has refused, or cannot be asked from here
    kSilent,    // for `ms`, kSilentMs or more; it goes on. Told once.
    kOver,      // it has been silent to its end
    kNone,      // none could be made
  };

  // What to do next. `position` is that of an address in the list of destinations.
  struct Action {
    // What follows each: an observation, as soon as it is done.
    enum class Kind : std::uint8_t {
      // Look at the socket again at until_ms(), or when it has something to tell: seen().
      kWait,
      // Find where else this connect may go: planned().
      kPlan,
      // Read SO_ERROR: error_read().
      kReadError,
      // Take the socket back and connect it to `position`: started(), or lost_address(). Or seen(),
      // when the attempt in flight was answered in the last moment: `lesson` is void then.
      kConnect,
      // Take the socket back and connect it to position(), whose delay is over: started().
      kRelease,
      // Ask `position` by another socket meanwhile: probing(), or probed() with kNone; then seen().
      kProbe,
      // The socket is connected; nothing is left to do.
      kConnected,
      // Leave the attempt in flight, and tell the program that its time is up: resumed().
      kPause,
      // Take the socket back: error() is the program's. Or seen(), as after kConnect.
      kDeliver,
      // Nothing is left to do; after elsewhere(): ask the requested address as usual.
      kLeave,
      // The same, because the program is told error() by the kernel.
      kTold,
    };
    Kind kind = Kind::kWait;
    Lesson lesson = Lesson::kNothing;
    std::uint16_t about = 0;  // the position that `lesson` is about; nothing before is_planned()
    std::uint16_t position = 0;
    std::uint32_t silent_ms = 0;  // of kFailed: 0 when that was an answer
  };

  struct Limits {
    std::uint32_t attempt_delay_ms = kDefaultAttemptDelayMs;
    std::uint32_t program_ms = 0;  // the program's SO_SNDTIMEO; 0: none
    // There are probes. Without them the socket itself asks one address after the other, each for
    // kSilentMs or more and once only, in kernel_ms at most.
    bool probes = true;
    // kernel_patience_ms(), or TCP_USER_TIMEOUT where it is shorter. 0: for the kernel to know.
    std::uint32_t kernel_ms = 0;
  };

  // What is known of how far an address is.
  struct Distance {
    std::uint32_t rtt_ms = 0;     // its round trip, rounded up; 0: not known
    std::uint32_t silent_ms = 0;  // it was silent for so long, and not heard of since; 0: never
    bool has_failed = false;      // it was found dead, and not heard of since
  };

  // One connect(2) that has returned.
  struct Attempt {
    int outcome = 0;  // 0, EINPROGRESS, EINTR (then it is in flight), or an error
    std::uint64_t began_ms = 0;
    Distance distance{};
    Fault fault{};  // what was made of it on purpose
  };

  // Begins anew, in kFirst: the requested address is about to be asked. `waits`: the program's
  // connect(2) waits for the end. The socket wants to be looked at after `first_look_ms`, no later
  // than any attempt delay of this address.
  void begin(bool waits, std::uint64_t now_ms, std::uint32_t first_look_ms);

  // Instead of the first attempt: the requested address is parked. kLeave when it is to be asked
  // all the same.
  Action elsewhere(SocketPhase phase);

  // ---- Observations ----

  // The attempt that was asked for, or the first one, has come to this.
  Action started(const Attempt& attempt, std::uint64_t now_ms);
  // The socket stands so.
  Action seen(SocketPhase phase, std::uint64_t now_ms);
  Action error_read(int error, std::uint64_t now_ms);
  // The attempt in flight has ended with this error.
  Action ended(int error, std::uint64_t now_ms);
  // `distance`: of the requested address. Without any candidate, or none but the requested one, the
  // connect is left to the kernel.
  Action planned(const Destinations& destinations, const Limits& limits, Distance distance,
                 std::uint64_t now_ms);
  // The attempt in flight has failed, and the program is told so: nothing is to be decided any
  // more.
  Action told(int error, std::uint64_t now_ms);
  // `position` is being asked by a probe, or has been for a while.
  void probing(std::size_t position, Distance distance, std::uint64_t now_ms);
  // What has become of that. `error`: of kFailed; `ms`: how long it took, or takes. Must be told
  // before seen() is. Only `lesson`, `about` and `silent_ms` are of interest.
  Action probed(std::size_t position, Probe probe, int error, std::uint32_t ms,
                std::uint64_t now_ms);
  // The program asks again for a connect that had returned to it, and its own time begins anew.
  Action resumed(bool waits, std::uint32_t program_ms, std::uint64_t now_ms);
  // The descriptor has another socket by now.
  Action lost_socket();
  // The address to ask next is known no more.
  Action lost_address();

  // Makes what another process has written harmless: counts stay within their arrays.
  void bound();

  // ---- What it is like now ----

  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] static bool is_over(State state) { return state >= State::kConnected; }
  // False as long as nothing is known but the requested address.
  [[nodiscard]] bool is_planned() const { return planned_; }
  // Whose attempt is under way, or was the last. This and log() tell nothing before is_planned().
  [[nodiscard]] std::uint16_t position() const { return position_; }
  // When the socket wants to be looked at again, and with it its probes; kNever: when it has
  // something to tell.
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};
  [[nodiscard]] std::uint64_t until_ms() const;
  [[nodiscard]] int error() const { return error_; }
  [[nodiscard]] std::uint64_t began_ms() const { return began_ms_; }
  // When the attempt under way began.
  [[nodiscard]] std::uint64_t attempt_began_ms() const {
    return planned_ ? attempt_began_ms_ : began_ms_;
  }
  // More than one attempt was made with the program's socket, or it has failed.
  [[nodiscard]] bool has_news() const { return moves_ != 0 || error_ != 0; }
  [[nodiscard]] const AttemptLog& log() const { return log_; }

 private:
  static Action wait() { return {}; }
  Action plan(SocketPhase phase, int error);
  Action go_on(std::uint64_t now_ms);
  Action look_again(std::uint64_t now_ms);
  Action next_step(std::uint64_t now_ms);
  Action next_probe(std::uint64_t now_ms);
  Action ask_next(Lesson lesson, std::uint64_t now_ms);
  Action move_to(std::size_t position, Lesson lesson, std::uint64_t now_ms);
  Action failed(int error, std::uint64_t now_ms);
  Action connected(std::uint64_t now_ms);
  Action leave(int error);
  Action deliver(int error, Lesson lesson);
  Action with_silence(Action action, std::uint64_t now_ms) const;
  void in_flight(std::uint64_t now_ms, Distance distance);
  void forget_answer(std::size_t position);
  void begin_last_wait(std::uint64_t now_ms);
  [[nodiscard]] std::size_t next_position() const;
  [[nodiscard]] bool is_probed(std::size_t position) const;
  [[nodiscard]] std::uint64_t overdue_at() const;
  [[nodiscard]] bool may_be_far() const;
  [[nodiscard]] bool is_dead(std::uint64_t now_ms) const;
  [[nodiscard]] std::uint64_t program_until() const;
  [[nodiscard]] std::uint32_t patience(Distance distance, std::uint64_t now_ms) const;
  [[nodiscard]] std::uint32_t delay_after(Distance distance, std::uint64_t now_ms) const;
  [[nodiscard]] std::uint32_t share_of(std::uint32_t delay_ms, std::uint64_t now_ms) const;

  Schedule schedule_;
  AttemptLog log_;
  PositionSet answered_;  // a probe, and not been moved to since
  PositionSet gone_to_;   // for that reason, and not heard of on the socket
  Limits limits_;
  std::uint64_t began_ms_ = 0;
  std::uint64_t program_began_ms_ = 0;
  std::uint64_t first_look_ms_ = 0;  // in kFirst
  std::uint64_t attempt_began_ms_ = 0;
  std::uint64_t held_until_ms_ = 0;  // in kHeldBack
  std::uint64_t next_probe_ms_ = 0;  // somebody else is to be asked then
  std::uint64_t next_look_ms_ = 0;   // probes are to be looked at then
  std::uint64_t last_probe_ms_ = 0;  // one was made last, or all became due once more
  std::uint64_t pass_ms_ = 0;        // so long after that they do so again
  std::uint64_t answered_ms_ = 0;    // another one has answered first, for this attempt
  // The requested address has refused: so long the rest is waited for.
  std::uint64_t last_wait_ms_ = 0;
  std::uint64_t ask_again_ms_ = 0;  // when it is asked again meanwhile
  std::uint32_t patience_ms_ = 0;   // the attempt under way is not overdue before
  std::uint32_t next_rtt_ms_ = 0;   // after kConnect: how long its answer to a probe took
  std::uint32_t best_ms_ = 0;       // how long the answer of best_ took; 0: not known any more
  Distance distance_;               // of the attempt under way
  Fault fault_;                     // of the attempt under way
  int error_ = 0;
  int requested_error_ = 0;
  int seen_error_ = 0;  // in kPlanning: what was observed before, which is gone on with
  SocketPhase seen_phase_ = SocketPhase::kConnecting;
  State state_ = State::kFirst;
  std::uint16_t requested_ = 0;
  std::uint16_t position_ = 0;
  std::uint16_t next_ = 0;                   // after kConnect: whose attempt begins with started()
  std::uint16_t best_ = PositionSet::kNone;  // of answered_: the nearest, as far as is known
  std::uint16_t moves_ = 0;
  std::array<std::uint16_t, kMostProbes> probing_{};  // positions
  std::uint8_t probes_ = 0;                           // how many of them
  std::uint8_t asked_ = 0;                            // how many there have been
  bool waits_ = false;
  bool planned_ = false;
  bool instead_ = false;  // in kPlanning: for elsewhere()
  bool last_wait_is_longer_ = false;
  bool silence_told_ = false;  // of the attempt under way
};

// True when the program finds this error best with the kernel, for whom the requested address is
// asked once more: SO_ERROR, poll(2) and read(2) then tell it by themselves. Not a time-out, which
// would take as long again.
bool can_be_had_again(int error);

}  // namespace nextaddr
