#include "engine/fault_rules.h"

#include <cerrno>

#include "engine/host_filter.h"
#include "engine/outcome.h"
#include "engine/text.h"

namespace nextaddr {
namespace {

constexpr std::uint32_t kCertain = 1'000'000;  // chances are in millionths
constexpr std::size_t kChanceDigits = 4;       // after the point of a percentage: 0.0001%
constexpr std::uint32_t kMostTimes = 1'000'000'000;
constexpr std::uint32_t kLongestDelayMs = 600'000;

struct ActionName {
  ShortText<12> name;
  FaultAction action;
  std::uint32_t argument;
};

constexpr ActionName kActions[] = {
    {{"off"}, FaultAction::kNone, 0},          {{"refuse"}, FaultAction::kRefuse, 0},
    {{"silent"}, FaultAction::kSilent, 0},     {{"unreachable"}, FaultAction::kErrno, EHOSTUNREACH},
    {{"reset"}, FaultAction::kReset, 0},       {{"delay"}, FaultAction::kDelay, 0},
    {{"errno"}, FaultAction::kErrno, 0},       {{"nxdomain"}, FaultAction::kNxdomain, 0},
    {{"tryagain"}, FaultAction::kTryAgain, 0},
};

constexpr bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool about_a_lookup(FaultAction action) {
  return action == FaultAction::kNxdomain || action == FaultAction::kTryAgain;
}

// SplitMix64's finalizer: the n-th draw of a term is the same in every run with one seed.
std::uint32_t draw_of(std::uint64_t seed, std::size_t term, std::uint32_t n) {
  std::uint64_t z = seed + (static_cast<std::uint64_t>(term) << 32 | n) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return static_cast<std::uint32_t>((z ^ (z >> 31)) % kCertain);
}

}  // namespace

std::string_view action_word(const Fault& fault) {
  for (const ActionName& known : kActions) {
    if (known.action == fault.action && (known.argument == 0 || known.argument == fault.argument)) {
      return known.name.view();
    }
  }
  return "fault";
}

// Reads a text from left to right. Each method that returns false has noted where and why.
class FaultRules::Parser {
 public:
  Parser(FaultRules& rules, std::string_view text, FaultSyntaxError& error)
      : rules_(rules), text_(text), error_(error) {}

  bool all() {
    for (skip_blanks(); at_ < text_.size(); skip_blanks()) {
      if (text_[at_] == ';') {
        ++at_;
      } else if (!rule()) {
        return false;
      }
    }
    return true;
  }

 private:
  bool fail(std::size_t at, const char* reason) {
    error_ = {at + 1, reason};
    return false;
  }

  [[nodiscard]] bool sees(std::string_view what) const {
    return slice(text_, at_, at_ + what.size()) == what;
  }
  void skip_blanks() {
    while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
  }

  bool rule() {
    const std::size_t begin = at_;
    if (rules_.rules_used_ == kMaxFaultRules) return fail(begin, "more than 64 rules");
    Rule& rule = rules_.rules_[rules_.rules_used_];
    rule = {};
    rule.first_term = static_cast<std::uint16_t>(rules_.terms_used_);
    if (!target(rule)) return false;
    do {
      skip_blanks();
      if (!term(rule)) return false;
      skip_blanks();
    } while (skip("->"));
    if (at_ < text_.size() && text_[at_] != ';') return fail(at_, "expected '->' or ';'");
    std::size_t end = at_;
    while (is_blank(text_[end - 1])) --end;
    rule.text = slice(text_, begin, end);
    rules_.about_connects_ = rules_.about_connects_ || rule.about != About::kLookups;
    rules_.about_lookups_ = rules_.about_lookups_ || rule.about != About::kConnects;
    ++rules_.rules_used_;
    return true;
  }

  bool skip(std::string_view what) {
    if (!sees(what)) return false;
    at_ += what.size();
    return true;
  }

