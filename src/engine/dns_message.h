// The messages of the DNS (RFC 1035 section 4), as far as they tell which addresses a host has: a
// question for A (RFC 1035 section 3.4.1) or AAAA (RFC 3596), and the answer to it. Pure: no system
// call, no allocation. What is read comes from strangers, so nothing in it is trusted: every length
// is checked, pointers lead only backwards, and every walk ends.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "engine/address.h"
#include "engine/host_table.h"

namespace nextaddr {

enum class DnsType : std::uint16_t { kA = 1, kAaaa = 28 };

// One question of class IN. `name` is as in the message, labels with their lengths and the empty
// one that ends them (RFC 1035 section 3.1), at most 255 bytes without pointers: a view of it.
struct DnsQuestion {
  std::uint16_t id{};
  DnsType type{};
  std::string_view name;
  // Compares the name in its very letters, too, in upper and lower case: an answer repeats those
  // that were sent (0x20 bits).
  friend bool operator==(const DnsQuestion&, const DnsQuestion&) = default;
};

// Reads a query with one question that is for A or AAAA. False for everything else, answers
// included. What follows the question (EDNS, RFC 6891) is not looked at.
bool read_query(std::string_view message, DnsQuestion& out);

// The name as programs write it, without a dot at its end: a view of `buffer`. Empty for one that
// they cannot write so: a label has a dot, a space, a control character or no ASCII in it.
std::string_view text_of_name(std::string_view name, NameBuffer& buffer);

// An answer, of which every byte has been looked at: the counts are those of the records that are
// there, and nothing follows them.
class DnsAnswer {
 public:
  // False when this is no answer, or not one to a single question for A or AAAA, or it is cut off
  // or malformed. `message` must outlive what is asked of this.
  bool read(std::string_view message);

  // The question that it answers, with the id of the message, for callers to match against what was
  // asked.
  [[nodiscard]] const DnsQuestion& question() const { return question_; }

  // True when it says what the addresses are: it has no error code, and is not cut off by the
  // server (TC).
  [[nodiscard]] bool is_success() const { return success_; }
  // True when it says that there is no such name (NXDOMAIN), which no other server is asked about.
  [[nodiscard]] bool denies_name() const { return denies_name_; }

  // The next address of the answer section that the question leads to, by way of aliases (CNAME,
  // RFC 1034 section 3.6.2) in any order. False after the last one.
  bool next(Address& out);

 private:
  struct Record {
    std::size_t owner;  // where its name begins
    std::uint16_t type;
    std::uint16_t record_class;
    std::size_t data;
    std::size_t size;
  };
  bool skip_name(std::size_t& at) const;
  bool read_record(std::size_t& at, Record& out) const;
  [[nodiscard]] std::uint16_t number_at(std::size_t at) const;
  [[nodiscard]] bool same_name(std::size_t first, std::size_t second) const;
  bool is_on_chain(std::size_t name) const;
  void follow_aliases();

  // Far more than resolvers follow: most give up after eight to sixteen.
  static constexpr std::size_t kLongestChain = 17;

  std::string_view message_;
  DnsQuestion question_;
  bool success_ = false;
  bool denies_name_ = false;
  std::size_t records_ = 0;  // where the answer section begins
  std::uint16_t count_ = 0;  // how many records it has
  std::size_t at_ = 0;       // where next() goes on
  std::uint16_t left_ = 0;
  std::array<std::size_t, kLongestChain> chain_{};  // the names, the asked one first
  std::size_t chain_size_ = 0;
};

}  // namespace nextaddr
