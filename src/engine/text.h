// Small freestanding text helpers shared by every parser here. Pure, no locale, no allocation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace nextaddr {

constexpr char lower_case(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// A text of a constant table, in place. A pointer in the table would have to be written when the
// library is loaded.
template <std::size_t kSize>
struct ShortText {
  char bytes[kSize];  // ends with a zero
  [[nodiscard]] constexpr std::string_view view() const { return bytes; }
};

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

// What stands behind the last slash of a path, or all of it.
inline const char* name_of_file(const char* path) {
  const char* slash = std::strrchr(path, '/');
  return slash == nullptr ? path : slash + 1;
}

// A decimal number from 0 to `highest`, digits only. False leaves `out` alone.
template <typename Number>
constexpr bool parse_number(std::string_view text, std::uint64_t highest, Number& out) {
  std::uint64_t value = 0;
  if (text.empty()) return false;
  for (const char c : text) {
    const auto digit = static_cast<std::uint64_t>(c - '0');
    if (c < '0' || c > '9' || value > (highest - digit) / 10 || digit > highest) return false;
    value = value * 10 + digit;
  }
  out = static_cast<Number>(value);
  return true;
}

using NumberText = std::array<char, 20>;

// The decimal digits of `number`: a view of `buffer`.
constexpr std::string_view format_number(std::uint64_t number, NumberText& buffer) {
  std::size_t first = buffer.size();
  do {
    buffer[--first] = static_cast<char>('0' + number % 10);
    number /= 10;
  } while (number != 0);
  return {buffer.data() + first, buffer.size() - first};
}

}  // namespace nextaddr
