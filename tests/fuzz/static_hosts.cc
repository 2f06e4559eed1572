// libFuzzer: the text of --resolve, against a plain reading of it with std::string and
// inet_pton(3). Must never answer with an address that is not written there for that host, nor call
// a text valid of which an entry would be ignored.
#include "engine/static_hosts.h"

#include <algorithm>
#include <vector>

#include "engine/text.h"
#include "fuzz.h"

using namespace nextaddr;

namespace {

struct Entry {
  std::string host;
  std::vector<Address> addresses;  // none: the entry is wrong
};

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == separator) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

Entry read_entry(const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == 0 || equals == std::string::npos) return {};
  Entry entry{text.substr(0, equals), {}};
  for (const std::string& word : split(text.substr(equals + 1), ',')) {
    const auto address = address_by_libc(word);
    if (!address) return {entry.host, {}};
    entry.addresses.push_back(*address);
  }
  return entry;
}

std::vector<Entry> read_entries(const std::string& text) {
  std::vector<std::string> parts = split(text, ';');
  if (parts.back().empty()) parts.pop_back();
  std::vector<Entry> entries;
  for (const std::string& part : parts) entries.push_back(read_entry(part));
  return entries;
}

std::string as_dns_sees(std::string host) {
  if (host.size() > 1 && host.back() == '.') host.pop_back();
  std::transform(host.begin(), host.end(), host.begin(), lower_case);
  return host;
}

std::vector<Address> addresses_of(const std::vector<Entry>& entries, const std::string& host) {
  std::vector<Address> all;
  for (const Entry& entry : entries) {
    if (as_dns_sees(entry.host) != as_dns_sees(host)) continue;
    for (const Address& address : entry.addresses) {
      const bool repeated = std::find(all.begin(), all.end(), address) != all.end();
      if (!repeated && all.size() < kMaxAddresses) all.push_back(address);
    }
  }
  return all;
}

void look_up(const std::vector<char>& text, const std::vector<Entry>& entries,
             const std::string& host) {
  const std::vector<Address> expected = addresses_of(entries, host);
  AddressList list;
  require(find_given_name({text.data(), text.size()}, host, list) == !expected.empty());
  require(list.size() == expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) require(list[i] == expected[i]);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A copy of exactly this size, so that reading past its end is noticed.
  const std::vector<char> text(data, data + size);
  const std::vector<Entry> entries = read_entries({text.begin(), text.end()});
  const bool valid = std::all_of(entries.begin(), entries.end(),
                                 [](const Entry& entry) { return !entry.addresses.empty(); });
  require(given_names_valid({text.data(), text.size()}) == valid);
  look_up(text, entries, "");
  look_up(text, entries, "nobody");
  for (std::size_t i = 0; i < std::min<std::size_t>(entries.size(), 8); ++i) {
    std::string host = entries[i].host;
    look_up(text, entries, host);
    look_up(text, entries, host + ".");
    std::transform(host.begin(), host.end(), host.begin(),
                   [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
    look_up(text, entries, host);
  }
  return 0;
}
