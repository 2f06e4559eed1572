#include "log/log.h"

#include <fcntl.h>
#include <unistd.h>

#include "config.h"
#include "log/quiet_write.h"
#include "os/errno_kept.h"
#include "os/kernel.h"
#include "process/process.h"

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
  if (kernel::fstat(fd, status) != 0) return {};
  return {true, status.st_dev, status.st_ino};
}

}  // namespace

void remember_stderr() { stderr_at_load = file_of(STDERR_FILENO); }

void write_to_log(Line& line) {
  const ErrnoKept errno_kept;
  const std::string_view text = line.end();
  if (config().log_file == nullptr) {
    if (stderr_at_load.is_open && file_of(STDERR_FILENO) == stderr_at_load) {
      write_without_hanging(STDERR_FILENO, text.data(), text.size());
    }
    return;
  }
  // Opened for each line: a descriptor kept open would be one the program does not expect. A FIFO
  // that nobody reads must not hold the program up.
  const int fd = open_unless_sandboxed(config().log_file,
                                       O_WRONLY | O_CREAT | O_APPEND | O_NOCTTY | O_NONBLOCK, 0600);
  if (fd < 0) return;
  kernel::fcntl(fd, F_SETFL, O_APPEND);
  write_without_hanging(fd, text.data(), text.size());
  kernel::close(fd);
}

}  // namespace nextaddr
