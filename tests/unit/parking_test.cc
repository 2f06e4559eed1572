// Parking on a simulated clock, and the entries and records it is kept in. No sockets, no file, no
// real time.
#include "engine/parking.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "engine/address_memory.h"
#include "engine/outcome.h"
#include "engine/schedule.h"
#include "memory/record.h"

namespace nextaddr {
namespace {

constexpr std::uint64_t kNow = 1'790'000'000'000;
// The value of `chance` that makes a parking neither shorter nor longer.
constexpr std::uint32_t kNoJitter = kJitterPercent;

Address ipv4(std::uint32_t number) {
  const std::uint32_t bytes = htonl(number);
  return address_from_ipv4(&bytes);
}

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

// ---- The entries of a process ----

class Entries : public testing::Test {
 protected:
  AddressEntry entry(std::uint32_t number, std::uint32_t failures, std::uint64_t updated_ms) {
    AddressEntry entry;
    entry.key.address = ipv4(number);
    entry.key.port = 80;
    entry.key.network = 1;
    entry.health.failures = failures;
    entry.health.updated_ms = updated_ms;
    return entry;
  }

  std::vector<std::uint64_t> storage_ =
      std::vector<std::uint64_t>(AddressMemory::memory_size() / 8 + 1);
  AddressMemory memory_{reinterpret_cast<AddressMemory::Memory*>(storage_.data())};
};

TEST_F(Entries, AreFoundByAddressAndPort) {
  AddressEntry found;
  EXPECT_FALSE(memory_.find({ipv4(1), 80, 1}, found));
  EXPECT_FALSE(memory_.may_hold_failures());
  EXPECT_TRUE(memory_.store(entry(1, 0, kNow)));
  EXPECT_FALSE(memory_.may_hold_failures());
  EXPECT_TRUE(memory_.store(entry(2, 3, kNow)));
  EXPECT_TRUE(memory_.may_hold_failures());
  EXPECT_TRUE(memory_.find({ipv4(2), 80, 1}, found));
  EXPECT_EQ(found.health.failures, 3u);
  EXPECT_FALSE(memory_.find({ipv4(2), 81, 1}, found));
  EXPECT_FALSE(memory_.find({ipv4(3), 80, 1}, found));
}

TEST_F(Entries, SayWhetherAnyWasSilent) {
  AddressEntry silent = entry(1, 0, kNow);
  note_silence(silent.health, 1000, kNow);
  EXPECT_TRUE(memory_.store(silent));
  EXPECT_TRUE(memory_.may_hold_failures());
  AddressEntry found;
  ASSERT_TRUE(memory_.find({ipv4(1), 80, 1}, found));
  EXPECT_EQ(found.health, silent.health);
}

TEST_F(Entries, OfOtherNetworksAreOthers) {
  AddressEntry found;
  ASSERT_TRUE(memory_.store(entry(1, 3, kNow)));
  EXPECT_FALSE(memory_.find({ipv4(1), 80, 2}, found));
  EXPECT_TRUE(memory_.knows(ipv4(1), 80)) << "in some network";
  EXPECT_FALSE(memory_.knows(ipv4(1), 81) || memory_.knows(ipv4(2), 80));
  AddressEntry other = entry(1, 0, kNow);
  other.key.network = 2;
  ASSERT_TRUE(memory_.store(other));
  ASSERT_TRUE(memory_.find({ipv4(1), 80, 1}, found));
  EXPECT_EQ(found.health.failures, 3u);
  ASSERT_TRUE(memory_.find({ipv4(1), 80, 2}, found));
  EXPECT_EQ(found.health.failures, 0u);
}

TEST_F(Entries, OfNeighboursAreSpread) {
  std::set<std::size_t> buckets;
  for (std::uint32_t i = 0; i < 256; ++i) buckets.insert(bucket_of(ipv4(0x0a000000 + i), 80));
  EXPECT_GT(buckets.size(), kMemoryBuckets / 2);
  buckets.clear();
  for (std::uint16_t port = 8000; port < 8256; ++port) buckets.insert(bucket_of(ipv4(1), port));
  EXPECT_GT(buckets.size(), kMemoryBuckets / 2);
}

TEST_F(Entries, OfOtherProcessesAreTakenOverWhenTheyAreNewer) {
  memory_.store(entry(1, 1, kNow));
  memory_.adopt(entry(1, 2, kNow - 1));
  AddressEntry found;
  ASSERT_TRUE(memory_.find({ipv4(1), 80, 1}, found));
  EXPECT_EQ(found.health.failures, 1u);
  memory_.adopt(entry(1, 2, kNow + 1));
  ASSERT_TRUE(memory_.find({ipv4(1), 80, 1}, found));
  EXPECT_EQ(found.health.failures, 2u);
}

TEST_F(Entries, OfOtherProcessesTellOfSilenceToo) {
  memory_.store(entry(1, 0, kNow));
  AddressEntry silent = entry(1, 0, kNow);
  note_silence(silent.health, 1500, kNow + 1);
  memory_.adopt(silent);
  AddressEntry found;
  ASSERT_TRUE(memory_.find({ipv4(1), 80, 1}, found));
  EXPECT_TRUE(is_silent(found.health, kNow + 1));
}

TEST_F(Entries, MakeRoomByAgeThoseThatFailLast) {
  std::uint32_t stored = 0;
  for (std::uint32_t i = 0; i < 20'000; ++i) stored += memory_.store(entry(i, i % 2, kNow + i));
  EXPECT_EQ(stored, 20'000u);
  std::size_t all = 0;
  std::size_t failing = 0;
  memory_.for_each([&](const AddressEntry& each) {
    ++all;
    failing += each.health.failures != 0;
  });
  EXPECT_EQ(all, kMemoryBuckets * kBucketEntries);
  EXPECT_GT(failing, all * 3 / 4);
  AddressEntry found;
  EXPECT_TRUE(memory_.find({ipv4(19'999), 80, 1}, found));
}

// ---- The records of the file ----

AddressEntry random_entry(std::mt19937_64& random) {
  AddressEntry entry;
  if (random() % 2 == 0) {
    entry.key.address = ipv4(static_cast<std::uint32_t>(random()));
  } else {
    const std::uint64_t bytes[] = {random(), random()};
    entry.key.address = address_from_ipv6(bytes, random() % 3 == 0 ? 7 : 0);
  }
  entry.key.port = static_cast<std::uint16_t>(1 + random() % 65535);
  entry.key.network = random() % 2 == 0 ? 1 : random();
  entry.set_host_name(random() % 4 == 0 ? "" : "host-" + std::to_string(random()) + ".example.org");
  entry.health = {random(),
                  random(),
                  random(),
                  static_cast<std::uint32_t>(random()),
                  static_cast<std::uint32_t>(random()),
                  static_cast<std::uint32_t>(random()),
                  random()};
  entry.saved_rtt_us = entry.health.rtt_us;
  return entry;
}

std::string_view view(const RecordText& text) { return {text.data(), text.size()}; }

TEST(Record, ReadsWhatItWrites) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20'000; ++i) {
    const AddressEntry written = random_entry(random);
    const RecordText text = format_record(written);
    ASSERT_EQ(text.back(), '\n');
    AddressEntry read;
    ASSERT_TRUE(parse_record(view(text), read)) << view(text);
    EXPECT_EQ(read.key, written.key);
    EXPECT_EQ(read.host_name(), written.host_name());
    EXPECT_EQ(read.health, written.health);
  }
}

TEST(Record, TheLongestFits) {
  AddressEntry longest;
  longest.key.address.words = {~0u, ~0u, ~0u, ~0u};
  longest.key.address.scope = ~0u;
  longest.key.port = 65535;
  longest.key.network = ~0ull;
  longest.set_host_name(std::string(300, 'x'));
  longest.health = {~0ull, ~0ull, ~0ull, ~0u, ~0u, ~0u, ~0ull};
  AddressEntry read;
  EXPECT_TRUE(parse_record(view(format_record(longest)), read));
  EXPECT_EQ(read.host_name(), std::string(63, 'x'));
}

TEST(Record, HeaderTellsTheVersion) {
  const RecordText header = memory_file_header();
  EXPECT_TRUE(view(header).starts_with("nextaddr memory 2 "));
  EXPECT_TRUE(is_memory_file_header(view(header)));
  RecordText older = header;
  older[16] = '1';
  EXPECT_TRUE(is_memory_file_header(view(older))) << "a file of ours, of another version";
}

// A record as version 1 wrote it: without SILENT and SILENT_AT.
TEST(Record, OfTheVersionBeforeIsNone) {
  AddressEntry entry;
  entry.key.address = ipv4(1);
  entry.key.port = 1;
  const std::string text(view(format_record(entry)));
  ASSERT_TRUE(text.starts_with("0.0.0.1 1 0 0 0 0 0 0 0 0 - "));
  std::string older = text;
  older.erase(22, 4).insert(older.size() - 1, "    ");
  AddressEntry read;
  EXPECT_TRUE(parse_record(text, read));
  EXPECT_FALSE(parse_record(older, read));
}

TEST(Record, NamesWithOddCharactersAreNotWritten) {
  AddressEntry entry;
  entry.key.address = ipv4(1);
  entry.key.port = 1;
  for (const char* name : {"two words", "new\nline", "-", "\x1b[31m", "tab\t"}) {
    entry.set_host_name(name);
    AddressEntry read;
    ASSERT_TRUE(parse_record(view(format_record(entry)), read)) << name;
    EXPECT_EQ(read.host_name(), "") << name;
  }
}

TEST(Record, WhateverIsChangedIsNoRecord) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 20'000; ++i) {
    const RecordText before = format_record(random_entry(random));
    RecordText after = before;
    RecordText whole = before;
    switch (random() % 4) {
      case 0:
        after[random() % after.size()] = static_cast<char>(random());
        break;
      case 1: {  // torn between two writers
        whole = format_record(random_entry(random));
        const std::size_t from = random() % after.size();
        std::copy(whole.begin() + from, whole.end(), after.begin() + from);
        break;
      }
      case 2:  // cut off
        std::fill(after.begin() + random() % after.size(), after.end(), '\0');
        break;
      default:
        for (char& c : after) c = static_cast<char>(random());
    }
    AddressEntry read;
    EXPECT_EQ(parse_record(view(after), read), after == before || after == whole) << view(after);
  }
  AddressEntry read;
  EXPECT_FALSE(parse_record("", read));
  EXPECT_FALSE(parse_record(view(memory_file_header()), read));
}

}  // namespace
}  // namespace nextaddr
