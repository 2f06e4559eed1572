#include "engine/json.h"

#include "engine/text.h"

namespace nextaddr {
namespace {

// A number with leading zeros.
std::string_view padded(std::uint64_t number, std::size_t width, NumberText& buffer) {
  const std::size_t used = format_number(number, buffer).size();
  const std::size_t begin = buffer.size() - (used > width ? used : width);
  for (std::size_t i = begin; i < buffer.size() - used; ++i) buffer[i] = '0';
  return {buffer.data() + begin, buffer.size() - begin};
}

}  // namespace

void JsonObject::quote(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  line_ << "\"";
  for (const char c : slice(text, 0, kLongestText)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      line_ << "\\" << std::string_view(&c, 1);
    } else if (byte < 0x20 || byte >= 0x7f) {
      line_ << "\\u00" << slice(kHex, byte >> 4, (byte >> 4) + 1u)
            << slice(kHex, byte & 15, (byte & 15) + 1u);
    } else {
      line_ << std::string_view(&c, 1);
    }
  }
  line_ << "\"";
}

void JsonObject::quote(const Address& address) {
  char text[kAddressTextSize];
  const std::string_view all(text, format_address(address, text));
  quote(address.is_ipv4() ? all : slice(all, 1, all.size() - 1));
}

void JsonObject::name(std::string_view name) {
  if (!first_) line_ << ",";
  first_ = false;
  line_ << "\"" << name << "\":";
}

void JsonObject::add(std::string_view member, std::string_view text) {
  name(member);
  quote(text);
}

void JsonObject::add(std::string_view member, std::uint64_t number) {
  name(member);
  line_ << number;
}

void JsonObject::add_flag(std::string_view member, bool value) {
  name(member);
  line_ << (value ? "true" : "false");
}

void JsonObject::add(std::string_view member, const Address& address) {
  name(member);
  quote(address);
}

void JsonObject::add_null(std::string_view member) {
  name(member);
  line_ << "null";
}

void JsonObject::add_time(std::string_view member, std::uint64_t wall_ms) {
  // Howard Hinnant's civil_from_days: years of 366 or 365 days that begin in March, in eras of 400.
  // gmtime_r(3) is not async-signal-safe.
  const std::uint64_t seconds = wall_ms / 1000;
  const std::uint64_t days = seconds / 86400 + 719'468;
  const std::uint64_t era = days / 146'097;
  const std::uint64_t day_of_era = days % 146'097;
  const std::uint64_t year_of_era =
      (day_of_era - day_of_era / 1460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
  const std::uint64_t day_of_year =
      day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const std::uint64_t month_from_march = (5 * day_of_year + 2) / 153;
  const std::uint64_t day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
  const std::uint64_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
  const std::uint64_t year = year_of_era + era * 400 + (month <= 2 ? 1 : 0);
  NumberText digits;
  name(member);
  line_ << "\"" << padded(year, 4, digits);
  line_ << "-" << padded(month, 2, digits);
  line_ << "-" << padded(day, 2, digits);
  line_ << "T" << padded(seconds / 3600 % 24, 2, digits);
  line_ << ":" << padded(seconds / 60 % 60, 2, digits);
  line_ << ":" << padded(seconds % 60, 2, digits);
  line_ << "." << padded(wall_ms % 1000, 3, digits) << "Z\"";
}

void JsonObject::begin_array(std::string_view member) {
  name(member);
  line_ << "[";
  first_ = first_object_ = true;
}

void JsonObject::next_object() {
  line_ << (first_object_ ? "{" : "},{");
  first_object_ = false;
  first_ = true;
}

void JsonObject::add_element(const Address& address) {
  if (!first_) line_ << ",";
  first_ = false;
  quote(address);
}

void JsonObject::end_array() {
  line_ << (first_object_ ? "]" : "}]");
  first_ = false;
}

}  // namespace nextaddr
