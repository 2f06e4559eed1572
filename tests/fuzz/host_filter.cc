// libFuzzer: the patterns of --only and --skip, against a matcher that follows all ways through a
// pattern at once, and against fnmatch(3) where both speak one language.
// Must never take time that grows faster than pattern times name, nor fail over a host that a
// port-less pattern leaves alone.
#include "engine/host_filter.h"

#include <fnmatch.h>

#include <algorithm>
#include <ctime>
#include <vector>

#include "engine/text.h"
#include "fuzz.h"

using namespace nextaddr;

namespace {

// Far more than a pattern and a name of these lengths need, far less than all ways one after the
// other.
constexpr std::size_t kLongPattern = 1024;
constexpr std::size_t kLongestName = 255;
constexpr double kSecondsAtMost = 0.2;

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), lower_case);
  return text;
}

bool in_class(const std::string& members, char c) {
  const auto code = [](char member) { return static_cast<unsigned char>(member); };
  for (std::size_t i = 0; i < members.size();) {
    const bool range = i + 2 < members.size() && members[i + 1] == '-';
    if (code(members[i]) <= code(c) && code(c) <= code(members[range ? i + 2 : i])) return true;
    i += range ? 3 : 1;
  }
  return false;
}

// Which beginnings of the name the pattern so far matches, one character of the pattern at a time.
bool matches(const std::string& pattern, const std::string& name) {
  std::vector<char> before(name.size() + 1);
  before[0] = 1;
  for (std::size_t p = 0; p < pattern.size();) {
    std::vector<char> after(name.size() + 1);
    const bool negated = pattern.compare(p, 2, "[!") == 0;
    const std::size_t members = p + (negated ? 2 : 1);
    const std::size_t close =
        pattern[p] == '[' ? pattern.find(']', members + 1) : std::string::npos;
    if (pattern[p] == '*') {
      const auto first = std::find(before.begin(), before.end(), 1);
      std::fill(after.begin() + (first - before.begin()), after.end(), 1);
      ++p;
    } else {
      const bool is_class = close != std::string::npos;
      const std::string set = is_class ? pattern.substr(members, close - members) : "";
      for (std::size_t i = 0; i < name.size(); ++i) {
        const bool fits = is_class ? in_class(set, name[i]) != negated
                                   : pattern[p] == '?' || pattern[p] == name[i];
        after[i + 1] = before[i] != 0 && fits;
      }
      p = is_class ? close + 1 : p + 1;
    }
    before = after;
  }
  return before.back() != 0;
}

// True for patterns that mean the same to both: plain bytes, and no class with a meaning of
// fnmatch's own in it.
bool is_for_fnmatch(const std::string& text) {
  const bool plain =
      std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
  std::size_t open = text.find('[');
  if (!plain || text.size() > 100 || std::count(text.begin(), text.end(), '*') > 4) return false;
  for (; open != std::string::npos; open = text.find('[', open + 1)) {
    // Never closed, negated in the other way, or holding another '[', as in "[[:alpha:]]".
    const std::size_t close = text.find(']', open + (text.compare(open, 2, "[!") == 0 ? 3 : 2));
    if (close == std::string::npos || text[open + 1] == '^') return false;
    if (text.find('[', open + 1) < close) return false;
    open = close;
  }
  return true;
}

void match(const std::string& pattern, const std::string& name) {
  const bool matched = matches_glob(pattern, name);
  const std::string lower_pattern = lower(pattern);
  const std::string lower_name = lower(name);
  require(matched == matches(lower_pattern, lower_name));
  require(matched == matches_glob(lower_pattern, lower_name));
  if (is_for_fnmatch(lower_pattern) && name.find('\0') == std::string::npos) {
    require(matched == (fnmatch(lower_pattern.c_str(), lower_name.c_str(), FNM_NOESCAPE) == 0));
  }
}

double processor_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

std::string repeated(const std::string& text, std::size_t size) {
  std::string all;
  while (!text.empty() && all.size() < size) all += text;
  return all.substr(0, size);
}

void match_long(const std::string& pattern, const std::string& name) {
  const std::string long_pattern = repeated(pattern, kLongPattern);
  const std::string long_name = repeated(name, kLongestName);
  const double began = processor_seconds();
  matches_glob(long_pattern, long_name);
  require(processor_seconds() - began < kSecondsAtMost);
}

std::string without_dot(const std::string& host) {
  return host.size() > 1 && host.back() == '.' ? host.substr(0, host.size() - 1) : host;
}

struct Pattern {
  std::string glob;
  std::uint32_t port = 0;  // 0: all
};

std::vector<Pattern> read_patterns(std::string list) {
  std::vector<Pattern> patterns;
  list += ',';
  for (std::size_t from = 0, end = 0; (end = list.find(',', from)) != std::string::npos;
       from = end + 1) {
    Pattern pattern{list.substr(from, end - from)};
    const std::size_t colon = pattern.glob.rfind(':');
    const std::string digits = colon == std::string::npos ? "" : pattern.glob.substr(colon + 1);
    const std::size_t zeros = std::min(digits.find_first_not_of('0'), digits.size());
    const bool number =
        !digits.empty() && digits.find_first_not_of("0123456789") == std::string::npos;
    if (number && digits.size() - zeros <= 5 && std::stoul(digits) <= 65535) {
      pattern = {pattern.glob.substr(0, colon), static_cast<std::uint32_t>(std::stoul(digits))};
    }
    pattern.glob = lower(without_dot(pattern.glob));
    if (!pattern.glob.empty()) patterns.push_back(pattern);
  }
  return patterns;
}

bool covers(const std::vector<Pattern>& patterns, const std::string& host, std::uint32_t port) {
  return std::any_of(patterns.begin(), patterns.end(), [&](const Pattern& pattern) {
    return (pattern.port == 0 || pattern.port == port) && matches(pattern.glob, host);
  });
}

void filter(const std::string& only, const std::string& skip, const std::string& name) {
  const HostFilter filter(only, skip);
  const std::vector<Pattern> only_patterns = read_patterns(only);
  const std::vector<Pattern> skip_patterns = read_patterns(skip);
  const std::string host = lower(without_dot(name));
  std::vector<std::uint32_t> ports{1, 80, 65535};
  for (const auto& patterns : {only_patterns, skip_patterns}) {
    for (const Pattern& pattern : patterns) {
      if (pattern.port != 0 && ports.size() < 8) ports.push_back(pattern.port);
    }
  }
  const bool on_every_port = filter.leaves_alone(name, 0);
  for (const std::uint32_t port : ports) {
    const bool left_alone = filter.leaves_alone(name, static_cast<std::uint16_t>(port));
    require(left_alone == (covers(skip_patterns, host, port) ||
                           (!only.empty() && !covers(only_patterns, host, port))));
    // What is left alone on every port is so on each, and ports make no difference where none is
    // named.
    require(!on_every_port || left_alone);
    require(filter.knows_ports() || left_alone == on_every_port);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Three lines: --only, --skip, and the name of a host.
  Choices lines(data, size);
  const std::string only(lines.line());
  const std::string skip(lines.line());
  const std::string name(lines.rest().substr(0, kLongestName));
  for (const std::string& pattern : {only, skip}) {
    match(pattern, name);
    match_long(pattern, name);
    require(same_host(pattern, name) == (lower(without_dot(pattern)) == lower(without_dot(name))));
  }
  filter(only, skip, name);
  return 0;
}
