// What the user set: the NEXTADDR_* variables, read once when the library is loaded and copied,
// because programs clear or overwrite their environment later (nginx does). Those that are not in
// the environment may be in /etc/nextaddr.conf, which is for all programs of the machine. Never
// reports, never fails, and nothing in the place of that file holds a program up: a bad value is
// the default, and `problem` keeps its name for the log.
#pragma once

#include <cstdint>
#include <string_view>

#include "engine/host_filter.h"
#include "engine/parking.h"
#include "engine/port_list.h"
#include "engine/schedule.h"

namespace nextaddr {

enum class LogLevel : std::uint8_t { kOff, kError, kInfo, kDebug };

struct Config {
  // NEXTADDR_OFF=1, or this program is not among NEXTADDR_ONLY_PROGRAMS, or among
  // NEXTADDR_SKIP_PROGRAMS, or, without the former, a prober. Nothing else is read then.
  bool off = false;
  LogLevel log_level = LogLevel::kOff;                      // NEXTADDR_LOG
  bool log_json = false;                                    // NEXTADDR_LOG_FORMAT=json
  bool probes = true;                                       // NEXTADDR_PROBES=0: false
  bool deepbind = true;                                     // NEXTADDR_DEEPBIND=0: false
  bool fixed_attempt_delay = false;                         // NEXTADDR_DELAY is a number
  const char* log_file = nullptr;                           // NEXTADDR_LOG_FILE; null: stderr
  std::uint32_t attempt_delay_ms = kDefaultAttemptDelayMs;  // NEXTADDR_DELAY
  std::string_view resolve;                                 // NEXTADDR_RESOLVE, as given
  HostFilter filter;        // NEXTADDR_ONLY, NEXTADDR_SKIP; NEXTADDR_NO_FAILOVER=1 skips all
  std::string_view faults;  // NEXTADDR_FAULTS, as given
  std::uint64_t seed = 0;   // NEXTADDR_SEED, of the chances of faults
  bool has_seed = false;
  bool ends_run = false;                             // NEXTADDR_RUN_ENDS=1
  const char* run_file = nullptr;                    // NEXTADDR_RUN; null: none
  const char* memory_file = nullptr;                 // NEXTADDR_MEMORY; null: off
  std::uint32_t first_parking_ms = kFirstParkingMs;  // NEXTADDR_PARKING, for tests
  PortList dns_ports{53};                            // NEXTADDR_DNS_PORTS
  const char* problem = nullptr;                     // a variable with a bad value, or null
  const char* file_problem = nullptr;  // a line of the file that is ignored, or why it is; or null
};

// The configuration of this process: the defaults until read_config() has run, constant afterwards.
const Config& config();

// What this program is called by the log and by patterns: the name it was started by, without
// directories.
std::string_view program_name();

// Reads the environment and the file. Once, from the library's start; not thread-safe, not
// async-signal-safe.
void read_config();

}  // namespace nextaddr
