// Parking on a simulated clock.
#include "engine/parking.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <set>

#include "engine/outcome.h"
#include "engine/schedule.h"

namespace nextaddr {
namespace {

constexpr std::uint64_t kNow = 1'790'000'000'000;

// The value of `chance` that makes a parking neither shorter nor longer.
constexpr std::uint32_t kNoJitter = kJitterPercent;

TEST(Parking, ThirtySecondsDoublingToTwoMinutes) {
  AddressHealth health;
  std::uint64_t now = kNow;
  for (const std::uint64_t seconds : {30, 60, 120, 120, 120, 120, 120}) {
    fail(health, now, kFirstParkingMs, kNoJitter);
    EXPECT_EQ(health.until_ms - now, seconds * 1000);
    EXPECT_EQ(ask_order_of(health, now), AskOrder::kLast);
    EXPECT_EQ(ask_order_of(health, health.until_ms - 1), AskOrder::kLast);
    now = health.until_ms;
    EXPECT_EQ(ask_order_of(health, now), AskOrder::kClaim);
  }
  EXPECT_EQ(health.failures, 7u);
}

TEST(Parking, JitterIsAFifthEachWay) {
  std::set<std::uint64_t> lengths;
  for (std::uint32_t chance = 0; chance < 10'000; ++chance) {
    AddressHealth health;
    fail(health, kNow, kFirstParkingMs, chance);
    lengths.insert(health.until_ms - kNow);
  }
  EXPECT_EQ(*lengths.begin(), 24'000u);
  EXPECT_EQ(*lengths.rbegin(), 36'000u);
  EXPECT_GT(lengths.size(), 30u);
}

TEST(Parking, ASuccessClearsIt) {
  AddressHealth health;
  fail(health, kNow, kFirstParkingMs, kNoJitter);
  fail(health, kNow + 40'000, kFirstParkingMs, kNoJitter);
  succeed(health, kNow + 50'000);
  EXPECT_EQ(ask_order_of(health, kNow + 50'000), AskOrder::kUsual);
  fail(health, kNow + 60'000, kFirstParkingMs, kNoJitter);
  EXPECT_EQ(health.until_ms, kNow + 90'000) << "begins at 30 s again";
}

TEST(Parking, AfterItOneClaimAtATime) {
  AddressHealth health;
  fail(health, kNow, kFirstParkingMs, kNoJitter);
  const std::uint64_t over = health.until_ms;
  EXPECT_EQ(ask_order_of(health, over), AskOrder::kClaim);
  claim(health, over);
  EXPECT_EQ(ask_order_of(health, over), AskOrder::kLast) << "for everybody else";
  EXPECT_EQ(ask_order_of(health, over + kClaimMs - 1), AskOrder::kLast);
  EXPECT_EQ(ask_order_of(health, over + kClaimMs), AskOrder::kClaimInPlace)
      << "the program has ended before its probe had an answer";
  claim(health, over + kClaimMs);
  EXPECT_EQ(ask_order_of(health, over + kClaimMs), AskOrder::kLast);
  EXPECT_EQ(ask_order_of(health, over + 2 * kClaimMs), AskOrder::kClaimInPlace);
  fail(health, over + 200, kFirstParkingMs, kNoJitter);
  EXPECT_EQ(health.until_ms, over + 200 + 60'000);
  EXPECT_EQ(ask_order_of(health, health.until_ms), AskOrder::kClaim) << "an old claim is over";
}

TEST(Parking, AClockThatIsSetBackParksNobodyForLong) {
  AddressHealth health;
  fail(health, kNow, kFirstParkingMs, kNoJitter);
  const std::uint64_t yesterday = kNow - 86'400'000;
  EXPECT_EQ(ask_order_of(health, yesterday), AskOrder::kClaim);
  claim(health, yesterday);
  EXPECT_EQ(ask_order_of(health, yesterday + 1), AskOrder::kLast);
  EXPECT_EQ(ask_order_of(health, yesterday + kClaimMs), AskOrder::kClaimInPlace);
}

TEST(Parking, OnlyErrorsOfTheAddressItselfPark) {
  for (const int error : {ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, EHOSTDOWN}) {
    EXPECT_TRUE(parks(error)) << error;
    EXPECT_TRUE(moves_on(error)) << error;
  }
  for (const int error : {0, ECONNRESET, ENETUNREACH, ENETDOWN, EADDRNOTAVAIL, EACCES, EPERM,
                          EINVAL, EINPROGRESS, EINTR, EBADF, ENOMEM, kParked}) {
    EXPECT_FALSE(parks(error)) << error;
  }
}

TEST(RoundTrip, RisesByHalfAndFallsByAnEighth) {
  AddressHealth health;
  EXPECT_TRUE(note_rtt(health, 80'000, kNow));
  EXPECT_EQ(health.rtt_us, 80'000u);
  EXPECT_EQ(health.updated_ms, kNow);
  EXPECT_TRUE(note_rtt(health, 100'000, kNow + 1));
  EXPECT_EQ(health.rtt_us, 90'000u);
  EXPECT_EQ(health.updated_ms, kNow + 1);
  EXPECT_TRUE(note_rtt(health, 10'000, kNow + 2));
  EXPECT_EQ(health.rtt_us, 80'000u);
  for (int i = 0; i < 100; ++i) note_rtt(health, 10'000, kNow);
  EXPECT_LT(health.rtt_us, 14'000u) << "but for what is not worth a write";
}

TEST(RoundTrip, ChangeOfAThirtySecondIsNotWorthAWrite) {
  AddressHealth health;
  note_rtt(health, 32'000, kNow);
  EXPECT_FALSE(note_rtt(health, 34'000, kNow + 1));
  EXPECT_FALSE(note_rtt(health, 24'000, kNow + 1));
  EXPECT_EQ(health.rtt_us, 32'000u);
  EXPECT_EQ(health.updated_ms, kNow);
  EXPECT_TRUE(note_rtt(health, 34'002, kNow + 1));
  EXPECT_EQ(health.rtt_us, 33'001u);
  EXPECT_TRUE(note_rtt(health, 24'000, kNow + 1));
  health = {};
  EXPECT_TRUE(note_rtt(health, 0, kNow));
  EXPECT_EQ(health.rtt_us, 1u) << "0 is one that is not known";
}

TEST(Silence, CountsForHalfAMinute) {
  AddressHealth health;
  EXPECT_FALSE(was_silent(health, kNow));
  EXPECT_TRUE(note_silence(health, kSilentMs, kNow));
  EXPECT_EQ(health.updated_ms, kNow);
  EXPECT_TRUE(was_silent(health, kNow));
  EXPECT_TRUE(is_silent(health, kNow + kSilentForMs - 1));
  EXPECT_FALSE(was_silent(health, kNow + kSilentForMs));
  EXPECT_FALSE(is_silent(health, kNow + kSilentForMs));
  EXPECT_EQ(ask_order_of(health, kNow), AskOrder::kUsual) << "it is not parked";
}

TEST(Silence, OfLessThanASecondKeepsNoProbeAway) {
  AddressHealth health;
  note_silence(health, kSilentMs - 1, kNow);
  EXPECT_TRUE(was_silent(health, kNow));
  EXPECT_FALSE(is_silent(health, kNow));
}

TEST(Silence, IsNotWrittenByEachOfManyConnectsAtOnce) {
  AddressHealth health;
  note_silence(health, 1000, kNow);
  EXPECT_FALSE(note_silence(health, 1000, kNow + 1999));
  EXPECT_FALSE(note_silence(health, 500, kNow + 1));
  EXPECT_EQ(health.silent_at_ms, kNow);
  EXPECT_TRUE(note_silence(health, 1001, kNow + 1)) << "longer than was known";
  EXPECT_TRUE(note_silence(health, 1000, kNow + 2001)) << "known, but for a while";
  EXPECT_EQ(health.silent_ms, 1001u) << "the longest there was";
  EXPECT_EQ(health.silent_at_ms, kNow + 2001);
  EXPECT_FALSE(note_silence(health, 100, kNow + 9000)) << "does not make it last";
  EXPECT_TRUE(note_silence(health, 100, kNow + 2001 + kSilentForMs));
  EXPECT_EQ(health.silent_ms, 100u) << "that was over";
}

TEST(Silence, IsOverWithASuccess) {
  AddressHealth health;
  note_silence(health, 1000, kNow);
  succeed(health, kNow + 10);
  EXPECT_EQ(health.silent_ms, 0u);
  EXPECT_FALSE(was_silent(health, kNow + 10));
}

TEST(Silence, IsOverWithAnErrorToo) {
  AddressHealth health;
  note_silence(health, 1000, kNow);
  hear(health);
  EXPECT_FALSE(was_silent(health, kNow + 10));
}

TEST(Silence, DoesNotLastBecauseAClockWasSetBack) {
  AddressHealth health;
  note_silence(health, 1000, kNow);
  EXPECT_FALSE(was_silent(health, kNow - 1));
  EXPECT_FALSE(is_silent(health, kNow - 1));
  EXPECT_TRUE(note_silence(health, 1000, kNow - 1));
  EXPECT_TRUE(is_silent(health, kNow - 1));
}

}  // namespace
}  // namespace nextaddr
