// The order in which the addresses of a host are asked, and the lengths of time connects go by.
// When to move on is for connect_attempts_test.cc. No sockets, no time at all.
#include "engine/schedule.h"

#include <gtest/gtest.h>

#include <vector>

namespace nextaddr {
namespace {

// One character for each address: 4 or 6 for its family, p or P the same when it is parked, s or S
// when it was silent a moment ago.
Destinations destinations(const char* hosts, std::size_t requested) {
  Destinations all;
  all.requested = requested;
  for (std::size_t i = 0; hosts[i] != '\0'; ++i) {
    all.candidates.add(i);
    if (hosts[i] == '6' || hosts[i] == 'P' || hosts[i] == 'S') all.ipv6.add(i);
    if (hosts[i] == 'p' || hosts[i] == 'P') all.parked.add(i);
    if (hosts[i] == 's' || hosts[i] == 'S') all.silent.add(i);
  }
  return all;
}

Schedule schedule(const char* hosts, std::size_t requested) {
  return Schedule(destinations(hosts, requested));
}

using Order = std::vector<std::size_t>;

Order all_due(Schedule& asked) {
  Order order;
  for (;;) {
    const std::size_t due = asked.due();
    EXPECT_EQ(asked.has_due(), due != 0);
    const std::size_t next = asked.take_next();
    EXPECT_EQ(next == PositionSet::kNone, due == 0);
    if (next == PositionSet::kNone) return order;
    EXPECT_EQ(asked.due(), due - 1);
    order.push_back(next);
  }
}

Order order(const char* hosts, std::size_t requested) {
  Schedule asked = schedule(hosts, requested);
  return all_due(asked);
}

TEST(KernelPatience, DoublesFromOneSecond) {
  EXPECT_EQ(kernel_patience_ms(1), 3'000u);
  EXPECT_EQ(kernel_patience_ms(6), 127'000u);
  EXPECT_EQ(kernel_patience_ms(0), 3'000u);
  EXPECT_EQ(kernel_patience_ms(7), 247'000u) << "no wait is longer than TCP_RTO_MAX";
  EXPECT_EQ(kernel_patience_ms(10), 607'000u);
  EXPECT_EQ(kernel_patience_ms(200), kernel_patience_ms(127));
}

TEST(Schedule, RequestedAddressFirstThenTheResolversOrder) {
  EXPECT_EQ(order("4444", 2), (Order{2, 0, 1, 3}));
}

TEST(Schedule, FamiliesAlternate) {
  EXPECT_EQ(order("46664", 1), (Order{1, 0, 2, 4, 3}));
  EXPECT_EQ(order("46664", 0), (Order{0, 1, 4, 2, 3}));
  EXPECT_EQ(order("6666", 3), (Order{3, 0, 1, 2})) << "where there is one family only";
}

TEST(Schedule, ParkedAreAskedLast) {
  EXPECT_EQ(order("p4p44", 0), (Order{1, 3, 4, 0, 2}));
  EXPECT_EQ(order("p4p44", 3), (Order{3, 1, 4, 0, 2}));
}

TEST(Schedule, WhenAllAreParkedTheOrderIsTheUsualOne) {
  EXPECT_EQ(order("ppp", 1), (Order{1, 0, 2}));
}

TEST(Schedule, FamiliesAlternateAfterAParkedRequestedAddressToo) {
  EXPECT_EQ(order("p6pP", 0), (Order{1, 0, 3, 2}));
}

TEST(Schedule, WhoWasSilentAMomentAgoIsNotDue) {
  EXPECT_EQ(order("4s4S", 0), (Order{0, 2}));
  EXPECT_EQ(order("s44", 0), (Order{1, 2})) << "nor is the requested one";
  EXPECT_EQ(order("ss", 0), Order{});
}

TEST(Schedule, OneThatHasRefusedIsNotAskedAgain) {
  Schedule asked = schedule("444", 0);
  EXPECT_EQ(asked.take_next(), 0u);
  asked.drop(0);
  asked.drop(1);
  EXPECT_FALSE(asked.candidates().has(0));
  EXPECT_EQ(all_due(asked), (Order{2})) << "also when it has before its turn";
  asked.start_again(PositionSet::kNone);
  EXPECT_EQ(all_due(asked), (Order{2}));
}

TEST(Schedule, OneOfTheCallersChoiceCountsAsAsked) {
  Schedule asked = schedule("4664", 0);
  asked.take(0);
  asked.take(2);
  EXPECT_EQ(all_due(asked), (Order{3, 1})) << "families alternate after it";
}

TEST(Schedule, OneThatCouldNotBeAskedStillIsToBe) {
  Schedule asked = schedule("444", 0);
  asked.take(0);
  EXPECT_EQ(asked.take_next(), 1u);
  asked.put_back(1);
  EXPECT_EQ(all_due(asked), (Order{1, 2}));
  asked.drop(2);
  asked.put_back(2);
  EXPECT_EQ(all_due(asked), Order{}) << "unless it has refused meanwhile";
}

TEST(Schedule, OneThatAnswersAfterAllIsAskedOnceMore) {
  Schedule asked = schedule("44", 0);
  all_due(asked);
  asked.drop(0);
  asked.readmit(0);
  EXPECT_TRUE(asked.candidates().has(0));
  EXPECT_FALSE(asked.has_due()) << "not by itself";
  asked.start_again(PositionSet::kNone);
  EXPECT_EQ(all_due(asked), (Order{0, 1}));
}

TEST(Schedule, AllButOneMayBeAskedOnceMore) {
  Schedule asked = schedule("46s4", 1);
  EXPECT_EQ(all_due(asked), (Order{1, 0, 3}));
  asked.start_again(0);
  EXPECT_EQ(all_due(asked), (Order{1, 2, 3})) << "who was silent too";
}

TEST(Overdue, IsHalfAsLongAgainAndAMargin) {
  EXPECT_EQ(overdue_ms(1), 1 + 0 + kOverdueMarginMs);
  EXPECT_EQ(overdue_ms(20), 20 + 10 + kOverdueMarginMs);
  EXPECT_EQ(overdue_ms(300), 300 + 150 + kOverdueMarginMs);
  EXPECT_EQ(overdue_ms(kLongestDelayMs - 1), kLongestDelayMs);
  EXPECT_EQ(overdue_ms(~0u), kLongestDelayMs);
  EXPECT_GE(overdue_ms(1), kShortestDelayMs);
}

}  // namespace
}  // namespace nextaddr
