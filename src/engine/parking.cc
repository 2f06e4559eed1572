#include "engine/parking.h"

#include <algorithm>

namespace nextaddr {
namespace {

constexpr std::uint32_t kMaxFailures = 1000;

}  // namespace

Turn turn_of(const Standing& standing, std::uint64_t now_ms) {
  constexpr std::uint64_t kLongest =
      std::uint64_t{kLongestParkingMs} * (100 + kJitterPercent) / 100;
  if (standing.failures == 0) return Turn::kUsual;
  if (now_ms < standing.until_ms) {
    return standing.until_ms - now_ms <= kLongest ? Turn::kLast : Turn::kClaim;
  }
  const bool claimed =
      standing.claimed_ms >= standing.until_ms && now_ms - standing.claimed_ms < kClaimMs;
  return claimed ? Turn::kLast : Turn::kClaim;
}

void fail(Standing& standing, std::uint64_t now_ms, std::uint32_t first_parking_ms,
          std::uint32_t chance) {
  standing.failures = std::min(standing.failures, kMaxFailures - 1) + 1;
  const std::uint32_t doublings = std::min(standing.failures - 1, 10u);
  const std::uint64_t usual = std::min<std::uint64_t>(
      std::uint64_t{first_parking_ms} << doublings, std::max(kLongestParkingMs, first_parking_ms));
  const std::uint64_t percent = 100 - kJitterPercent + chance % (2 * kJitterPercent + 1);
  standing.until_ms = now_ms + usual * percent / 100;
  standing.updated_ms = now_ms;
}

void succeed(Standing& standing, std::uint64_t now_ms) {
  standing.failures = 0;
  standing.updated_ms = now_ms;
}

void claim(Standing& standing, std::uint64_t now_ms) {
  standing.claimed_ms = now_ms;
  // After the clock was set back the end of the parking lies in the future.
  standing.until_ms = std::min(standing.until_ms, now_ms);
  standing.updated_ms = now_ms;
}

bool note_rtt(Standing& standing, std::uint32_t rtt_us, std::uint64_t now_ms) {
  const std::uint32_t before = standing.rtt_us;
  rtt_us = std::max(rtt_us, 1u);
  // Downwards at once, since no packet is faster than the path; upwards slowly.
  standing.rtt_us = before == 0 || rtt_us < before ? rtt_us : before + (rtt_us - before) / 8;
  const std::uint32_t change =
      standing.rtt_us > before ? standing.rtt_us - before : before - standing.rtt_us;
  if (before != 0 && change <= before / 8) {
    standing.rtt_us = before;
    return false;
  }
  standing.updated_ms = now_ms;
  return true;
}

std::uint32_t attempt_delay_ms(const Standing& standing) {
  if (standing.rtt_us == 0) return 0;
  return std::min(standing.rtt_us / 500 + kOwnDelayMarginMs, kLongestOwnDelayMs);
}

}  // namespace nextaddr
