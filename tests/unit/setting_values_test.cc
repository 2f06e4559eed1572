// The parsers of the settings' values: what each takes, what is wrong with the rest, and where.
#include "engine/setting_values.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "config.h"
#include "engine/schedule.h"

namespace nextaddr {
namespace {

// The part that is wrong; "" when nothing is.
std::string part(const std::string& text, const ValueError& error) {
  if (error.reason == nullptr) return "";
  EXPECT_LE(error.at + error.size, text.size()) << text;
  return text.substr(error.at, error.size);
}

TEST(SettingValues, SwitchesAreOnUnlessTheySayNot) {
  bool on = false;
  EXPECT_EQ(parse_switch("1", on).reason, nullptr);
  EXPECT_TRUE(on);
  EXPECT_EQ(parse_switch("0", on).reason, nullptr);
  EXPECT_FALSE(on);
  const ValueError error = parse_switch("yes", on);
  EXPECT_TRUE(error.reason != nullptr && error.taken && on);
  EXPECT_FALSE(parse_switch("yes", on).taken) << "it is on already";
}

TEST(SettingValues, DelaysAreMillisecondsOrAuto) {
  std::uint32_t delay = 0;
  bool fixed = false;
  for (const char* good : {"10", "200", "10000"}) {
    EXPECT_EQ(parse_delay(good, delay, fixed).reason, nullptr) << good;
  }
  EXPECT_TRUE(fixed && delay == 10'000);
  for (const char* bad : {"", "9", "10001", "0", "-5", "1e3", "200ms", "+50", " 50", "Auto"}) {
    const ValueError error = parse_delay(bad, delay, fixed);
    EXPECT_TRUE(error.reason != nullptr && !error.taken) << bad;
  }
  EXPECT_TRUE(fixed && delay == 10'000) << "as before";
  const ValueError zeros = parse_delay("0200", delay, fixed);
  EXPECT_TRUE(zeros.reason != nullptr && zeros.taken && delay == 200);
  EXPECT_EQ(parse_delay("auto", delay, fixed).reason, nullptr);
  EXPECT_TRUE(!fixed && delay == kDefaultAttemptDelayMs);
}

// As in config.cc, as far as defaults need it.
struct Reading {
  Config config;
  std::string_view only, skip, only_programs, skip_programs;
  bool no_failover = true;
  std::uint8_t log_level = 9;
};
ValueError check_nothing(std::string_view) { return {}; }
ValueError take(std::string_view, std::string_view&, ValueError (*)(std::string_view)) {
  return {};
}
ValueError take_file(std::string_view, const char*&, std::string_view, Reading&) { return {}; }
ValueError take_log_file(std::string_view, Reading&) { return {}; }

TEST(SettingValues, TheDefaultsOfTheTableAreThoseOfTheConfiguration) {
  const Config usually;
  Reading to;
  to.config.attempt_delay_ms = to.config.first_parking_ms = 1;
  to.config.fixed_attempt_delay = to.config.log_json = to.config.ends_run = true;
  to.config.switched_off = true;
  to.config.probes = to.config.deepbind = false;
  to.config.dns_ports = PortList(1);
#define NEXTADDR_SETTING(name, option, usual, where, parser, help) \
  if (const std::string_view text = usual; !text.empty()) {        \
    EXPECT_EQ((parser).reason, nullptr) << #name;                  \
  }
#include "config.inc"
#undef NEXTADDR_SETTING
  EXPECT_EQ(to.config.attempt_delay_ms, usually.attempt_delay_ms);
  EXPECT_EQ(to.config.first_parking_ms, usually.first_parking_ms);
  EXPECT_EQ(to.config.fixed_attempt_delay, usually.fixed_attempt_delay);
  EXPECT_EQ(to.config.log_json, usually.log_json);
  EXPECT_EQ(to.config.ends_run, usually.ends_run);
  EXPECT_EQ(to.config.switched_off, usually.switched_off);
  EXPECT_EQ(to.config.probes, usually.probes);
  EXPECT_EQ(to.config.deepbind, usually.deepbind);
  EXPECT_EQ(to.config.dns_ports.has(53), usually.dns_ports.has(53));
  EXPECT_EQ(static_cast<LogLevel>(to.log_level), usually.log_level);
  EXPECT_FALSE(to.no_failover);
}

TEST(SettingValues, NumbersOfOtherKinds) {
  std::uint32_t parking = 7;
  EXPECT_EQ(parse_parking("0", parking).reason, nullptr);
  EXPECT_EQ(parking, 0u);
  EXPECT_NE(parse_parking("120001", parking).reason, nullptr);
  std::uint64_t seed = 0;
  bool has_seed = false;
  EXPECT_NE(parse_seed("4294967296", seed, has_seed).reason, nullptr);
  EXPECT_FALSE(has_seed);
  EXPECT_EQ(parse_seed("4294967295", seed, has_seed).reason, nullptr);
  EXPECT_TRUE(has_seed && seed == 4'294'967'295);
}

TEST(SettingValues, Ports) {
  PortList ports(53);
  EXPECT_EQ(parse_ports("53,8600", ports).reason, nullptr);
  EXPECT_TRUE(ports.has(53) && ports.has(8600));
  EXPECT_FALSE(ports.has(0) || ports.has(5353));
  for (const char* bad : {"", ",", "53,", ",53", "0", "65536", "53 ", "dns", "-1"}) {
    EXPECT_FALSE(parse_ports(bad, ports).reason == nullptr) << bad;
  }
  EXPECT_EQ(part("53,,54", parse_ports("53,,54", ports)), "53,,54");
  EXPECT_EQ(part("53,0,54", parse_ports("53,0,54", ports)), "0");
  EXPECT_EQ(part("53,65536", parse_ports("53,65536", ports)), "65536");
  EXPECT_EQ(part("dns", parse_ports("dns", ports)), "dns");
  const std::string many = "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17";
  EXPECT_EQ(part(many, parse_ports(many, ports)), many);
  EXPECT_TRUE(ports.has(8600)) << "as before";
  const ValueError zeros = parse_ports("53,0123", ports);
  EXPECT_TRUE(zeros.taken && ports.has(123));
  EXPECT_EQ(zeros.at, 3u);
}

TEST(SettingValues, Words) {
  std::uint8_t level = 9;
  EXPECT_EQ(parse_log_level("info", level).reason, nullptr);
  EXPECT_EQ(level, 2);
  EXPECT_NE(parse_log_level("INFO", level).reason, nullptr);
  bool json = false;
  EXPECT_EQ(parse_log_format("json", json).reason, nullptr);
  EXPECT_TRUE(json);
  EXPECT_NE(parse_log_format("xml", json).reason, nullptr);
}

TEST(SettingValues, Patterns) {
  const auto wrong = [](const std::string& text) { return part(text, check_host_patterns(text)); };
  for (const char* good : {"*", "a", "a,*.b:80", "db[0-9]?:65535"}) {
    EXPECT_EQ(wrong(good), "") << good;
  }
  EXPECT_EQ(wrong("a,,b"), "a,,b");
  EXPECT_EQ(wrong("a, b"), "a, b");
  EXPECT_EQ(wrong("a:1,b:x"), "b:x");
  EXPECT_EQ(wrong("a,:80"), ":80");
  for (const char* bad : {"a:", "a:0", "a:65536", "a:080", "a:-1", "a:*"}) {
    EXPECT_EQ(wrong(bad), bad);
    EXPECT_TRUE(check_host_patterns(bad).taken) << "the library takes what it can";
  }
  EXPECT_EQ(part("a,", check_program_patterns("a,")), "a,");
  EXPECT_EQ(part("a b", check_program_patterns("a b")), "");
}

TEST(SettingValues, GivenNames) {
  const auto wrong = [](const std::string& text) { return part(text, check_given_names(text)); };
  for (const char* good : {"a=::1", "a=10.0.0.1,[::1];b=::2", "a_b.c-d.=10.0.0.1"}) {
    EXPECT_EQ(wrong(good), "") << good;
  }
  EXPECT_EQ(wrong("a=::1;;b=::1"), "a=::1;;b=::1");
  EXPECT_EQ(wrong("a=::1;b"), "b");
  EXPECT_EQ(wrong("a=::1;*=::1"), "*=::1");
  EXPECT_EQ(wrong("a=::1;b=::1,"), "b=::1,");
  const ValueError error = check_given_names("a=::1;b=::1,1.2.3");
  EXPECT_EQ(error.at, 12u) << "the address";
  EXPECT_TRUE(error.in_entry && !error.taken);
  EXPECT_TRUE(check_given_names("a b=::1").taken);
}

TEST(SettingValues, SurviveRandomText) {
  std::mt19937 random(8);
  constexpr char kAlphabet[] = "ab.:,;=*?[]!-0129%/ \n\xff";
  for (int i = 0; i < 100'000; ++i) {
    std::string noise;
    for (std::size_t n = random() % 24; n > 0; --n) {
      noise += kAlphabet[random() % (sizeof kAlphabet - 1)];
    }
    PortList ports;
    for (const ValueError& error : {check_given_names(noise), check_host_patterns(noise),
                                    check_program_patterns(noise), parse_ports(noise, ports)}) {
      part(noise, error);
    }
  }
}

}  // namespace
}  // namespace nextaddr
