#include "engine/settings.h"

#include <cstring>

namespace nextaddr {
namespace {

constexpr bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r'; }

}  // namespace

// Writes zeros in the place of line ends, and of white space beside them: what is between is the
// lines.
Settings::Settings(char* text, std::size_t size) : text_(text), size_(size) {
  text[size] = '\0';
  bool at_begin = true;
  for (std::size_t i = 0; i < size; ++i) {
    if (text[i] == '\n') text[i] = '\0';
    if (at_begin && is_space(text[i])) text[i] = '\0';
    at_begin = text[i] == '\0';
  }
  for (std::size_t i = size; i-- > 0;) {
    if (text[i + 1] == '\0' && is_space(text[i])) text[i] = '\0';
  }
}

const char* Settings::take(std::string_view name) {
  for (char* line = text_; line < text_ + size_; line += std::strlen(line) + 1) {
    if (std::strncmp(line, name.data(), name.size()) != 0 || line[name.size()] != '=') continue;
    *line = '#';
    return line + name.size() + 1;
  }
  return nullptr;
}

const char* Settings::left_over() const {
  for (const char* line = text_; line < text_ + size_; line += std::strlen(line) + 1) {
    if (*line != '\0' && *line != '#') return line;
  }
  return nullptr;
}

}  // namespace nextaddr
