// The rules of NEXTADDR_FAULTS: what a text means, which rule decides, and what it draws.
#include "engine/fault_rules.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace nextaddr {
namespace {

using Held = std::vector<std::pair<std::string, std::size_t>>;  // host, position from 0

class Faults : public testing::Test {
 protected:
  void given(const std::string& text) {
    text_ = text;
    counters_ = std::make_unique<FaultCounters>();
    FaultSyntaxError error;
    ASSERT_TRUE(rules_.parse(text_, error)) << text << ", " << error.column << ": " << error.reason;
  }

  std::size_t rule(const char* address, std::uint16_t port = 80, const Held& held = {}) {
    Address parsed;
    EXPECT_TRUE(parse_address(address, parsed));
    return rules_.rule_for_connect(parsed, port, [&](auto test) {
      for (const auto& [host, position] : held) {
        if (test(host, position)) return true;
      }
      return false;
    });
  }
  bool covers(const char* address, std::uint16_t port = 80, const Held& held = {}) {
    return rule(address, port, held) != FaultRules::kNoRule;
  }
  std::string draws(std::size_t times, std::size_t rule = 0, std::uint64_t seed = 1) {
    std::string all;
    for (std::size_t i = 0; i < times; ++i) {
      all += std::string(action_word(rules_.draw(rule, *counters_, seed))) + " ";
    }
    return all;
  }

