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

// A failed address is asked last for this long, and twice as long each time it fails again, up to
// kLongestParkingMs.
inline constexpr std::uint32_t kFirstParkingMs = 30'000;
inline constexpr std::uint32_t kLongestParkingMs = 120'000;
// Each parking is up to this much shorter or longer, so that a revived server is not met by
// everyone at once.
inline constexpr std::uint32_t kJitterPercent = 20;
// Whoever asks an address first after its parking has this long to find out how it is.
inline constexpr std::uint32_t kClaimMs = 10'000;

struct AddressHealth {
  std::uint64_t until_ms = 0;    // parked until then, if it has failed
  std::uint64_t claimed_ms = 0;  // when somebody last claimed to ask it first after a parking
  std::uint64_t updated_ms = 0;  // last change of anything here
  std::uint32_t rtt_us = 0;      // round-trip time, 0: not known
  std::uint32_t failures = 0;    // in a row; 0: not failing
  // How long it was silent, at silent_at_ms, if it has not been heard of since; 0: it was not, or
  // has been heard of.
  std::uint32_t silent_ms = 0;
  std::uint64_t silent_at_ms = 0;
  friend bool operator==(const AddressHealth&, const AddressHealth&) = default;
};

// True when the address has failed, or was silent, and has not been reached since.
inline bool is_bad(const AddressHealth& health) {
  return health.failures != 0 || health.silent_ms != 0;
}

enum class AskOrder : std::uint8_t {
  kUsual,  // asked in its place
  kLast,   // parked, or somebody else is asking it first right now
  kClaim,  // its parking is over: whoever claims it asks it by a probe, and all ask it last
  // The same, but an earlier claim came to nothing, because its program ended before the probe did:
  // whoever claims the address asks it in its place.
  kClaimInPlace,
};

// How the address is to be asked now.
AskOrder ask_order_of(const AddressHealth& health, std::uint64_t now_ms);

// Notes one more failure, which parks the address. `first_parking_ms` is kFirstParkingMs but in
// tests; `chance` is any random number.
void fail(AddressHealth& health, std::uint64_t now_ms, std::uint32_t first_parking_ms,
          std::uint32_t chance);
// Notes that the address has answered, be it with an error: it is not silent.
void hear(AddressHealth& health);
// Notes that the address was reached: it neither fails nor is silent.
void succeed(AddressHealth& health, std::uint64_t now_ms);
// Notes that the caller asks the address first after its parking (AskOrder::kClaim).
void claim(AddressHealth& health, std::uint64_t now_ms);

// Notes that a round trip took `rtt_us`, or less (an event loop adds its own time). False when that
// changes too little to be worth a write.
bool note_rtt(AddressHealth& health, std::uint32_t rtt_us, std::uint64_t now_ms);

// Notes that the address has been silent for `silent_ms`. False when that is known already, and
// need not be written.
bool note_silence(AddressHealth& health, std::uint32_t silent_ms, std::uint64_t now_ms);

// True when the address was silent within the last kSilentForMs, for however short a time: it is
// asked last.
bool was_silent(const AddressHealth& health, std::uint64_t now_ms);
// The same, if it was silent for kSilentMs or more: it is not asked by probes.
bool is_silent(const AddressHealth& health, std::uint64_t now_ms);

}  // namespace nextaddr
