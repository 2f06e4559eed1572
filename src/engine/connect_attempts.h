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
//   kTelling     every address has failed; the         an error             -> kLeft
//                requested one is asked once more, so  connected            -> kConnected
//                that the kernel tells its error       silence              -> kFailed
//   kConnected   the end: the socket is connected
//   kFailed      the end: every address failed, error() is for the program, unless the attempt in
//                flight is answered in the last moment -> kConnected, or the driver has the kernel
//                tell error() -> kTelling
//   kLeft        the end: what follows is between the program and the kernel; error() is what
//                connect(2) returns, if it has not yet
//
// An example: three addresses, of which the first is silent and the second refuses; none has a known
// round trip, so that the delay is 100 ms.
//
//     0 ms  the driver asks the first             kFirst
//     4     no answer in a tick                   kPlanning, kAsking; news are due at 100
//   100     its delay is over                     a probe of the second, which refuses at once
//   100     nothing to wait for                   a probe of the third
//   101     the third has answered, and the       the socket leaves the first (Lesson::kLeft), whose
//           first is overdue                      probe goes on, and asks the third
//   102     connected                             kConnected
//  1100     the first stays silent                parked, by its probe (connect/probes.h)
//
// Had the first answered at 99 ms, nobody else would have been asked; had it been overdue with
// nobody else answering, the socket would have stayed.
//
// The ends, when nobody answers. The requested address is silent, whatever the others do: it is the
// kernel's, which gives up when it would have given up, with its own ETIMEDOUT. The requested one
// has refused and the rest stay silent: its refusal is told after kLastWaitMs or half of the
// program's time, and at once when all of them are known to be silent.
// clang-format on
#pragma once

#include <array>
#include <cerrno>
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
  kClosed,  // unconnected, and no handshake was ever completed
  // Like kClosed, because the kernel's last SYN has stayed unanswered (tcp(7), tcp_syn_retries):
  // the error is ETIMEDOUT.
  kGivenUp,
  // A connection was established, and has been reset or closed since. It counts as connected,
  // whoever looks when: what came after the handshake is for the program to see.
  kEnded,
};

