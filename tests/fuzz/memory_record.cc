// libFuzzer: what the memory file may hold, as one record and as the fields of one.
// Must never accept what format_record() would not write, nor lose a field it has written.
#include <cstring>
#include <string_view>

#include "fuzz.h"
#include "memory/record.h"

using namespace nextaddr;

namespace {

std::string_view view(const RecordText& text) { return {text.data(), text.size()}; }

void read_as_text(std::string_view text) {
  static_cast<void>(is_memory_file_header(text));
  RecordText padded{};
  std::memcpy(padded.data(), text.data(), std::min(text.size(), padded.size()));
  AddressEntry entry;
  for (const std::string_view line : {text, view(padded)}) {
    if (parse_record(line, entry)) require(view(format_record(entry)) == line);
  }
}

void write_as_fields(std::string_view bytes) {
  AddressEntry entry;
  const std::size_t fixed = std::min(bytes.size(), sizeof entry.health);
  std::memcpy(static_cast<void*>(&entry.health), bytes.data(), fixed);
  bytes.remove_prefix(fixed);
  const std::size_t address = std::min(bytes.size(), sizeof entry.key.address);
  std::memcpy(static_cast<void*>(&entry.key.address), bytes.data(), address);
  bytes.remove_prefix(address);
  entry.key.port = static_cast<std::uint16_t>(1 + bytes.size() % 65535);
  entry.key.network = entry.health.until_ms * 0x9e3779b97f4a7c15u;
  entry.set_host_name(bytes);
  // A v4-mapped address is written as IPv4, which has no scope.
  if (entry.key.address.is_ipv4()) entry.key.address.scope = 0;
  AddressEntry read;
  require(parse_record(view(format_record(entry)), read));
  require(read.health == entry.health && read.key == entry.key);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  read_as_text(bytes);
  write_as_fields(bytes);
  return 0;
}
