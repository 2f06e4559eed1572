// The text of the configuration file: lines NAME=VALUE, lines that begin with '#', empty ones.
// White space around a line does not count. Pure; the text is changed in place and must outlive the
// values. Never reads or writes outside it, whatever is in it.
#pragma once

#include <cstddef>
#include <string_view>

namespace nextaddr {

class Settings {
 public:
  constexpr Settings() = default;
  // text[size] is written as well: the zero that ends the last value.
  Settings(char* text, std::size_t size);

  // The value of the first line with this name; null: there is none. The line counts as taken from
  // then on.
  const char* take(std::string_view name);

  // The first line that nobody has taken; null when there is none.
  [[nodiscard]] const char* left_over() const;

 private:
  char* text_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace nextaddr
