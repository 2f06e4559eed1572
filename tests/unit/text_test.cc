// The parsers of the engine: addresses, host patterns, given names, the configuration file; and the
// meaning of errors.
#include "engine/text.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netdb.h>

#include <cerrno>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "engine/address.h"
#include "engine/host_filter.h"
#include "engine/outcome.h"
#include "engine/settings.h"
#include "engine/static_hosts.h"

namespace nextaddr {
namespace {

std::string text(const Address& address) {
  char out[kAddressTextSize];
  return {out, format_address(address, out)};
}

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

TEST(HostFilter, GlobsMatchWhatTheyShould) {
  EXPECT_TRUE(matches_glob("*", ""));
  EXPECT_TRUE(matches_glob("*.example.com", "db.EXAMPLE.com"));
  EXPECT_FALSE(matches_glob("*.example.com", "example.com"));
  EXPECT_TRUE(matches_glob("db?.*", "db7.internal"));
  EXPECT_TRUE(matches_glob("db[0-4]", "db3"));
  EXPECT_FALSE(matches_glob("db[0-4]", "db5"));
  EXPECT_TRUE(matches_glob("db[!0-4]", "db5"));
  EXPECT_TRUE(matches_glob("a*b*c", "aXbbYc"));
  EXPECT_FALSE(matches_glob("a*b*c", "aXbbY"));
  EXPECT_TRUE(matches_glob("a[", "a["));
  EXPECT_TRUE(matches_glob("b[a-\xff]r.example", "b\xe4r.example")) << "bytes have no sign";
  EXPECT_FALSE(matches_glob("", "a"));
}

TEST(HostFilter, OnlyAndSkipLeaveHostsAlone) {
  const HostFilter filter("*.example.com,db:5432", "old.example.com, *.example.com:25");
  EXPECT_FALSE(filter.leaves_alone("www.example.com", 80));
  EXPECT_FALSE(filter.leaves_alone("www.example.com.", 80));
  EXPECT_TRUE(filter.leaves_alone("old.example.com", 80));
  EXPECT_TRUE(filter.leaves_alone("db", 80));
  EXPECT_FALSE(filter.leaves_alone("db", 5432));
  EXPECT_TRUE(filter.leaves_alone("other", 80));
  EXPECT_FALSE(filter.leaves_alone("db", 0)) << "not on every port";
  EXPECT_FALSE(HostFilter({}, "x:25").leaves_alone("x", 0));
  EXPECT_TRUE(HostFilter({}, "x:25").leaves_alone("x", 25));
  EXPECT_TRUE(HostFilter({}, "*").leaves_alone("x", 0));
  EXPECT_FALSE(HostFilter().leaves_alone("x", 80));
}

TEST(GivenNames, FindsAndAddsUp) {
  const std::string rules = "a=192.0.2.1,::1;bad=1.2.3;A.=[2001:db8::1];b=192.0.2.9";
  AddressList list;
  ASSERT_TRUE(find_given_name(rules, "a", list));
  ASSERT_EQ(list.size(), 3u);
  EXPECT_EQ(text(list[0]), "192.0.2.1");
  EXPECT_EQ(text(list[1]), "[::1]");
  EXPECT_EQ(text(list[2]), "[2001:db8::1]");
  AddressList none;
  for (const char* missing : {"bad", "", "c"}) EXPECT_FALSE(find_given_name(rules, missing, none));
  EXPECT_FALSE(given_names_valid(rules));
  EXPECT_TRUE(given_names_valid("a=192.0.2.1;b=::1"));
  for (const char* bad : {"a", "a=", "=::1", "a=::1,", "a=,::1", "a=b"}) {
    EXPECT_FALSE(given_names_valid(bad)) << bad;
    EXPECT_FALSE(find_given_name(bad, "a", none)) << bad;
  }
}

TEST(Parsers, SurviveRandomText) {
  std::mt19937 random(3);
  constexpr char kAlphabet[] = "ab.:,;=*?[]!-0129%/ \xff";
  for (int i = 0; i < 100'000; ++i) {
    std::string noise;
    for (std::size_t n = random() % 24; n > 0; --n)
      noise += kAlphabet[random() % (sizeof kAlphabet - 1)];
    AddressList list;
    Address address;
    find_given_name(noise, "a", list);
    given_names_valid(noise);
    parse_address(noise, address);
    matches_glob(noise, "a.b-0");
    static_cast<void>(HostFilter(noise, noise).leaves_alone("ab", 0));
  }
}

TEST(Text, NumbersAreReadAndWrittenWithinTheirRange) {
  std::uint32_t value = 7;
  EXPECT_TRUE(parse_number("65535", 65535, value));
  EXPECT_EQ(value, 65535u);
  for (const char* bad : {"", "-1", "65536", "1x", " 1", "99999999999"}) {
    EXPECT_FALSE(parse_number(bad, 65535, value)) << bad;
  }
  EXPECT_EQ(value, 65535u);
}

// A file, with room for the zero at its end.
struct SettingsFile {
  explicit SettingsFile(std::string written)
      : size(written.size()), text(std::move(written) + "x"), settings(text.data(), size) {}
  std::string taken(const char* name) {
    const char* value = settings.take(name);
    return value != nullptr ? value : "none";
  }
  [[nodiscard]] std::string left_over() const {
    const char* line = settings.left_over();
    return line != nullptr ? line : "none";
  }
  std::size_t size;
  std::string text;
  Settings settings;
};

TEST(Settings, LinesCommentsAndWhiteSpace) {
  SettingsFile file("# a comment\n\n  \t\nA=1\r\n \tB = 2\n\tC=x y \n#D=4\nE=\nF==#5");
  EXPECT_EQ(file.taken("A"), "1");
  EXPECT_EQ(file.taken("B"), "none") << "white space is not to be around the =";
  EXPECT_EQ(file.taken("C"), "x y");
  EXPECT_EQ(file.taken("D"), "none");
  EXPECT_EQ(file.taken("E"), "");
  EXPECT_EQ(file.taken("F"), "=#5");
  EXPECT_EQ(file.taken("A comment"), "none");
  EXPECT_EQ(file.left_over(), "B = 2");
}

TEST(Settings, WhatNobodyTakesIsLeftOver) {
  SettingsFile file("A=1\nAB=2\nA=3\n");
  EXPECT_EQ(file.left_over(), "A=1");
  EXPECT_EQ(file.taken("AB"), "2");
  EXPECT_EQ(file.taken("A"), "1");
  EXPECT_EQ(file.left_over(), "A=3") << "said twice";
  for (const char* text : {"", "\n", "#", " # A=1", "\r\n\r\n"}) {
    SettingsFile nothing(text);
    EXPECT_EQ(nothing.taken("A"), "none") << text;
    EXPECT_EQ(nothing.left_over(), "none") << text;
  }
  EXPECT_EQ(Settings().take("A"), nullptr);
  EXPECT_EQ(Settings().left_over(), nullptr);
}

TEST(Outcome, WhatMovesOn) {
  for (const int error : {ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, EHOSTDOWN, ENETUNREACH, ENETDOWN,
                          EADDRNOTAVAIL, EACCES, EPERM, EINVAL}) {
    EXPECT_TRUE(moves_on(error)) << error;
  }
  for (const int error : {0, ECONNRESET, EBADF, ENOTSOCK, EFAULT, EISCONN, EALREADY, EAFNOSUPPORT,
                          EINTR, EAGAIN, ENOBUFS, ENOMEM, EINPROGRESS, 9999}) {
    EXPECT_FALSE(moves_on(error)) << error;
  }
  EXPECT_EQ(outcome_word(ECONNREFUSED), "refused");
  EXPECT_EQ(error_name(EHOSTUNREACH), "EHOSTUNREACH");
  EXPECT_EQ(error_name(9999), "errno");
}

}  // namespace
}  // namespace nextaddr
