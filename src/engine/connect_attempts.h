// The state machine of one connect(): it decides which address the program's socket asks next, how
// long each connection attempt (RFC 8305) is waited for, what the memory learns from it, and what
// the program is told in the end. Whoever drives it (src/connect/connect_operation.h, the unit
// tests, the fuzzer, the simulated fleet) says what was observed, and does what is answered.
//
// Pure: no system call, no clock, no allocation. Times are milliseconds of any monotonic clock,
// results are errno values of connect(2). Must never decide by anything but what it was told.
//
// clang-format off
//   state        what is under way                     left by
//   kFirst       the attempt at the requested          an error, or silence -> kPlanning
//                address; nobody has looked yet        connected            -> kConnected
//                where else this connect may go
//   kPlanning    the driver looks                      planned()            -> kAsking, kHeldBack
//                                                      planned(nowhere)     -> kLeft
//   kAsking      the attempt at position()             an error, or silence -> kAsking elsewhere
//                                                      nobody left to ask   -> kFailed
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
// clang-format on
#pragma once

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
  // The connection was there, and has been reset or closed since. A completed handshake is a
  // connection, whoever looks when: what came after it is the program's to see.
  kEnded,
};

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
    kSilent,  // it was silent for its patience, and nobody knows whose fault that is
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
      // Ask `position` by another socket meanwhile: probed().
      kProbe,
      // The socket is connected; nothing is left to do.
      kConnected,
      // Leave the attempt in flight, and tell the program that its time is up: resumed().
      kPause,
      // Take the socket back: error() is the program's. Or seen(), as after kConnect.
      kDeliver,
      // Nothing is left to do; after elsewhere(): ask the requested address as usual.
      kLeave,
    };
    Kind kind = Kind::kWait;
    Lesson lesson = Lesson::kNothing;
    std::uint16_t about = 0;  // the position that `lesson` is about; nothing before is_planned()
    std::uint16_t position = 0;
  };

  struct Limits {
    std::uint32_t attempt_delay_ms = kDefaultAttemptDelayMs;
    std::uint32_t kernel_ms = 0;   // kernel_patience_ms(), or TCP_USER_TIMEOUT where it is shorter
    std::uint32_t program_ms = 0;  // the program's SO_SNDTIMEO; 0: none
  };

  // One connect(2) that has returned.
  struct Attempt {
    int outcome = 0;  // 0, EINPROGRESS, EINTR (then it is in flight), or an error
    std::uint64_t began_ms = 0;
    std::uint32_t own_delay_ms = 0;  // the connection attempt delay known for its address; 0: none
    Fault fault{};                   // what was made of it on purpose
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
  // `requested_delay_ms`: the connection attempt delay known for the requested address; 0: none.
  // Without any candidate, or none but the requested one, the connect is left to the kernel.
  Action planned(const Destinations& destinations, const Limits& limits,
                 std::uint32_t requested_delay_ms, std::uint64_t now_ms);
  // The attempt in flight has failed, and the program is told so: nothing is to be decided any
  // more.
  Action told(int error, std::uint64_t now_ms);
  // Another address has answered a probe: 0, or with an error. It is then asked next, or not at
  // all.
  void probed(std::size_t position, int error);
  // The program asks again for a connect that had returned to it, and its own time begins anew.
  Action resumed(bool waits, std::uint32_t program_ms, std::uint64_t now_ms);
  // The descriptor has another socket by now.
  Action lost_socket();
  // The address to ask next is known no more.
  Action lost_address();

  // ---- What it is like now ----

  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] static bool is_over(State state) { return state >= State::kConnected; }
  // False as long as nothing is known but the requested address.
  [[nodiscard]] bool is_planned() const { return planned_; }
  // Whose attempt is under way, or was the last. This, left_in_silence() and log() tell nothing
  // before is_planned().
  [[nodiscard]] std::uint16_t position() const { return position_; }
  [[nodiscard]] std::uint64_t until_ms() const;
  [[nodiscard]] int error() const { return error_; }
  [[nodiscard]] std::uint64_t began_ms() const { return began_ms_; }
  // After kConnected: those that were left in silence before another one answered. Until then
  // silence may be the network's own.
  [[nodiscard]] const PositionSet& left_in_silence() const { return silent_; }
  [[nodiscard]] const AttemptLog& log() const { return log_; }

 private:
  static Action wait() { return {}; }
  Action plan(SocketPhase phase, int error);
  Action go_on(std::uint64_t now_ms);
  Action look_again(std::uint64_t now_ms);
  Action ask_next(Lesson lesson, std::uint64_t now_ms);
  Action failed(int error, std::uint64_t now_ms);
  Action silent(std::uint64_t now_ms);
  Action connected(std::uint64_t now_ms);
  Action leave(int error);
  Action deliver(int error, Lesson lesson);
  void in_flight(std::uint64_t now_ms, std::uint32_t own_delay_ms);
  [[nodiscard]] std::uint64_t deadline() const;

  Schedule schedule_;
  AttemptLog log_;
  PositionSet silent_;  // positions that nothing was heard from for their patience
  Limits limits_;
  std::uint64_t began_ms_ = 0;
  std::uint64_t program_began_ms_ = 0;
  std::uint64_t patient_until_ms_ = 0;  // so long the attempt under way is waited for
  std::uint64_t held_until_ms_ = 0;     // in kHeldBack
  Fault fault_;                         // of the attempt under way
  int error_ = 0;
  int requested_error_ = 0;
  int seen_error_ = 0;  // in kPlanning: what was observed before, which is gone on with
  SocketPhase seen_phase_ = SocketPhase::kConnecting;
  State state_ = State::kFirst;
  std::uint16_t requested_ = 0;
  std::uint16_t position_ = 0;
  std::uint16_t next_ = 0;  // after kConnect: whose attempt begins with started()
  std::uint16_t preferred_ = PositionSet::kNone;  // the one that answered a probe last
  bool waits_ = false;
  bool planned_ = false;
  bool instead_ = false;  // in kPlanning: for elsewhere()
};

// True when the program finds this error best with the kernel, for whom the requested address is
// asked once more: SO_ERROR, poll(2) and read(2) then tell it by themselves. Not a time-out, which
// would take as long again.
bool can_be_had_again(int error);

}  // namespace nextaddr
