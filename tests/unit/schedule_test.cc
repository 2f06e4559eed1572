// The order in which the addresses of a host are asked, and how long each is waited for. When to
// move on is for connect_attempts_test.cc. No sockets, no time at all.
#include "engine/schedule.h"

#include <gtest/gtest.h>

#include <vector>

namespace nextaddr {
namespace {

constexpr std::uint32_t kKernelMs = 127'000;

// One character for each address: 4 or 6 for its family, p or P the same when it is parked.
Destinations destinations(const char* hosts, std::size_t requested) {
  Destinations all;
  all.requested = requested;
  for (std::size_t i = 0; hosts[i] != '\0'; ++i) {
    all.candidates.add(i);
    if (hosts[i] == '6' || hosts[i] == 'P') all.ipv6.add(i);
    if (hosts[i] == 'p' || hosts[i] == 'P') all.parked.add(i);
  }
  return all;
}

Schedule schedule(const char* hosts, std::size_t requested) {
  return Schedule(destinations(hosts, requested), kDefaultAttemptDelayMs, kKernelMs);
}

std::vector<std::size_t> first_pass(const char* hosts, std::size_t requested) {
  Schedule asked = schedule(hosts, requested);
  std::vector<std::size_t> order;
  for (std::size_t i = 0; hosts[i] != '\0'; ++i) order.push_back(asked.take_next());
  return order;
}

using Order = std::vector<std::size_t>;

TEST(KernelPatience, DoublesFromOneSecond) {
  EXPECT_EQ(kernel_patience_ms(1), 3'000u);
  EXPECT_EQ(kernel_patience_ms(6), 127'000u);
  EXPECT_EQ(kernel_patience_ms(0), 3'000u);
  EXPECT_EQ(kernel_patience_ms(7), 247'000u) << "no wait is longer than TCP_RTO_MAX";
  EXPECT_EQ(kernel_patience_ms(10), 607'000u);
  EXPECT_EQ(kernel_patience_ms(200), kernel_patience_ms(127));
}

TEST(Schedule, RequestedAddressFirstThenTheResolversOrder) {
  EXPECT_EQ(first_pass("4444", 2), (Order{2, 0, 1, 3}));
}

TEST(Schedule, FamiliesAlternate) {
  EXPECT_EQ(first_pass("46664", 1), (Order{1, 0, 2, 4, 3}));
  EXPECT_EQ(first_pass("46664", 0), (Order{0, 1, 4, 2, 3}));
  EXPECT_EQ(first_pass("6666", 3), (Order{3, 0, 1, 2})) << "where there is one family only";
}

TEST(Schedule, ParkedAreAskedLast) {
  EXPECT_EQ(first_pass("p4p44", 0), (Order{1, 3, 4, 0, 2}));
  EXPECT_EQ(first_pass("p4p44", 3), (Order{3, 1, 4, 0, 2}));
}

TEST(Schedule, WhenAllAreParkedTheOrderIsTheUsualOne) {
  EXPECT_EQ(first_pass("ppp", 1), (Order{1, 0, 2}));
}

TEST(Schedule, FamiliesAlternateAfterAParkedRequestedAddressToo) {
  EXPECT_EQ(first_pass("p6pP", 0), (Order{1, 0, 3, 2}));
}

TEST(Schedule, LaterPassesHaveTheSameOrder) {
  Schedule asked = schedule("46p4", 1);
  for (int pass = 0; pass < 3; ++pass) {
    for (const std::size_t position : {1u, 0u, 3u, 2u}) EXPECT_EQ(asked.take_next(), position);
  }
}

TEST(Schedule, LaterPassesAlternateFromTheRequestedFamilyToo) {
  Schedule asked = schedule("4466", 0);
  for (const std::size_t position : {0u, 2u, 1u, 3u}) EXPECT_EQ(asked.take_next(), position);
  asked.drop(0);
  for (const std::size_t position : {2u, 1u, 3u}) EXPECT_EQ(asked.take_next(), position);
}

TEST(Schedule, AnAddressThatHasAnsweredIsNotAskedAgain) {
  Schedule asked = schedule("444", 0);
  EXPECT_EQ(asked.take_next(), 0u);
  asked.drop(0);
  EXPECT_EQ(asked.take_next(), 1u);
  EXPECT_EQ(asked.take_next(), 2u);
  EXPECT_FALSE(asked.only_one_left());
  asked.drop(2);
  EXPECT_TRUE(asked.only_one_left());
  EXPECT_EQ(asked.take_next(), 1u);
  EXPECT_EQ(asked.take_next(), 1u);
  asked.drop(1);
  EXPECT_EQ(asked.take_next(), PositionSet::kNone);
  EXPECT_EQ(asked.take_next(), PositionSet::kNone);
}

TEST(Schedule, OneThatHasAnsweredBeforeItsTurnIsNotAskedAtAll) {
  Schedule asked = schedule("444", 0);
  EXPECT_EQ(asked.take_next(), 0u);
  asked.drop(1);
  EXPECT_EQ(asked.take_next(), 2u);
  EXPECT_EQ(asked.take_next(), 0u);
  EXPECT_EQ(asked.take_next(), 2u);
}

TEST(Schedule, OneOfTheCallersChoiceCountsAsAsked) {
  Schedule asked = schedule("4664", 0);
  EXPECT_EQ(asked.take_next(), 0u);
  EXPECT_TRUE(asked.take(2));
  EXPECT_EQ(asked.take_next(), 3u) << "families alternate after it";
  EXPECT_EQ(asked.take_next(), 1u);
  EXPECT_EQ(asked.take_next(), 0u) << "it was asked in this pass";
  EXPECT_FALSE(asked.take(4)) << "no candidate";
  EXPECT_FALSE(asked.take(PositionSet::kNone));
  asked.drop(2);
  EXPECT_FALSE(asked.take(2)) << "it has answered with an error";
  EXPECT_EQ(asked.take_next(), 1u) << "what could not be taken changes nothing";
}

TEST(Schedule, PatienceGrowsFromPassToPass) {
  Schedule asked = schedule("44", 0);
  std::vector<std::uint64_t> patience;
  for (int i = 0; i < 12; ++i) {
    asked.take_next();
    patience.push_back(asked.patience_ms(1'000'000'000, 0));
  }
  EXPECT_EQ(patience, (std::vector<std::uint64_t>{200, 200, 1000, 1000, 3000, 3000, 9000, 9000,
                                                  27'000, 27'000, 81'000, 81'000}));
  for (int i = 0; i < 4; ++i) asked.take_next();
  EXPECT_EQ(asked.patience_ms(1'000'000'000, 0), kKernelMs) << "no longer than the kernel's own";
}

TEST(Schedule, ALongAttemptDelayGrowsToo) {
  Schedule asked(destinations("4", 0), 2000, kKernelMs);
  for (const std::uint64_t patience : {2000u, 6000u, 18'000u}) {
    asked.take_next();
    EXPECT_EQ(asked.patience_ms(1'000'000'000, 0), patience);
  }
}

TEST(Schedule, AnAddressMayHaveAnAttemptDelayOfItsOwn) {
  Schedule asked = schedule("44", 0);
  asked.take_next();
  EXPECT_EQ(asked.patience_ms(kKernelMs, 25), 25u);
  EXPECT_EQ(asked.patience_ms(kKernelMs, 1500), 1500u);
  asked.take_next();
  asked.take_next();
  EXPECT_EQ(asked.patience_ms(kKernelMs, 25), 1000u) << "later passes wait longer";
  EXPECT_EQ(asked.patience_ms(kKernelMs, 1500), 1500u);
}

TEST(Schedule, EachGetsAnEqualShareOfLittleTime) {
  Schedule asked = schedule("4444", 0);
  asked.take_next();
  EXPECT_EQ(asked.patience_ms(400, 0), 100u) << "one asked, three to come";
  EXPECT_EQ(asked.patience_ms(400, 50), 50u);
  asked.take_next();
  asked.take_next();
  EXPECT_EQ(asked.patience_ms(200, 0), 100u);
  asked.take_next();
  EXPECT_EQ(asked.patience_ms(100, 0), 100u) << "the last one has the rest";
  EXPECT_EQ(asked.patience_ms(kMinPatienceMs - 1, 0), kMinPatienceMs) << "never less than this";
}

}  // namespace
}  // namespace nextaddr
