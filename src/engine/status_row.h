// What `nextaddr --status` shows of one address. Pure: the time is given.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "engine/address_memory.h"

namespace nextaddr {

// A row of words, for people. Must have no word that is empty or holds a control character,
// whatever the entry has.
class StatusRow {
 public:
  static constexpr std::size_t kColumns = 6;

  static constexpr char kHeads[kColumns][9] = {"HOST",  "ADDRESS",  "PORT",
                                               "STATE", "FAILURES", "RTT"};

  StatusRow(const AddressEntry& entry, std::uint64_t now_ms);

  const char* operator[](std::size_t column) const { return words_[column].data(); }

 private:
  std::array<std::array<char, 72>, kColumns> words_;
};

// The same for programs.
struct StatusValues {
  StatusValues(const AddressEntry& entry, std::uint64_t now_ms);

  std::array<char, 136> host{};                  // as write_quoted() has it; "": not known
  std::array<char, kAddressTextSize> address{};  // without the brackets of IPv6
  const char* state;                             // the same words as for people, without a time
  std::uint64_t parked_ms;                       // for how much longer; 0: it is not parked
};

// Writes a text as it may stand between double quotes in JSON as well as in OpenMetrics, and a zero
// behind it. What is not printable ASCII becomes a question mark, because nothing tells in which
// encoding it is. What does not fit is cut.
void write_quoted(std::string_view text, char* out, std::size_t room);

}  // namespace nextaddr
