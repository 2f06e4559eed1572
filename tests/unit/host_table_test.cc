// The host table against a plain model: what was looked up, what may be reached, what is forgotten.
// Everything runs on memory of its own; damaged memory must never crash or hang a reader.
#include "engine/host_table.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <ctime>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace nextaddr {
namespace {

Address ipv4(std::uint32_t host_order) {
  const std::uint32_t bytes = htonl(host_order);
  return address_from_ipv4(&bytes);
}

Address ipv6(std::uint32_t last) {
  Address address;
  address.words = {htonl(0x20010db8), 0, 0, htonl(last)};
  return address;
}

using Addresses = std::vector<Address>;

class HostTableTest : public testing::Test {
 protected:
  HostTableTest()
      : memory_(mmap(nullptr, HostTable::memory_size(), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)),
        table_(static_cast<HostTable::Memory*>(memory_)) {}
  ~HostTableTest() override { munmap(memory_, HostTable::memory_size()); }

  bool learn(const std::string& host, const Addresses& addresses, LookupFamilies families = {},
             const HostFilter& filter = {}) {
    AddressList list;
    for (const Address& address : addresses) list.add(address);
    EXPECT_TRUE(table_.try_lock(1));
    const bool learned = table_.learn(host, list, families, filter);
    table_.unlock();
    return learned;
  }

  // What a connect to `requested` may use, in order; empty when it is left to libc.
  Addresses reach(const Address& requested, std::uint16_t port = 80,
                  const HostFilter& filter = {}) {
    DestinationList list;
    Addresses result;
    if (!table_.destinations(requested, port, filter, list)) return result;
    Address at;
    EXPECT_TRUE(table_.address_at(list, list.requested, at));
    EXPECT_EQ(at, requested);
    for (std::size_t i = list.candidates.next(0); i != PositionSet::kNone;
         i = list.candidates.next(i + 1)) {
      EXPECT_TRUE(table_.address_at(list, i, at));
      EXPECT_EQ(list.ipv6.has(i), !at.is_ipv4());
      result.push_back(at);
    }
    return result;
  }

