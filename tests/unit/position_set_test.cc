#include "engine/position_set.h"

#include <gtest/gtest.h>

#include <set>

namespace nextaddr {
namespace {

TEST(PositionSet, HasWhatWasAdded) {
  PositionSet set;
  const std::set<std::size_t> members{0, 1, 63, 64, 65, kMaxAddresses - 1};
  for (const std::size_t member : members) set.add(member);
  EXPECT_EQ(set.count(), members.size());
  for (std::size_t i = 0; i <= kMaxAddresses; ++i) EXPECT_EQ(set.has(i), members.contains(i)) << i;
  std::set<std::size_t> walked;
  for (std::size_t i = set.next(0); i != PositionSet::kNone; i = set.next(i + 1)) walked.insert(i);
  EXPECT_EQ(walked, members);
  EXPECT_EQ(set.next(2), 63u);
  set.remove(63);
  EXPECT_EQ(set.next(2), 64u);
}

TEST(PositionSet, IgnoresWhatIsNoPosition) {
  PositionSet set;
  set.add(kMaxAddresses);
  set.add(PositionSet::kNone);
  set.remove(kMaxAddresses);
  EXPECT_EQ(set.count(), 0u);
  EXPECT_EQ(set.next(0), PositionSet::kNone);
  EXPECT_EQ(set.next(kMaxAddresses), PositionSet::kNone);
}

TEST(PositionSet, IsAddedKeptAndDropped) {
  PositionSet low;
  PositionSet both;
  low.add(1);
  both.add(1);
  both.add(100);
  EXPECT_TRUE(both.has_all(low));
  EXPECT_FALSE(low.has_all(both));
  EXPECT_TRUE(low.has_all(PositionSet{}));
  PositionSet kept = both;
  kept.keep(low);
  EXPECT_TRUE(kept.has(1) && !kept.has(100));
  PositionSet dropped = both;
  dropped.drop(low);
  EXPECT_TRUE(!dropped.has(1) && dropped.has(100));
  dropped.add(low);
  EXPECT_EQ(dropped.count(), 2u);
}

}  // namespace
}  // namespace nextaddr
