#include "engine/status_row.h"

#include <cstdio>

#include "engine/text.h"

namespace nextaddr {
namespace {

using Word = std::array<char, 72>;

enum class State : std::uint8_t { kWell, kSilent, kParked, kAskedAgain, kToBeAsked };
constexpr ShortText<18> kStates[] = {
    {"well"}, {"silent"}, {"parked"}, {"being asked again"}, {"to be asked again"}};

State state_of(const AddressHealth& health, std::uint64_t now_ms) {
  if (health.failures == 0) return was_silent(health, now_ms) ? State::kSilent : State::kWell;
  if (health.until_ms > now_ms) return State::kParked;
  return health.claimed_ms >= health.until_ms ? State::kAskedAgain : State::kToBeAsked;
}

const char* text_of(State state) { return kStates[static_cast<std::size_t>(state)].bytes; }

void put_state(Word& word, const AddressHealth& health, std::uint64_t now_ms) {
  const auto put = [&](const char* format, std::uint64_t milliseconds) {
    std::snprintf(word.data(), word.size(), format,
                  static_cast<unsigned long long>(milliseconds / 1000));
  };
  const State state = state_of(health, now_ms);
  if (state == State::kSilent) {
    put("silent %llu s ago", now_ms - health.silent_at_ms);
  } else if (state == State::kParked) {
    // Rounded up, so that nothing is parked for 0 s.
    put("parked for %llu s", health.until_ms - now_ms + 999);
  } else {
    put(text_of(state), 0);
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

StatusValues::StatusValues(const AddressEntry& entry, std::uint64_t now_ms)
    : state(text_of(state_of(entry.health, now_ms))),
      parked_ms(state_of(entry.health, now_ms) == State::kParked ? entry.health.until_ms - now_ms
                                                                 : 0) {
  write_quoted(entry.host_name(), host.data(), host.size());
  char text[kAddressTextSize];
  const std::size_t size = format_address(entry.key.address, text);
  const std::size_t bracket = entry.key.address.is_ipv4() ? 0 : 1;
  write_quoted(slice({text, size}, bracket, size - bracket), address.data(), address.size());
}

void write_quoted(std::string_view text, char* out, std::size_t room) {
  for (const char c : text) {
    const bool escaped = c == '"' || c == '\\';
    if (room < 3) break;
    if (escaped) *out++ = '\\';
    *out++ = c >= ' ' && c < 0x7f ? c : '?';
    room -= escaped ? 2 : 1;
  }
  *out = '\0';
}

}  // namespace nextaddr
