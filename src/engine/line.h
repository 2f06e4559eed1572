// A line of the log under construction, in place; 6 KiB, never on a stack (log/report.cc). What
// does not fit is cut, its newline never. It has no other control character: a name from outside
// must not begin a line of its own, nor move the cursor of a terminal. Pure, no allocation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "engine/address.h"

namespace nextaddr {

class Line {
 public:
  void clear() { length_ = 0; }
  Line& operator<<(std::string_view text);
  Line& operator<<(std::uint64_t number);
  Line& operator<<(const Address& address);

  // Ends the line: all of it, with its newline.
  std::string_view end();

 private:
  // The longest JSON line (engine/json.h) of a connect, with a long host name, is about 5,000
  // bytes.
  std::array<char, 6144> text_{};
  std::size_t length_ = 0;
};

}  // namespace nextaddr
