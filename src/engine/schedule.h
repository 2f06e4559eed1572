// Which of a host's addresses one connect() asks next, and how long it waits for each: RFC 8305 for
// one socket. Pure, and only an order and lengths of time: when to move on, and what becomes of the
// connect, is for engine/connect_attempts.h to decide.
//
// First pass: the requested address, then the others in the resolver's order with families
// alternating (RFC 8305 section 4), each for the connection attempt delay; those known to be
// failing (parked) last, never dropped. Later passes ask the silent ones again with growing
// patience, so a slow server is still reached. One that answered with an error is not asked again.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/position_set.h"

namespace nextaddr {

// RFC 8305 section 5 recommends 250 ms; Node's and asyncio's own timers are 250 ms, and we want to
// have moved on before they give up.
inline constexpr std::uint32_t kDefaultAttemptDelayMs = 200;

// No attempt gets less than this, however little time the program allows (RFC 8305 section 5: never
// under 10 ms).
inline constexpr std::uint32_t kMinPatienceMs = 20;

// How long the kernel itself would try one address with `syn_retries` retransmissions (tcp(7),
// tcp_syn_retries): 1 + 2 + 4 .. seconds, each wait 120 at most. Linear time-outs
// (tcp_syn_linear_timeouts) only make the kernel's time longer.
std::uint32_t kernel_patience_ms(int syn_retries);

// Positions in the list of a host's addresses, by what they are to one connect.
struct Destinations {
  PositionSet candidates;  // that may be asked, the requested one included
  PositionSet ipv6;        // whose addresses are IPv6
  PositionSet parked;      // that are asked last
  std::size_t requested = 0;
};

class Schedule {
 public:
  // `attempt_delay_ms`: the connection attempt delay; `kernel_ms`: the longest patience of a pass.
  Schedule() = default;
  Schedule(const Destinations& destinations, std::uint32_t attempt_delay_ms,
           std::uint32_t kernel_ms);

  // The position to ask next, which now has been; a new pass begins when all of this one have been.
  // PositionSet::kNone: none is left to ask.
  std::size_t take_next();
  // The same for a position of the caller's choice. False when it is not to be asked any more.
  bool take(std::size_t position);
  // It has answered with an error, and is not asked again.
  void drop(std::size_t position) {
    candidates_.remove(position);
    due_.remove(position);
  }
  [[nodiscard]] bool only_one_left() const { return candidates_.count() == 1; }

  // How long an attempt that begins now is waited for, when `left_ms` are left for all of the
  // connect: its patience, or an equal share of the time where that is less. `own_delay_ms`: the
  // connection attempt delay of its address where it is known better, else 0.
  [[nodiscard]] std::uint64_t patience_ms(std::uint64_t left_ms, std::uint32_t own_delay_ms) const;

 private:
  std::size_t next_in_pass();
  void start_pass();

  PositionSet candidates_;  // not yet answered with an error
  PositionSet due_;         // not yet asked in this pass
  PositionSet ipv6_;
  PositionSet parked_;
  std::uint32_t attempt_delay_ms_{};
  std::uint32_t kernel_ms_{};
  std::uint32_t pass_patience_ms_{};  // 0 in the first pass
  std::uint16_t requested_{};
  bool last_was_ipv6_{};
};

}  // namespace nextaddr
