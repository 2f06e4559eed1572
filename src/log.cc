#include "log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "config.h"
#include "engine/text.h"
#include "errno_kept.h"
#include "quiet_write.h"

namespace nextaddr {
namespace {

struct File {
  bool is_open;
  dev_t device;
  ino_t inode;
  friend bool operator==(const File&, const File&) = default;
};
constinit File stderr_at_load{};

File file_of(int fd) {
  struct stat status {};
  if (fstat(fd, &status) != 0) return {};
  return {true, status.st_dev, status.st_ino};
}

}  // namespace

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
  NumberText digits;
  return *this << format_number(number, digits);
}

LogLine& LogLine::operator<<(const Address& address) {
  char text[kAddressTextSize];
  return *this << std::string_view(text, format_address(address, text));
}

void LogLine::write() {
  const ErrnoKept errno_kept;
  text_[length_++] = '\n';
  if (config().log_file == nullptr) {
    if (stderr_at_load.is_open && file_of(STDERR_FILENO) == stderr_at_load) {
      write_quietly(STDERR_FILENO, text_, length_);
    }
    return;
  }
  // Opened for each line: a descriptor kept open would be one the program does not expect.
  const int fd =
      open(config().log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
  if (fd < 0) return;
  write_quietly(fd, text_, length_);
  close(fd);
}

void remember_stderr() { stderr_at_load = file_of(STDERR_FILENO); }

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
