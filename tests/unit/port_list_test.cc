#include "engine/port_list.h"

#include <gtest/gtest.h>

namespace nextaddr {
namespace {

TEST(PortList, HasItsPortsAndNoMoreThanItHasRoomFor) {
  EXPECT_FALSE(PortList().has(0));
  PortList ports(53);
  EXPECT_TRUE(ports.has(53));
  EXPECT_FALSE(ports.has(8600));
  std::uint16_t port = 8600;
  for (std::size_t i = 1; i < PortList::kMost; ++i) EXPECT_TRUE(ports.add(port++));
  EXPECT_FALSE(ports.add(port));
  EXPECT_TRUE(ports.has(8600));
  EXPECT_FALSE(ports.has(port));
}

}  // namespace
}  // namespace nextaddr