  std::string text_;
  FaultRules rules_;
  std::unique_ptr<FaultCounters> counters_;
};

TEST_F(Faults, TargetsAHost) {
  given("api.example=refuse");
  EXPECT_TRUE(covers("192.0.2.1", 80, {{"api.example", 0}}));
  EXPECT_TRUE(covers("192.0.2.1", 80, {{"other", 0}, {"API.example.", 7}}));
  EXPECT_FALSE(covers("192.0.2.1", 80, {{"other", 0}}));
  EXPECT_FALSE(covers("192.0.2.1"));
  given("*.example:443=refuse");
  EXPECT_TRUE(covers("::1", 443, {{"a.b.example", 3}}));
  EXPECT_FALSE(covers("::1", 80, {{"a.b.example", 3}}));
}

TEST_F(Faults, TargetsTheNthAddress) {
  given("api#2=silent");
  EXPECT_FALSE(covers("192.0.2.1", 80, {{"api", 0}}));
  EXPECT_TRUE(covers("192.0.2.2", 80, {{"api", 1}}));
  EXPECT_FALSE(covers("192.0.2.3", 80, {{"api", 2}}));
  given("*#1:443=silent");
  EXPECT_TRUE(covers("192.0.2.1", 443, {{"api", 0}}));
  EXPECT_FALSE(covers("192.0.2.1", 443)) << "no host has it";
}

TEST_F(Faults, TargetsAddresses) {
  given("@192.0.2.1=refuse");
  EXPECT_TRUE(covers("192.0.2.1"));
  EXPECT_TRUE(covers("::ffff:192.0.2.1"));
  EXPECT_FALSE(covers("192.0.2.2"));
  given("@192.0.2.0/25:80=refuse");
  EXPECT_TRUE(covers("192.0.2.127"));
  EXPECT_FALSE(covers("192.0.2.128"));
  EXPECT_FALSE(covers("192.0.2.127", 81));
  given("@2001:db8::/33=refuse");
  EXPECT_TRUE(covers("2001:db8:7fff::1"));
  EXPECT_FALSE(covers("2001:db8:8000::1"));
  EXPECT_FALSE(covers("32.1.13.184"));
  given("@[2001:db8::1]:53=refuse;@[::/0]:443=off;@[::1]=silent");
  EXPECT_EQ(rule("2001:db8::1", 53), 0u);
  EXPECT_EQ(rule("2001:db8::1", 443), 1u);
  EXPECT_EQ(rule("::1", 53), 2u);
  given("@0.0.0.0/0=refuse");
  EXPECT_TRUE(covers("203.0.113.1"));
  EXPECT_FALSE(covers("2001:db8::1"));
  given("@::/0=refuse");
  EXPECT_TRUE(covers("2001:db8::1"));
  EXPECT_FALSE(covers("203.0.113.1"));
}

TEST_F(Faults, TargetsAFamilyOrEverything) {
  given("@v4=refuse");
  EXPECT_TRUE(covers("192.0.2.1"));
  EXPECT_FALSE(covers("2001:db8::1"));
  given("@v6:443=refuse");
  EXPECT_FALSE(covers("192.0.2.1", 443));
  EXPECT_TRUE(covers("2001:db8::1", 443));
  given("*=refuse");
  EXPECT_TRUE(covers("192.0.2.1"));
  given("*:25=refuse");
  EXPECT_FALSE(covers("192.0.2.1"));
  EXPECT_TRUE(covers("192.0.2.1", 25));
}

TEST_F(Faults, FirstRuleThatCoversDecides) {
  given("good=off;@192.0.2.1=silent;*=refuse");
  EXPECT_EQ(rule("192.0.2.1", 80, {{"good", 0}}), 0u);
  EXPECT_EQ(rule("192.0.2.1"), 1u);
  EXPECT_EQ(rule("192.0.2.2"), 2u);
  EXPECT_EQ(draws(2, 0), "off off ");
  EXPECT_EQ(draws(1, 1), "silent ");
}

TEST_F(Faults, LookupsHaveRulesOfTheirOwn) {
  given("db=refuse;db=nxdomain;*.example=2*tryagain->off;good=off;*=nxdomain");
  EXPECT_EQ(rules_.rule_for_lookup("DB."), 1u);
  EXPECT_EQ(rules_.rule_for_lookup("a.example"), 2u);
  EXPECT_EQ(rules_.rule_for_lookup("good"), 3u);
  EXPECT_EQ(rules_.rule_for_lookup("other"), 4u);
  EXPECT_EQ(rule("192.0.2.1", 80, {{"db", 0}}), 0u);
  EXPECT_EQ(rule("192.0.2.1", 80, {{"good", 0}}), 3u) << "off is about both";
  EXPECT_EQ(rule("192.0.2.1", 80, {{"other", 0}}), FaultRules::kNoRule);
  EXPECT_EQ(draws(3, 2), "tryagain tryagain off ");
  given("a=refuse");
  EXPECT_TRUE(rules_.has_connect_rules());
  EXPECT_FALSE(rules_.has_lookup_rules());
  given("a=nxdomain");
  EXPECT_FALSE(rules_.has_connect_rules());
  EXPECT_TRUE(rules_.has_lookup_rules());
}

TEST_F(Faults, CountsAndChains) {
  given("a=2*refuse->1*errno(ENETUNREACH)->silent");
  EXPECT_EQ(draws(5), "refuse refuse errno silent silent ");
  EXPECT_EQ(counters_->matched[0].load(), 5u);
  given("a=1*unreachable");
  EXPECT_EQ(draws(3), "unreachable off off ");
}

TEST_F(Faults, ArgumentsAndBlanks) {
  given("\n  a = delay(1500) -> errno(EHOSTUNREACH) ;\n ; b=reset ; ");
  ASSERT_EQ(rules_.size(), 2u);
  EXPECT_EQ(rules_.text(0), "a = delay(1500) -> errno(EHOSTUNREACH)");
  EXPECT_EQ(rules_.text(1), "b=reset");
  const Fault fault = rules_.draw(0, *counters_, 1);
  EXPECT_EQ(fault.action, FaultAction::kDelay);
  EXPECT_EQ(fault.argument, 1500u);
  EXPECT_EQ(rules_.draw(1, *counters_, 1).rule, 1);
  given("a=unreachable");
  EXPECT_EQ(rules_.draw(0, *counters_, 1).argument, std::uint32_t{EHOSTUNREACH});
}

TEST_F(Faults, ChancesAreThoseOfTheSeed) {
  given("a=25%refuse");
  const std::string first = draws(400, 0, 7);
  given("a=25%refuse");
  EXPECT_EQ(draws(400, 0, 7), first);
  given("a=25%refuse");
  EXPECT_NE(draws(400, 0, 8), first);
  for (const auto& [text, low, high] : {std::tuple{"a=25%refuse", 2300, 2700},
                                        {"a=0.5%refuse", 20, 90},
                                        {"a=0%refuse", 0, 0},
                                        {"a=100%refuse", 10'000, 10'000},
                                        {"a=50%7*refuse", 7, 7}}) {
    given(text);
    int fired = 0;
    for (int i = 0; i < 10'000; ++i) {
      if (rules_.draw(0, *counters_, 3).action != FaultAction::kNone) ++fired;
    }
    EXPECT_GE(fired, low) << text;
    EXPECT_LE(fired, high) << text;
  }
}

TEST_F(Faults, AreCountedOnceInAllThreads) {
  given("a=1000*refuse->silent");
  std::atomic<int> refused{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 1000; ++k) {
        if (rules_.draw(0, *counters_, 1).action == FaultAction::kRefuse) ++refused;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(refused, 1000);
}

TEST_F(Faults, ErrorsNameTheColumn) {
  struct Case {
    const char* text;
    std::size_t column;
    const char* reason;
  };
  for (const auto& [text, column, reason] : std::vector<Case>{
           {"api", 1, "expected TARGET=ACTION"},
           {"a=refuse;b", 10, "expected TARGET=ACTION"},
           {"=refuse", 1, "a target is missing before '='"},
           {"a=refus", 3, "unknown action"},
           {"a=", 3, "expected an action"},
           {"a=refuse->", 11, "expected an action"},
           {"a=refuse silent", 10, "expected '->' or ';'"},
           {"a=refuse,b=refuse", 9, "expected '->' or ';'"},
           {"a b=refuse", 2, "a blank in a target"},
           {"a#0=refuse", 3, "'#' takes the number of an address, from 1"},
           {"a#x=refuse", 3, "'#' takes the number of an address, from 1"},
           {"a:0=refuse", 3, "a port is a number from 1 to 65535"},
           {"a#1:http=refuse", 5, "a port is a number from 1 to 65535"},
           {"10.0.0.1=refuse", 1, "an address is written with '@'"},
           {"10.0.0.1:80=refuse", 1, "an address is written with '@'"},
           {"@10.0.0=refuse", 2, "expected v4, v6, an address or a network after '@'"},
           {"@10.0.0.0/33=refuse", 2, "the length of the network's prefix is wrong"},
           {"@10.0.0.0/=refuse", 2, "the length of the network's prefix is wrong"},
           {"@[::1=refuse", 2, "a ']' is missing"},
           {"@[::1]x=refuse", 7, "expected ':PORT' or '='"},
           {"@[::1]:x=refuse", 8, "a port is a number from 1 to 65535"},
           {"@10.0.0.1:70000=refuse", 11, "a port is a number from 1 to 65535"},
           {"a=3refuse", 4, "expected '*' or '%' after a number"},
           {"a=0*refuse", 3, "a number of times is from 1 to 1000000000"},
           {"a=101%refuse", 3, "a chance is a percentage from 0 to 100"},
           {"a=1.%refuse", 3, "a chance is a percentage from 0 to 100"},
           {"a=delay", 8, "expected '(MILLISECONDS)'"},
           {"a=delay(x)", 9, "a delay is a number of milliseconds up to 600000"},
           {"a=delay(1", 8, "a ')' is missing"},
           {"a=refuse(1)", 9, "this action takes no argument"},
           {"a=errno(EFOO)", 9, "no error of connect(2), like ECONNREFUSED"},
           {"a=errno(EINPROGRESS)", 9, "no error of connect(2), like ECONNREFUSED"},
           {"@v4=nxdomain", 5, "a lookup has a host as its target, without '#' and port"},
           {"a:80=off->tryagain", 11, "a lookup has a host as its target, without '#' and port"},
           {"a=refuse->nxdomain", 11, "one rule is about lookups or about connects, not both"},
       }) {
    FaultSyntaxError error;
    EXPECT_FALSE(rules_.parse(text, error)) << text;
    EXPECT_EQ(error.column, column) << text;
    EXPECT_STREQ(error.reason, reason) << text;
    EXPECT_EQ(rules_.size(), 0u) << text;
  }
}

TEST_F(Faults, HaveLimits) {
  std::string rules;
  for (int i = 0; i < 64; ++i) rules += "a=refuse;";
  given(rules);
  EXPECT_EQ(rules_.size(), 64u);
  FaultSyntaxError error;
  EXPECT_FALSE(rules_.parse(rules + "b=refuse", error));
  EXPECT_EQ(error.column, rules.size() + 1);
  std::string terms = "a=refuse";
  for (int i = 1; i < 256; ++i) terms += "->refuse";
  given(terms);
  EXPECT_FALSE(rules_.parse(terms + "->refuse", error));
}

TEST_F(Faults, SurviveRandomText) {
  std::mt19937 random(5);
  constexpr char kAlphabet[] = "a@*#:=->;%.019[]()/ v46";
  const char* const words[] = {"refuse", "silent", "delay(5)", "errno(EPERM)",
                               "off",    "->",     "nxdomain"};
  for (int i = 0; i < 200'000; ++i) {
    std::string noise;
    while (random() % 12 != 0) {
      if (random() % 4 == 0) {
        noise += words[random() % std::size(words)];
      } else {
        noise += kAlphabet[random() % (sizeof kAlphabet - 1)];
      }
    }
    FaultSyntaxError error;
    if (rules_.parse(noise, error)) continue;
    ASSERT_GE(error.column, 1u) << noise;
    ASSERT_LE(error.column, noise.size() + 1) << noise;
    ASSERT_NE(error.reason, nullptr) << noise;
  }
}

}  // namespace
}  // namespace nextaddr
