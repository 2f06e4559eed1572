#include "engine/schedule.h"

#include <algorithm>

namespace nextaddr {
namespace {

// Patience of the second pass, and by how much each later one grows: about 1 s, 3 s, 9 s. A SYN
// lost on the way is sent again by the kernel after 1 s (RFC 6298), so the third pass outlives one
// loss; that the second does gains nothing worth its time (tests/simulate/README.md).
constexpr std::uint32_t kSecondPassMs = 1000;
constexpr std::uint32_t kPassGrowth = 3;

}  // namespace

std::uint32_t kernel_patience_ms(int syn_retries) {
  constexpr std::uint32_t kLongestWaitMs = 120'000;  // TCP_RTO_MAX
  std::uint32_t total = 0;
  std::uint32_t wait = 1000;
  for (int retries = std::clamp(syn_retries, 1, 127); retries >= 0; --retries) {
    total += wait;
    wait = std::min(2 * wait, kLongestWaitMs);
  }
  return total;
}

Schedule::Schedule(const Destinations& destinations, std::uint32_t attempt_delay_ms,
                   std::uint32_t kernel_ms)
    : candidates_(destinations.candidates),
      due_(destinations.candidates),
      ipv6_(destinations.ipv6),
      parked_(destinations.parked),
      attempt_delay_ms_(attempt_delay_ms),
      kernel_ms_(kernel_ms),
      requested_(static_cast<std::uint16_t>(destinations.requested)),
      last_was_ipv6_(destinations.ipv6.has(destinations.requested)) {}

std::uint64_t Schedule::patience_ms(std::uint64_t left_ms, std::uint32_t own_delay_ms) const {
  const std::uint32_t delay = own_delay_ms != 0 ? own_delay_ms : attempt_delay_ms_;
  // Each is asked even when the program has little time, as by Go's dialer and curl.
  const std::uint64_t share = left_ms / (due_.count() + 1);
  return std::min<std::uint64_t>(std::max(pass_patience_ms_, delay),
                                 std::max<std::uint64_t>(share, kMinPatienceMs));
}

std::size_t Schedule::take_next() {
  const std::size_t next = next_in_pass();
  if (next != PositionSet::kNone) return next;
  start_pass();
  return next_in_pass();
}

bool Schedule::take(std::size_t position) {
  if (!candidates_.has(position)) return false;
  last_was_ipv6_ = ipv6_.has(position);
  due_.remove(position);
  return true;
}

void Schedule::start_pass() {
  const std::uint32_t before = std::max(pass_patience_ms_, attempt_delay_ms_);
  pass_patience_ms_ =
      before < kSecondPassMs ? kSecondPassMs : std::min(before * kPassGrowth, kernel_ms_);
  due_ = candidates_;
  last_was_ipv6_ = ipv6_.has(requested_);
}

std::size_t Schedule::next_in_pass() {
  PositionSet group = due_;
  group.drop(parked_);
  if (group.count() == 0) group = due_;
  std::size_t found = requested_;
  if (!group.has(requested_)) {
    PositionSet other_family = group;
    if (last_was_ipv6_) {
      other_family.drop(ipv6_);
    } else {
      other_family.keep(ipv6_);
    }
    found = (other_family.count() != 0 ? other_family : group).next(0);
    if (found == PositionSet::kNone) return found;
  }
  take(found);
  return found;
}

}  // namespace nextaddr
