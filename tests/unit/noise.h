// Text that means nothing much, for the tests of parsers.
#pragma once

#include <cstddef>
#include <random>
#include <string>

namespace nextaddr {

// Calls `parse` with many texts of the characters that mean something to one.
template <typename Parse>
void parse_noise(Parse parse) {
  std::mt19937 random(3);
  constexpr char kAlphabet[] = "ab.:,;=*?[]!-0129%/ \xff";
  for (int i = 0; i < 100'000; ++i) {
    std::string noise;
    for (std::size_t n = random() % 24; n > 0; --n)
      noise += kAlphabet[random() % (sizeof kAlphabet - 1)];
    parse(noise);
  }
}

}  // namespace nextaddr
