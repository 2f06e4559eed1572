#include "engine/schedule.h"

#include <algorithm>

namespace nextaddr {

std::uint32_t overdue_ms(std::uint32_t rtt_ms) {
  rtt_ms = std::min(rtt_ms, kLongestDelayMs);
  return std::clamp(rtt_ms + rtt_ms / 2 + kOverdueMarginMs, kShortestDelayMs, kLongestDelayMs);
}

std::uint32_t in_vain_ms(std::uint32_t attempt_delay_ms, std::uint32_t rtt_ms) {
  return rtt_ms == 0 ? attempt_delay_ms : std::max(attempt_delay_ms, overdue_ms(rtt_ms));
}

std::uint32_t probe_delay_ms(std::uint32_t rtt_ms) {
  const std::uint32_t expected = std::min(rtt_ms, kLongestDelayMs) + kOverdueMarginMs;
  return std::min(overdue_ms(rtt_ms), std::max(expected, kLongestProbeDelayMs));
}

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

Schedule::Schedule(const Destinations& destinations)
    : candidates_(destinations.candidates),
      due_(destinations.candidates),
      silent_(destinations.silent),
      ipv6_(destinations.ipv6),
      parked_(destinations.parked),
      requested_(static_cast<std::uint16_t>(destinations.requested)),
      last_was_ipv6_(destinations.ipv6.has(destinations.requested)) {}

void Schedule::take(std::size_t position) {
  last_was_ipv6_ = ipv6_.has(position);
  due_.remove(position);
}

void Schedule::start_again(std::size_t but) {
  due_ = candidates_;
  due_.remove(but);
  silent_ = {};
}

bool Schedule::spares_any() const {
  PositionSet spared = due_;
  spared.keep(silent_);
  return spares_ && spared.next(0) != PositionSet::kNone;
}

PositionSet Schedule::who_is_due() const {
  PositionSet who = due_;
  if (spares_) who.drop(silent_);
  return who;
}

std::size_t Schedule::take_next() {
  const std::size_t found = next_due();
  if (found != PositionSet::kNone) take(found);
  return found;
}

std::size_t Schedule::next_not_silent() const {
  PositionSet group = due_;
  group.drop(silent_);
  return next_of(group);
}

std::size_t Schedule::next_of(PositionSet group) const {
  if (!parked_.has_all(group)) group.drop(parked_);
  if (group.has(requested_)) return requested_;
  PositionSet other_family = group;
  if (last_was_ipv6_) {
    other_family.drop(ipv6_);
  } else {
    other_family.keep(ipv6_);
  }
  const std::size_t found = other_family.next(0);
  return found != PositionSet::kNone ? found : group.next(0);
}

}  // namespace nextaddr
