#include "engine/text.h"

#include <gtest/gtest.h>

namespace nextaddr {
namespace {

TEST(Text, NumbersAreReadAndWrittenWithinTheirRange) {
  std::uint32_t value = 7;
  EXPECT_TRUE(parse_number("65535", 65535, value));
  EXPECT_EQ(value, 65535u);
  for (const char* bad : {"", "-1", "65536", "1x", " 1", "99999999999"}) {
    EXPECT_FALSE(parse_number(bad, 65535, value)) << bad;
  }
  EXPECT_EQ(value, 65535u);
}

}  // namespace
}  // namespace nextaddr
