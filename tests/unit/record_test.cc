#include "memory/record.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <string_view>

#include "known_addresses.h"

namespace nextaddr {
namespace {

AddressEntry random_entry(std::mt19937_64& random) {
  AddressEntry entry;
  if (random() % 2 == 0) {
    entry.key.address = ipv4(static_cast<std::uint32_t>(random()));
  } else {
    const std::uint64_t bytes[] = {random(), random()};
    entry.key.address = address_from_ipv6(bytes, random() % 3 == 0 ? 7 : 0);
  }
  entry.key.port = static_cast<std::uint16_t>(1 + random() % 65535);
  entry.key.network = random() % 2 == 0 ? 1 : random();
  entry.set_host_name(random() % 4 == 0 ? "" : "host-" + std::to_string(random()) + ".example.org");
  entry.health = {random(),
                  random(),
                  random(),
                  static_cast<std::uint32_t>(random()),
                  static_cast<std::uint32_t>(random()),
                  static_cast<std::uint32_t>(random()),
                  random()};
  entry.saved_rtt_us = entry.health.rtt_us;
  return entry;
}

std::string_view view(const RecordText& text) { return {text.data(), text.size()}; }

TEST(Record, ReadsWhatItWrites) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20'000; ++i) {
    const AddressEntry written = random_entry(random);
    const RecordText text = format_record(written);
    ASSERT_EQ(text.back(), '\n');
    AddressEntry read;
    ASSERT_TRUE(parse_record(view(text), read)) << view(text);
    EXPECT_EQ(read.key, written.key);
    EXPECT_EQ(read.host_name(), written.host_name());
    EXPECT_EQ(read.health, written.health);
  }
}

TEST(Record, TheLongestFits) {
  AddressEntry longest;
  longest.key.address.words = {~0u, ~0u, ~0u, ~0u};
  longest.key.address.scope = ~0u;
  longest.key.port = 65535;
  longest.key.network = ~0ull;
  longest.set_host_name(std::string(300, 'x'));
  longest.health = {~0ull, ~0ull, ~0ull, ~0u, ~0u, ~0u, ~0ull};
  AddressEntry read;
  EXPECT_TRUE(parse_record(view(format_record(longest)), read));
  EXPECT_EQ(read.host_name(), std::string(63, 'x'));
}

TEST(Record, HeaderTellsTheVersion) {
  const RecordText header = memory_file_header();
  EXPECT_TRUE(view(header).starts_with("nextaddr memory 2 "));
  EXPECT_TRUE(is_memory_file_header(view(header)));
  RecordText older = header;
  older[16] = '1';
  EXPECT_TRUE(is_memory_file_header(view(older))) << "a file of ours, of another version";
}

// A record as version 1 wrote it: without SILENT and SILENT_AT.
TEST(Record, OfTheVersionBeforeIsNone) {
  AddressEntry entry;
  entry.key.address = ipv4(1);
  entry.key.port = 1;
  const std::string text(view(format_record(entry)));
  ASSERT_TRUE(text.starts_with("0.0.0.1 1 0 0 0 0 0 0 0 0 - "));
  std::string older = text;
  older.erase(22, 4).insert(older.size() - 1, "    ");
  AddressEntry read;
  EXPECT_TRUE(parse_record(text, read));
  EXPECT_FALSE(parse_record(older, read));
}

TEST(Record, NamesWithOddCharactersAreNotWritten) {
  AddressEntry entry;
  entry.key.address = ipv4(1);
  entry.key.port = 1;
  for (const char* name : {"two words", "new\nline", "-", "\x1b[31m", "tab\t"}) {
    entry.set_host_name(name);
    AddressEntry read;
    ASSERT_TRUE(parse_record(view(format_record(entry)), read)) << name;
    EXPECT_EQ(read.host_name(), "") << name;
  }
}

TEST(Record, WhateverIsChangedIsNoRecord) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 20'000; ++i) {
    const RecordText before = format_record(random_entry(random));
    RecordText after = before;
    RecordText whole = before;
    switch (random() % 4) {
      case 0:
        after[random() % after.size()] = static_cast<char>(random());
        break;
      case 1: {  // torn between two writers
        whole = format_record(random_entry(random));
        const std::size_t from = random() % after.size();
        std::copy(whole.begin() + from, whole.end(), after.begin() + from);
        break;
      }
      case 2:  // cut off
        std::fill(after.begin() + random() % after.size(), after.end(), '\0');
        break;
      default:
        for (char& c : after) c = static_cast<char>(random());
    }
    AddressEntry read;
    EXPECT_EQ(parse_record(view(after), read), after == before || after == whole) << view(after);
  }
  AddressEntry read;
  EXPECT_FALSE(parse_record("", read));
  EXPECT_FALSE(parse_record(view(memory_file_header()), read));
}

}  // namespace
}  // namespace nextaddr
