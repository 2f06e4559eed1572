#include "memory/record.h"

#include <algorithm>
#include <cstring>

#include "engine/text.h"

namespace nextaddr {
namespace {

constexpr std::string_view kHeader = "nextaddr memory ";
constexpr std::size_t kCheckDigits = 8;

std::uint32_t hash_of(std::string_view text) {
  std::uint32_t hash = 0x811c9dc5u;  // FNV-1a
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x01000193u;
  return hash;
}

// A line under construction. Every record fits.
class RecordLine {
 public:
  RecordLine() { text_.fill(' '); }

  RecordLine& operator<<(std::string_view word) {
    word = slice(word, 0, kRecordSize - 1 - length_);
    std::memcpy(text_.data() + length_, word.data(), word.size());
    length_ += word.size();
    return *this;
  }
  RecordLine& operator<<(std::uint64_t number) {
    NumberText digits;
    return *this << format_number(number, digits);
  }
  [[nodiscard]] std::string_view so_far() const { return {text_.data(), length_}; }
  RecordText end() {
    text_.back() = '\n';
    return text_;
  }

 private:
  RecordText text_;
  std::size_t length_ = 0;
};

void write_check(std::uint32_t hash, char (&out)[kCheckDigits]) {
  for (char& digit : out) {
    digit = "0123456789abcdef"[hash >> 28];
    hash <<= 4;
  }
}

// True when this name of a host can be one word of the line: ASCII, no blanks, and not the "-" of
// an unknown name.
bool fits_in_a_word(std::string_view name) {
  return !name.empty() && name != "-" &&
         std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

template <typename Number>
bool take_number(std::string_view& line, std::uint64_t highest, Number& out) {
  std::uint64_t value = 0;
  if (!parse_number(take_until(line, ' '), highest, value)) return false;
  out = static_cast<Number>(value);
  return true;
}

// "[2001:db8::1]", "[fe80::1%2]" or "192.0.2.1".
bool take_address(std::string_view& line, Address& out) {
  std::string_view word = take_until(line, ' ');
  std::uint64_t scope = 0;
  if (word.size() > 2 && word.front() == '[' && word.back() == ']') {
    word = slice(word, 1, word.size() - 1);
    std::string_view address = take_until(word, '%');
    if (!word.empty() && !parse_number(word, UINT32_MAX, scope)) return false;
    word = address;
  }
  if (!parse_address(word, out)) return false;
  out.scope = static_cast<std::uint32_t>(scope);
  return true;
}

}  // namespace

RecordText memory_file_header() { return (RecordLine() << kHeader << std::uint64_t{2}).end(); }

bool is_memory_file_header(std::string_view line) {
  std::uint32_t version = 0;
  if (line.size() != kRecordSize || !begins_as_memory_file(line)) return false;
  line.remove_prefix(kHeader.size());
  // The lines of the first version were shorter.
  line = slice(line, 0, line.find('\n') + 1);
  if (!parse_number(take_until(line, ' '), UINT32_MAX, version)) return false;
  return line.find_first_not_of(' ') == line.size() - 1 && line.back() == '\n';
}

bool begins_as_memory_file(std::string_view text) {
  return slice(text, 0, kHeader.size()) == kHeader;
}

RecordText format_record(const AddressEntry& entry) {
  char address[kAddressTextSize];
  const std::size_t length = format_address(entry.key.address, address);
  const std::string_view host = entry.host_name();
  const AddressHealth& health = entry.health;
  RecordLine line;
  line << std::string_view(address, length) << " " << std::uint64_t{entry.key.port} << " "
       << entry.key.network << " " << std::uint64_t{health.failures} << " " << health.until_ms
       << " " << health.claimed_ms << " " << health.updated_ms << " "
       << std::uint64_t{health.rtt_us} << " " << std::uint64_t{health.silent_ms} << " "
       << health.silent_at_ms << " " << (fits_in_a_word(host) ? host : "-") << " ";
  char check[kCheckDigits];
  write_check(hash_of(line.so_far()), check);
  return (line << std::string_view(check, kCheckDigits)).end();
}

bool parse_record(std::string_view line, AddressEntry& out) {
  // What another process wrote is taken only as exactly what format_record() would write.
  if (line.size() != kRecordSize) return false;
  std::string_view rest = line;
  out = {};
  AddressHealth& health = out.health;
  const bool numbers = take_address(rest, out.key.address) &&
                       take_number(rest, 65535, out.key.port) &&
                       take_number(rest, UINT64_MAX, out.key.network) &&
                       take_number(rest, UINT32_MAX, health.failures) &&
                       take_number(rest, UINT64_MAX, health.until_ms) &&
                       take_number(rest, UINT64_MAX, health.claimed_ms) &&
                       take_number(rest, UINT64_MAX, health.updated_ms) &&
                       take_number(rest, UINT32_MAX, health.rtt_us) &&
                       take_number(rest, UINT32_MAX, health.silent_ms) &&
                       take_number(rest, UINT64_MAX, health.silent_at_ms);
  if (!numbers || out.key.port == 0) return false;
  const std::string_view host = take_until(rest, ' ');
  if (host != "-") out.set_host_name(host);
  out.saved_rtt_us = health.rtt_us;
  const RecordText same = format_record(out);
  return std::string_view(same.data(), same.size()) == line;
}

}  // namespace nextaddr