  void* memory_;
  HostTable table_;
};

TEST_F(HostTableTest, EmptyKnowsNothing) {
  EXPECT_FALSE(table_.may_fail_over(ipv4(1)));
  EXPECT_TRUE(reach(ipv4(1)).empty());
}

TEST_F(HostTableTest, KeepsTheResolversOrder) {
  learn("a", {ipv4(3), ipv6(9), ipv4(1)});
  EXPECT_TRUE(table_.may_fail_over(ipv4(1)));
  EXPECT_EQ(reach(ipv4(1)), (Addresses{ipv4(3), ipv6(9), ipv4(1)}));
  EXPECT_EQ(reach(ipv6(9)), (Addresses{ipv4(3), ipv6(9), ipv4(1)}));
  learn("a", {ipv4(1), ipv4(3), ipv6(9)});
  EXPECT_EQ(reach(ipv4(3)), (Addresses{ipv4(1), ipv4(3), ipv6(9)}));
}

TEST_F(HostTableTest, OneAddressIsNothingToFailOverTo) {
  learn("a", {ipv4(1)});
  EXPECT_FALSE(table_.may_fail_over(ipv4(1)));
  EXPECT_EQ(reach(ipv4(1)), (Addresses{ipv4(1)}));
}

TEST_F(HostTableTest, NeverToAStranger) {
  learn("a", {ipv4(1), ipv4(2), ipv4(3)});
  learn("b", {ipv4(1), ipv4(3), ipv4(4)});
  EXPECT_EQ(reach(ipv4(1)), (Addresses{ipv4(1), ipv4(3)}));
  EXPECT_EQ(reach(ipv4(2)), (Addresses{ipv4(1), ipv4(2), ipv4(3)}));
  EXPECT_EQ(reach(ipv4(4)), (Addresses{ipv4(1), ipv4(3), ipv4(4)}));
  // A numeric lookup is a host with one address.
  learn("0.0.0.1", {ipv4(1)});
  EXPECT_EQ(reach(ipv4(1)), (Addresses{ipv4(1)}));
}

TEST_F(HostTableTest, TheOrderIsThatOfTheHostLookedUpLast) {
  DestinationList list;
  NameBuffer name;
  for (int round = 0; round < 3; ++round) {
    learn("a", {ipv4(1), ipv4(2), ipv4(3)});
    EXPECT_EQ(reach(ipv4(2)), (Addresses{ipv4(1), ipv4(2), ipv4(3)})) << round;
    ASSERT_TRUE(table_.destinations(ipv4(2), 80, {}, list));
    EXPECT_EQ(table_.host_name(list, name), "a");
    learn("b", {ipv4(2), ipv4(1), ipv4(3)});
    EXPECT_EQ(reach(ipv4(2)), (Addresses{ipv4(2), ipv4(1), ipv4(3)})) << round;
    ASSERT_TRUE(table_.destinations(ipv4(2), 80, {}, list));
    EXPECT_EQ(table_.host_name(list, name), "b");
  }
}

TEST_F(HostTableTest, HostsThatTakeTurnsDoNotEvictOthers) {
  learn("quiet", {ipv4(11), ipv4(12)});
  for (std::uint32_t i = 0; i < 300'000; ++i) learn(i % 2 == 0 ? "a" : "b", {ipv4(1), ipv4(2)});
  EXPECT_EQ(reach(ipv4(11)), (Addresses{ipv4(11), ipv4(12)}));
}

TEST_F(HostTableTest, NamesAreComparedAsDnsDoes) {
  learn("A.Example.", {ipv4(1), ipv4(2)});
  learn("a.example", {ipv4(1), ipv4(3)});
  EXPECT_EQ(reach(ipv4(1)), (Addresses{ipv4(1), ipv4(3)}));
  EXPECT_TRUE(reach(ipv4(2)).empty());
}

TEST_F(HostTableTest, ALookupForOneFamilyKeepsTheOther) {
  learn("a", {ipv4(1), ipv6(1)});
  learn("a", {ipv4(2)}, {true, false});
  EXPECT_EQ(reach(ipv4(2)), (Addresses{ipv4(2), ipv6(1)}));
  EXPECT_TRUE(reach(ipv4(1)).empty());
  learn("a", {ipv6(2)}, {false, true});
  EXPECT_EQ(reach(ipv4(2)), (Addresses{ipv6(2), ipv4(2)}));
  learn("a", {ipv4(5), ipv4(6)});
  EXPECT_EQ(reach(ipv4(5)), (Addresses{ipv4(5), ipv4(6)}));
}

TEST_F(HostTableTest, ThousandAddresses) {
  Addresses all;
  for (std::uint32_t i = 0; i < 1000; ++i) all.push_back(ipv4(0x0a000000 + i));
  EXPECT_TRUE(learn("big", all));
  EXPECT_EQ(reach(ipv4(0x0a000000 + 777)), all);
}

TEST_F(HostTableTest, FilterLeavesHostsAlone) {
  const HostFilter skip({}, "b*:443,c");
  learn("b1", {ipv4(1), ipv4(2)}, {}, skip);
  EXPECT_TRUE(table_.may_fail_over(ipv4(1)));
  EXPECT_EQ(reach(ipv4(1), 80, skip).size(), 2u);
  EXPECT_TRUE(reach(ipv4(1), 443, skip).empty());
  learn("c", {ipv4(7), ipv4(8)}, {}, skip);
  EXPECT_FALSE(table_.may_fail_over(ipv4(7)));
  // An address that a host left alone holds as well is not failed over.
  learn("d", {ipv4(7), ipv4(8)}, {}, skip);
  EXPECT_TRUE(reach(ipv4(7), 80, skip).empty());
}

TEST_F(HostTableTest, RefusesNonsense) {
  EXPECT_FALSE(learn("", {ipv4(1), ipv4(2)}));
  EXPECT_FALSE(learn(std::string(256, 'x'), {ipv4(1), ipv4(2)}));
  EXPECT_FALSE(learn("a", {}));
  EXPECT_TRUE(learn(std::string(255, 'x'), {ipv4(1), ipv4(2)}));
}

TEST_F(HostTableTest, HostName) {
  learn("Some.Name.example.", {ipv4(1), ipv4(2)});
  DestinationList list;
  ASSERT_TRUE(table_.destinations(ipv4(1), 80, {}, list));
  NameBuffer name;
  EXPECT_EQ(table_.host_name(list, name), "Some.Name.example");
}

TEST_F(HostTableTest, HoldersOfAnAddressAndItsPositions) {
  learn("a", {ipv4(1), ipv4(2), ipv6(3)});
  learn("b", {ipv4(9), ipv4(1)});
  learn("c", {ipv4(2)});
  std::string holders;
  const auto note = [](void* context, std::string_view host, std::size_t position) {
    *static_cast<std::string*>(context) += std::string(host) + std::to_string(position) + " ";
    return false;
  };
  EXPECT_FALSE(table_.any_holder(ipv4(1), note, &holders));
  EXPECT_FALSE(table_.any_holder(ipv6(3), note, &holders));
  EXPECT_FALSE(table_.any_holder(ipv4(7), note, &holders));
  EXPECT_EQ(holders, "b1 a0 a2 ");
  EXPECT_TRUE(table_.any_holder(
      ipv4(2), [](void*, std::string_view host, std::size_t) { return host == "a"; }, nullptr));
}

TEST_F(HostTableTest, WalkingAnExhaustedList) {
  learn("a", {ipv4(1), ipv4(2), ipv4(3)});
  DestinationList first;
  DestinationList second;
  ASSERT_TRUE(table_.destinations(ipv4(1), 80, {}, first));
  ASSERT_TRUE(table_.destinations(ipv4(2), 80, {}, second));
  EXPECT_FALSE(table_.walks_exhausted(second, 7, 100));
  table_.note_exhausted(first, 7, 100);
  EXPECT_FALSE(table_.walks_exhausted(first, 7, 110)) << "the same address again is a new try";
  EXPECT_FALSE(table_.walks_exhausted(second, 8, 110)) << "another process";
  EXPECT_TRUE(table_.walks_exhausted(second, 7, 110));
  EXPECT_TRUE(table_.walks_exhausted(second, 7, 110)) << "to ask is not to walk";
  table_.note_walked(second, 110);
  EXPECT_FALSE(table_.walks_exhausted(second, 7, 120)) << "asked for by the program before";
  table_.note_exhausted(first, 7, 200);
  EXPECT_FALSE(table_.walks_exhausted(second, 7, 20'000)) << "long ago";
  table_.note_exhausted(first, 7, 200);
  learn("a", {ipv4(1), ipv4(2), ipv4(3)});
  EXPECT_FALSE(table_.walks_exhausted(second, 7, 210)) << "looked up anew";
}

TEST_F(HostTableTest, ForgetsTheLeastRecentlyUsedFirst) {
  constexpr int kHosts = 120'000;  // more than fit
  learn("busy", {ipv4(0xc0000201), ipv4(0xc0000202)});
  for (int i = 0; i < kHosts; ++i) {
    const auto base = static_cast<std::uint32_t>(0x0a000000 + i * 2);
    ASSERT_TRUE(learn("host" + std::to_string(i), {ipv4(base), ipv4(base + 1)}));
    if (i % 100 == 0) {
      ASSERT_TRUE(table_.may_fail_over(ipv4(0xc0000201))) << "a host in use was forgotten";
    }
  }
  EXPECT_TRUE(table_.may_fail_over(ipv4(0x0a000000 + (kHosts - 1) * 2))) << "the newest is there";
  EXPECT_FALSE(table_.may_fail_over(ipv4(0x0a000000))) << "memory is bounded, so the oldest is not";
}

TEST_F(HostTableTest, ChangingAnswersDoNotEvictOthers) {
  learn("quiet", {ipv4(1), ipv4(2)});
  for (std::uint32_t i = 0; i < 300'000; ++i) {
    learn("rotating", {ipv4(0x0b000000 + i % 7), ipv4(0x0b000000 + (i + 1) % 7)});
  }
  EXPECT_EQ(reach(ipv4(1)), (Addresses{ipv4(1), ipv4(2)}));
}

TEST_F(HostTableTest, AForgottenListIsRecognised) {
  learn("a", {ipv4(1), ipv4(2)});
  DestinationList list;
  ASSERT_TRUE(table_.destinations(ipv4(1), 80, {}, list));
  ASSERT_TRUE(table_.try_lock(3));
  EXPECT_FALSE(table_.try_lock(4));
  EXPECT_EQ(table_.lock_owner(), 3u);
  EXPECT_FALSE(table_.take_over(5, 4));
  EXPECT_TRUE(table_.take_over(3, 4));
  EXPECT_TRUE(table_.take_over(4, 5));
  table_.unlock();
  Address address;
  EXPECT_FALSE(table_.address_at(list, 0, address));
  EXPECT_TRUE(reach(ipv4(1)).empty());
  EXPECT_TRUE(learn("a", {ipv4(1), ipv4(2)}));
  EXPECT_EQ(reach(ipv4(1)).size(), 2u);
}

// The never-to-a-stranger rule over random lookups: exactly the addresses every holder has.
TEST_F(HostTableTest, RandomLookupsAgreeWithTheModel) {
  std::mt19937 random(42);
  std::map<std::string, Addresses> model;
  for (int round = 0; round < 20'000; ++round) {
    const std::string host = "h" + std::to_string(random() % 12);
    Addresses answer;
    for (std::uint32_t i = 0, n = 1 + random() % 5; i < n; ++i) {
      const Address address = random() % 3 == 0 ? ipv6(random() % 6) : ipv4(random() % 10);
      if (std::find(answer.begin(), answer.end(), address) == answer.end())
        answer.push_back(address);
    }
    learn(host, answer);
    model[host] = answer;
    const Address requested = random() % 3 == 0 ? ipv6(random() % 6) : ipv4(random() % 10);
    std::set<std::vector<std::uint32_t>> expected;
    bool known = false;
    const auto key = [](const Address& a) {
      return std::vector<std::uint32_t>(a.words.begin(), a.words.end());
    };
    for (const auto& [name, addresses] : model) {
      if (std::find(addresses.begin(), addresses.end(), requested) == addresses.end()) continue;
      std::set<std::vector<std::uint32_t>> here;
      for (const Address& address : addresses) {
        if (!known || expected.contains(key(address))) here.insert(key(address));
      }
      expected = here;
      known = true;
    }
    std::set<std::vector<std::uint32_t>> reached;
    for (const Address& address : reach(requested)) reached.insert(key(address));
    ASSERT_EQ(reached, expected) << "round " << round;
  }
}

TEST_F(HostTableTest, DamagedMemoryNeitherCrashesNorHangs) {
  std::mt19937 random(7);
  for (std::uint32_t i = 0; i < 200; ++i) {
    learn("host" + std::to_string(i), {ipv4(i), ipv4(i + 1), ipv6(i)});
  }
  auto* words = static_cast<std::uint32_t*>(memory_);
  const std::size_t count = HostTable::memory_size() / 4;
  for (int round = 0; round < 300; ++round) {
    // Where the header, the buckets and the first records are, and anywhere.
    for (int i = 0; i < 200; ++i) {
      const std::size_t near = 4 + random() % (2u << 16);
      const std::size_t records = 5 + (2u << 16) + random() % 8192;
      words[i % 3 == 0   ? near
            : i % 3 == 1 ? records
                         : 4 + random() % (count - 4)] =
          random() % 2 == 0 ? static_cast<std::uint32_t>(random()) : random() % 8192;
    }
    for (std::uint32_t i = 0; i < 200; ++i) {
      DestinationList list;
      Address address;
      NameBuffer name;
      static_cast<void>(table_.may_fail_over(ipv4(i)));
      if (!table_.destinations(ipv4(i), 80, {}, list)) continue;
      table_.address_at(list, 1023, address);
      EXPECT_LE(table_.host_name(list, name).size(), name.size());
      table_.note_exhausted(list, 1, 1);
      static_cast<void>(table_.walks_exhausted(list, 1, 1));
      table_.note_walked(list, 1);
    }
    learn("host" + std::to_string(round % 200), {ipv4(1), ipv4(2)});
  }
}

TEST_F(HostTableTest, AConnectIsNotHeldUpByAChainThatLoops) {
  Addresses all;
  for (std::uint32_t i = 0; i < kMaxAddresses; ++i) all.push_back(ipv4(0x0a000000 + i));
  ASSERT_TRUE(learn("a", all));
  // The first entry of its chain becomes the next one too: words of the address, its scope, the
  // link.
  auto* records = static_cast<std::uint32_t*>(memory_) + 5 + (2u << 16);
  std::uint32_t first = 1;
  while (std::memcmp(records + first, all[0].words.data(), sizeof all[0].words) != 0) ++first;
  ASSERT_EQ(records[first + 5], 0u);
  records[first + 5] = first;
  // TSan makes the walk twenty times slower.
#ifdef __SANITIZE_THREAD__
  constexpr int kSeconds = 20;
#else
  constexpr int kSeconds = 1;
#endif
  const std::clock_t began = std::clock();
  EXPECT_TRUE(reach(all[0]).empty());
  EXPECT_LT(std::clock() - began, kSeconds * CLOCKS_PER_SEC);
}

TEST_F(HostTableTest, ReadersSeeOnlyWholeListsWhileOthersWrite) {
  // Two disjoint lists take turns under one name: a reader must see one or the other, never a
  // mixture.
  const Addresses even{ipv4(1), ipv4(2), ipv4(4)};
  const Addresses odd{ipv4(1), ipv4(3), ipv4(5)};
  learn("a", even);
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (int i = 0; i < 200'000; ++i) learn("a", i % 2 == 0 ? odd : even);
    stop = true;
  });
  std::uint64_t seen = 0;
  while (!stop) {
    const Addresses reached = reach(ipv4(1));
    // In the moment of change both are linked, and only the common address is allowed; never none.
    const bool whole = reached == even || reached == odd || reached == Addresses{ipv4(1)};
    ASSERT_TRUE(whole) << reached.size();
    ++seen;
  }
  writer.join();
  EXPECT_GT(seen, 100u);
}

}  // namespace
}  // namespace nextaddr
