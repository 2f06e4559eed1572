// libFuzzer: messages of the DNS, against a reader that takes names for texts and follows them
// without counting.
// Must never take an address that the question does not lead to, nor loop, nor take time that grows
// faster than the square of a message's size.
#include "engine/dns_message.h"

#include <set>
#include <vector>

#include "engine/text.h"
#include "fuzz.h"

using namespace nextaddr;

namespace {

struct Record {
  std::string owner;
  unsigned type = 0;
  unsigned of_class = 0;
  std::string data;
  std::string target;
};

// Reads from the front; `good` is false once something was not there.
class Plain {
 public:
  explicit Plain(std::string_view message) : message_(message) {}

  unsigned byte() {
    if (at_ >= message_.size()) {
      good = false;
      return 0;
    }
    return static_cast<unsigned char>(message_[at_++]);
  }
  unsigned number() {
    const unsigned high = byte();
    return high << 8 | byte();
  }
  std::string bytes(std::size_t size) {
    std::string all;
    while (good && all.size() < size) all += static_cast<char>(byte());
    return all;
  }
  // The name in lower case, each label with its length.
  std::string name() {
    std::string all;
    std::size_t begin = at_;
    std::size_t behind = 0;
    while (good) {
      const unsigned length = byte();
      if (length >= 0xc0) {
        const std::size_t target = (length & 0x3f) << 8 | byte();
        if (behind == 0) behind = at_;
        if (target >= begin || target < 12) good = false;
        at_ = begin = target;
      } else if (length > 63) {
        good = false;
      } else if (length == 0) {
        break;
      } else {
        all += static_cast<char>(length) + bytes(length);
      }
    }
    if (all.size() + 1 > 255) good = false;
    if (behind != 0) at_ = behind;
    std::transform(all.begin(), all.end(), all.begin(), lower_case);
    return all;
  }
  Record record() {
    Record read;
    read.owner = name();
    read.type = number();
    read.of_class = number();
    bytes(4);
    const unsigned size = number();
    const std::size_t begin = at_;
    if (good && read.of_class == 1 && read.type == 5) {
      read.target = name();
      good = good && at_ == begin + size;
    } else {
      read.data = bytes(size);
    }
    if (read.of_class == 1 && read.type == 1 && size != 4) good = false;
    if (read.of_class == 1 && read.type == 28 && size != 16) good = false;
    return read;
  }
  [[nodiscard]] bool ended() const { return at_ == message_.size(); }

  bool good = true;

 private:
  std::string_view message_;
  std::size_t at_ = 0;
};

// What DnsAnswer has to find; nothing when the message is no answer.
std::optional<std::vector<std::string>> plainly(std::string_view message, bool& success) {
  Plain plain(message);
  plain.number();
  const unsigned flags = plain.number();
  const unsigned questions = plain.number();
  const unsigned answers = plain.number();
  const unsigned others = plain.number() + plain.number();
  if (!plain.good || questions != 1 || (flags & 0xf800) != 0x8000) return {};
  success = (flags & 0x020f) == 0;
  const std::string asked = plain.name();
  const unsigned type = plain.number();
  if (plain.number() != 1 || (type != 1 && type != 28)) return {};
  std::vector<Record> records;
  for (unsigned i = 0; plain.good && i < answers; ++i) records.push_back(plain.record());
  for (unsigned i = 0; plain.good && i < others; ++i) plain.record();
  if (!plain.good || !plain.ended()) return {};
  std::set<std::string> names{asked};
  std::string last = asked;
  for (bool found = true; found && names.size() < 17;) {
    found = false;
    for (const Record& each : records) {
      if (each.of_class != 1 || each.type != 5 || each.owner != last) continue;
      if (!names.insert(each.target).second) continue;
      last = each.target;
      found = true;
      break;
    }
  }
  std::vector<std::string> addresses;
  for (const Record& each : records) {
    if (each.of_class == 1 && each.type == type && names.count(each.owner) != 0) {
      addresses.push_back(each.data);
    }
  }
  return addresses;
}

void read_as_answer(const std::string& message) {
  DnsAnswer answer;
  bool success = false;
  const auto expected = plainly(message, success);
  const bool is_answer = answer.read(message);
  require(is_answer == expected.has_value());
  if (!is_answer) return;
  require(answer.is_success() == success);
  require(answer.question().name.size() <= 255 && answer.question().name.back() == '\0');
  const bool is_ipv4 = answer.question().type == DnsType::kA;
  std::size_t count = 0;
  Address address;
  while (answer.next(address)) {
    require(count < expected->size());
    const std::string& bytes = (*expected)[count++];
    require(address ==
            (is_ipv4 ? address_from_ipv4(bytes.data()) : address_from_ipv6(bytes.data(), 0)));
  }
  require(count == expected->size());
}

void read_as_query(const std::string& message) {
  DnsQuestion question;
  if (!read_query(message, question)) return;
  NameBuffer buffer;
  const std::string_view text = text_of_name(question.name, buffer);
  require(text.size() <= 253 && text.find('\0') == std::string_view::npos);
  // The shortest answer to it, and only to it.
  std::string answer = message.substr(0, 12 + question.name.size() + 4);
  answer[2] = '\x80';
  answer[3] = '\0';
  for (std::size_t i = 6; i < 12; ++i) answer[i] = '\0';
  DnsAnswer read;
  require(read.read(answer) && read.is_success() && read.question() == question);
  answer[0] ^= 1;
  require(read.read(answer) && !(read.question() == question));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A copy of its own, so that a look behind its end is seen.
  const std::string message(reinterpret_cast<const char*>(data), size);
  read_as_answer(message);
  read_as_query(message);
  return 0;
}
