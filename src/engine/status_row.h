// What `nextaddr --status` shows of one address: a row of words, for people. Pure: the time is
// given. Must have no word that is empty or holds a control character, whatever the entry has.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "engine/address_memory.h"

namespace nextaddr {

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

}  // namespace nextaddr
