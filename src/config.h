// What the user set: the NEXTADDR_* variables, read once when the library is loaded and copied,
// because programs clear or overwrite their environment later (nginx does). Those that are not in
// the environment may be in /etc/nextaddr.conf, which is for all programs of the machine. Which
// there are, config.inc lists. Never reports, never fails, and nothing in the place of that file
// holds a program up: a bad value is the default, and `problem` keeps its name for the log.
#pragma once

#include <cstdint>
#include <string_view>

#include "engine/host_filter.h"
#include "engine/parking.h"
#include "engine/port_list.h"
#include "engine/schedule.h"
#include "engine/setting_values.h"

namespace nextaddr {

enum class LogLevel : std::uint8_t { kOff, kError, kInfo, kDebug };

// A variable without a comment of its own here is described where config.inc names it.
struct Config {
  // NEXTADDR_OFF=1, or this program is left alone (see left_alone()). Nothing else counts then.
  bool off = false;
  LogLevel log_level = LogLevel::kOff;
  bool log_json = false;
  bool probes = true;
  bool deepbind = true;
  bool fixed_attempt_delay = false;  // NEXTADDR_DELAY is a number
  bool log_to_syslog = false;
  const char* log_file = nullptr;  // null: stderr, or log_to_syslog
  std::uint32_t attempt_delay_ms = kDefaultAttemptDelayMs;
  std::string_view resolve;  // as given
  HostFilter filter;         // NEXTADDR_ONLY, NEXTADDR_SKIP; NEXTADDR_NO_FAILOVER=1 skips all
  std::string_view faults;   // as given
  std::uint64_t seed = 0;    // of the chances of faults
  bool has_seed = false;
  bool ends_run = false;
  const char* run_file = nullptr;     // null: none
  const char* memory_file = nullptr;  // null: off
  std::uint32_t first_parking_ms = kFirstParkingMs;
  PortList dns_ports{53};
  bool switched_off = false;           // NEXTADDR_OFF=1
  HostFilter programs;                 // NEXTADDR_ONLY_PROGRAMS, NEXTADDR_SKIP_PROGRAMS
  bool names_programs = false;         // NEXTADDR_ONLY_PROGRAMS is set
  const char* problem = nullptr;       // a variable with a bad value, or null
  const char* file_problem = nullptr;  // a line of the file that is ignored, or why it is; or null
};

// The configuration of this process: the defaults until read_config() has run, constant afterwards.
const Config& config();

// What this program is called by the log and by patterns: the name it was started by, without
// directories.
std::string_view program_name();

// Reads the environment and the file. Once, from the library's start; not thread-safe, not
// async-signal-safe. `for_launcher`: this process is none that is helped, but answers the launcher
// (lifecycle/answers.h), and must know the rest even when it is left alone.
void read_config(bool for_launcher);

// Why nothing is done in a program of this name, by what read_config() has read.
enum class LeftAlone : std::uint8_t {
  kNo,
  kAsProber,    // it tells about one address, and NEXTADDR_ONLY_PROGRAMS does not name it
  kBySettings,  // NEXTADDR_OFF, NEXTADDR_ONLY_PROGRAMS or NEXTADDR_SKIP_PROGRAMS
};
LeftAlone left_alone(std::string_view program);

// What the launcher wants to know of a setting.
struct GivenValue {
  std::string_view name;   // NEXTADDR_..
  std::string_view value;  // not empty
  ValueError error;        // also what only a look at the file system tells
};

// Calls each(context, given) for every setting that is in the environment, or else for every one in
// the file for the machine, which must be one that is read. Not async-signal-safe.
enum class SettingsOf : std::uint8_t { kEnvironment, kMachine };
void for_each_given(SettingsOf where, void (*each)(void* context, const GivenValue& given),
                    void* context);

// Is this the name of a variable that means anything to the library or the launcher?
bool is_setting(std::string_view name);

}  // namespace nextaddr
