// What is remembered of one address and port from earlier connects, and what follows from it: who
// is asked last for a while (parked, or silent a moment ago), and who asks a parked one again
// first. Pure: the clock and chance come in as arguments.
//
// Times are milliseconds since 1970 (CLOCK_REALTIME), because they are shared by all processes and
// read by people. A clock that is set back must not park anything for longer than
// kLongestParkingMs.
#pragma once

#include <cstdint>

namespace nextaddr {

// A failed address is asked last for this long, twice as long each time it fails again.
inline constexpr std::uint32_t kFirstParkingMs = 30'000;
inline constexpr std::uint32_t kLongestParkingMs = 120'000;
// Each parking is up to so much shorter or longer, so that a revived server is not met by everyone
// at once.
inline constexpr std::uint32_t kJitterPercent = 20;
// Who asks an address first after its parking has this long to find out.
inline constexpr std::uint32_t kClaimMs = 10'000;

struct AddressHealth {
  std::uint64_t until_ms = 0;    // parked until then, if it has failed
  std::uint64_t claimed_ms = 0;  // somebody asks it first since then, after its parking
  std::uint64_t updated_ms = 0;  // last change of anything here
  std::uint32_t rtt_us = 0;      // round-trip time, 0: not known
  std::uint32_t failures = 0;    // in a row; 0: not failing
  // It was silent for so long, then, and has not been heard of since; 0: never.
  std::uint32_t silent_ms = 0;
  std::uint64_t silent_at_ms = 0;
  friend bool operator==(const AddressHealth&, const AddressHealth&) = default;
};

// It has failed, or was silent, and has not been heard of since.
inline bool is_bad(const AddressHealth& health) {
  return health.failures != 0 || health.silent_ms != 0;
}

enum class AskOrder : std::uint8_t {
  kUsual,  // asked in its place
  kLast,   // parked, or somebody else is asking it first right now
  kClaim,  // its parking is over: whoever claims it asks it by a probe, and all ask it last
  // The same, and such a probe has come to nothing, because its program has ended before: whoever
  // claims it asks it in its place.
  kClaimInPlace,
};

AskOrder ask_order_of(const AddressHealth& health, std::uint64_t now_ms);

// One more failure. `first_parking_ms` is kFirstParkingMs but in tests; `chance` any random number.
void fail(AddressHealth& health, std::uint64_t now_ms, std::uint32_t first_parking_ms,
          std::uint32_t chance);
// It has answered, be it with an error.
void hear(AddressHealth& health);
void succeed(AddressHealth& health, std::uint64_t now_ms);
void claim(AddressHealth& health, std::uint64_t now_ms);

// A round trip took this long, or less (an event loop adds its own time). False when that changes
// too little to be worth a write.
bool note_rtt(AddressHealth& health, std::uint32_t rtt_us, std::uint64_t now_ms);

// It has been silent for so long. False when that is known already, and need not be written.
bool note_silence(AddressHealth& health, std::uint32_t silent_ms, std::uint64_t now_ms);

// It was silent a moment ago, for however short a time: it is asked last for kSilentForMs.
bool was_silent(const AddressHealth& health, std::uint64_t now_ms);
// The same, for so long that it is not asked by probes.
bool is_silent(const AddressHealth& health, std::uint64_t now_ms);

}  // namespace nextaddr
