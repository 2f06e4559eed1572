#include "engine/status_row.h"

#include <cstdio>

namespace nextaddr {
namespace {

using Word = std::array<char, 72>;

void put_state(Word& word, const AddressHealth& health, std::uint64_t now_ms) {
  const auto seconds = [](std::uint64_t milliseconds) {
    return static_cast<unsigned long long>(milliseconds / 1000);
  };
  if (health.failures == 0 && was_silent(health, now_ms)) {
    std::snprintf(word.data(), word.size(), "silent %llu s ago",
                  seconds(now_ms - health.silent_at_ms));
  } else if (health.failures == 0) {
    std::snprintf(word.data(), word.size(), "well");
  } else if (health.until_ms > now_ms) {
    // Rounded up, so that nothing is parked for 0 s.
    std::snprintf(word.data(), word.size(), "parked for %llu s",
                  seconds(health.until_ms - now_ms + 999));
  } else {
    std::snprintf(word.data(), word.size(),
                  health.claimed_ms >= health.until_ms ? "being asked again" : "to be asked again");
  }
}

}  // namespace

StatusRow::StatusRow(const AddressEntry& entry, std::uint64_t now_ms) {
  const AddressHealth& health = entry.health;
  char address[kAddressTextSize];
  const auto length = static_cast<int>(format_address(entry.key.address, address));
  std::snprintf(words_[0].data(), words_[0].size(), "%s",
                entry.host[0] == '\0' ? "-" : entry.host.data());
  std::snprintf(words_[1].data(), words_[1].size(), "%.*s", length, address);
  std::snprintf(words_[2].data(), words_[2].size(), "%u", unsigned{entry.key.port});
  put_state(words_[3], health, now_ms);
  std::snprintf(words_[4].data(), words_[4].size(), "%u", health.failures);
  const std::uint32_t tenths = health.rtt_us / 100 + (health.rtt_us % 100 >= 50 ? 1 : 0);
  std::snprintf(words_[5].data(), words_[5].size(), health.rtt_us == 0 ? "-" : "%u.%u ms",
                tenths / 10, tenths % 10);
}

}  // namespace nextaddr
