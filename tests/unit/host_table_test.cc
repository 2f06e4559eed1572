// The host table against a plain model: what was looked up, what may be reached, what is forgotten.
// Everything runs on memory of its own; damaged memory must never crash or hang a reader.
#include "engine/host_table.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <ctime>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "../known_answer.h"

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

// Where the words of the table are: behind lock, building, published, hosts, seed, shared and 64
// words of pages with marks come the words used, two tables of buckets, and the records.
constexpr std::size_t kHeader = 6 + 64;
constexpr std::size_t kRecords = kHeader + 1 + (2u << 16);

class HostTableTest : public testing::Test {
 protected:
  HostTableTest()
      : memory_(mmap(nullptr, HostTable::memory_size(), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)),
        table_(static_cast<HostTable::Memory*>(memory_)) {}
  ~HostTableTest() override { munmap(memory_, HostTable::memory_size()); }

  static void fill(AddressList& list, const Addresses& addresses) {
    for (const Address& address : addresses) list.add(address);
  }

  bool learn(const std::string& host, const Addresses& addresses, LookupFamilies families = {},
             const HostFilter& filter = {}, std::uint16_t port = 0) {
    AddressList list;
    fill(list, addresses);
    EXPECT_TRUE(table_.try_lock(1));
    const bool learned = table_.learn(host, list, families, filter, port);
    table_.unlock(1);
    return learned;
  }

  // Without the lock: whether this answer tells nothing new.
  bool knows(const std::string& host, const Addresses& addresses, LookupFamilies families = {},
             std::uint16_t port = 0) {
    return table_knows(table_, host, addresses, families, port);
  }

  // Of an answer that cannot be learnt, because somebody else holds the lock.
  bool holds(const std::string& host, const Addresses& addresses, LookupFamilies families = {}) {
    AddressList list;
    fill(list, addresses);
    return table_.holds(host, list, families);
  }

  // All addresses of "a", which it learns, have failed in process 7, at 100.
  void exhaust_a(const Addresses& all) {
    learn("a", all);
    DestinationList list;
    ASSERT_TRUE(table_.destinations(all[0], 80, {}, list));
    table_.note_exhausted(list, 7, 100);
  }