  // Reads a target up to and including its '='.
  bool target(Rule& rule) {
    const std::size_t begin = at_;
    target_at_ = begin;
    const std::size_t stop = text_.find_first_of("=;", at_);
    if (stop == std::string_view::npos || text_[stop] == ';') {
      return fail(begin, "expected TARGET=ACTION");
    }
    std::size_t end = stop;
    while (end > begin && is_blank(text_[end - 1])) --end;
    const std::string_view target = slice(text_, begin, end);
    at_ = stop + 1;
    if (target.empty()) return fail(begin, "a target is missing before '='");
    for (std::size_t i = 0; i < target.size(); ++i) {
      if (static_cast<unsigned char>(target[i]) <= ' ')
        return fail(begin + i, "a blank in a target");
    }
    return target.front() == '@' ? by_address(rule, target) : by_name(rule, target);
  }

  // "[..]:PORT", "..:PORT", or without a port; two colons outside of brackets are IPv6.
  bool by_address(Rule& rule, std::string_view target) {
    std::string_view network = slice(target, 1, target.size());
    std::size_t port_at = std::string_view::npos;
    if (!network.empty() && network.front() == '[') {
      const std::size_t close = network.find(']');
      if (close == std::string_view::npos) return fail(target_at_ + 1, "a ']' is missing");
      const std::string_view after = slice(network, close + 1, network.size());
      if (!after.empty() && after.front() != ':') {
        return fail(target_at_ + 1 + close + 1, "expected ':PORT' or '='");
      }
      if (!after.empty()) port_at = close + 2;
      if (!port(rule, network, port_at)) return false;
      network = slice(network, 1, close);
    } else if (network.find(':') == network.rfind(':') && network.find(':') != network.npos) {
      port_at = network.find(':') + 1;
      if (!port(rule, network, port_at)) return false;
      network = slice(network, 0, port_at - 1);
    }
    if (network == "v4" || network == "v6") {
      rule.target = network == "v4" ? Target::kIpv4 : Target::kIpv6;
      return true;
    }
    rule.target = Target::kNetwork;
    const bool has_prefix = network.find('/') != std::string_view::npos;
    const std::string_view address = take_until(network, '/');
    if (!parse_address(address, rule.network)) {
      return fail(target_at_ + 1, "expected v4, v6, an address or a network after '@'");
    }
    const std::uint16_t bits = rule.network.is_ipv4() ? 32 : 128;
    std::uint16_t prefix = bits;
    if (has_prefix && !parse_number(network, bits, prefix)) {
      return fail(target_at_ + 1, "the length of the network's prefix is wrong");
    }
    rule.prefix = static_cast<std::uint16_t>(128 - bits + prefix);
    return true;
  }

  // Reads the port that begins at `begin` of the text after the '@'; npos: there is none.
  bool port(Rule& rule, std::string_view after_at, std::size_t begin) {
    if (begin == std::string_view::npos) return true;
    if (parse_number(slice(after_at, begin, after_at.size()), 65535, rule.port) && rule.port != 0) {
      return true;
    }
    return fail(target_at_ + 1 + begin, "a port is a number from 1 to 65535");
  }

  bool by_name(Rule& rule, std::string_view target) {
    Address address;
    if (parse_address(target, address)) return fail(target_at_, "an address is written with '@'");
    const std::size_t colon = target.find(':');
    if (colon != std::string_view::npos) {
      const std::string_view digits = slice(target, colon + 1, target.size());
      if (!parse_number(digits, 65535, rule.port) || rule.port == 0) {
        return fail(target_at_ + colon + 1, "a port is a number from 1 to 65535");
      }
      target = slice(target, 0, colon);
    }
    const std::size_t hash = target.find('#');
    if (hash != std::string_view::npos) {
      const std::string_view digits = slice(target, hash + 1, target.size());
      if (!parse_number(digits, kMaxAddresses, rule.position) || rule.position == 0) {
        return fail(target_at_ + hash + 1, "'#' takes the number of an address, from 1");
      }
      target = slice(target, 0, hash);
    }
    if (target.empty()) return fail(target_at_, "a host is missing");
    if (parse_address(target, address)) return fail(target_at_, "an address is written with '@'");
    rule.host = target;
    const bool everything = target == "*" && rule.position == 0;
    rule.target = everything ? Target::kEverything : Target::kHost;
    return true;
  }

