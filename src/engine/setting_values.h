// The values of settings: a parser for each kind of value, which says what is wrong with one, and
// where. The launcher refuses whatever has anything wrong with it; the library takes as much as it
// can, because a program must run with any environment.
//
// Pure. A parser must never change what it is given for the result unless the value is taken.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "engine/port_list.h"

namespace nextaddr {

// What is wrong with a value, and where in its text. Small enough for two registers.
struct ValueError {
  const char* reason = nullptr;  // null: nothing is wrong
  std::uint32_t at = 0;
  std::uint32_t size : 30 = 0;
  std::uint32_t taken : 1 = 0;     // the library takes the value all the same
  std::uint32_t in_entry : 1 = 0;  // part of an entry between semicolons, which is to be shown too
};

// "0" or "1". Whatever else is there is taken for "1": who has switched something off by a word
// that is none must not find it switched on. (Where that is what `on` is already, it is not taken.)
ValueError parse_switch(std::string_view text, bool& on);

// A number of milliseconds, or "auto", which stands for kDefaultAttemptDelayMs and is not fixed.
ValueError parse_delay(std::string_view text, std::uint32_t& milliseconds, bool& fixed);

ValueError parse_parking(std::string_view text, std::uint32_t& milliseconds);

ValueError parse_seed(std::string_view text, std::uint64_t& seed, bool& has_seed);

ValueError parse_ports(std::string_view text, PortList& ports);

// "off", "error", "info" or "debug", as a number from 0.
ValueError parse_log_level(std::string_view text, std::uint8_t& level);

// "text" or "json".
ValueError parse_log_format(std::string_view text, bool& json);

// These are taken as they are, by who looks a host or a program up in them: the first two as
// engine/host_filter.h says, the third as engine/static_hosts.h does.
ValueError check_host_patterns(std::string_view text);
ValueError check_program_patterns(std::string_view text);
ValueError check_given_names(std::string_view text);

}  // namespace nextaddr
