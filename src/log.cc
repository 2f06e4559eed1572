#include "log.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "config.h"
#include "errno_kept.h"

namespace nextaddr {

LogLine::LogLine() {
  const char* program = program_invocation_short_name;
  *this << "nextaddr: " << (program != nullptr ? std::string_view(program) : "?") << "["
        << static_cast<std::uint64_t>(getpid()) << "] ";
}

LogLine& LogLine::operator<<(std::string_view text) {
  const std::size_t room = sizeof text_ - 1 - length_;
  const std::size_t size = std::min(room, text.size());
  std::memcpy(text_ + length_, text.data(), size);
  length_ += size;
  return *this;
}

LogLine& LogLine::operator<<(std::uint64_t number) {
  char digits[20];
  std::size_t first = sizeof digits;
  do {
    digits[--first] = static_cast<char>('0' + number % 10);
    number /= 10;
  } while (number != 0);
  return *this << std::string_view(digits + first, sizeof digits - first);
}

LogLine& LogLine::operator<<(const Address& address) {
  char text[kAddressTextSize];
  return *this << std::string_view(text, format_address(address, text));
}

void LogLine::write() {
  const ErrnoKept errno_kept;
  text_[length_++] = '\n';
  int fd = STDERR_FILENO;
  // Opened for each line: a descriptor kept open would be one the program does not expect.
  if (config().log_file != nullptr) {
    fd = open(config().log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
  }
  if (fd >= 0) {
    // A log that cannot be written must not change what the program does.
    [[maybe_unused]] const ssize_t written = ::write(fd, text_, length_);
    if (config().log_file != nullptr) close(fd);
  }
}

bool logs_failovers() { return config().log_level >= LogLevel::kInfo; }

void log_problem(std::string_view what, std::string_view subject) {
  if (config().log_level < LogLevel::kError) return;
  LogLine line;
  line << what << subject;
  line.write();
}

void log_debug(std::string_view what, std::string_view subject) {
  if (config().log_level < LogLevel::kDebug) return;
  LogLine line;
  line << what << subject;
  line.write();
}

}  // namespace nextaddr