  bool term(Rule& rule) {
    if (rules_.terms_used_ == kMaxFaultTerms) return fail(at_, "more than 256 actions");
    Term& term = rules_.terms_[rules_.terms_used_];
    term = {};
    term.chance = kCertain;
    if (at_ < text_.size() && is_digit(text_[at_]) && !chance_and_times(term)) return false;
    if (!action(rule, term)) return false;
    rules_.has_chances_ = rules_.has_chances_ || term.chance < kCertain;
    ++rules_.terms_used_;
    ++rule.terms;
    return true;
  }

  bool chance_and_times(Term& term) {
    const std::size_t begin = at_;
    std::size_t end = at_;
    while (end < text_.size() && (is_digit(text_[end]) || text_[end] == '.')) ++end;
    const char mark = end < text_.size() ? text_[end] : '\0';
    const std::string_view number = slice(text_, begin, end);
    at_ = end + 1;
    if (mark == '%') {
      if (!parse_percentage(number, term.chance)) {
        return fail(begin, "a chance is a percentage from 0 to 100");
      }
      return at_ >= text_.size() || !is_digit(text_[at_]) || times(term);
    }
    at_ = begin;
    return times(term);
  }

  bool times(Term& term) {
    const std::size_t begin = at_;
    while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
    const std::string_view number = slice(text_, begin, at_);
    if (!skip("*")) return fail(at_, "expected '*' or '%' after a number");
    if (!parse_number(number, kMostTimes, term.times) || term.times == 0) {
      return fail(begin, "a number of times is from 1 to 1000000000");
    }
    return true;
  }

  static bool parse_percentage(std::string_view text, std::uint32_t& out) {
    const bool has_point = text.find('.') != std::string_view::npos;
    const std::string_view whole = take_until(text, '.');
    std::uint32_t percent = 0;
    std::uint32_t fraction = 0;
    if (!parse_number(whole, 100, percent) || text.size() > kChanceDigits) return false;
    if (has_point && !parse_number(text, kCertain, fraction)) return false;
    for (std::size_t i = text.size(); i < kChanceDigits; ++i) fraction *= 10;
    out = percent * (kCertain / 100) + fraction;
    return out <= kCertain;
  }

  bool action(Rule& rule, Term& term) {
    const std::size_t begin = at_;
    while (at_ < text_.size() && text_[at_] >= 'a' && text_[at_] <= 'z') ++at_;
    const std::string_view name = slice(text_, begin, at_);
    const ActionName* found = nullptr;
    for (const ActionName& known : kActions) {
      if (known.name.view() == name) found = &known;
    }
    if (name.empty()) return fail(begin, "expected an action");
    if (found == nullptr) return fail(begin, "unknown action");
    term.action = found->action;
    term.argument = found->argument;
    const bool lookup = about_a_lookup(term.action);
    if (lookup && (rule.port != 0 || rule.position != 0 ||
                   (rule.target != Target::kHost && rule.target != Target::kEverything))) {
      return fail(begin, "a lookup has a host as its target, without '#' and port");
    }
    if (term.action != FaultAction::kNone) {
      const About about = lookup ? About::kLookups : About::kConnects;
      if (rule.about != About::kBoth && rule.about != about) {
        return fail(begin, "one rule is about lookups or about connects, not both");
      }
      rule.about = about;
    } else if (rule.about == About::kBoth &&
               (rule.port != 0 || rule.position != 0 ||
                (rule.target != Target::kHost && rule.target != Target::kEverything))) {
      rule.about = About::kConnects;
    }
    return argument(*found, term);
  }

