// The rules of NEXTADDR_FAULTS: which connection attempts and lookups are to fail on purpose, and
// how. Pure: parses a text, says which rule decides about a connect or a lookup, and draws its
// fault from counters it is given. It never makes a fault: fault/faults.cc asks it for one, and
// fault/injection.cc has the kernel produce it.
//
// clang-format off
//   RULE    TARGET=TERM[->TERM..]        rules are separated by ';', blanks around them are ignored
//   TARGET  HOST[#N][:PORT]              a glob for the names of hosts that were looked up;
//                                        #N: only the Nth address of their lists, as returned
//           @ADDR[:PORT] @CIDR[:PORT]    IPv6 with a port in brackets: @[2001:db8::/32]:443
//           @v4[:PORT] @v6[:PORT]        a family
//           *[:PORT]                     everything
//   TERM    [P%][N*]ACTION               a chance, a number of times at most; after FreeBSD fail(9)
//   ACTION  refuse silent unreachable reset delay(MS) errno(NAME)   for connection attempts
//           nxdomain tryagain                                       for lookups
//           off                                                     no fault
// clang-format on
//
// The first rule whose target covers the attempt decides. Of its terms the first one that fires is
// the fault; one whose number is used up, or whose chance said no, passes to the next, and the last
// to none.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "engine/address.h"

namespace nextaddr {

enum class FaultAction : std::uint8_t {
  kNone,
  kRefuse,
  kSilent,
  kReset,
  kDelay,  // argument: milliseconds
  kErrno,  // argument: the error of connect(2)
  kNxdomain,
  kTryAgain,
};

struct Fault {
  FaultAction action = FaultAction::kNone;
  std::uint8_t rule = 0;
  std::uint32_t argument = 0;
};

// "refuse", for the log.
std::string_view action_word(const Fault& fault);

// Why a text is no list of rules. Columns count from 1.
struct FaultSyntaxError {
  std::size_t column = 0;
  const char* reason = nullptr;
};

inline constexpr std::size_t kMaxFaultRules = 64;
inline constexpr std::size_t kMaxFaultTerms = 256;

// What has happened how often, in memory that all processes of a run share. Zero-filled memory is
// valid.
struct FaultCounters {
  std::array<std::atomic<std::uint32_t>, kMaxFaultRules> matched;  // a target covered an attempt
  std::array<std::atomic<std::uint32_t>, kMaxFaultTerms> drawn;    // a chance was drawn
  std::array<std::atomic<std::uint32_t>, kMaxFaultTerms> fired;
};

class FaultRules {
 public:
  static constexpr std::size_t kNoRule = ~std::size_t{0};

  // The rules of this text, which must outlive them. False, with no rules, when any of it is wrong.
  bool parse(std::string_view text, FaultSyntaxError& error);

  [[nodiscard]] std::size_t size() const { return rules_used_; }
  // The rule as the user wrote it.
  [[nodiscard]] std::string_view text(std::size_t rule) const { return rules_[rule].text; }
  [[nodiscard]] bool has_connect_rules() const { return about_connects_; }
  [[nodiscard]] bool has_lookup_rules() const { return about_lookups_; }
  [[nodiscard]] bool has_chances() const { return has_chances_; }

  // The rule that decides about a connection attempt to `address` on `port` (host order), or
  // kNoRule. `held_by(test)`: whether test(host, position) is true of some host that has this
  // address in its list.
  template <typename HeldBy>
  [[nodiscard]] std::size_t rule_for_connect(const Address& address, std::uint16_t port,
                                             HeldBy held_by) const {
    for (std::size_t i = 0; i < rules_used_; ++i) {
      const Rule& rule = rules_[i];
      if (rule.about == About::kLookups || (rule.port != 0 && rule.port != port)) continue;
      const bool covered = rule.target == Target::kHost
                               ? held_by([&rule](std::string_view host, std::size_t position) {
                                   return covers_host(rule, host, position);
                                 })
                               : covers_address(rule, address);
      if (covered) return i;
    }
    return kNoRule;
  }

  // The rule that decides about a lookup of `host`, or kNoRule.
  [[nodiscard]] std::size_t rule_for_lookup(std::string_view host) const;

  // The fault of an attempt or a lookup about which this rule decides; it may be none. `seed` and
  // the counters decide the chances, so that a run can be had again. Safe in many threads and
  // processes at once.
  Fault draw(std::size_t rule, FaultCounters& counters, std::uint64_t seed) const;

 private:
  enum class Target : std::uint8_t { kEverything, kHost, kIpv4, kIpv6, kNetwork };
  enum class About : std::uint8_t { kBoth, kConnects, kLookups };  // kBoth: only `off`

  struct Rule {
    std::string_view text;
    std::string_view host;
    Address network;
    std::uint16_t prefix = 0;    // bits of `network` that count, of 128
    std::uint16_t position = 0;  // of the address in the host's list, from 1; 0: any
    std::uint16_t port = 0;      // 0: any
    std::uint16_t first_term = 0;
    std::uint16_t terms = 0;
    Target target = Target::kEverything;
    About about = About::kBoth;
  };
  struct Term {
    std::uint32_t chance = 0;  // of kCertain
    std::uint32_t times = 0;   // 0: always
    std::uint32_t argument = 0;
    FaultAction action = FaultAction::kNone;
  };
  class Parser;

  void clear();
  static bool covers_host(const Rule& rule, std::string_view host, std::size_t position);
  static bool covers_address(const Rule& rule, const Address& address);

  std::array<Rule, kMaxFaultRules> rules_{};
  std::array<Term, kMaxFaultTerms> terms_{};
  std::size_t rules_used_ = 0;
  std::size_t terms_used_ = 0;
  bool about_connects_ = false;
  bool about_lookups_ = false;
  bool has_chances_ = false;
};

}  // namespace nextaddr
