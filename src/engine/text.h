// Small freestanding text helpers shared by every parser here. Pure, no locale, no allocation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace nextaddr {

constexpr char lower_case(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// text[from, to), clamped. string_view::substr would need libstdc++ to throw.
constexpr std::string_view slice(std::string_view text, std::size_t from, std::size_t to) {
  to = to < text.size() ? to : text.size();
  from = from < to ? from : to;
  return {text.data() + from, to - from};
}

// Removes and returns what stands before the first `separator` (everything, when there is none).
constexpr std::string_view take_until(std::string_view& text, char separator) {
  const std::size_t end = text.find(separator);
  const std::string_view head = slice(text, 0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return head;
}

// A decimal number from 0 to `highest`, digits only. False leaves `out` alone.
constexpr bool parse_number(std::string_view text, std::uint32_t highest, std::uint32_t& out) {
  if (text.empty() || text.size() > 10) return false;
  std::uint64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    value = value * 10 + static_cast<std::uint64_t>(c - '0');
  }
  if (value > highest) return false;
  out = static_cast<std::uint32_t>(value);
  return true;
}

}  // namespace nextaddr
