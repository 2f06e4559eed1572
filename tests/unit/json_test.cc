#include "engine/json.h"

#include <gtest/gtest.h>

#include <ctime>
#include <random>
#include <string>

#include "engine/line.h"
#include "known_addresses.h"

namespace nextaddr {
namespace {

template <typename Fill>
std::string object(Fill fill) {
  Line line;
  JsonObject json(line);
  json.begin();
  fill(json);
  json.end();
  return std::string(line.end());
}

TEST(Json, HasMembersAndArrays) {
  EXPECT_EQ(object([](JsonObject& json) {
              json.add("text", "a");
              json.add("number", std::uint64_t{7});
              json.add_flag("flag", true);
              json.add_null("none");
              json.begin_array("empty");
              json.end_array();
              json.begin_array("two");
              json.next_object();
              json.add("x", address("192.0.2.1"));
              json.next_object();
              json.add("x", address("2001:db8::1"));
              json.add("y", std::uint64_t{0});
              json.end_array();
              json.begin_array("addresses");
              json.add_element(address("192.0.2.1"));
              json.add_element(address("2001:db8::1"));
              json.end_array();
              json.add("after", "b");
            }),
            R"({"text":"a","number":7,"flag":true,"none":null,"empty":[],)"
            R"("two":[{"x":"192.0.2.1"},{"x":"2001:db8::1","y":0}],)"
            R"("addresses":["192.0.2.1","2001:db8::1"],"after":"b"})"
            "\n");
}

TEST(Json, EscapesWhatItMust) {
  EXPECT_EQ(object([](JsonObject& json) { json.add("t", "a\"b\\c\n\x01\x7f\xff"); }),
            R"({"t":"a\"b\\c\u000a\u0001\u007f\u00ff"})"
            "\n");
  const std::string longest =
      object([](JsonObject& json) { json.add("t", std::string(300, '\x02')); });
  EXPECT_EQ(longest.size(), 255 * 6 + std::string("{\"t\":\"\"}\n").size());
}

TEST(Json, TellsTheTimeAsLibcDoes) {
  std::mt19937_64 random(11);
  for (int i = 0; i < 20'000; ++i) {
    // Tests times up to the year 9999, and the days around each new year and leap day.
    std::uint64_t ms = random() % 253'402'300'800'000u;
    if (i % 2 == 0) ms = (1970 + random() % 400 - 1970) * 31'556'952'000u + random() % 172'800'000u;
    const auto seconds = static_cast<time_t>(ms / 1000);
    tm parts{};
    gmtime_r(&seconds, &parts);
    char expected[64];
    strftime(expected, sizeof expected, "%Y-%m-%dT%H:%M:%S", &parts);
    char all[96];
    snprintf(all, sizeof all, "{\"time\":\"%s.%03uZ\"}\n", expected,
             static_cast<unsigned>(ms % 1000));
    ASSERT_EQ(object([&](JsonObject& json) { json.add_time("time", ms); }), all);
  }
}

TEST(Json, OfTheLongestConnectFitsALine) {
  const std::string all = object([](JsonObject& json) {
    const std::string strange(300, '\xff');
    json.add("program", strange);
    json.add("host", strange);
    json.begin_array("attempts");
    for (int i = 0; i < 13; ++i) {
      json.next_object();
      json.add("address", address("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"));
      json.add("outcome", "network unreachable");
      json.add("error", "EADDRNOTAVAIL");
      json.add("ms", std::uint64_t{4'294'967'295});
      json.add("fault", "unreachable");
    }
    json.end_array();
  });
  EXPECT_TRUE(all.ends_with("]}\n"));
  EXPECT_LT(all.size() + 400, 6144u) << "for the members that are left out here";
}

TEST(Json, OfTheLongestLookupFitsALine) {
  const std::string all = object([](JsonObject& json) {
    const std::string strange(300, '\xff');
    json.add("program", strange);
    json.add("host", strange);
    json.begin_array("addresses");
    for (int i = 0; i < 32; ++i) {
      json.add_element(address("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"));
    }
    json.end_array();
  });
  EXPECT_TRUE(all.ends_with("]}\n"));
  EXPECT_LT(all.size() + 400, 6144u) << "for the members that are left out here";
}

}  // namespace
}  // namespace nextaddr