// True when there is no connection, and the socket's attempt can make none any more.
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
    kTelling,
    kConnected,
    kFailed,
    kLeft,
  };

  // What the observation teaches about one address.
  enum class Lesson : std::uint8_t {
    kNothing,
    kFailed,  // it failed in a way that parks it (parks(), engine/outcome.h)
    kSilent,  // it has been silent for `silent_ms`
    // Silent for `silent_ms`, and the socket leaves it for an address that has answered a probe.
    // The driver asks it once more by a probe that outlives the connect: only an address that stays
    // silent is parked.
    kLeft,
  };

  // What has become of a probe.
  enum class Probe : std::uint8_t {
    kAnswered,  // after `ms`
    kHeard,     // answered or refused after `ms`: the probe cannot tell which
    kFailed,    // with an error: it has refused, or cannot be asked from here
    kSilent,    // so far, for `ms` >= kSilentMs; told once for each probe
    kOver,      // it was silent to its end
    kNone,      // no probe could be made
  };

  // What to do next. `position` is that of an address in the list of destinations.
  struct Action {
    // Each kind names the observations of which the driver reports one as soon as it has done this.
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
      // Take the socket back: error() is the program's. Or seen(), as after kConnect. telling(), if
      // the requested address is asked once more.
      kDeliver,
      // Take the socket back once more: the kernel has not told error(), and the driver has to. Or
      // seen(), as after kConnect.
      kWithdraw,
      // Nothing is left to do; after elsewhere(): ask the requested address as usual.
      kLeave,
      // Nothing is left to do: the program has been told error(), or the kernel tells it.
      kTold,
    };
    Kind kind = Kind::kWait;
    Lesson lesson = Lesson::kNothing;
    std::uint16_t about = 0;  // the position that `lesson` is about; nothing before is_planned()
    std::uint16_t position = 0;
    std::uint32_t silent_ms = 0;  // how long `about` was silent; kFailed with 0: it answered
  };

  struct Limits {
    std::uint32_t attempt_delay_ms = kDefaultAttemptDelayMs;
    std::uint32_t program_ms = 0;  // the program's SO_SNDTIMEO; 0: none
    // False where no probe can be made. Then the socket itself asks one address after the other,
    // each for kSilentMs or more and once only, and all in kernel_ms at most.
    bool probes = true;
    // How long the kernel tries one address: kernel_patience_ms(), or TCP_USER_TIMEOUT where that
    // is shorter. 0: not known; then the kernel alone ends the last attempt.
    std::uint32_t kernel_ms = 0;
  };

  // What is known of how far an address is.
  struct Distance {
    std::uint32_t rtt_ms = 0;     // its round trip, rounded up; 0: not known
    std::uint32_t silent_ms = 0;  // how long it was silent last, if not heard of since; else 0
    bool has_failed = false;      // it failed in a way that parks it, and was not reached since
  };

  // One connect(2) that has returned.
  struct Attempt {
    int outcome = 0;  // 0, EINPROGRESS, EINTR (in flight likewise), or an error
    std::uint64_t began_ms = 0;
    Distance distance{};
    Fault fault{};  // the fault that was made of it (fault/faults.h)
  };

  // Begins anew, in kFirst: the requested address is about to be asked. `waits`: the program's
  // connect(2) waits for the end. `first_look_ms`: how long from now the socket is looked at first,
  // at most the shortest connection attempt delay that the requested address may turn out to have.
  void begin(bool waits, std::uint64_t now_ms, std::uint32_t first_look_ms);

  // Called instead of started() for the first attempt when the requested address is parked, so that
  // another one is asked in its place. `phase`: that of the socket. The action is kLeave when the
  // requested address is to be asked all the same.
  Action elsewhere(SocketPhase phase);

  // ---- Observations ----

  // The attempt that kConnect or kRelease asked for, or the first one, has come to `attempt`.
  Action started(const Attempt& attempt, std::uint64_t now_ms);
  // The program's socket is in this phase.
  Action seen(SocketPhase phase, std::uint64_t now_ms);
  // SO_ERROR of the socket was `error`; 0: somebody else has read it before.
  Action error_read(int error, std::uint64_t now_ms);
  // The attempt in flight has ended with this error.
  Action ended(int error, std::uint64_t now_ms);
  // Where else the connect may go. `distance`: of the requested address. Without any candidate, or
  // with the requested one alone, the connect is left to the kernel.
  Action planned(const Destinations& destinations, const Limits& limits, Distance distance,
                 std::uint64_t now_ms);
  // The attempt in flight has failed, and the program is told `error` as it is: nothing is left to
  // decide.
  Action told(int error, std::uint64_t now_ms);
  // After kDeliver: the requested address is being asked once more, for can_be_had_again().
  // `distance`: its own.
  void telling(Distance distance, std::uint64_t now_ms);
  // A probe of `position` is under way.
  void probing(std::size_t position, Distance distance, std::uint64_t now_ms);
  // What has become of the probe of `position`. `error`: that of kFailed; `ms`: how long it took,
  // or has taken so far. Must be told before seen() is. Only `lesson`, `about` and `silent_ms` of
  // the answer are of interest.
  Action probed(std::size_t position, Probe probe, int error, std::uint32_t ms,
                std::uint64_t now_ms);
  // The program calls connect(2) again for a connect that had returned to it: its own time
  // (`program_ms`, 0: none) begins anew.
  Action resumed(bool waits, std::uint32_t program_ms, std::uint64_t now_ms);
  // The descriptor has another socket by now, or none.
  Action lost_socket();
  // The address that kConnect or kRelease named cannot be asked: it is known no more, or the socket
  // cannot be prepared for it.
  Action lost_address();

  // Makes what another process has written harmless: counts stay within their arrays.
  void bound();

  // ---- What it is like now ----

  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] static bool is_over(State state) { return state >= State::kConnected; }
  // False as long as nothing is known but the requested address.
  [[nodiscard]] bool is_planned() const { return planned_; }
  // The position of the address whose attempt is under way, or was the last. This and log() tell
  // nothing before is_planned().
  [[nodiscard]] std::uint16_t position() const { return position_; }
  // The time, in milliseconds, by which the driver looks at its probes and the socket again
  // (probed(), seen()). kNever: only when the socket becomes ready.
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};
  [[nodiscard]] std::uint64_t until_ms() const;
  [[nodiscard]] int error() const { return error_; }
  // In kFailed: true for an error that the kernel is made to tell. The requested address is asked
  // once more, and SO_ERROR, poll(2) and read(2) then have the error by themselves. False for a
  // time-out, which would take as long once more, and where that has come to nothing: the address
  // that refused a moment ago is silent by now.
  [[nodiscard]] bool can_be_had_again() const { return error_ != ETIMEDOUT && !was_telling_; }
  // In kLeft: true when the program will be told error() by the kernel.
  [[nodiscard]] bool is_told_by_kernel() const {
    return planned_ && error_ != 0 && (was_telling_ || error_ == ETIMEDOUT);
  }
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
  [[nodiscard]] bool is_quick_pass() const;
  [[nodiscard]] std::uint64_t next_pass_at() const;
  [[nodiscard]] bool may_be_far() const;
  [[nodiscard]] bool is_dead(std::uint64_t now_ms) const;
  [[nodiscard]] std::uint64_t program_until() const;
  [[nodiscard]] std::uint32_t patience(Distance distance, std::uint64_t now_ms) const;
  [[nodiscard]] std::uint32_t delay_after(Distance distance, std::uint64_t now_ms) const;
  [[nodiscard]] std::uint32_t share_of(std::uint32_t delay_ms, std::uint64_t now_ms) const;

  Schedule schedule_;
  AttemptLog log_;
  PositionSet answered_;  // they answered a probe, and the socket did not move there since
  PositionSet gone_to_;   // the socket moved there for that reason, in this pass
  Limits limits_;
  std::uint64_t began_ms_ = 0;
  std::uint64_t program_began_ms_ = 0;
  std::uint64_t first_look_ms_ = 0;  // in kFirst
  std::uint64_t attempt_began_ms_ = 0;
  std::uint64_t held_until_ms_ = 0;  // in kHeldBack
  std::uint64_t next_probe_ms_ = 0;  // the next probe is due then
  std::uint64_t next_look_ms_ = 0;   // the probes under way are to be looked at then
  std::uint64_t last_probe_ms_ = 0;  // when the last one was made, or this pass began
  std::uint64_t pass_ms_ = 0;        // the next pass begins so long after that
  std::uint32_t quick_pass_ms_ = 0;  // or, after a move in vain, so long after the attempt began
  std::uint64_t answered_ms_ = 0;    // since when, in this attempt, best_ is known
  // The end of the last wait, which begins when the requested address refuses; 0: it has not.
  std::uint64_t last_wait_ms_ = 0;
  std::uint64_t ask_again_ms_ = 0;  // in the last wait: when it is probed again
  std::uint32_t patience_ms_ = 0;   // how long the attempt under way is not overdue
  std::uint32_t next_rtt_ms_ = 0;   // after kConnect: how long its answer to a probe took
  std::uint32_t best_ms_ = 0;       // how long the answer of best_ took; 0: not known any more
  Distance distance_;               // of the attempt under way
  Fault fault_;                     // of the attempt under way
  int error_ = 0;
  int requested_error_ = 0;
  int seen_error_ = 0;  // in kPlanning: what go_on() goes on with
  SocketPhase seen_phase_ = SocketPhase::kConnecting;
  State state_ = State::kFirst;
  std::uint16_t requested_ = 0;
  std::uint16_t position_ = 0;
  std::uint16_t next_ = 0;                   // after kConnect: whose attempt begins with started()
  std::uint16_t best_ = PositionSet::kNone;  // the nearest of answered_, as far as is known
  std::uint16_t moves_ = 0;
  std::array<std::uint16_t, kMostProbes> probing_{};  // positions
  std::uint8_t probes_ = 0;                           // how many of them there are
  std::uint8_t asked_ = 0;  // how many probes were made, but for those of ask_again_ms_
  bool waits_ = false;
  bool planned_ = false;
  bool instead_ = false;  // in kPlanning: elsewhere() has led there
  bool last_wait_is_longer_ = false;
  bool silence_told_ = false;  // of the attempt under way
  bool was_telling_ = false;   // it is kTelling, or was
};

}  // namespace nextaddr