  // Learns so many other names, with one address each, that what was not used meanwhile is
  // forgotten.
  void learn_others(std::uint32_t count, Addresses busy = {}) {
    for (std::uint32_t i = 0; i < count; ++i) {
      ASSERT_TRUE(learn("other" + std::to_string(i), {ipv4(0x0a000000 + i)}));
      for (const Address& address : busy) static_cast<void>(table_.may_fail_over(address));
    }
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

TEST_F(HostTableTest, KnowsAnAnswerThatTellsNothingNew) {
  const Addresses all{ipv4(1), ipv4(2), ipv6(1)};
  EXPECT_FALSE(knows("a", all));
  learn("a", all, {}, {}, 80);
  EXPECT_TRUE(knows("a", all));
  EXPECT_TRUE(knows("A.", all, {}, 80));
  // As getaddrinfo(3) lists each address once for each kind of socket.
  EXPECT_TRUE(knows("a", {ipv4(1), ipv4(1), ipv4(2), ipv4(2), ipv6(1)}));
  EXPECT_TRUE(knows("a", {ipv4(1), ipv4(2)}, {true, false}));
}

TEST_F(HostTableTest, KnowsNoAnswerThatTellsAnything) {
  const Addresses all{ipv4(1), ipv4(2), ipv6(1)};
  learn("a", all, {}, {}, 80);
  EXPECT_FALSE(knows("a", {ipv4(2), ipv4(1), ipv6(1)}));
  EXPECT_FALSE(knows("a", {ipv4(1), ipv4(2)}));
  EXPECT_FALSE(knows("a", {ipv4(1), ipv4(2), ipv6(1), ipv6(2)}));
  EXPECT_FALSE(knows("a", {ipv6(1)}, {false, true}));
  EXPECT_FALSE(knows("a", {}));
  EXPECT_FALSE(knows("b", all));
  EXPECT_FALSE(knows("a", all, {}, 81));
  // Another host that has been looked up since comes first for what both have.
  learn("b", {ipv4(2)});
  EXPECT_FALSE(knows("a", all));
  learn("a", all);
  EXPECT_TRUE(knows("a", all));
  EXPECT_FALSE(knows("b", {ipv4(2)}));
}

TEST_F(HostTableTest, ALookupThatEndsAWalkIsNotKnown) {
  const Addresses all{ipv4(1), ipv4(2)};
  exhaust_a(all);
  EXPECT_FALSE(knows("a", all));
  learn("a", all);
  EXPECT_TRUE(knows("a", all));
}

TEST_F(HostTableTest, HoldsTheVeryAddressesOfAHost) {
  EXPECT_FALSE(holds("a", {ipv4(1)}));
  learn("a", {ipv4(1), ipv4(2), ipv6(1)});
  learn("b", {ipv4(1), ipv4(2)});
  EXPECT_TRUE(holds("A.", {ipv4(1), ipv4(2), ipv6(1)})) << "though another was looked up since";
  EXPECT_TRUE(holds("a", {ipv6(1), ipv4(2), ipv4(1)})) << "in another order";
  EXPECT_TRUE(holds("a", {ipv4(2), ipv4(1)}, {true, false}));
  EXPECT_TRUE(holds("a", {ipv6(1)}, {false, true}));
  EXPECT_FALSE(holds("a", {ipv4(1), ipv4(2)})) << "it has lost one";
  EXPECT_FALSE(holds("a", {ipv4(1)}, {true, false}));
  EXPECT_FALSE(holds("a", {ipv4(1), ipv4(2), ipv6(1), ipv6(2)})) << "it has got one";
  EXPECT_FALSE(holds("c", {ipv4(1), ipv4(2)}));
  table_.close_all();
  EXPECT_FALSE(holds("a", {ipv4(1), ipv4(2), ipv6(1)}));
}

TEST_F(HostTableTest, ALookupThatIsHeldEndsAWalk) {
  const Addresses all{ipv4(1), ipv4(2)};
  exhaust_a(all);
  DestinationList list;
  ASSERT_TRUE(table_.destinations(all[1], 80, {}, list));
  ASSERT_TRUE(table_.walks_exhausted(list, 7, 200));
  ASSERT_TRUE(holds("a", all));
  EXPECT_FALSE(table_.walks_exhausted(list, 7, 200));
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

TEST_F(HostTableTest, KeepsAThousandAddresses) {
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

TEST_F(HostTableTest, TellsTheNameOfTheHost) {
  learn("Some.Name.example.", {ipv4(1), ipv4(2)});
  DestinationList list;
  ASSERT_TRUE(table_.destinations(ipv4(1), 80, {}, list));
  NameBuffer name;
  EXPECT_EQ(table_.host_name(list, name), "Some.Name.example");
}

TEST_F(HostTableTest, VisitsTheHoldersOfAnAddressWithItsPositions) {
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

TEST_F(HostTableTest, AnExhaustedListIsWalkedByTheProgramAlone) {
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
  learn_others(300'000);
  Address address;
  EXPECT_FALSE(table_.address_at(list, 0, address));
  EXPECT_TRUE(reach(ipv4(1)).empty());
  EXPECT_TRUE(learn("a", {ipv4(1), ipv4(2)}));
  EXPECT_EQ(reach(ipv4(1)).size(), 2u) << "the same addresses as the host that was forgotten";
}

// ---- Forgetting, cutting off and failing close the door ----

TEST_F(HostTableTest, AForgottenHostsAddressIsAStrangersNoMore) {
  learn("b", {ipv4(1)});
  learn("a", {ipv4(1), ipv4(2)});
  EXPECT_EQ(reach(ipv4(1)), (Addresses{ipv4(1)}));
  // a is in use all the time, and so is b, for all that can be seen.
  learn_others(180'000, {ipv4(1), ipv4(2)});
  std::string holders;
  const auto note = [](void* context, std::string_view host, std::size_t) {
    *static_cast<std::string*>(context) += host;
    return false;
  };
  table_.any_holder(ipv4(1), note, &holders);
  ASSERT_EQ(holders, "a") << "b was to be forgotten";
  EXPECT_TRUE(reach(ipv4(1)).empty());
  EXPECT_FALSE(table_.may_fail_over(ipv4(1)));
  EXPECT_EQ(reach(ipv4(2)), (Addresses{ipv4(1), ipv4(2)})) << "b never had it";
}

TEST_F(HostTableTest, TheDoorStaysClosedForWhoComesLater) {
  learn("b", {ipv4(1)});
  learn_others(180'000);
  learn("a", {ipv4(1), ipv4(2)});
  EXPECT_TRUE(reach(ipv4(1)).empty());
  EXPECT_FALSE(table_.may_fail_over(ipv4(1)));
  learn("c", {ipv4(2), ipv4(1), ipv4(3)});
  EXPECT_TRUE(reach(ipv4(1)).empty());
}

TEST_F(HostTableTest, ForgottenHostsWithTheSameAddressesCloseNothing) {
  for (const char* name : {"b", "c", "d"}) learn(name, {ipv4(1), ipv6(2)});
  learn_others(180'000);
  learn("a", {ipv6(2), ipv4(1)});
  EXPECT_EQ(reach(ipv4(1)), (Addresses{ipv6(2), ipv4(1)}));
  learn("e", {ipv4(1), ipv6(2), ipv4(3)});
  EXPECT_TRUE(reach(ipv4(1)).empty()) << "they did not have the third";
}

TEST_F(HostTableTest, AnAnswerThatWasNotRememberedClosesTheDoor) {
  learn("a", {ipv4(1), ipv4(2)});
  AddressList answer;
  answer.add(ipv4(1));
  table_.shut(answer);
  EXPECT_TRUE(reach(ipv4(1)).empty());
  EXPECT_FALSE(table_.may_fail_over(ipv4(1)));
  EXPECT_EQ(reach(ipv4(2)), (Addresses{ipv4(1), ipv4(2)}));
}

TEST_F(HostTableTest, AnAnswerThatIsKnownMayBeNotRemembered) {
  learn("a", {ipv4(1), ipv4(2)});
  AddressList answer;
  answer.add(ipv4(2));
  answer.add(ipv4(1));
  table_.shut(answer);
  EXPECT_EQ(reach(ipv4(1)), (Addresses{ipv4(1), ipv4(2)}));
  answer.add(ipv4(3));
  table_.shut(answer);
  EXPECT_TRUE(reach(ipv4(1)).empty()) << "two sets that differ";
}

TEST_F(HostTableTest, AnAddressThatALaterAnswerLacksIsNobodyElses) {
  // A program may go on with the answer that it got before.
  learn("b", {ipv4(1)});
  learn("b", {ipv4(9)});
  learn("a", {ipv4(1), ipv4(2)});
  EXPECT_TRUE(reach(ipv4(1)).empty());
  EXPECT_FALSE(table_.may_fail_over(ipv4(1)));
  EXPECT_EQ(reach(ipv4(2)), (Addresses{ipv4(1), ipv4(2)}));
  // The same of an answer that was known before.
  learn("c", {ipv4(2), ipv4(3)});
  learn("c.", {ipv4(3), ipv4(4)});
  EXPECT_TRUE(reach(ipv4(2)).empty());
  EXPECT_EQ(reach(ipv4(3)), (Addresses{ipv4(3), ipv4(4)}));
}

TEST_F(HostTableTest, AnAddressThatComesBackToItsHostIsFailedOver) {
  // An answer that holds some of many addresses, others each time.
  for (std::uint32_t i = 0; i < 20; ++i) {
    const std::uint32_t first = i * 3 % 7;
    learn(i % 2 == 0 ? "many" : "MANY", {ipv4(first), ipv4((first + 1) % 7)});
    EXPECT_EQ(reach(ipv4(first)), (Addresses{ipv4(first), ipv4((first + 1) % 7)})) << i;
  }
  // Another host that has some of the addresses may go where both may.
  learn("other", {ipv4(0), ipv4(1), ipv4(2)});
  learn("many", {ipv4(0), ipv4(1), ipv4(3)});
  EXPECT_EQ(reach(ipv4(0)), (Addresses{ipv4(0), ipv4(1)}));
  EXPECT_TRUE(reach(ipv4(2)).empty()) << "many had it";
}

TEST_F(HostTableTest, AnAddressThatTwoHostsHadIsFailedOverNoMore) {
  learn("b", {ipv4(1)});
  learn("b", {ipv4(9)});
  learn("c", {ipv4(1)});
  learn("c", {ipv4(9)});
  learn("b", {ipv4(1), ipv4(2)});
  EXPECT_TRUE(reach(ipv4(1)).empty()) << "c may be meant";
}

TEST_F(HostTableTest, AnAddressThatWasCutOffIsFailedOverNoMore) {
  learn("a", {ipv4(1), ipv4(2)});
  table_.shut(ipv4(1));
  EXPECT_TRUE(reach(ipv4(1)).empty());
  EXPECT_EQ(reach(ipv4(2)), (Addresses{ipv4(1), ipv4(2)}));
}

TEST_F(HostTableTest, WhoAnswersLookupsCannotTellWhatTheMarksAreMadeOf) {
  // Otherwise there could be two sets of addresses that look alike.
  const auto mark = [&](std::uint32_t seed) {
    std::memset(memory_, 0, HostTable::memory_size());
    table_.set_seed(seed);
    AddressList answer;
    for (std::uint32_t i = 1; i < 4; ++i) answer.add(ipv4(i));
    table_.shut(answer);
    std::set<std::uint64_t> marks;
    const auto* words = static_cast<const std::uint64_t*>(memory_);
    constexpr std::size_t kDoors = (std::size_t{8} << 20) / 8;
    for (std::size_t i = 0; i < kDoors; ++i)
      marks.insert(words[HostTable::memory_size() / 8 - 1 - i]);
    marks.erase(0);
    EXPECT_EQ(marks.size(), 3u);
    return marks;
  };
  for (const std::uint64_t one : mark(1)) EXPECT_FALSE(mark(2).contains(one));
  EXPECT_EQ(mark(1), mark(1));
}

TEST_F(HostTableTest, VeryManyForgottenAddressesCloseOthersAndStayClosed) {
  // There is room for a million marks. What is shut stays so, whatever else there is no room for.
  const auto open_of = [this](std::uint32_t forgotten) {
    std::uint32_t open = 0;
    for (std::uint32_t i = 0; i < 1000; ++i) {
      learn("a", {ipv4(0x0b000000 + i * 77), ipv4(0x0b000001 + i * 77)});
      open += table_.may_fail_over(ipv4(0x0b000000 + i * 77)) ? 1 : 0;
    }
    for (std::uint32_t i = 0; i < forgotten; i += 499) {
      learn("b", {ipv4(0x0a000000 + i), ipv4(1)});
      EXPECT_FALSE(table_.may_fail_over(ipv4(0x0a000000 + i))) << i;
    }
    printf("of 1000 addresses failed over when %u were forgotten: %u\n", forgotten, open);
    return open;
  };
  std::uint32_t forgotten = 0;
  const auto forget_until = [&](std::uint32_t count) {
    for (; forgotten < count; ++forgotten) table_.shut(ipv4(0x0a000000 + forgotten));
  };
  forget_until(500'000);
  EXPECT_GT(open_of(forgotten), 950u);
  forget_until(1'000'000);
  EXPECT_GT(open_of(forgotten), 450u);
  forget_until(2'000'000);
  EXPECT_LT(open_of(forgotten), 50u);
}

TEST_F(HostTableTest, WhereThereIsNoRoomForAMarkAllIsClosed) {
  // So many addresses with one hash that their marks do not fit.
  std::vector<Address> alike;
  for (std::uint32_t i = 0; alike.size() < 12; ++i) {
    if (hash_of(ipv4(i)) % (1u << 17) == 5) alike.push_back(ipv4(i));
  }
  learn("a", {alike[10], ipv4(1)});
  learn("b", {alike[11], ipv4(1)});
  for (int i = 0; i < 8; ++i) table_.shut(alike[static_cast<std::size_t>(i)]);
  EXPECT_TRUE(table_.may_fail_over(alike[10]));
  table_.shut(alike[9]);
  EXPECT_FALSE(table_.may_fail_over(alike[9]) || table_.may_fail_over(alike[10]));
  EXPECT_FALSE(table_.may_fail_over(alike[11]));
}

TEST_F(HostTableTest, WhatIsUsedAllAtOnceIsNotForgottenAllAtOnce) {
  constexpr std::uint32_t kHosts = 60'000;
  for (std::uint32_t i = 0; i < kHosts; ++i) {
    learn("host" + std::to_string(i), {ipv4(i * 2), ipv4(i * 2 + 1)});
  }
  std::uint32_t known = 0;
  for (std::uint32_t i = 0; i < kHosts; ++i) known += table_.may_fail_over(ipv4(i * 2)) ? 1 : 0;
  ASSERT_EQ(known, kHosts);
  for (std::uint32_t i = 0; i < 30'000; ++i) {
    learn("more" + std::to_string(i), {ipv4(0x0b000000 + i)});
  }
  known = 0;
  for (std::uint32_t i = 0; i < kHosts; ++i) known += table_.may_fail_over(ipv4(i * 2)) ? 1 : 0;
  EXPECT_LT(known, kHosts) << "some had to go";
  EXPECT_GT(known, kHosts / 4);
}

// ---- Long lives ----

// A crawler, or a proxy before a CDN: each of very many names has 4 of the 64 addresses that they
// share, any four, or those of one of 16 groups of servers.
Addresses four_of_64(std::mt19937& random, bool in_groups) {
  Addresses answer;
  const std::uint32_t group = random() % 16 * 4;
  while (answer.size() < 4) {
    const Address address = ipv4(in_groups ? group + random() % 4 : random() % 64);
    if (std::find(answer.begin(), answer.end(), address) == answer.end()) answer.push_back(address);
  }
  return answer;
}

TEST_F(HostTableTest, InALongLifeOnlyNamesThatShareAllTheirAddressesAreHelped) {
  for (const bool in_groups : {false, true}) {
    std::memset(memory_, 0, HostTable::memory_size());
    std::mt19937 random(19);
    std::string moved;
    int moves = 0;
    for (int names = 1; names <= 100'000; ++names) {
      learn("name" + std::to_string(names), four_of_64(random, in_groups));
      if (names != 10 && names != 30 && names != 100 && names != 100'000) continue;
      moves = 0;
      for (std::uint32_t i = 0; i < 64; ++i) moves += reach(ipv4(i)).size() > 1 ? 1 : 0;
      moved += std::to_string(moves) + " ";
    }
    RecordProperty(in_groups ? "groups" : "any_four", moved);
    printf("of 64 addresses moved on from after 10, 30, 100 and 100,000 names %s: %s\n",
           in_groups ? "in groups" : "with any four", moved.c_str());
    // Nothing but the name that is meant could tell where to, and connect(2) does not have it.
    EXPECT_EQ(moves, in_groups ? 64 : 0);
  }
}

// ---- The writer's lock ----

constexpr std::uint32_t kOwnerDied = 0x4000'0000;  // FUTEX_OWNER_DIED

TEST_F(HostTableTest, TheLockIsItsOwnersUntilHeUnlocksOrDies) {
  ASSERT_TRUE(table_.try_lock(3));
  EXPECT_FALSE(table_.try_lock(4));
  table_.unlock(4);
  EXPECT_FALSE(table_.try_lock(4)) << "that was not his to unlock";
  EXPECT_EQ(*table_.lock_word(), 3u);
  *table_.lock_word() = kOwnerDied;
  EXPECT_TRUE(table_.try_lock(4));
  EXPECT_FALSE(table_.try_lock(5));
  table_.unlock(4);
  EXPECT_TRUE(table_.try_lock(5));
  table_.unlock(5);
}

// Kills a writer in the middle of all that it does, and looks at what it leaves to the next.
TEST_F(HostTableTest, AWriterThatIsKilledLeavesNoWayToAStranger) {
  munmap(memory_, HostTable::memory_size());
  memory_ = mmap(nullptr, HostTable::memory_size(), PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  table_ = HostTable(static_cast<HostTable::Memory*>(memory_));
  std::mt19937 random(5);
  learn("b", {ipv4(1), ipv4(3)});
  for (int round = 0; round < 60; ++round) {
    const pid_t child = fork();
    if (child == 0) {
      for (std::uint32_t i = 0;; ++i) {
        // Some hosts are large, so that the halves take turns.
        Addresses addresses{ipv4(1), ipv4(3), ipv4(4 + i % 5)};
        if (i % 3 == 0) {
          for (std::uint32_t k = 0; k < 900; ++k)
            addresses.push_back(ipv4(0x0c000000 + k + i % 50));
        }
        AddressList list;
        for (const Address& address : addresses) list.add(address);
        if (!table_.try_lock(7)) _exit(1);
        table_.learn(i % 2 == 0 ? "a" : "c" + std::to_string(i % 400), list, {}, {});
        table_.unlock(7);
      }
    }
    usleep(2000 + random() % 6000);
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status));
    *table_.lock_word() |= *table_.lock_word() != 0 ? kOwnerDied : 0;
    const Addresses reached = reach(ipv4(1));
    for (const Address& address : reached) {
      ASSERT_TRUE(address == ipv4(1) || address == ipv4(3)) << "that is not b's";
    }
    ASSERT_TRUE(table_.may_fail_over(ipv4(3)));
    ASSERT_TRUE(learn("b", {ipv4(1), ipv4(3)}));
    ASSERT_EQ(reach(ipv4(1)), (Addresses{ipv4(1), ipv4(3)})) << round;
  }
}

// ---- A process that leaves the sharing ----

TEST_F(HostTableTest, ACopyKnowsAllThatTheTableDoes) {
  learn("b", {ipv4(0x0b000001)});
  learn_others(150'000);
  learn("a", {ipv4(1), ipv4(2), ipv6(3)}, {}, {}, 8080);
  learn("c", {ipv4(0x0b000001), ipv4(0x0b000002)});
  DestinationList list;
  ASSERT_TRUE(table_.destinations(ipv4(1), 80, {}, list));
  ASSERT_TRUE(table_.try_lock(5));
  void* memory = mmap(nullptr, HostTable::memory_size(), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  HostTable copy(static_cast<HostTable::Memory*>(memory));
  copy.copy_from(table_);
  table_ = copy;
  std::swap(memory, memory_);
  munmap(memory, HostTable::memory_size());
  EXPECT_EQ(reach(ipv4(1)), (Addresses{ipv4(1), ipv4(2), ipv6(3)}));
  EXPECT_TRUE(table_.names_port(list, 8080)) << "what was held before goes on";
  EXPECT_TRUE(table_.may_fail_over(ipv4(2)));
  EXPECT_TRUE(reach(ipv4(0x0b000001)).empty()) << "b was forgotten";
  EXPECT_TRUE(learn("d", {ipv4(7), ipv4(8)})) << "the lock is nobody's";
  EXPECT_EQ(reach(ipv4(7)).size(), 2u);
}

TEST_F(HostTableTest, WhatOthersHaveClosedMeanwhileIsClosedInACopyToo) {
  learn("a", {ipv4(1), ipv4(2)});
  learn("c", {ipv4(3), ipv4(4)});
  void* memory = mmap(nullptr, HostTable::memory_size(), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  HostTable copy(static_cast<HostTable::Memory*>(memory));
  copy.copy_from(table_);
  table_.shut(ipv4(1));
  copy.shut(ipv4(2));
  copy.close_what_is_closed_in(table_);
  EXPECT_FALSE(copy.may_fail_over(ipv4(1)) || copy.may_fail_over(ipv4(2)));
  EXPECT_TRUE(copy.may_fail_over(ipv4(3)));
  munmap(memory, HostTable::memory_size());
}

// Counts the pages of the memory that are there.
std::size_t resident(void* memory) {
  std::vector<unsigned char> pages((HostTable::memory_size() + 4095) / 4096);
  EXPECT_EQ(mincore(memory, HostTable::memory_size(), pages.data()), 0);
  return static_cast<std::size_t>(
      std::count_if(pages.begin(), pages.end(), [](unsigned char page) { return page & 1; }));
}

TEST_F(HostTableTest, ACopyTakesNoMoreMemoryThanWhatIsCopied) {
  const auto map = [] {
    return mmap(nullptr, HostTable::memory_size(), PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  };
  munmap(memory_, HostTable::memory_size());
  memory_ = map();
  table_ = HostTable(static_cast<HostTable::Memory*>(memory_));
  for (std::uint32_t i = 0; i < 5; ++i) learn("host" + std::to_string(i), {ipv4(i), ipv4(i + 9)});
  table_.shut(ipv4(77));
  const std::size_t before = resident(memory_);
  void* memory = map();
  HostTable copy(static_cast<HostTable::Memory*>(memory));
  copy.copy_from(table_);
  // The memory that is looked at need not begin where a page does.
  EXPECT_LE(resident(memory_), before + 4);
  EXPECT_LE(resident(memory), before + 4);
  EXPECT_FALSE(copy.is_shared());
  munmap(memory, HostTable::memory_size());
}

TEST_F(HostTableTest, WhatIsAllClosedStaysClosed) {
  table_.close_all();
  EXPECT_TRUE(learn("a", {ipv4(1), ipv4(2)}));
  EXPECT_FALSE(table_.may_fail_over(ipv4(1)));
  EXPECT_TRUE(reach(ipv4(1)).empty());
}

// ---- The services that were looked up ----

TEST_F(HostTableTest, KnowsThePortsThatLookupsNamed) {
  const auto names = [&](std::uint16_t port) {
    DestinationList list;
    EXPECT_TRUE(table_.destinations(ipv4(1), port, {}, list));
    return table_.names_port(list, port);
  };
  learn("a", {ipv4(1), ipv4(2)}, {}, {}, 8080);
  EXPECT_TRUE(names(8080));
  EXPECT_FALSE(names(8443));
  EXPECT_FALSE(names(0));
  learn("a", {ipv4(1), ipv4(2)}, {}, {}, 8443);
  learn("a", {ipv4(2), ipv4(1)});
  EXPECT_TRUE(names(8080) && names(8443)) << "also after another answer";
  learn("b", {ipv4(1), ipv4(2)}, {}, {}, 9000);
  EXPECT_TRUE(names(9000));
  EXPECT_FALSE(names(8080)) << "that was another host's";
  for (std::uint16_t port = 1; port < 100; ++port) learn("b", {ipv4(1), ipv4(2)}, {}, {}, port);
  EXPECT_TRUE(names(9000) && names(3));
  EXPECT_FALSE(names(99)) << "of very many only the first";
}

// The never-to-a-stranger rule over random lookups: exactly the addresses every holder has.
TEST_F(HostTableTest, RandomLookupsAgreeWithTheModel) {
  std::mt19937 random(42);
  std::map<std::string, Addresses> model;
  const auto key = [](const Address& a) {
    return std::vector<std::uint32_t>(a.words.begin(), a.words.end());
  };
  std::map<std::vector<std::uint32_t>, std::set<std::string>> former;
  int moved = 0;
  for (int round = 0; round < 20'000; ++round) {
    if (round % 30 == 0) {
      // Otherwise all addresses are former ones of several hosts before long.
      madvise(memory_, HostTable::memory_size(), MADV_DONTNEED);
      model.clear();
      former.clear();
    }
    const std::string host = "h" + std::to_string(random() % 12);
    Addresses answer;
    for (std::uint32_t i = 0, n = 1 + random() % 5; i < n; ++i) {
      const Address address = random() % 3 == 0 ? ipv6(random() % 6) : ipv4(random() % 10);
      if (std::find(answer.begin(), answer.end(), address) == answer.end())
        answer.push_back(address);
    }
    learn(host, answer);
    for (const Address& address : model[host]) {
      if (std::find(answer.begin(), answer.end(), address) == answer.end())
        former[key(address)].insert(host);
    }
    model[host] = answer;
    const Address requested = random() % 3 == 0 ? ipv6(random() % 6) : ipv4(random() % 10);
    std::set<std::vector<std::uint32_t>> expected;
    bool known = false;
    for (const auto& [name, addresses] : model) {
      if (std::find(addresses.begin(), addresses.end(), requested) == addresses.end()) continue;
      std::set<std::vector<std::uint32_t>> here;
      for (const Address& address : addresses) {
        if (!known || expected.contains(key(address))) here.insert(key(address));
      }
      expected = here;
      known = true;
    }
    const std::set<std::string>& before = former[key(requested)];
    if (!before.empty()) {
      const Addresses& now = model[*before.begin()];
      const bool has_it = std::find(now.begin(), now.end(), requested) != now.end();
      if (before.size() > 1 || !has_it) expected.clear();
    }
    std::set<std::vector<std::uint32_t>> reached;
    for (const Address& address : reach(requested)) reached.insert(key(address));
    ASSERT_EQ(reached, expected) << "round " << round;
    moved += reached.size() > 1 ? 1 : 0;
  }
  EXPECT_GT(moved, 1000);
}

TEST_F(HostTableTest, DamagedMemoryNeitherCrashesNorHangs) {
  std::mt19937 random(7);
  for (std::uint32_t i = 0; i < 200; ++i) {
    learn("host" + std::to_string(i), {ipv4(i), ipv4(i + 1), ipv6(i)});
  }
  auto* words = static_cast<std::uint32_t*>(memory_);
  const std::size_t count = HostTable::memory_size() / 4;
  for (int round = 0; round < 300; ++round) {
    // Damages words where the header, the buckets and the first records are, and anywhere else.
    for (int i = 0; i < 200; ++i) {
      const std::size_t near = kHeader + random() % (2u << 16);
      const std::size_t records = kRecords + random() % 8192;
      words[i % 3 == 0   ? near
            : i % 3 == 1 ? records
                         : kHeader + random() % (count - kHeader)] =
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
  auto* records = static_cast<std::uint32_t*>(memory_) + kRecords;
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
    // In the moment of change both lists are linked, and only the common address is allowed; never
    // none.
    const bool whole = reached == even || reached == odd || reached == Addresses{ipv4(1)};
    ASSERT_TRUE(whole) << reached.size();
    ++seen;
  }
  writer.join();
  EXPECT_GT(seen, 100u);
}

}  // namespace
}  // namespace nextaddr
