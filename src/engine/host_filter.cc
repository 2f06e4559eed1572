#include "engine/host_filter.h"

#include "engine/text.h"

namespace nextaddr {
namespace {

std::string_view without_trailing_dot(std::string_view host) {
  if (host.size() > 1 && host.back() == '.') host.remove_suffix(1);
  return host;
}

// The code of a character, for ranges: whether a char has a sign depends on the processor.
unsigned char code(char c) { return static_cast<unsigned char>(lower_case(c)); }

// Matches one "[...]" class at the front of `pattern` and removes it. A '[' that is never closed is
// literal.
bool take_class(std::string_view& pattern, char c) {
  const std::size_t close = pattern.find(']', pattern.size() > 1 && pattern[1] == '!' ? 3 : 2);
  if (close == std::string_view::npos) {
    pattern.remove_prefix(1);
    return c == '[';
  }
  std::string_view members = slice(pattern, 1, close);
  pattern.remove_prefix(close + 1);
  const bool negated = members.front() == '!';
  if (negated) members.remove_prefix(1);
  bool found = false;
  while (!members.empty()) {
    const unsigned char low = code(members.front());
    unsigned char high = low;
    std::size_t used = 1;
    if (members.size() >= 3 && members[1] == '-') {
      high = code(members[2]);
      used = 3;
    }
    found = found || (low <= code(c) && code(c) <= high);
    members.remove_prefix(used);
  }
  return found != negated;
}

// True when some pattern of the list covers the host on the port (port 0: on every port).
bool list_matches(std::string_view list, std::string_view host, std::uint16_t port, bool any_port) {
  while (!list.empty()) {
    std::string_view pattern = take_until(list, ',');
    const std::size_t colon = pattern.rfind(':');
    std::uint32_t only_port = 0;
    if (colon != std::string_view::npos &&
        parse_number(slice(pattern, colon + 1, pattern.size()), 65535, only_port)) {
      pattern = slice(pattern, 0, colon);
    }
    const bool port_covered = only_port == 0 || any_port || only_port == port;
    if (!pattern.empty() && port_covered && matches_host(pattern, host)) return true;
  }
  return false;
}

}  // namespace

bool same_host(std::string_view a, std::string_view b) {
  a = without_trailing_dot(a);
  b = without_trailing_dot(b);
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (lower_case(a[i]) != lower_case(b[i])) return false;
  }
  return true;
}

bool matches_glob(std::string_view pattern, std::string_view text) {
  // On a mismatch go back to the last '*' and let it take one character more.
  std::string_view after_star;
  std::string_view retry_text;
  bool starred = false;
  for (;;) {
    if (!pattern.empty() && pattern.front() == '*') {
      pattern.remove_prefix(1);
      after_star = pattern;
      retry_text = text;
      starred = true;
      continue;
    }
    if (text.empty() && pattern.empty()) return true;
    if (!text.empty() && !pattern.empty()) {
      const char c = lower_case(text.front());
      bool same = false;
      if (pattern.front() == '[') {
        same = take_class(pattern, c);
      } else {
        same = pattern.front() == '?' || lower_case(pattern.front()) == c;
        pattern.remove_prefix(1);
      }
      if (same) {
        text.remove_prefix(1);
        continue;
      }
    }
    if (!starred || retry_text.empty()) return false;
    retry_text.remove_prefix(1);
    text = retry_text;
    pattern = after_star;
  }
}

bool matches_host(std::string_view pattern, std::string_view host) {
  return matches_glob(without_trailing_dot(pattern), without_trailing_dot(host));
}

bool HostFilter::leaves_alone(std::string_view host, std::uint16_t port) const {
  // When asked about every port (port 0), a skip of one port does not count, and an only of one
  // port does.
  if (list_matches(skip_, host, port, false)) return true;
  return !only_.empty() && !list_matches(only_, host, port, port == 0);
}

}  // namespace nextaddr
