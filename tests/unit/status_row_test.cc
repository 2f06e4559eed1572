// What is shown of an address that is remembered.
#include "engine/status_row.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace nextaddr {
namespace {

constexpr std::uint64_t kNow = 1'000'000'000'000;

AddressEntry entry(const char* host, const char* address) {
  AddressEntry made;
  EXPECT_TRUE(parse_address(address, made.key.address));
  made.key.port = 443;
  made.set_host_name(host);
  return made;
}

std::vector<std::string> words(const StatusRow& row) {
  std::vector<std::string> all;
  for (std::size_t i = 0; i < StatusRow::kColumns; ++i) all.emplace_back(row[i]);
  return all;
}

std::string state(const AddressHealth& health) {
  AddressEntry of = entry("a", "::1");
  of.health = health;
  return StatusRow(of, kNow)[3];
}

TEST(StatusRow, HasAWordForEachHead) {
  AddressEntry known = entry("db.example.org", "2001:db8::1");
  known.health.rtt_us = 30'449;
  EXPECT_EQ(
      words(StatusRow(known, kNow)),
      (std::vector<std::string>{"db.example.org", "[2001:db8::1]", "443", "well", "0", "30.4 ms"}));
  EXPECT_EQ(words(StatusRow(entry("", "192.0.2.1"), kNow)),
            (std::vector<std::string>{"-", "192.0.2.1", "443", "well", "0", "-"}));
}

TEST(StatusValues, AreForPrograms) {
  AddressEntry known = entry("a\"b\\c", "2001:db8::1");
  known.health = {.until_ms = kNow + 44'001, .failures = 2};
  const StatusValues values(known, kNow);
  EXPECT_STREQ(values.host.data(), "a\\\"b\\\\c");
  EXPECT_STREQ(values.address.data(), "2001:db8::1");
  EXPECT_STREQ(values.state, "parked");
  EXPECT_EQ(values.parked_ms, 44'001u);
  known.health.until_ms = kNow;
  EXPECT_EQ(StatusValues(known, kNow).parked_ms, 0u);
  EXPECT_STREQ(StatusValues(entry("", "192.0.2.1"), kNow).host.data(), "");
}

TEST(StatusValues, AreQuotedAsFarAsThereIsRoom) {
  char out[6];
  write_quoted("a\n\xc3\xa9", out, sizeof out);
  EXPECT_STREQ(out, "a???");
  write_quoted("\"\"\"\"", out, sizeof out);
  EXPECT_STREQ(out, "\\\"\\\"");
  write_quoted("abcdefgh", out, sizeof out);
  EXPECT_EQ(std::string(out), "abcd");
}

TEST(StatusRow, States) {
  EXPECT_EQ(state({.until_ms = kNow + 44'001, .failures = 2}), "parked for 45 s");
  EXPECT_EQ(state({.until_ms = kNow + 1, .failures = 2}), "parked for 1 s");
  EXPECT_EQ(state({.until_ms = kNow, .failures = 1}), "to be asked again");
  EXPECT_EQ(state({.until_ms = kNow, .claimed_ms = kNow, .failures = 1}), "being asked again");
  EXPECT_EQ(state({.silent_ms = 250, .silent_at_ms = kNow - 3'999}), "silent 3 s ago");
  EXPECT_EQ(state({.silent_ms = 250, .silent_at_ms = kNow - 30'000}), "well");
  EXPECT_EQ(state({.silent_ms = 250, .silent_at_ms = kNow + 1}), "well")
      << "the clock was set back";
}

}  // namespace
}  // namespace nextaddr
