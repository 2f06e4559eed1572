// Messages of the DNS: what is a question, which addresses an answer leads to, and all that is to
// be taken for nothing.
#include "engine/dns_message.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace nextaddr {
namespace {

constexpr int kA = 1;
constexpr int kCname = 5;
constexpr int kAaaa = 28;

std::string number(int value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value & 0xff)};
}

std::string pointer(std::size_t at) { return number(0xc000 | static_cast<int>(at)); }

std::string name(const std::string& text) {
  std::string labels;
  for (std::size_t from = 0; from < text.size();) {
    const std::size_t end = std::min(text.find('.', from), text.size());
    labels += static_cast<char>(end - from) + text.substr(from, end - from);
    from = end + 1;
  }
  return labels + '\0';
}

std::string header(int flags, int questions, int answers, int others = 0) {
  return number(0x1234) + number(flags) + number(questions) + number(answers) + number(others) +
         number(0);
}

std::string question(const std::string& text, int type = kA) {
  return name(text) + number(type) + number(1);
}

std::string record(const std::string& owner, int type, const std::string& data, int of_class = 1) {
  return owner + number(type) + number(of_class) + number(0) + number(60) +
         number(static_cast<int>(data.size())) + data;
}

std::string address(int last) { return {'\xc0', '\x00', '\x02', static_cast<char>(last)}; }

std::string query(const std::string& text, int type = kA) {
  return header(0x0100, 1, 0) + question(text, type);
}

std::string answer(const std::string& asked, const std::vector<std::string>& records, int type = kA,
                   int flags = 0x8180) {
  std::string message = header(flags, 1, static_cast<int>(records.size())) + question(asked, type);
  for (const std::string& each : records) message += each;
  return message;
}

// The last bytes of a message's addresses; {-1}: it is no answer, {-2}: one without success.
std::vector<int> addresses(const std::string& message) {
  DnsAnswer read;
  if (!read.read(message)) return {-1};
  if (!read.is_success()) return {-2};
  std::vector<int> found;
  Address address;
  while (read.next(address)) {
    found.push_back(reinterpret_cast<const unsigned char*>(address.words.data())[15]);
  }
  return found;
}

using Numbers = std::vector<int>;

TEST(DnsQuery, IsOneQuestionForAddresses) {
  DnsQuestion read;
  const std::string message = query("Db.example.org", kAaaa);
  ASSERT_TRUE(read_query(message, read));
  EXPECT_EQ(read.id, 0x1234);
  EXPECT_EQ(read.type, DnsType::kAaaa);
  EXPECT_EQ(read.name, name("Db.example.org"));
  NameBuffer buffer;
  EXPECT_EQ(text_of_name(read.name, buffer), "Db.example.org");
  EXPECT_TRUE(read_query(message + "EDNS or whatever", read));
}

TEST(DnsQuery, NothingElseIsOne) {
  DnsQuestion read;
  const std::string good = query("db.example.org");
  for (std::size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(read_query(good.substr(0, size), read)) << size;
  }
  EXPECT_FALSE(read_query(header(0x8100, 1, 0) + question("db"), read)) << "an answer";
  EXPECT_FALSE(read_query(header(0x2800, 1, 0) + question("db"), read)) << "an update";
  EXPECT_FALSE(read_query(header(0x0100, 2, 0) + question("db") + question("db"), read));
  EXPECT_FALSE(read_query(header(0x0100, 0, 0), read));
  EXPECT_FALSE(read_query(query("db", 15), read)) << "MX";
  EXPECT_FALSE(read_query(header(0x0100, 1, 0) + name("db") + number(kA) + number(3), read));
  EXPECT_FALSE(read_query(header(0x0100, 1, 0) + pointer(12) + number(kA) + number(1), read));
  const std::string label(63, 'a');
  const std::string longest = label + '.' + label + '.' + label + '.';
  EXPECT_TRUE(read_query(query(longest + std::string(61, 'a')), read));
  EXPECT_FALSE(read_query(query(longest + std::string(62, 'a')), read));
}

TEST(DnsQuery, NamesThatNobodyWritesHaveNoText) {
  NameBuffer buffer;
  EXPECT_EQ(text_of_name(name("_xmpp.example-1.org"), buffer), "_xmpp.example-1.org");
  EXPECT_EQ(text_of_name(name(""), buffer), "");
  for (const std::string& odd : {std::string("\x03"
                                             "a.b\0",
                                             5),
                                 name("a b"), name("a\n"), name("\x7f"), name("\xc3\xa9")}) {
    EXPECT_EQ(text_of_name(odd, buffer), "") << odd;
  }
  EXPECT_EQ(text_of_name("\5ab", buffer), "") << "cut off";
}

TEST(DnsAnswer, HasTheAddressesOfTheQuestion) {
  const std::string db = pointer(12);
  EXPECT_EQ(
      addresses(answer("db.example.org",
                       {record(db, kA, address(1)), record(name("DB.example.ORG"), kA, address(2)),
                        record(name("other"), kA, address(3)), record(db, kA, address(4), 3),
                        record(db, 16, "text"), record(db, kAaaa, std::string(16, 'x'))})),
      (Numbers{1, 2}));
  EXPECT_EQ(addresses(answer("db", {record(db, kAaaa, std::string(15, '\0') + '\7')}, kAaaa)),
            (Numbers{7}));
  EXPECT_EQ(addresses(answer("db", {})), Numbers{});
}

