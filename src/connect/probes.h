// Probes: short-lived sockets of ours that ask whether an address answers, while the program's own
// socket goes on waiting for another one (racing, RFC 8305 and RFC 9623 section 4.3, for a program
// that has one socket). They are deaf (os/deafness.h): no server's application ever sees one,
// however late it is looked at.
//
// There is one table for the process: connects that wait for the same address by the same way share
// a probe, and what it has found out counts for a moment longer. The kernel ends each by itself
// after kProbeMs, whatever becomes of the program. Must never be in any set of the program's, nor
// have a low descriptor, nor outlive an exec or a fork. The caller holds signals back.
// Async-signal-safe.
#pragma once

#include <cstdint>

#include "engine/address.h"
#include "os/program_settings.h"

namespace nextaddr::probes {

// A connect's share of one probe. Once the probe was forgotten it stands for nothing: look() says
// kOver.
struct Handle {
  std::uint16_t place = 0;
  std::uint32_t serial = 0;   // 0: none
  std::uint32_t process = 0;  // whose it is: a connect in progress may be gone on with in another
};

enum class State : std::uint8_t {
  kOver,      // it was silent to its end, or the probe is lost
  kAsking,    // silent so far
  kAnswered,  // it answered after `ms`
  kFailed,    // it refused, or cannot be asked: `error`
};

struct Findings {
  State state = State::kOver;
  int error = 0;
  std::uint32_t ms = 0;  // how long it took, or takes
  // The answer was found soon enough after it came to tell how far the address is.
  bool exact = false;
  // The answer may have been a refusal as well: ordinary users' probes cannot tell on some kernels.
  bool unsure = false;
  // The error is this machine's own: there is no route.
  bool is_local = false;
};

// True where probes can be made at all: not with NEXTADDR_PROBES=0, in a sandbox, or where another
// library has its own connect(2) before libc's (torsocks, proxychains).
bool can_be_made();

// Asks `address`, as `socket` would if it were connected to it now, with the port of `like`. Joins
// a probe that is under way, or has ended a moment ago. No handle (serial 0) when it cannot be made
// like that: where the socket has a port of its own, or an option that we may not give to another.
// `has_device`: if the socket is bound to one, the program has done so.
Handle ask(int socket, const Address& address, const Endpoint& like,
           const ProgramSettings& settings, bool has_device);

// False when the probe is another process's, which has the same connect in progress.
bool is_here(Handle handle);

// What has become of the probe by now.
Findings look(Handle handle);

// The connect has no use for the probe any more. It ends when nobody has.
void release(Handle& handle);

// The probe goes on to its end without a connect, and what it finds out is told to the memory. For
// an address that was left in silence, or whose parking is over.
void let_linger(Handle handle);

// In a forked child, once it owns its memory (process/process.h): closes those it has inherited.
void forget_those_of_parent();

// Ends all probes, because this process is about to forbid itself system calls.
void end_all();

// Looks at all probes, and ends those that are over, also where nobody has said that its connect
// is: a thread that waited in it may have been ended, or have jumped away. Returns when it wants to
// be called again, in milliseconds of CLOCK_MONOTONIC; the far future: for nothing. One load while
// there is none.
std::uint64_t look_after();

}  // namespace nextaddr::probes
