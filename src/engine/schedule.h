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
// An attempt at an address of a known round trip is overdue after 1.5 * rtt_ms + kOverdueMarginMs
// (overdue_ms()).
inline constexpr std::uint32_t kOverdueMarginMs = 30;
// The connection attempt delay after each probe but the first, in percent, where the round trip is
// not known: a far host that is met for the first time would otherwise get many needless probes.
inline constexpr std::uint32_t kLaterDelayPercent = 250;
// The delay that RFC 8305 section 5 recommends. Where an attempt becomes overdue only later than
// this, others are asked by probes as soon as an answer should have come, because two more
// handshakes as far follow.
inline constexpr std::uint32_t kLongestProbeDelayMs = 250;
// After another address has answered, an attempt at one whose round trip is not known is waited for
// as long as that answer has taken, but no longer than this.
inline constexpr std::uint32_t kLongestGraceMs = 100;
// An address that has not answered for so long is silent: a SYN that was lost has been sent again
// by then (RFC 6298 section 2).
inline constexpr std::uint32_t kSilentMs = 1000;
// An address that was silent before and whose round trip is not known may be far: it is given the
// delay that RFC 8305 section 5 recommends. When it is silent for so long again, it is found dead.
inline constexpr std::uint32_t kMayBeFarMs = 250;
// An address that was silent for kSilentMs is not asked by probes for this long, as long as others
// are due. The program may ask it.
inline constexpr std::uint32_t kSilentForMs = 30'000;
// A probe that is silent for so long ends, and gives its place to the next.
inline constexpr std::uint32_t kProbeMs = 2000;
// The most probes that one connect has under way at a time.
inline constexpr std::size_t kMostProbes = 8;
// How long after the refusal of the requested address the program is told it, when all others are
// silent: a SYN that was lost has been sent again by then (RFC 6298), and answered.
inline constexpr std::uint32_t kLastWaitMs = 1400;
// How often the requested address is asked again in that time: its server may be about to come up.
inline constexpr std::uint32_t kAskAgainMs = 400;

// How long an attempt at an address of this round trip may take before it is overdue, in
// milliseconds. `rtt_ms` is not 0.
std::uint32_t overdue_ms(std::uint32_t rtt_ms);
// How long a probe has to be silent to have asked in vain, in milliseconds, when its connect has
// ended after a round trip of `rtt_ms` (0: not known): addresses of a host are often as far as each
// other.
std::uint32_t in_vain_ms(std::uint32_t attempt_delay_ms, std::uint32_t rtt_ms);
// The connection attempt delay after an attempt at an address of this round trip, in milliseconds:
// overdue_ms() for a near one. Others are asked by probes earlier than that when it is far.
std::uint32_t probe_delay_ms(std::uint32_t rtt_ms);

// How long the kernel itself would try one address with `syn_retries` retransmissions (tcp(7),
// tcp_syn_retries), in milliseconds: 1 + 2 + 4 .. seconds, each wait 120 at most. Linear time-outs
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

// Who is to be asked next. A position is due until it has been asked in this pass; silent ones are
// spared until nobody else is due.
class Schedule {
 public:
  Schedule() = default;
  explicit Schedule(const Destinations& destinations);

  // Takes the position to ask next, which counts as asked from now on. PositionSet::kNone: nobody
  // is due.
  std::size_t take_next();
  // The position to ask next among those not known to be silent, or kNone. It stays due.
  [[nodiscard]] std::size_t next_not_silent() const;
  // A position of the caller's choice counts as asked from now on.
  void take(std::size_t position);
  // The address has answered with an error: it is not asked again.
  void drop(std::size_t position) {
    candidates_.remove(position);
    due_.remove(position);
  }
  // No probe of the address could be made: it is due again.
  void put_back(std::size_t position) {
    if (candidates_.has(position)) due_.add(position);
  }
  // The address has answered after all: it is a candidate again.
  void readmit(std::size_t position) { candidates_.add(position); }

  void note_silent(std::size_t position) { silent_.add(position); }
  void note_heard(std::size_t position) { silent_.remove(position); }
  [[nodiscard]] bool is_silent(std::size_t position) const { return silent_.has(position); }
  // True while silent addresses are spared and there is one.
  [[nodiscard]] bool spares_any() const;
  // From now on silent addresses are due, too.
  void ask_spared() { spares_ = false; }
  // Begins the next pass: all that have not refused are due once more, except `but`, and nobody is
  // known to be silent.
  void start_again(std::size_t but);

  [[nodiscard]] const PositionSet& candidates() const { return candidates_; }
  [[nodiscard]] bool has_due() const { return who_is_due().next(0) != PositionSet::kNone; }
  [[nodiscard]] std::size_t due() const { return who_is_due().count(); }
  // Who take_next() would take.
  [[nodiscard]] std::size_t next_due() const { return next_of(who_is_due()); }

 private:
  [[nodiscard]] PositionSet who_is_due() const;
  [[nodiscard]] std::size_t next_of(PositionSet group) const;

  PositionSet candidates_;  // they have not answered with an error
  PositionSet due_;         // they have not been asked in this pass
  PositionSet silent_;
  PositionSet ipv6_;
  PositionSet parked_;
  std::uint16_t requested_{};
  bool last_was_ipv6_{};
  bool spares_ = true;  // who is in silent_ is not due
};

}  // namespace nextaddr
