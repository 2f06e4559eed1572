// What the fuzzers share: how a broken promise is told, how bytes become choices, and the plainest
// reading of an address. Must never hide a failure: a promise that does not hold ends the process.
#pragma once

#include <arpa/inet.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "engine/address.h"

// libFuzzer keeps the input of an abort. The line is told because the stack has lost it to
// inlining.
inline void require(bool holds, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (holds) return;
  std::fprintf(stderr, "%s:%d: does not hold\n", file, line);
  abort();
}

// The input of a fuzzer that plays: choices are taken from its front, zeros when it has ended. Most
// are characters with a meaning of their own, so that the seeds can be read.
class Choices {
 public:
  Choices(const std::uint8_t* data, std::size_t size)
      : left_(reinterpret_cast<const char*>(data), size) {}
  explicit Choices(std::string_view text) : left_(text) {}

  [[nodiscard]] bool ended() const { return left_.empty(); }
  [[nodiscard]] std::string_view rest() const { return left_; }
  char next() {
    const char c = left_.empty() ? '\0' : left_.front();
    left_.remove_prefix(left_.empty() ? 0 : 1);
    return c;
  }
  std::string_view line() {
    const std::size_t end = std::min(left_.find('\n'), left_.size());
    const std::string_view line = left_.substr(0, end);
    left_.remove_prefix(std::min(end + 1, left_.size()));
    return line;
  }
  // '0' to '9' and 'a' to 'z' are 0 to 35, the others whatever they are.
  std::uint32_t below(std::uint32_t end) {
    const char c = next();
    const auto number = static_cast<std::uint32_t>(c >= '0' && c <= '9'   ? c - '0'
                                                   : c >= 'a' && c <= 'z' ? c - 'a' + 10
                                                                          : c & 0xff);
    return number % end;
  }
  // One of a table: `choices.of(kDelays)`.
  template <typename Item, std::size_t kSize>
  const Item& of(const Item (&items)[kSize]) {
    return items[below(kSize)];
  }
  // Four bytes as they are.
  std::uint32_t word() {
    std::uint32_t bits = 0;
    for (int i = 0; i < 4; ++i) bits = bits << 8 | static_cast<unsigned char>(next());
    return bits;
  }

 private:
  std::string_view left_;
};

// What inet_pton(3) makes of "192.0.2.1", "2001:db8::1" or "[2001:db8::1]".
inline std::optional<nextaddr::Address> address_by_libc(std::string_view text) {
  if (text.find('\0') != std::string_view::npos) return {};
  const bool bracketed = text.size() >= 2 && text.front() == '[' && text.back() == ']';
  const std::string terminated(bracketed ? text.substr(1, text.size() - 2) : text);
  in_addr ipv4{};
  if (!bracketed && inet_pton(AF_INET, terminated.c_str(), &ipv4) == 1) {
    return nextaddr::address_from_ipv4(&ipv4);
  }
  in6_addr ipv6{};
  if (inet_pton(AF_INET6, terminated.c_str(), &ipv6) == 1) {
    return nextaddr::address_from_ipv6(&ipv6, 0);
  }
  return {};
}