  bool argument(const ActionName& action, Term& term) {
    const bool delay = action.action == FaultAction::kDelay;
    const bool wanted = delay || action.name.view() == "errno";
    if (!skip("(")) {
      if (!wanted) return true;
      return fail(at_, delay ? "expected '(MILLISECONDS)'" : "expected '(NAME)'");
    }
    const std::size_t begin = at_;
    if (!wanted) return fail(begin - 1, "this action takes no argument");
    const std::size_t close = text_.find(')', at_);
    if (close == std::string_view::npos) return fail(begin - 1, "a ')' is missing");
    const std::string_view text = slice(text_, begin, close);
    at_ = close + 1;
    if (delay) {
      if (parse_number(text, kLongestDelayMs, term.argument)) return true;
      return fail(begin, "a delay is a number of milliseconds up to 600000");
    }
    const int error = error_number(text);
    if (error == 0) return fail(begin, "no error of connect(2), like ECONNREFUSED");
    term.argument = static_cast<std::uint32_t>(error);
    return true;
  }

  FaultRules& rules_;
  std::string_view text_;
  FaultSyntaxError& error_;
  std::size_t at_ = 0;
  std::size_t target_at_ = 0;
};

void FaultRules::clear() {
  rules_used_ = terms_used_ = 0;
  about_connects_ = about_lookups_ = has_chances_ = false;
}

bool FaultRules::parse(std::string_view text, FaultSyntaxError& error) {
  clear();
  if (Parser(*this, text, error).all()) return true;
  clear();
  return false;
}

bool FaultRules::covers_host(const Rule& rule, std::string_view host, std::size_t position) {
  return (rule.position == 0 || rule.position == position + 1) && matches_host(rule.host, host);
}

bool FaultRules::covers_address(const Rule& rule, const Address& address) {
  switch (rule.target) {
    case Target::kEverything:
      return true;
    case Target::kIpv4:
      return address.is_ipv4();
    case Target::kIpv6:
      return !address.is_ipv4();
    default:
      // IPv4 addresses are held as v4-mapped IPv6, but "::/0" does not mean them.
      return address.is_ipv4() == rule.network.is_ipv4() &&
             in_network(address, rule.network, rule.prefix);
  }
}

std::size_t FaultRules::rule_for_lookup(std::string_view host) const {
  for (std::size_t i = 0; i < rules_used_; ++i) {
    const Rule& rule = rules_[i];
    if (rule.about == About::kConnects) continue;
    if (rule.target == Target::kEverything || covers_host(rule, host, 0)) return i;
  }
  return kNoRule;
}

Fault FaultRules::draw(std::size_t rule, FaultCounters& counters, std::uint64_t seed) const {
  counters.matched[rule].fetch_add(1, std::memory_order_relaxed);
  const Rule& decides = rules_[rule];
  for (std::size_t i = decides.first_term; i < std::size_t{decides.first_term} + decides.terms;
       ++i) {
    const Term& term = terms_[i];
    if (term.times != 0 && counters.fired[i].load(std::memory_order_relaxed) >= term.times) {
      continue;
    }
    if (term.chance < kCertain) {
      const std::uint32_t n = counters.drawn[i].fetch_add(1, std::memory_order_relaxed);
      if (draw_of(seed, i, n) >= term.chance) continue;
    }
    std::uint32_t fired = counters.fired[i].load(std::memory_order_relaxed);
    do {
      if (term.times != 0 && fired >= term.times) break;
    } while (!counters.fired[i].compare_exchange_weak(fired, fired + 1, std::memory_order_relaxed));
    if (term.times != 0 && fired >= term.times) continue;
    return {term.action, static_cast<std::uint8_t>(rule), term.argument};
  }
  return {};
}

}  // namespace nextaddr
