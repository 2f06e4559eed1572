#include "engine/host_filter.h"

#include <gtest/gtest.h>

#include "noise.h"

namespace nextaddr {
namespace {

TEST(HostFilter, GlobsMatchWhatTheyShould) {
  EXPECT_TRUE(matches_glob("*", ""));
  EXPECT_TRUE(matches_glob("*.example.com", "db.EXAMPLE.com"));
  EXPECT_FALSE(matches_glob("*.example.com", "example.com"));
  EXPECT_TRUE(matches_glob("db?.*", "db7.internal"));
  EXPECT_TRUE(matches_glob("db[0-4]", "db3"));
  EXPECT_FALSE(matches_glob("db[0-4]", "db5"));
  EXPECT_TRUE(matches_glob("db[!0-4]", "db5"));
  EXPECT_TRUE(matches_glob("a*b*c", "aXbbYc"));
  EXPECT_FALSE(matches_glob("a*b*c", "aXbbY"));
  EXPECT_TRUE(matches_glob("a[", "a["));
  EXPECT_TRUE(matches_glob("b[a-\xff]r.example", "b\xe4r.example")) << "bytes have no sign";
  EXPECT_FALSE(matches_glob("", "a"));
}

TEST(HostFilter, OnlyAndSkipLeaveHostsAlone) {
  const HostFilter filter("*.example.com,db:5432", "old.example.com, *.example.com:25");
  EXPECT_FALSE(filter.leaves_alone("www.example.com", 80));
  EXPECT_FALSE(filter.leaves_alone("www.example.com.", 80));
  EXPECT_TRUE(filter.leaves_alone("old.example.com", 80));
  EXPECT_TRUE(filter.leaves_alone("db", 80));
  EXPECT_FALSE(filter.leaves_alone("db", 5432));
  EXPECT_TRUE(filter.leaves_alone("other", 80));
  EXPECT_FALSE(filter.leaves_alone("db", 0)) << "not on every port";
  EXPECT_FALSE(HostFilter({}, "x:25").leaves_alone("x", 0));
  EXPECT_TRUE(HostFilter({}, "x:25").leaves_alone("x", 25));
  EXPECT_TRUE(HostFilter({}, "*").leaves_alone("x", 0));
  EXPECT_FALSE(HostFilter().leaves_alone("x", 80));
}

TEST(HostFilter, IsMadeFromWhatever) {
  parse_noise([](const std::string& noise) {
    matches_glob(noise, "a.b-0");
    static_cast<void>(HostFilter(noise, noise).leaves_alone("ab", 0));
  });
}

}  // namespace
}  // namespace nextaddr
