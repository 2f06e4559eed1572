#include "engine/address.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netdb.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "known_addresses.h"
#include "noise.h"

namespace nextaddr {
namespace {

TEST(Address, ParsesAndFormats) {
  Address address;
  for (const char* same : {"192.0.2.1", "[2001:db8::1]", "[::1]"}) {
    ASSERT_TRUE(parse_address(same, address)) << same;
    EXPECT_EQ(text(address), same);
  }
  ASSERT_TRUE(parse_address("2001:db8::1", address));
  EXPECT_EQ(text(address), "[2001:db8::1]");
  for (const char* bad : {"", "1.2.3", "1.2.3.256", "host", "[1.2.3.4", "[1.2.3.4]", "::1]",
                          "1.2.3.4 ", "[]", ":::"}) {
    EXPECT_FALSE(parse_address(bad, address)) << bad;
  }
  EXPECT_FALSE(parse_address({}, address));
  EXPECT_FALSE(parse_address({"1.2.3.4\0.5", 10}, address)) << "more behind the terminator";
  EXPECT_FALSE(parse_address(std::string(500, '1'), address));
}

TEST(Address, WhatGetaddrinfoTakesForANumber) {
  std::mt19937 random(19);
  std::vector<std::string> texts{"3fa85f641234",
                                 "0x7f000001",
                                 "0X7F000001",
                                 "2130706433",
                                 "4294967295",
                                 "4294967296",
                                 "0xffffffff",
                                 "0x100000000",
                                 "037777777777",
                                 "040000000000",
                                 "10.1",
                                 "10.0x1000000",
                                 "10.16777215",
                                 "10.16777216",
                                 "1.2.65535",
                                 "1.2.65536",
                                 "1.2.3.255",
                                 "1.2.3.256",
                                 "1.2.3.4.5",
                                 "256.1",
                                 "08",
                                 "0x",
                                 "0x.1",
                                 "1.",
                                 ".1",
                                 "1..2",
                                 "0",
                                 "00",
                                 "010.010.1.1",
                                 "1.2.3.4 ",
                                 " 1.2.3.4",
                                 "-1",
                                 "+1",
                                 "12ab",
                                 "0b1",
                                 "a.1",
                                 "1.a",
                                 "::1",
                                 "::1%",
                                 "fe80::1%lo",
                                 "fe80::1%1",
                                 "[::1]",
                                 "::ffff:10.0.0.1",
                                 "::ffff:10.1",
                                 "1::2::3",
                                 "dead:beef",
                                 "00000000000010",
                                 "0x00000000000010",
                                 "web",
                                 "10.example"};
  for (int i = 0; i < 20'000; ++i) {
    constexpr std::string_view kLetters = "0123458f9xX...a:%";
    std::string text;
    for (std::size_t n = 1 + random() % 12; n > 0; --n)
      text += kLetters[random() % kLetters.size()];
    texts.push_back(text);
  }
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST;
  hints.ai_socktype = SOCK_STREAM;
  for (const std::string& text : texts) {
    addrinfo* result = nullptr;
    const bool taken = getaddrinfo(text.c_str(), nullptr, &hints, &result) == 0;
    if (taken) freeaddrinfo(result);
    // getaddrinfo(3) refuses devices that there are not; no name is looked up there either.
    if (text.find('%') != std::string::npos && !taken) continue;
    EXPECT_EQ(is_numeric(text), taken) << text;
  }
}

TEST(Address, MappedEqualsIpv4) {
  Address plain;
  Address mapped;
  ASSERT_TRUE(parse_address("192.0.2.1", plain));
  ASSERT_TRUE(parse_address("::ffff:192.0.2.1", mapped));
  EXPECT_EQ(plain, mapped);
  EXPECT_EQ(text(mapped), "192.0.2.1");
}

TEST(Address, ScopeTellsLinkLocalAddressesApart) {
  in6_addr bytes{};
  inet_pton(AF_INET6, "fe80::1", &bytes);
  EXPECT_FALSE(address_from_ipv6(&bytes, 2) == address_from_ipv6(&bytes, 3));
  EXPECT_EQ(text(address_from_ipv6(&bytes, 4294967295u)), "[fe80::1%4294967295]");
}

TEST(Address, SockaddrKeepsAddressPortAndScope) {
  sockaddr_in6 in{};
  in.sin6_family = AF_INET6;
  in.sin6_port = htons(443);
  in.sin6_flowinfo = 7;
  in.sin6_scope_id = 3;
  inet_pton(AF_INET6, "fe80::2", &in.sin6_addr);
  Endpoint endpoint;
  const auto* generic = reinterpret_cast<const sockaddr*>(&in);
  ASSERT_TRUE(read_sockaddr(generic, sizeof in, endpoint));
  sockaddr_storage out{};
  ASSERT_EQ(write_sockaddr(endpoint.address, endpoint, out), sizeof in);
  EXPECT_EQ(std::memcmp(&in, &out, sizeof in), 0);
  // RFC 2133's sockaddr_in6 ends before sin6_scope_id, and the kernel takes it.
  ASSERT_TRUE(read_sockaddr(generic, 24, endpoint));
  EXPECT_EQ(endpoint.address.scope, 0u);
  EXPECT_FALSE(read_sockaddr(generic, 23, endpoint));
  EXPECT_FALSE(read_sockaddr(generic, 0, endpoint));
  in.sin6_family = AF_UNIX;
  EXPECT_FALSE(read_sockaddr(generic, sizeof in, endpoint));
}

TEST(Address, ScopeOfOthersThanLinkLocalIsIgnoredAsTheKernelDoes) {
  for (const char* text : {"2001:db8::1", "::ffff:192.0.2.1"}) {
    sockaddr_in6 in{};
    in.sin6_family = AF_INET6;
    in.sin6_scope_id = 3;
    inet_pton(AF_INET6, text, &in.sin6_addr);
    Endpoint endpoint;
    Address looked_up;
    ASSERT_TRUE(read_sockaddr(reinterpret_cast<const sockaddr*>(&in), sizeof in, endpoint));
    ASSERT_TRUE(parse_address(text, looked_up));
    EXPECT_EQ(endpoint.address, looked_up) << text;
  }
}

TEST(Address, IsWrittenInTheFamilyOfTheSocket) {
  Address four;
  Address six;
  ASSERT_TRUE(parse_address("192.0.2.1", four));
  ASSERT_TRUE(parse_address("2001:db8::1", six));
  sockaddr_storage out{};
  EXPECT_EQ(write_sockaddr(four, {four, 0, htons(1), AF_INET}, out), sizeof(sockaddr_in));
  EXPECT_EQ(write_sockaddr(six, {four, 0, htons(1), AF_INET}, out), 0u);
  EXPECT_EQ(write_sockaddr(four, {six, 0, htons(1), AF_INET6}, out), sizeof(sockaddr_in6));
}

TEST(Address, IsParsedFromWhatever) {
  parse_noise([](const std::string& noise) {
    Address address;
    parse_address(noise, address);
  });
}

}  // namespace
}  // namespace nextaddr
