#include "engine/parking.h"

#include <algorithm>

namespace nextaddr {
namespace {

constexpr std::uint32_t kMaxFailures = 1000;

}  // namespace

AskOrder ask_order_of(const AddressHealth& health, std::uint64_t now_ms) {
  constexpr std::uint64_t kLongest =
      std::uint64_t{kLongestParkingMs} * (100 + kJitterPercent) / 100;
  if (health.failures == 0) return AskOrder::kUsual;
  if (now_ms < health.until_ms) {
    return health.until_ms - now_ms <= kLongest ? AskOrder::kLast : AskOrder::kClaim;
  }
  const bool claimed =
      health.claimed_ms >= health.until_ms && now_ms - health.claimed_ms < kClaimMs;
  return claimed ? AskOrder::kLast : AskOrder::kClaim;
}

void fail(AddressHealth& health, std::uint64_t now_ms, std::uint32_t first_parking_ms,
          std::uint32_t chance) {
  health.failures = std::min(health.failures, kMaxFailures - 1) + 1;
  const std::uint32_t doublings = std::min(health.failures - 1, 10u);
  const std::uint64_t usual = std::min<std::uint64_t>(
      std::uint64_t{first_parking_ms} << doublings, std::max(kLongestParkingMs, first_parking_ms));
  const std::uint64_t percent = 100 - kJitterPercent + chance % (2 * kJitterPercent + 1);
  health.until_ms = now_ms + usual * percent / 100;
  health.updated_ms = now_ms;
}

void succeed(AddressHealth& health, std::uint64_t now_ms) {
  health.failures = 0;
  health.updated_ms = now_ms;
}

void claim(AddressHealth& health, std::uint64_t now_ms) {
  health.claimed_ms = now_ms;
  // After the clock was set back the end of the parking lies in the future.
  health.until_ms = std::min(health.until_ms, now_ms);
  health.updated_ms = now_ms;
}

bool note_rtt(AddressHealth& health, std::uint32_t rtt_us, std::uint64_t now_ms) {
  const std::uint32_t before = health.rtt_us;
  rtt_us = std::max(rtt_us, 1u);
  // Downwards at once, since no packet is faster than the path; upwards slowly.
  health.rtt_us = before == 0 || rtt_us < before ? rtt_us : before + (rtt_us - before) / 8;
  const std::uint32_t change =
      health.rtt_us > before ? health.rtt_us - before : before - health.rtt_us;
  if (before != 0 && change <= before / 8) {
    health.rtt_us = before;
    return false;
  }
  health.updated_ms = now_ms;
  return true;
}

std::uint32_t attempt_delay_ms(const AddressHealth& health) {
  if (health.rtt_us == 0) return 0;
  return std::min(health.rtt_us / 500 + kOwnDelayMarginMs, kLongestOwnDelayMs);
}

}  // namespace nextaddr
