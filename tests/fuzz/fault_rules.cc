// libFuzzer: the rules of NEXTADDR_FAULTS, against a plain reading of each rule's text: what it
// covers, and what it draws. Must never take a text of which a part means nothing, nor name a
// column outside of it, nor let a fault happen more often than it says.
#include "engine/fault_rules.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "engine/host_filter.h"
#include "engine/outcome.h"
#include "fuzz.h"

using namespace nextaddr;

namespace {

// ---- A rule as it is written ----

struct Term {
  double chance = 1;
  std::uint64_t times = ~0ull;
  std::string action;
  std::string argument;
};

struct Rule {
  std::string host;  // empty: of an address
  std::string network;
  std::uint64_t position = 0;
  std::uint64_t port = 0;
  std::vector<Term> terms;
  bool about_connects = false;  // neither: `off` alone
  bool about_lookups = false;
};

std::string trimmed(const std::string& text) {
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

// Splits off what stands before (behind) the last `separator`, when there is one.
std::string take_behind(std::string& text, char separator) {
  const std::size_t at = text.rfind(separator);
  if (at == std::string::npos) return "";
  std::string behind = text.substr(at + 1);
  text.resize(at);
  return behind;
}

std::string take_before(std::string& text, char separator) {
  const std::size_t at = text.find(separator);
  if (at == std::string::npos) return "";
  std::string before = text.substr(0, at);
  text.erase(0, at + 1);
  return before;
}

std::uint64_t number(const std::string& digits) {
  require(!digits.empty() && digits.find_first_not_of("0123456789") == std::string::npos);
  // Leading zeros are digits as well.
  const std::size_t first = std::min(digits.find_first_not_of('0'), digits.size() - 1);
  require(digits.size() - first <= 18);
  return std::stoull(digits.substr(first));
}

void read_target(std::string target, Rule& rule) {
  std::string port;
  if (target[0] == '@') {
    if (target.size() > 1 && target[1] == '[') {
      port = take_behind(target, ']');
      require(port.empty() || port[0] == ':');
      port.erase(0, 1);
      target.erase(0, 2);
    } else {
      target.erase(0, 1);
      if (std::count(target.begin(), target.end(), ':') == 1) port = take_behind(target, ':');
    }
    rule.network = target;
    require(!target.empty());
  } else {
    port = take_behind(target, ':');
    const std::string position = take_behind(target, '#');
    if (!position.empty()) rule.position = number(position);
    rule.host = target;
    require(!target.empty() && !address_by_libc(target));
  }
  if (!port.empty()) rule.port = number(port);
  require(rule.port <= 65535 && rule.position <= kMaxAddresses);
}

Term read_term(std::string text) {
  Term term;
  const std::string chance = take_before(text, '%');
  if (!chance.empty()) {
    require(chance.find_first_not_of("0123456789.") == std::string::npos);
    term.chance = std::stod(chance) / 100;
    require(term.chance <= 1);
  }
  const std::string times = take_before(text, '*');
  if (!times.empty()) {
    term.times = number(times);
    require(term.times >= 1);
  }
  if (text.back() == ')') {
    text.pop_back();
    term.action = take_before(text, '(');
    term.argument = text;
  } else {
    term.action = text;
  }
  const char* const known[] = {"off",   "refuse", "silent",   "unreachable", "reset",
                               "delay", "errno",  "nxdomain", "tryagain"};
  require(std::find(std::begin(known), std::end(known), term.action) != std::end(known));
  return term;
}

Rule read_rule(const std::string& text) {
  Rule rule;
  const std::size_t equals = text.find('=');
  require(equals != std::string::npos && text == trimmed(text));
  read_target(trimmed(text.substr(0, equals)), rule);
  for (std::size_t from = equals + 1, end = 0; end != std::string::npos; from = end + 2) {
    end = text.find("->", from);
    rule.terms.push_back(read_term(trimmed(text.substr(from, end - from))));
    const std::string& action = rule.terms.back().action;
    const bool lookup = action == "nxdomain" || action == "tryagain";
    if (action != "off") (lookup ? rule.about_lookups : rule.about_connects) = true;
  }
  require(!(rule.about_connects && rule.about_lookups));
  return rule;
}

// ---- What it covers ----

using Held = std::vector<std::pair<std::string, std::size_t>>;  // host, position from 0

bool bit_of(const Address& address, std::size_t bit) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(address.words.data());
  return (bytes[bit / 8] >> (7 - bit % 8) & 1) != 0;
}

bool covers_address(std::string network, const Address& address) {
  if (network == "v4" || network == "v6") return address.is_ipv4() == (network == "v4");
  const bool has_prefix = network.find('/') != std::string::npos;
  const std::string prefix = take_behind(network, '/');
  const auto base = address_by_libc(network);
  require(base.has_value());
  const std::size_t all = base->is_ipv4() ? 32 : 128;
  const std::size_t bits = has_prefix ? number(prefix) : all;
  require(bits <= all);
  if (address.is_ipv4() != base->is_ipv4()) return false;
  for (std::size_t i = 0; i < 128 - all + bits; ++i) {
    if (bit_of(*base, i) != bit_of(address, i)) return false;
  }
  return true;
}

bool covers(const Rule& rule, const Address& address, std::uint16_t port, const Held& held) {
  if (rule.about_lookups || (rule.port != 0 && rule.port != port)) return false;
  if (rule.host.empty()) return covers_address(rule.network, address);
  if (rule.host == "*" && rule.position == 0) return true;
  return std::any_of(held.begin(), held.end(), [&](const auto& holder) {
    return (rule.position == 0 || rule.position == holder.second + 1) &&
           matches_host(rule.host, holder.first);
  });
}

// A lookup has a name alone.
bool covers_lookup(const Rule& rule, const std::string& host) {
  if (rule.about_connects || rule.port != 0 || rule.position != 0) return false;
  return !rule.host.empty() && matches_host(rule.host, host);
}

template <typename Covers>
std::size_t first_that(const std::vector<Rule>& rules, Covers covers_this) {
  const auto found = std::find_if(rules.begin(), rules.end(), covers_this);
  return found == rules.end() ? FaultRules::kNoRule
                              : static_cast<std::size_t>(found - rules.begin());
}

// Addresses at the edges of the networks named, and others.
std::vector<Address> addresses_about(const std::vector<Rule>& rules) {
  std::vector<Address> addresses;
  for (const char* text : {"192.0.2.1", "2001:db8::1", "::"}) {
    addresses.push_back(*address_by_libc(text));
  }
  for (std::size_t i = 0; i < std::min<std::size_t>(rules.size(), 6); ++i) {
    std::string network = rules[i].network;
    const std::string prefix = take_behind(network, '/');
    auto base = address_by_libc(network);
    if (!base) continue;
    addresses.push_back(*base);
    const std::size_t first_free =
        (base->is_ipv4() ? 96 : 0) + (prefix.empty() ? 0 : number(prefix));
    for (const std::size_t bit : {first_free - 1, first_free, std::size_t{127}}) {
      if (bit > 127) continue;
      Address other = *base;
      reinterpret_cast<unsigned char*>(other.words.data())[bit / 8] ^=
          static_cast<unsigned char>(128 >> bit % 8);
      addresses.push_back(other);
    }
  }
  return addresses;
}

void decide(const FaultRules& rules, const std::vector<Rule>& read) {
  std::vector<std::string> hosts{"a", "API.example."};
  std::vector<std::uint16_t> ports{80};
  for (std::size_t i = 0; i < std::min<std::size_t>(read.size(), 4); ++i) {
    if (read[i].port != 0) ports.push_back(static_cast<std::uint16_t>(read[i].port));
    if (!read[i].host.empty()) hosts.push_back(read[i].host);
  }
  for (const std::string& host : hosts) {
    require(rules.rule_for_lookup(host) ==
            first_that(read, [&](const Rule& rule) { return covers_lookup(rule, host); }));
  }
  const Held held{{hosts[0], 0}, {hosts.back(), 1}};
  for (const Address& address : addresses_about(read)) {
    for (const std::uint16_t port : ports) {
      const std::size_t rule = rules.rule_for_connect(address, port, [&](auto test) {
        for (const auto& [host, position] : held) {
          if (test(host, position)) return true;
        }
        return false;
      });
      require(rule == first_that(read, [&](const Rule& each) {
                return covers(each, address, port, held);
              }));
    }
  }
}

// ---- What it draws ----

bool is_of(const Fault& fault, const Term& term) {
  if (term.action == "errno") {
    return fault.action == FaultAction::kErrno &&
           error_name(static_cast<int>(fault.argument)) == term.argument;
  }
  if (term.action == "delay" && fault.argument != number(term.argument)) return false;
  return action_word(fault) == term.action;
}

void draw(const FaultRules& rules, std::size_t index, const Rule& rule, std::size_t first_term,
          std::uint64_t seed) {
  constexpr std::size_t kDraws = 300;
  static FaultCounters counters;
  static FaultCounters again;
  // Zero-filled counters are valid.
  std::fill_n(reinterpret_cast<char*>(&counters), sizeof counters, '\0');
  std::fill_n(reinterpret_cast<char*>(&again), sizeof again, '\0');
  std::vector<std::uint64_t> left;
  for (const Term& term : rule.terms) left.push_back(term.times);
  std::vector<std::uint64_t> tried(rule.terms.size());
  for (std::size_t n = 0; n < kDraws; ++n) {
    std::vector<std::uint32_t> fired_before;
    for (std::size_t i = 0; i < left.size(); ++i) {
      fired_before.push_back(counters.fired[first_term + i].load());
    }
    const Fault fault = rules.draw(index, counters, seed);
    const Fault same = rules.draw(index, again, seed);
    require(fault.action == same.action && fault.argument == same.argument);
    // The fault is the first term that has times left and is certain, or one before it.
    std::size_t fired = left.size();
    for (std::size_t i = 0; i < left.size() && fired == left.size(); ++i) {
      const bool counted = counters.fired[first_term + i].load() != fired_before[i];
      if (left[i] != 0) ++tried[i];
      if (counted) fired = i;
      require(!counted || left[i] != 0);
      require(counted || left[i] == 0 || rule.terms[i].chance < 1);
    }
    if (fired == left.size()) {
      require(fault.action == FaultAction::kNone);
      continue;
    }
    require(fault.rule == index || fault.action == FaultAction::kNone);
    require(is_of(fault, rule.terms[fired]));
    require(rule.terms[fired].chance > 0);
    if (rule.terms[fired].times != ~0ull) --left[fired];
  }
  require(counters.matched[index].load() == kDraws);
  for (std::size_t i = 0; i < left.size(); ++i) {
    const std::uint64_t fired = counters.fired[first_term + i].load();
    const Term& term = rule.terms[i];
    require(fired <= term.times);
    // Eight standard deviations: whoever looks for a seed long enough finds one beyond six.
    const double expected = static_cast<double>(tried[i]) * term.chance;
    const double deviation = std::sqrt(expected * (1 - term.chance));
    const double off_by = std::fabs(static_cast<double>(fired) - expected);
    require(off_by <= 8 * deviation + 8);
  }
}

// ---- A text ----

void reject(std::string_view text, const FaultSyntaxError& error, const FaultRules& rules) {
  require(error.column >= 1 && error.column <= text.size() + 1 && error.reason != nullptr);
  require(rules.size() == 0 && !rules.has_connect_rules() && !rules.has_lookup_rules());
  // All rules before the wrong one are right.
  const std::size_t end = text.substr(0, error.column - 1).rfind(';');
  static const auto before = std::make_unique<FaultRules>();
  FaultSyntaxError none;
  if (end != std::string_view::npos) require(before->parse(text.substr(0, end), none));
}

void accept(const std::vector<char>& text, const FaultRules& rules, std::uint64_t seed) {
  std::vector<Rule> read;
  std::string joined;
  const char* from = text.data();
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const std::string_view one = rules.text(i);
    require(one.data() >= from && one.data() + one.size() <= text.data() + text.size());
    from = one.data() + one.size();
    joined += (joined.empty() ? "" : ";") + std::string(one);
    read.push_back(read_rule(std::string(one)));
  }
  const auto is_about = [&](auto about) {
    return std::any_of(read.begin(), read.end(), [&](const Rule& rule) {
      const bool off = !rule.about_connects && !rule.about_lookups;
      return rule.*about ||
             (off && (about == &Rule::about_connects ||
                      (rule.network.empty() && rule.port == 0 && rule.position == 0)));
    });
  };
  require(rules.has_connect_rules() == is_about(&Rule::about_connects));
  require(rules.has_lookup_rules() == is_about(&Rule::about_lookups));
  const bool chances = std::any_of(read.begin(), read.end(), [](const Rule& rule) {
    return std::any_of(rule.terms.begin(), rule.terms.end(),
                       [](const Term& term) { return term.chance < 1; });
  });
  require(rules.has_chances() == chances);

  // The text means the same without the blanks.
  static const auto again = std::make_unique<FaultRules>();
  FaultSyntaxError none;
  require(again->parse(joined, none) && again->size() == rules.size());
  for (std::size_t i = 0; i < rules.size(); ++i) require(again->text(i) == rules.text(i));
  decide(rules, read);
  decide(*again, read);
  std::size_t first_term = 0;
  for (std::size_t i = 0; i < read.size(); ++i) {
    if (i < 4) draw(rules, i, read[i], first_term, seed);
    first_term += read[i].terms.size();
  }
  // Each rule by itself means the same, too.
  for (std::size_t i = 0; i < std::min<std::size_t>(read.size(), 4); ++i) {
    require(again->parse(rules.text(i), none) && again->size() == 1 &&
            again->text(0) == rules.text(i));
    decide(*again, {read[i]});
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::vector<char> text(data, data + size);
  const std::string_view view(text.data(), text.size());
  static const auto rules = std::make_unique<FaultRules>();
  FaultSyntaxError error;
  if (rules->parse(view, error)) {
    accept(text, *rules, size * 0x9e3779b97f4a7c15u);
  } else {
    reject(view, error, *rules);
  }
  return 0;
}
