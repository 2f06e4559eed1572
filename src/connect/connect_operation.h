// One connect() under way on the program's socket: tells the machine (engine/connect_attempts.h)
// what has become of it, and does what that decides. Never waits, so that the wait stays the
// program's own (src/wait) or that of connect(2) (src/connect/blocking.cc).
//
// Must never decide, allocate, keep a descriptor open, or touch a socket that is no longer the
// program's: each step works on a pin (os/pin.h), because the descriptor may be closed, and its
// number given out again, in another thread. So whoever calls a step holds back signals and
// cancellation. Async-signal-safe; copied as a whole.
#pragma once

#include <sys/time.h>

#include <array>
#include <cerrno>
#include <cstdint>

#include "connect/probes.h"
#include "engine/address.h"
#include "engine/connect_attempts.h"
#include "engine/host_table.h"
#include "os/program_settings.h"

namespace nextaddr {

class ConnectOperation {
 public:
  using State = ConnectAttempts::State;

  // Begins anew, for a connect of `fd` to `requested` that is about to be made, or has just been.
  // `waits`: in connect(2) itself. `settings`: those of the socket before the connect. One system
  // call: the rest is found out when an attempt fails, so that a healthy connect does not pay for
  // it. False when the socket has no cookie.
  bool prepare(int fd, const Endpoint& requested, const ProgramSettings& settings, bool waits);

  // The requested address is to be asked last: asks another one instead of it, and, if
  // `to_be_probed`, the requested one by a probe. `was_given`: this thread got it already in the
  // place of another (connect/walk.h). kLeft when it is to be asked as usual.
  State elsewhere(bool to_be_probed, bool was_given);

  // The first attempt, made with this fault, came to `outcome`: EINPROGRESS, EINTR, or its error.
  State started(int outcome, const Fault& fault);

  // The attempt in flight has ended with this error, which a call of the program was told.
  State ended(int error);

  // Looks at what became of the attempt in flight and of the probes, and moves on if it is time.
  // Takes a clock tick at most, on a blocking socket. `error_seen`: poll(2) or the like has called
  // the socket one with an error.
  State advance(bool error_seen);

  // True when the attempt in flight has failed. Changes nothing.
  [[nodiscard]] bool has_failed() const;

  // When the attempt in flight has failed: reads its error, which the program is then told as it
  // is. The connect is over, and the program's own. False when it has not failed.
  bool deliver_truth(int& error);

  // The program asks again for a connect that had returned to it. `waits`: in connect(2).
  void resume(bool waits, const timeval& send_timeout);

  // After State::kFailed: asks the requested address once more, so that the program finds the error
  // wherever it looks for it (SO_ERROR, poll, read). True when that is under way (kTelling); else
  // error() has the error.
  bool have_kernel_tell();
  // After State::kLeft: the program has to be told error() by us.
  [[nodiscard]] bool has_read_error() const { return has_read_error_ || error_ == ECONNRESET; }
  // After State::kLeft: the program will be told by the kernel what has become of this connect,
  // also when it asks connect(2), and that must not begin another round.
  [[nodiscard]] bool is_told_by_kernel() const {
    return attempts_.is_told_by_kernel() || (left_alone_ && error_ == EINPROGRESS);
  }

  // Takes over what another process, with which this one has the socket in common, has made of the
  // same connect since. False when `newer` is another connect.
  bool catch_up(const ConnectOperation& newer);

  // Calls connect(2) once more, by which the kernel marks the socket connected and which tells the
  // result. Returns and errno as of connect(2).
  int mark_connected();

  // let_go(): nobody looks at this connect any more, so its probes are released. was_copied(): a
  // copy of this operation goes on, and the probes are that one's.
  void let_go();
  void was_copied() { asked_ = 0; }

  // The descriptor still has the socket that the connect was begun on. One system call.
  [[nodiscard]] bool owns_socket() const;

  [[nodiscard]] State state() const { return attempts_.state(); }
  // The time of the next step, in milliseconds of CLOCK_MONOTONIC.
  [[nodiscard]] std::uint64_t until_ms() const { return attempts_.until_ms(); }
  [[nodiscard]] int error() const { return error_; }
  // True once another attempt than the first was made, or may be.
  [[nodiscard]] bool is_planned() const { return attempts_.is_planned(); }
  // A signal cut the start of the last attempt short; it is in flight all the same.
  [[nodiscard]] bool was_interrupted() const { return interrupted_; }

  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] const Endpoint& requested() const { return requested_; }
  [[nodiscard]] const ProgramSettings& settings() const { return settings_; }
  [[nodiscard]] std::uint64_t cookie() const { return cookie_; }
  [[nodiscard]] std::uint64_t began_ms() const { return attempts_.began_ms(); }
  [[nodiscard]] std::uint64_t began_us() const { return began_us_; }

 private:
  using Action = ConnectAttempts::Action;
  class Step;

  // An address that was asked by a probe, and the fault that was drawn for that: an attempt of the
  // program's socket there that follows has the same.
  struct Asked {
    std::uint64_t began_ms;
    probes::Handle probe;
    Fault fault;
    std::uint16_t position;
    bool answered;
    bool silence_told;
  };

  State carry_out(Action action);
  bool give_up(const ConnectAttempts::Action& action);
  Action plan();
  Action connect_to(const Action& action);
  Action release();
  Action ask(const Action& action);
  void look_at_probes();
  probes::Findings findings_of(Asked& asked);
  Asked* place_for(std::size_t position);
  Asked* asked_at(std::size_t position);
  void forget(Asked& asked);
  Fault fault_for(std::size_t position);
  void leave_in_silence(const Action& action, const Address& left);
  [[nodiscard]] probes::Handle probe(const Address& address);
  int attempt(const Address& to, const Fault& fault);
  bool find_destinations(Destinations& out);
  bool address_at(std::size_t position, Address& out) const;
  bool admit(const Address& to);
  bool take_back_for(const Address& next);
  bool restore();
  void remember(const Action& action);
  void note_asked_in_vain(std::uint32_t rtt_ms);
  void conclude();
  void report() const;

  Endpoint requested_;
  DestinationList list_;
  ConnectAttempts attempts_;
  Address current_;  // the address of the attempt under way
  std::array<Asked, kMostProbes + 4> probes_;
  Fault requested_fault_;  // what was made of the last attempt at the requested address
  ProgramSettings settings_;
  std::uint64_t cookie_;
  std::uint64_t began_us_;
  int fd_;
  int socket_;  // within a step: the descriptor to work on
  int error_;
  std::uint8_t asked_;  // how many of probes_ there are
  bool waits_;
  bool instead_;     // the requested address is parked, and another one asked first
  bool was_given_;   // this thread got the requested address in the place of another
  bool left_alone_;  // there are other addresses, and this connect is not to ask them
  bool untouched_;   // the last attempt failed before it had changed anything on the socket
  bool no_route_;    // the last attempt has found no route and sent nothing
  bool interrupted_;
  bool has_read_error_;    // the kernel will not say once more that the last attempt has failed
  bool ipv6_only_;         // the program has set IPV6_V6ONLY
  bool ipv6_only_lifted_;  // for the last attempt
  bool steered_;           // it goes a way of its own (os/socket.h), and teaches nothing
};

}  // namespace nextaddr
