// Addresses as tests write them, and as they read them again.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "engine/address.h"

namespace nextaddr {

inline Address address(const char* text) {
  Address parsed;
  EXPECT_TRUE(parse_address(text, parsed)) << text;
  return parsed;
}

inline Address ipv4(std::uint32_t number) {
  const std::uint32_t bytes = htonl(number);
  return address_from_ipv4(&bytes);
}

inline std::string text(const Address& address) {
  char out[kAddressTextSize];
  return {out, format_address(address, out)};
}

}  // namespace nextaddr
