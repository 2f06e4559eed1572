// One connect() under way: its addresses, its schedule and its socket. Moves the socket from one
// connection attempt to the next; never waits, so that the wait stays the program's own
// (src/wait) or that of connect(2) (src/connect/entry.cc).
//
// Must never allocate, keep a descriptor open, or touch a socket that is no longer the program's:
// SO_COOKIE is compared before each step, because the descriptor number may have been closed and
// given out again.
#pragma once

#include <sys/time.h>

#include <cstdint>

#include "engine/address.h"
#include "engine/attempt_log.h"
#include "engine/host_table.h"
#include "engine/schedule.h"

namespace nextaddr {

struct ConnectOperation {
  enum class Progress : std::uint8_t {
    kInFlight,   // an attempt is in flight, until until_ms at the most
    kConnected,  // the socket is connected
    kTimeUp,     // the program's SO_SNDTIMEO ran out; the attempt stays in flight
    kFailed,  // every address failed: `error` is for the program, and the socket is as before the
              // connect
    kLost,    // left to the program or the kernel; `error` is what connect(2) returns then
  };

  Endpoint requested;
  DestinationList list;
  Schedule schedule;
  AttemptLog log;
  Address current;          // the address of the attempt under way
  Fault fault;              // and what is made of it on purpose
  Fault requested_fault;    // what was made of the last attempt at the requested address
  timeval program_timeout;  // its SO_SNDTIMEO
  std::uint64_t cookie;     // of the socket
  std::uint64_t began_us;
  std::uint64_t began_ms;
  std::uint64_t until_ms;          // the earlier of these two
  std::uint64_t patient_until_ms;  // so long the schedule waits for the attempt under way
  std::uint64_t
      delayed_until_ms;  // then it goes to its address, when it is delayed on purpose; else 0
  int error;
  PositionSet silent;  // positions that nothing was heard from
  bool blocking;       // began as a blocking connect
  bool planned;        // list and schedule are filled in
  bool untouched;      // the last attempt failed before it had changed anything on the socket
  bool interrupted;    // a signal cut the last attempt's start short; it is in flight all the same

  // A connect to `wanted` that is about to be made, or has just been. One system call: the rest is
  // found out when an attempt fails, so that a healthy connect does not pay for it. False when the
  // socket has no cookie.
  bool prepare(int fd, const Endpoint& wanted, const timeval& timeout, bool blocks);

  // The first attempt is made with this fault.
  void suffer(const Fault& first);

  // The first attempt, to the requested address, came to `first`: EINPROGRESS or its error. kLost
  // with that error when there is nowhere else to go.
  Progress begin(int fd, int first);

  // The requested address is parked: asks another one first. kLost when there is none that is not,
  // or the socket is already on its way; the requested one is then to be asked as usual.
  Progress begin_elsewhere(int fd);

  // The attempt in flight ended with `outcome`, which the program's own connect has just been told.
  Progress failed(int fd, int outcome);

  // Every address failed: asks the requested one once more and leaves the result to the kernel, so
  // that the program finds the error wherever it looks for it (SO_ERROR, poll, read). 0 when that
  // is under way, else the error.
  int leave_to_kernel(int fd);

  // The program's connect is asked for again after it had returned: its own time starts anew.
  void resume(const timeval& timeout);

  // Looks at what became of the attempt in flight, and moves on if it is time. A blocking socket
  // may take a clock tick.
  Progress check(int fd);

  [[nodiscard]] bool owns(int fd) const;

 private:
  // Finds where else this connect may go. False when it is left to the kernel: not TCP, no other
  // address, a vfork child, or the program walks a list that has just failed as a whole.
  bool plan(int fd, bool requested_is_parked = false);
  bool find_destinations(int fd, bool requested_is_parked);
  bool address_at(std::size_t position, Address& out) const;
  // Ends the attempt at `current`: the socket is as before, ready for a connect to `next`.
  void take_back_for(int fd, const Address& next);
  // The attempt at `current` has come to this error; parks its address if that is why.
  void note_outcome(int error, std::uint64_t now);
  void note_silence();
  Progress proceed(int fd, Schedule::Step step);
  void begin_delay(std::uint64_t now_ms);
  Progress end_delay(int fd);
  void wait_until(std::uint64_t patient_until);
  Progress lost(int with);
  Progress conclude(int fd, int outcome);
};

}  // namespace nextaddr
