#include "engine/line.h"

#include <gtest/gtest.h>

#include <string_view>

#include "known_addresses.h"

namespace nextaddr {
namespace {

TEST(Line, IsCutAndAlwaysEnds) {
  Line line;
  line << "x" << std::uint64_t{42} << address("2001:db8::1");
  EXPECT_EQ(line.end(), "x42[2001:db8::1]\n");
  Line forged;
  forged << "a\nnextaddr: b\x1b[2J\x7f\xe4";
  EXPECT_EQ(forged.end(), "a?nextaddr: b?[2J?\xe4\n");
  Line longest;
  for (int i = 0; i < 10'000; ++i) longest << "ab";
  const std::string_view all = longest.end();
  EXPECT_EQ(all.size(), 6144u);
  EXPECT_EQ(all.back(), '\n');
}

}  // namespace
}  // namespace nextaddr
