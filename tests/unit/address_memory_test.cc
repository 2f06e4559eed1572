#include "engine/address_memory.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

#include "known_addresses.h"

namespace nextaddr {
namespace {

constexpr std::uint64_t kNow = 1'790'000'000'000;

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

}  // namespace
}  // namespace nextaddr
