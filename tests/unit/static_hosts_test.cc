#include "engine/static_hosts.h"

#include <gtest/gtest.h>

#include <string>

#include "known_addresses.h"
#include "noise.h"

namespace nextaddr {
namespace {

TEST(GivenNames, FindsAndAddsUp) {
  const std::string rules = "a=192.0.2.1,::1;bad=1.2.3;A.=[2001:db8::1];b=192.0.2.9";
  AddressList list;
  ASSERT_TRUE(find_given_name(rules, "a", list));
  ASSERT_EQ(list.size(), 3u);
  EXPECT_EQ(text(list[0]), "192.0.2.1");
  EXPECT_EQ(text(list[1]), "[::1]");
  EXPECT_EQ(text(list[2]), "[2001:db8::1]");
  AddressList none;
  for (const char* missing : {"bad", "", "c"}) EXPECT_FALSE(find_given_name(rules, missing, none));
  EXPECT_FALSE(given_names_valid(rules));
  EXPECT_TRUE(given_names_valid("a=192.0.2.1;b=::1"));
  for (const char* bad : {"a", "a=", "=::1", "a=::1,", "a=,::1", "a=b"}) {
    EXPECT_FALSE(given_names_valid(bad)) << bad;
    EXPECT_FALSE(find_given_name(bad, "a", none)) << bad;
  }
}

TEST(GivenNames, AreReadFromWhatever) {
  parse_noise([](const std::string& noise) {
    AddressList list;
    find_given_name(noise, "a", list);
    given_names_valid(noise);
  });
}

}  // namespace
}  // namespace nextaddr
