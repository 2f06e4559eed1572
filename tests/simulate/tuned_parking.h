// The rules of engine/parking.h with other numbers, to see what these numbers do. The rules are the
// engine's own source, compiled once more with each set of constants: never a copy of it.
#pragma once

#include "engine/parking.h"

namespace simulate {

struct Parking {
  nextaddr::AskOrder (*ask_order_of)(const nextaddr::AddressHealth&, std::uint64_t);
  void (*fail)(nextaddr::AddressHealth&, std::uint64_t, std::uint32_t, std::uint32_t);
};

inline constexpr Parking kParking{nextaddr::ask_order_of, nextaddr::fail};
extern const Parking kNoJitter, kJitter10, kJitter50;
extern const Parking kLongest1Min, kLongest5Min, kLongest10Min;
extern const Parking kClaim2Seconds, kClaim30Seconds;

}  // namespace simulate
