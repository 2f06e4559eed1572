// One line of the memory file: an address and its health, as text of a fixed length that tells
// whether it is whole. Pure.
//
//   ADDRESS PORT NETWORK FAILURES UNTIL CLAIMED UPDATED RTT SILENT SILENT_AT HOST CHECK, padded
//   with spaces, and a newline
//
// NETWORK is the cookie of the network namespace (SO_NETNS_COOKIE), which no other one has had
// since the machine was started. Times are milliseconds since 1970, RTT microseconds, SILENT
// milliseconds; HOST is "-" when it is not known. CHECK is a hash of all before it, so that a line
// cut off, torn between two writers or edited by hand is no record. Must never take anything for
// one that it would not write itself.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "engine/address_memory.h"

namespace nextaddr {

inline constexpr std::size_t kRecordSize = 320;
using RecordText = std::array<char, kRecordSize>;

// The first line of the file, which tells it from any other file; another version has another one.
RecordText memory_file_header();
// True for the header of this and of any other version.
bool is_memory_file_header(std::string_view line);
// The same of a file that is only looked at, and may be cut off in its first line.
bool begins_as_memory_file(std::string_view text);

RecordText format_record(const AddressEntry& entry);

// False for whatever is no whole record: `out` is then unspecified.
bool parse_record(std::string_view line, AddressEntry& out);

}  // namespace nextaddr
