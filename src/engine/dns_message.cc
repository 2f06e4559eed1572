#include "engine/dns_message.h"

#include "engine/text.h"

namespace nextaddr {
namespace {

// RFC 1035 section 4.1.1.
constexpr std::size_t kHeader = 12;
constexpr std::uint16_t kIsAnswer = 0x8000;
constexpr std::uint16_t kOpcode = 0x7800;
constexpr std::uint16_t kTruncated = 0x0200;
constexpr std::uint16_t kErrorCode = 0x000f;
constexpr std::uint16_t kNoSuchName = 3;
constexpr std::uint16_t kClassIn = 1;
constexpr std::uint16_t kAlias = 5;
constexpr std::size_t kQuestionTail = 4;  // type and class
constexpr std::size_t kRecordTail = 10;   // type, class, time to live, length of what follows
constexpr std::size_t kLongestName = 255;
constexpr std::size_t kLongestLabel = 63;

std::size_t byte_at(std::string_view text, std::size_t at) {
  return static_cast<unsigned char>(text[at]);
}

std::uint16_t number_in(std::string_view text, std::size_t at) {
  return static_cast<std::uint16_t>(byte_at(text, at) << 8 | byte_at(text, at + 1));
}

bool is_pointer(std::size_t length) { return length >= 0xc0; }

// Reads a question section of one question, whose name has nothing before it to point at. `end` is
// where the section ends.
bool read_question(std::string_view message, DnsQuestion& out, std::size_t& end) {
  std::size_t at = kHeader;
  while (at < message.size() && byte_at(message, at) != 0) {
    if (byte_at(message, at) > kLongestLabel) return false;
    at += byte_at(message, at) + 1;
  }
  ++at;
  if (at > message.size() || message.size() - at < kQuestionTail || at - kHeader > kLongestName) {
    return false;
  }
  const auto type = static_cast<DnsType>(number_in(message, at));
  if (type != DnsType::kA && type != DnsType::kAaaa) return false;
  if (number_in(message, at + 2) != kClassIn) return false;
  out = {number_in(message, 0), type, slice(message, kHeader, at)};
  end = at + kQuestionTail;
  return true;
}

}  // namespace

bool read_query(std::string_view message, DnsQuestion& out) {
  if (message.size() < kHeader || number_in(message, 4) != 1) return false;
  if ((number_in(message, 2) & (kIsAnswer | kOpcode)) != 0) return false;
  std::size_t end = 0;
  return read_question(message, out, end);
}

std::string_view text_of_name(std::string_view name, NameBuffer& buffer) {
  std::size_t size = 0;
  std::size_t at = 0;
  while (at < name.size() && byte_at(name, at) != 0) {
    const std::size_t end = at + 1 + byte_at(name, at);
    if (end >= name.size() || size + end - at > buffer.size()) return {};
    if (size != 0) buffer[size++] = '.';
    for (++at; at < end; ++at) {
      const char c = name[at];
      if (c <= ' ' || c == '.' || c == 0x7f) return {};
      buffer[size++] = c;
    }
  }
  return {buffer.data(), size};
}

std::uint16_t DnsAnswer::number_at(std::size_t at) const { return number_in(message_, at); }

// Moves `at` behind the name there. False when the name is malformed, in the places that its
// pointers lead to as well (RFC 1035 section 4.1.4): each leads further back than all before, so
// there are no loops.
bool DnsAnswer::skip_name(std::size_t& at) const {
  std::size_t here = at;
  std::size_t first = at;  // of the labels that are read now
  std::size_t size = 1;
  bool jumped = false;
  for (;;) {
    if (here >= message_.size()) return false;
    const std::size_t length = byte_at(message_, here);
    if (is_pointer(length)) {
      if (message_.size() - here < 2) return false;
      const std::size_t target = number_at(here) & 0x3fffu;
      if (!jumped) at = here + 2;
      jumped = true;
      if (target < kHeader || target >= first) return false;
      here = first = target;
      continue;
    }
    if (length > kLongestLabel) return false;
    if (length == 0) break;
    size += length + 1;
    if (size > kLongestName) return false;
    here += length + 1;
  }
  if (!jumped) at = here + 1;
  return true;
}

bool DnsAnswer::read_record(std::size_t& at, Record& out) const {
  out.owner = at;
  if (!skip_name(at) || message_.size() - at < kRecordTail) return false;
  out.type = number_at(at);
  out.record_class = number_at(at + 2);
  out.size = number_at(at + 8);
  out.data = at + kRecordTail;
  if (message_.size() - out.data < out.size) return false;
  at = out.data + out.size;
  if (out.record_class != kClassIn) return true;
  if (out.type == static_cast<std::uint16_t>(DnsType::kA)) return out.size == 4;
  if (out.type == static_cast<std::uint16_t>(DnsType::kAaaa)) return out.size == 16;
  if (out.type == kAlias) {
    std::size_t end = out.data;
    return skip_name(end) && end == at;
  }
  return true;
}

// True when two names, which skip_name() has found well formed, have the same letters in any case
// (RFC 4343).
bool DnsAnswer::same_name(std::size_t first, std::size_t second) const {
  for (;;) {
    while (is_pointer(byte_at(message_, first))) first = number_at(first) & 0x3fffu;
    while (is_pointer(byte_at(message_, second))) second = number_at(second) & 0x3fffu;
    if (first == second) return true;
    const std::size_t length = byte_at(message_, first);
    if (length != byte_at(message_, second)) return false;
    if (length == 0) return true;
    for (std::size_t i = 1; i <= length; ++i) {
      if (lower_case(message_[first + i]) != lower_case(message_[second + i])) return false;
    }
    first += length + 1;
    second += length + 1;
  }
}

bool DnsAnswer::is_on_chain(std::size_t name) const {
  for (std::size_t i = 0; i < chain_size_; ++i) {
    if (same_name(chain_[i], name)) return true;
  }
  return false;
}

void DnsAnswer::follow_aliases() {
  chain_[0] = kHeader;
  chain_size_ = 1;
  for (bool found = true; found && chain_size_ < kLongestChain;) {
    found = false;
    std::size_t at = records_;
    Record record{};
    for (std::uint16_t i = 0; i < count_ && read_record(at, record); ++i) {
      if (record.type != kAlias || record.record_class != kClassIn) continue;
      if (!same_name(chain_[chain_size_ - 1], record.owner) || is_on_chain(record.data)) continue;
      chain_[chain_size_++] = record.data;
      found = true;
      break;
    }
  }
}

bool DnsAnswer::read(std::string_view message) {
  message_ = message;
  if (message.size() < kHeader || number_at(4) != 1) return false;
  const std::uint16_t flags = number_at(2);
  if ((flags & (kIsAnswer | kOpcode)) != kIsAnswer) return false;
  std::size_t at = 0;
  if (!read_question(message, question_, at)) return false;
  success_ = (flags & (kTruncated | kErrorCode)) == 0;
  denies_name_ = (flags & kErrorCode) == kNoSuchName;
  records_ = at_ = at;
  count_ = left_ = number_at(6);
  const std::size_t all = std::size_t{count_} + number_at(8) + number_at(10);
  Record record{};
  for (std::size_t i = 0; i < all; ++i) {
    if (!read_record(at, record)) return false;
  }
  if (at != message.size()) return false;
  follow_aliases();
  return true;
}

bool DnsAnswer::next(Address& out) {
  Record record{};
  while (left_ != 0 && read_record(at_, record)) {
    --left_;
    if (record.record_class != kClassIn ||
        record.type != static_cast<std::uint16_t>(question_.type)) {
      continue;
    }
    if (!is_on_chain(record.owner)) continue;
    const char* bytes = message_.data() + record.data;
    out = question_.type == DnsType::kA ? address_from_ipv4(bytes) : address_from_ipv6(bytes, 0);
    return true;
  }
  return false;
}

}  // namespace nextaddr
