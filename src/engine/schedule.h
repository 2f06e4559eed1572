// Which address one connect() asks next, and how long it waits for each: design of RFC 8305 for one
// socket. Pure: time comes in as milliseconds of any monotonic clock, results as errno values; no
// system calls.
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

class Schedule {
 public:
  struct Limits {
    std::uint32_t attempt_delay_ms = kDefaultAttemptDelayMs;
    std::uint32_t kernel_ms = 0;  // kernel_patience_ms(), or TCP_USER_TIMEOUT where that is shorter
    std::uint32_t program_ms = 0;  // the program's SO_SNDTIMEO; 0: none
  };

  struct Step {
    enum class Kind : std::uint8_t {
      kWait,     // an attempt is in flight: wait for it until `until_ms`
      kAttempt,  // take the socket back and ask the address at `position`
      kDeliver,  // stop: `error` is the program's
      kYield,    // stop, leave the attempt in flight: the program's own time is up
    };
    Kind kind;
    std::uint16_t position;
    int error;
    std::uint64_t until_ms;
  };

  // `candidates` holds `requested`; `ipv6` tells the families, `parked` who is asked last. The
  // address at position() is asked first.
  Schedule() = default;
  Schedule(const PositionSet& candidates, const PositionSet& ipv6, std::size_t requested,
           const Limits& limits, std::uint64_t now_ms, const PositionSet& parked = {});

  // The attempt is in flight (EINPROGRESS). `own_delay_ms`: the connection attempt delay of this
  // address where it is known better than that of the limits, else 0.
  Step in_flight(std::uint64_t now_ms, std::uint32_t own_delay_ms = 0);
  // The attempt ended with `error`.
  Step failed(int error, std::uint64_t now_ms);
  // Nothing was heard until `until_ms`.
  Step silent(std::uint64_t now_ms);
  // The program came back to a connect it had left in flight: its own time starts anew.
  Step resumed(std::uint64_t now_ms, std::uint32_t program_ms);

  [[nodiscard]] std::uint16_t position() const { return current_; }

 private:
  Step ask_next(std::uint64_t now_ms);
  [[nodiscard]] Step give_up() const;
  [[nodiscard]] std::uint64_t deadline() const;
  std::size_t next_in_pass();
  void start_pass();

  PositionSet candidates_;  // not yet answered with an error
  PositionSet due_;         // not yet asked in this pass
  PositionSet ipv6_;
  PositionSet parked_;
  Limits limits_;
  std::uint64_t started_ms_{};
  std::uint64_t program_started_ms_{};
  std::uint64_t until_ms_{};
  std::uint32_t pass_patience_ms_{};  // 0 in the first pass
  int requested_error_{};
  std::uint16_t requested_{};
  std::uint16_t current_{};
  bool last_was_ipv6_{};
};

}  // namespace nextaddr
