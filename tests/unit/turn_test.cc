#include "os/turn.h"

#include <gtest/gtest.h>

#include <thread>

using nextaddr::Turn;

namespace {

constexpr std::uint64_t kAtOnce = 0;

bool another_thread_takes(Turn& turn, std::uint64_t patience_us = kAtOnce) {
  bool taken = false;
  std::thread([&] {
    taken = turn.take(patience_us);
    if (taken) turn.give_back();
  }).join();
  return taken;
}

TEST(Turn, IsOneThreadsUntilItIsGivenBack) {
  Turn turn;
  ASSERT_TRUE(turn.take(kAtOnce));
  EXPECT_FALSE(turn.take(kAtOnce));
  EXPECT_FALSE(another_thread_takes(turn));
  turn.give_back();
  EXPECT_TRUE(another_thread_takes(turn));
}

TEST(Turn, IsNotGivenBackByWhoeverHasItNot) {
  Turn turn;
  ASSERT_TRUE(turn.take(kAtOnce));
  std::thread([&] { turn.give_back(); }).join();
  EXPECT_FALSE(another_thread_takes(turn));
}

TEST(Turn, IsWaitedForWhileThereIsPatience) {
  Turn turn;
  ASSERT_TRUE(turn.take(kAtOnce));
  bool taken = false;
  std::thread waiting([&] { taken = turn.take(10'000'000); });
  turn.give_back();
  waiting.join();
  EXPECT_TRUE(taken);
}

TEST(Turn, IsFreeInAChild) {
  Turn turn;
  ASSERT_TRUE(turn.take(kAtOnce));
  turn.begin_child();
  EXPECT_TRUE(another_thread_takes(turn));
}

}  // namespace
