#include "engine/line.h"

#include <algorithm>

#include "engine/text.h"

namespace nextaddr {

Line& Line::operator<<(std::string_view text) {
  const std::size_t room = text_.size() - 1 - length_;
  const std::size_t size = std::min(room, text.size());
  for (const char c : slice(text, 0, size)) {
    const auto byte = static_cast<unsigned char>(c);
    text_[length_++] = byte < 0x20 || byte == 0x7f ? '?' : c;
  }
  return *this;
}

Line& Line::operator<<(std::uint64_t number) {
  NumberText digits;
  return *this << format_number(number, digits);
}

Line& Line::operator<<(const Address& address) {
  char text[kAddressTextSize];
  return *this << std::string_view(text, format_address(address, text));
}

std::string_view Line::end() {
  text_[length_++] = '\n';
  return {text_.data(), length_};
}

}  // namespace nextaddr
