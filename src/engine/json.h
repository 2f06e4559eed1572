// One JSON object (RFC 8259) on a line of the log, member by member, in ASCII. Pure, no allocation.
#pragma once

#include <cstdint>
#include <string_view>

#include "engine/line.h"

namespace nextaddr {

class JsonObject {
 public:
  explicit JsonObject(Line& line) : line_(line) {}

  void begin() { line_ << "{"; }

  // Adds a text, cut after kLongestText bytes. A byte that is not ASCII stands for itself as in
  // Latin-1, because nothing tells which encoding a program's name has.
  void add(std::string_view name, std::string_view text);
  void add(std::string_view name, std::uint64_t number);
  void add_flag(std::string_view name, bool value);
  // Adds an address, without the brackets of IPv6.
  void add(std::string_view name, const Address& address);
  void add_null(std::string_view name);
  // Adds a time, given in milliseconds since 1970, as "2026-11-25T00:11:35.123Z" (RFC 3339).
  void add_time(std::string_view name, std::uint64_t wall_ms);

  // A member that is an array of objects, each begun by next_object(), or of addresses.
  void begin_array(std::string_view name);
  void next_object();
  void add_element(const Address& address);
  void end_array();

  void end() { line_ << "}"; }

  static constexpr std::size_t kLongestText = 255;

 private:
  void name(std::string_view name);
  void quote(std::string_view text);
  void quote(const Address& address);

  Line& line_;
  bool first_ = true;
  bool first_object_ = true;
};

}  // namespace nextaddr