TEST(DnsAnswer, KeepsTheLettersOfTheQuestion) {
  DnsAnswer read;
  DnsQuestion asked;
  const std::string message = query("dB.eXample");
  ASSERT_TRUE(read_query(message, asked));
  const std::string same = answer("dB.eXample", {});
  ASSERT_TRUE(read.read(same));
  EXPECT_EQ(read.question(), asked);
  for (const std::string& other : {answer("db.example", {}), answer("dB.eXample", {}, kAaaa),
                                   answer("dB.eXampl", {}), "xx" + same.substr(2)}) {
    ASSERT_TRUE(read.read(other));
    EXPECT_NE(read.question(), asked);
  }
}

TEST(DnsAnswer, FollowsAliasesInAnyOrder) {
  const std::vector<std::string> records = {
      record(name("c"), kA, address(3)), record(name("b"), kCname, name("C")),
      record(name("B"), kA, address(2)), record(pointer(12), kCname, name("b")),
      record(name("d"), kA, address(4)), record(name("x"), kCname, name("d"))};
  EXPECT_EQ(addresses(answer("a", records)), (Numbers{3, 2}));
}

TEST(DnsAnswer, LoopsAndLongChainsEnd) {
  EXPECT_EQ(addresses(answer(
                "a", {record(name("a"), kCname, name("b")), record(name("b"), kCname, name("a")),
                      record(name("b"), kA, address(1))})),
            (Numbers{1}));
  EXPECT_EQ(addresses(answer(
                "a", {record(name("a"), kCname, pointer(12)), record(name("a"), kA, address(1))})),
            (Numbers{1}));
  std::vector<std::string> chain;
  for (int i = 0; i < 40; ++i) {
    chain.push_back(
        record(name("a" + std::to_string(i)), kCname, name("a" + std::to_string(i + 1))));
  }
  chain.push_back(record(name("a40"), kA, address(1)));
  EXPECT_EQ(addresses(answer("a0", chain)), Numbers{});
  EXPECT_EQ(addresses(answer("a30", chain)), (Numbers{1}));
}

TEST(DnsAnswer, PointersLeadOnlyBackwards) {
  // The first record begins behind the header and the question, seven bytes for "a".
  const std::size_t first = 12 + 7;
  const auto with_owner = [](const std::string& owner) {
    return addresses(answer("a", {record(owner, kA, address(1))}));
  };
  EXPECT_EQ(with_owner(pointer(12)), (Numbers{1}));
  for (const std::size_t bad :
       {std::size_t{0}, std::size_t{11}, first, first + 1, first + 20, std::size_t{0x3fff}}) {
    EXPECT_EQ(with_owner(pointer(bad)), Numbers{-1}) << bad;
  }
  // A label, and a pointer to that label.
  EXPECT_EQ(with_owner("\1b" + pointer(first)), Numbers{-1});
  EXPECT_EQ(with_owner("\1b" + pointer(12)), Numbers{});
  for (const char kind : {'\x40', '\x80'}) {
    EXPECT_EQ(with_owner(std::string(1, kind) + '\0'), Numbers{-1});
  }
  // A name that pointers make longer than 255 bytes.
  std::string parts = name(std::string(63, 'a'));
  std::string records = record(parts, 16, "");
  std::vector<std::string> all{records};
  std::size_t at = first;
  for (int i = 0; i < 4; ++i) {
    const std::string longer = std::string(1, '\x3f') + std::string(63, 'b') + pointer(at);
    at += all.back().size();
    all.push_back(record(longer, 16, ""));
  }
  EXPECT_EQ(addresses(answer("a", all)), Numbers{-1});
  all.pop_back();
  all.pop_back();
  EXPECT_EQ(addresses(answer("a", all)), Numbers{});
}

TEST(DnsAnswer, WhatIsCutOffOrMiscountedIsNone) {
  const std::string good =
      answer("db", {record(pointer(12), kA, address(1)), record(pointer(12), kA, address(2))});
  for (std::size_t size = 0; size < good.size(); ++size) {
    EXPECT_EQ(addresses(good.substr(0, size)), Numbers{-1}) << size;
  }
  EXPECT_EQ(addresses(good + '\0'), Numbers{-1});
  const std::string body = good.substr(12);
  EXPECT_EQ(addresses(header(0x8180, 1, 3) + body), Numbers{-1});
  EXPECT_EQ(addresses(header(0x8180, 1, 1) + body), Numbers{-1});
  EXPECT_EQ(addresses(header(0x8180, 1, 1, 1) + body), Numbers{1});
  EXPECT_EQ(addresses(header(0x8180, 0, 2) + body), Numbers{-1});
  EXPECT_EQ(addresses(header(0x8180, 2, 2) + body), Numbers{-1});
  EXPECT_EQ(addresses(answer("db", {record(pointer(12), kA, "123")})), Numbers{-1});
  EXPECT_EQ(addresses(answer("db", {record(pointer(12), kCname, name("b") + "junk")})),
            Numbers{-1});
}

TEST(DnsAnswer, OnlySuccessTellsAddresses) {
  const auto with_flags = [](int flags) {
    return addresses(answer("db", {record(pointer(12), kA, address(1))}, kA, flags));
  };
  EXPECT_EQ(with_flags(0x8180), Numbers{1});
  EXPECT_EQ(with_flags(0x8580), Numbers{1}) << "authoritative";
  EXPECT_EQ(with_flags(0x0180), Numbers{-1}) << "a query";
  EXPECT_EQ(with_flags(0xa880), Numbers{-1}) << "of an update";
  EXPECT_EQ(with_flags(0x8380), Numbers{-2}) << "truncated";
  for (const int error : {1, 2, 3, 5, 15}) {
    EXPECT_EQ(with_flags(0x8180 | error), Numbers{-2});
    DnsAnswer read;
    ASSERT_TRUE(read.read(answer("db", {}, kA, 0x8180 | error)));
    EXPECT_EQ(read.denies_name(), error == 3) << "no other server knows better";
  }
}

}  // namespace
}  // namespace nextaddr
