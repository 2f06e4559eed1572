// Whom one connect() asks next, and the lengths of time it goes by: RFC 8305 for one socket and the
// probes beside it. Pure, and only an order and numbers: when to move, and what becomes of the
// connect, is for engine/connect_attempts.h to decide.
//
// Order: the requested address, then the others in the resolver's order with families alternating
// (RFC 8305 section 4); those known to be failing (parked) last, never dropped. One that answered
// with an error is not asked again.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/position_set.h"

namespace nextaddr {

// The connection attempt delay where nothing is known of an address. RFC 8305 section 5 recommends
// 250 ms and at least 100: a needless probe costs one SYN, and nobody a connection.
inline constexpr std::uint32_t kDefaultAttemptDelayMs = 100;
// RFC 8305 section 5: never under 10 ms.
inline constexpr std::uint32_t kShortestDelayMs = 10;
inline constexpr std::uint32_t kLongestDelayMs = 2000;
// A round trip may take half as long again as it is known to, and so much more.
inline constexpr std::uint32_t kOverdueMarginMs = 30;
// Where nothing is known of them, addresses after the second are asked by probes so many times
// slower: at far hosts that are met for the first time probes would be many.
inline constexpr std::uint32_t kLaterDelayPercent = 250;
// The delay that RFC 8305 section 5 recommends: beyond it others are asked as soon as an answer
// should have come, and not when it is overdue, since two more handshakes as far follow.
inline constexpr std::uint32_t kLongestProbeDelayMs = 250;
// After another address has answered, one whose round trip is not known is waited for as long as
// that answer has taken, and no longer than this.
inline constexpr std::uint32_t kLongestGraceMs = 100;
// Silence for so long means something: a SYN that was lost has been sent again (RFC 6298).
inline constexpr std::uint32_t kSilentMs = 1000;
// One that was silent before, and whose round trip is not known, is given the delay that RFC 8305
// section 5 recommends: it may be far. Silent for so long as well, it is found dead.
inline constexpr std::uint32_t kMayBeFarMs = 250;
// An address that was silent for that long is not asked again for this long, unless by the program.
inline constexpr std::uint32_t kSilentForMs = 30'000;
// A probe that is silent for so long gives its place to the next.
inline constexpr std::uint32_t kProbeMs = 2000;
// How many probes one connect has under way.
inline constexpr std::size_t kMostProbes = 8;
// So long after the requested address has refused the program is told, when all others are silent:
// a SYN that was lost has been sent again by then (RFC 6298), and answered.
inline constexpr std::uint32_t kLastWaitMs = 1400;
// Meanwhile the requested one is asked again so often: it may be about to come up.
inline constexpr std::uint32_t kAskAgainMs = 400;

// How long the answer of an address with this round trip may take before it is overdue. In
// milliseconds; `rtt_ms` is not 0.
std::uint32_t overdue_ms(std::uint32_t rtt_ms);
// When a connect has come to its end after a round trip of `rtt_ms` (0: not known), a probe that is
// silent for so long was asked in vain: addresses of a host are often as far as each other.
std::uint32_t in_vain_ms(std::uint32_t attempt_delay_ms, std::uint32_t rtt_ms);
// The connection attempt delay after it, which is the same for near addresses. A far one is not
// waited for half as long again before others are asked.
std::uint32_t probe_delay_ms(std::uint32_t rtt_ms);

// How long the kernel itself would try one address with `syn_retries` retransmissions (tcp(7),
// tcp_syn_retries): 1 + 2 + 4 .. seconds, each wait 120 at most. Linear time-outs
// (tcp_syn_linear_timeouts) only make the kernel's time longer.
std::uint32_t kernel_patience_ms(int syn_retries);

// Positions in the list of a host's addresses, by what they are to one connect.
struct Destinations {
  PositionSet candidates;  // that may be asked, the requested one included
  PositionSet ipv6;        // whose addresses are IPv6
  PositionSet parked;      // that are asked last
  PositionSet silent;      // that were silent a moment ago, and are not asked by probes
  std::size_t requested = 0;
};

class Schedule {
 public:
  Schedule() = default;
  explicit Schedule(const Destinations& destinations);

  // The position to ask next, which now has been; PositionSet::kNone: all have been.
  std::size_t take_next();
  // The same of those that are not known to be silent, and it has not been.
  [[nodiscard]] std::size_t next_not_silent() const;
  // The same for a position of the caller's choice.
  void take(std::size_t position);
  // It has answered with an error, and is not asked again.
  void drop(std::size_t position) {
    candidates_.remove(position);
    due_.remove(position);
  }
  // It could not be asked.
  void put_back(std::size_t position) {
    if (candidates_.has(position)) due_.add(position);
  }
  // It has answered after all.
  void readmit(std::size_t position) { candidates_.add(position); }

  void note_silent(std::size_t position) { silent_.add(position); }
  void note_heard(std::size_t position) { silent_.remove(position); }
  [[nodiscard]] bool is_silent(std::size_t position) const { return silent_.has(position); }
  // Those that were silent before this connect wait until nobody else is due; then these are.
  [[nodiscard]] bool spares_any() const;
  void ask_spared() { spares_ = false; }
  // All that have not refused are asked once more, but for this one; nobody is known to be silent.
  void start_again(std::size_t but);

  [[nodiscard]] const PositionSet& candidates() const { return candidates_; }
  [[nodiscard]] bool has_due() const { return who_is_due().next(0) != PositionSet::kNone; }
  [[nodiscard]] std::size_t due() const { return who_is_due().count(); }

 private:
  [[nodiscard]] PositionSet who_is_due() const;
  [[nodiscard]] std::size_t next_of(PositionSet group) const;

  PositionSet candidates_;  // not yet answered with an error
  PositionSet due_;         // not yet asked
  PositionSet silent_;
  PositionSet ipv6_;
  PositionSet parked_;
  std::uint16_t requested_{};
  bool last_was_ipv6_{};
  bool spares_ = true;  // who is in silent_ is not due
};

}  // namespace nextaddr
