#include "engine/parking.h"

#include <algorithm>

#include "engine/schedule.h"

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
  const bool claimed = health.claimed_ms >= health.until_ms;
  if (claimed && now_ms - health.claimed_ms < kClaimMs) return AskOrder::kLast;
  return claimed ? AskOrder::kClaimInPlace : AskOrder::kClaim;
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

void hear(AddressHealth& health) { health.silent_ms = 0; }

void succeed(AddressHealth& health, std::uint64_t now_ms) {
  health.failures = 0;
  health.silent_ms = 0;
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
  // Upwards soon and downwards slowly: where it varies, what is remembered is near the longest of
  // late, so that an answer is seldom taken for overdue.
  if (before == 0) {
    health.rtt_us = rtt_us;
  } else if (rtt_us > before) {
    health.rtt_us = before + (rtt_us - before) / 2;
  } else {
    health.rtt_us = before - (before - rtt_us) / 8;
  }
  const std::uint32_t change =
      health.rtt_us > before ? health.rtt_us - before : before - health.rtt_us;
  if (before != 0 && change <= before / 32) {
    health.rtt_us = before;
    return false;
  }
  health.updated_ms = now_ms;
  return true;
}

bool note_silence(AddressHealth& health, std::uint32_t silent_ms, std::uint64_t now_ms) {
  // Of many connects at once not each has to write the same silence.
  constexpr std::uint64_t kAgainMs = 2000;
  const bool known = was_silent(health, now_ms);
  // A silence of less than a second does not prolong the time for which one of a second counts.
  const bool enough = is_silent(health, now_ms) && silent_ms < kSilentMs;
  if (known && silent_ms <= health.silent_ms &&
      (enough || now_ms - health.silent_at_ms < kAgainMs)) {
    return false;
  }
  health.silent_ms = known ? std::max(health.silent_ms, silent_ms) : silent_ms;
  health.silent_at_ms = now_ms;
  health.updated_ms = now_ms;
  return true;
}

bool was_silent(const AddressHealth& health, std::uint64_t now_ms) {
  // A clock that was set back must not make it last.
  return health.silent_ms != 0 && now_ms >= health.silent_at_ms &&
         now_ms - health.silent_at_ms < kSilentForMs;
}

bool is_silent(const AddressHealth& health, std::uint64_t now_ms) {
  return was_silent(health, now_ms) && health.silent_ms >= kSilentMs;
}

}  // namespace nextaddr
