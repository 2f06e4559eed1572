// What the user sees when logging is on: one line for each connect that needed more than one
// attempt, and for each thing ignored. One write(2) a line, no stdio, no allocation,
// async-signal-safe, errno left alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "engine/address.h"

namespace nextaddr {

// A line under construction; what does not fit is cut, the newline never.
class LogLine {
 public:
  // Begins with "nextaddr: PROGRAM[PID] ".
  LogLine();
  LogLine& operator<<(std::string_view text);
  LogLine& operator<<(std::uint64_t number);
  LogLine& operator<<(const Address& address);
  // Writes it to the log file, or to stderr.
  void write();

 private:
  std::size_t length_ = 0;
  char text_[1024]{};
};

// Keeps in mind what stderr is when the library is loaded: a log line goes nowhere else. Programs
// close it, and get its number for a connection.
void remember_stderr();

bool logs_failovers();

// At level error and above.
void log_problem(std::string_view what, std::string_view subject);

// At level debug only.
void log_debug(std::string_view what, std::string_view subject);

}  // namespace nextaddr
