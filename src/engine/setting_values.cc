#include "engine/setting_values.h"

#include "engine/address.h"
#include "engine/parking.h"
#include "engine/schedule.h"
#include "engine/static_hosts.h"
#include "engine/text.h"

namespace nextaddr {
namespace {

constexpr std::uint32_t kLongestSetDelayMs = 10'000;

constexpr ValueError wrong(std::string_view part, const char* reason) {
  return {reason, 0, static_cast<std::uint32_t>(part.size())};
}
constexpr ValueError taken(ValueError error) {
  error.taken = 1;
  return error;
}

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_control(char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; }

// True when nothing stands before, behind or between separators.
bool has_empty_part(std::string_view text, char separator) {
  bool at_begin = true;
  for (const char c : text) {
    if (c == separator && at_begin) return true;
    at_begin = c == separator;
  }
  return at_begin;
}

// The same number can be written with zeros in front: that is taken, but might be meant as octal.
bool is_plain(std::string_view digits) { return digits.size() == 1 || digits.front() != '0'; }

struct Between {
  std::uint64_t lowest;
  std::uint64_t highest;
  const char* reason;
};
ValueError parse_between(std::string_view text, const Between& limits, std::uint64_t& out) {
  std::uint64_t number = 0;
  if (!parse_number(text, limits.highest, number) || number < limits.lowest) {
    return wrong(text, limits.reason);
  }
  out = number;
  return is_plain(text) ? ValueError{} : taken(wrong(text, limits.reason));
}

bool is_taken(const ValueError& error) { return error.reason == nullptr || error.taken; }

bool is_port(std::string_view text) {
  std::uint16_t port = 0;
  return parse_number(text, UINT16_MAX, port) && port != 0 && is_plain(text);
}

// Names of hosts are not looked at any closer: libc has the last word.
bool is_plain_name(std::string_view name) {
  constexpr std::string_view kOthers = "[]:/,*?";
  for (const char c : name) {
    if (is_space(c) || is_control(c) || kOthers.find(c) != std::string_view::npos) return false;
  }
  return !name.empty();
}

ValueError check_given_name(std::string_view entry) {
  std::string_view addresses = entry;
  const std::string_view name = take_until(addresses, '=');
  if (name.size() == entry.size()) return wrong(entry, "must be HOST=ADDR[,ADDR..]");
  if (!is_plain_name(name)) {
    return wrong(entry, "must begin with the plain name of a host: HOST=ADDR[,ADDR..]");
  }
  if (has_empty_part(addresses, ',')) {
    return wrong(entry, "an address is missing: HOST=ADDR[,ADDR..]");
  }
  while (!addresses.empty()) {
    Address address;
    const std::string_view text = take_until(addresses, ',');
    if (parse_address(text, address)) continue;
    ValueError error = wrong(text, "is not an IPv4 or IPv6 address");
    error.at = static_cast<std::uint32_t>(text.data() - entry.data());
    error.in_entry = 1;
    return error;
  }
  return {};
}

ValueError check_host_pattern(std::string_view pattern) {
  const std::size_t colon = pattern.rfind(':');
  if (pattern.front() == ':') {
    return wrong(pattern, "has no host; for any host on a port write *:PORT");
  }
  if (colon == std::string_view::npos || is_port(slice(pattern, colon + 1, pattern.size()))) {
    return {};
  }
  return wrong(pattern, "the port after the colon must be 1 to 65535");
}

// The first thing that is wrong with an entry, none of which is empty.
ValueError check_each(std::string_view text, char separator,
                      ValueError (*check)(std::string_view)) {
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::string_view entry = take_until(rest, separator);
    ValueError error = check(entry);
    if (error.reason == nullptr) continue;
    error.at += static_cast<std::uint32_t>(entry.data() - text.data());
    return error;
  }
  return {};
}

}  // namespace

ValueError parse_switch(std::string_view text, bool& on) {
  ValueError error = wrong(text, "must be 0 or 1");
  error.taken = !on;
  on = text != "0";
  return on && text != "1" ? error : ValueError{};
}

ValueError parse_delay(std::string_view text, std::uint32_t& milliseconds, bool& fixed) {
  if (text == "auto") {
    milliseconds = kDefaultAttemptDelayMs;
    fixed = false;
    return {};
  }
  std::uint64_t number = 0;
  const ValueError error =
      parse_between(text,
                    {kShortestDelayMs, kLongestSetDelayMs,
                     "must be a plain decimal number, 10 to 10000 (milliseconds), or auto"},
                    number);
  if (is_taken(error)) {
    milliseconds = static_cast<std::uint32_t>(number);
    fixed = true;
  }
  return error;
}

ValueError parse_parking(std::string_view text, std::uint32_t& milliseconds) {
  std::uint64_t number = milliseconds;
  const ValueError error =
      parse_between(text, {0, kLongestParkingMs, "must be 0 to 120000 (milliseconds)"}, number);
  milliseconds = static_cast<std::uint32_t>(number);
  return error;
}

ValueError parse_seed(std::string_view text, std::uint64_t& seed, bool& has_seed) {
  const ValueError error =
      parse_between(text, {0, UINT32_MAX, "must be a plain decimal number, 0 to 4294967295"}, seed);
  if (is_taken(error)) has_seed = true;
  return error;
}

ValueError parse_ports(std::string_view text, PortList& ports) {
  if (has_empty_part(text, ',')) return wrong(text, "a port is empty");
  if (text.find_first_not_of("0123456789,") != std::string_view::npos) {
    return wrong(text, "must be ports, 1 to 65535, joined by commas");
  }
  PortList read;
  ValueError first;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view digits = take_until(rest, ',');
    std::uint64_t port = 0;
    ValueError error = parse_between(digits, {1, UINT16_MAX, "must be a port, 1 to 65535"}, port);
    error.at = static_cast<std::uint32_t>(digits.data() - text.data());
    if (!is_taken(error)) return error;
    if (!read.add(static_cast<std::uint16_t>(port))) return wrong(text, "has more than 16 ports");
    if (first.reason == nullptr) first = error;
  }
  ports = read;
  return first;
}

ValueError parse_log_level(std::string_view text, std::uint8_t& level) {
  constexpr std::string_view kNames[] = {"off", "error", "info", "debug"};
  for (std::uint8_t i = 0; i < 4; ++i) {
    if (text != kNames[i]) continue;
    level = i;
    return {};
  }
  return wrong(text, "must be off, error, info or debug");
}

ValueError parse_log_format(std::string_view text, bool& json) {
  if (text != "json" && text != "text") return wrong(text, "must be text or json");
  json = text == "json";
  return {};
}

ValueError check_host_patterns(std::string_view text) {
  if (has_empty_part(text, ',')) return taken(wrong(text, "a pattern is empty"));
  for (const char c : text) {
    if (is_space(c)) {
      return taken(wrong(text, "must have no white space; patterns are joined by commas"));
    }
  }
  return taken(check_each(text, ',', check_host_pattern));
}

ValueError check_program_patterns(std::string_view text) {
  return has_empty_part(text, ',') ? taken(wrong(text, "a pattern is empty")) : ValueError{};
}

ValueError check_given_names(std::string_view text) {
  ValueError error = has_empty_part(text, ';')
                         ? wrong(text, "an entry is empty; each is HOST=ADDR[,ADDR..]")
                         : check_each(text, ';', check_given_name);
  // What is wrong for the launcher alone is no reason for a line in a program's log.
  error.taken = given_names_valid(text);
  return error;
}

}  // namespace nextaddr
