#include "log/log.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <iterator>

#include "config.h"
#include "log/quiet_write.h"
#include "os/errno_kept.h"
#include "os/kernel.h"
#include "os/libc.h"
#include "os/pin.h"
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

iovec part(std::string_view text) { return {const_cast<char*>(text.data()), text.size()}; }

File file_of(int fd) {
  struct stat status {};
  if (kernel::fstat(fd, status) != 0) return {};
  return {true, status.st_dev, status.st_ino};
}

// A socket to the system's log. -1: there is none of this type, and errno says why.
int connect_to_syslog(int type) {
  constexpr sockaddr_un kLogSocket{AF_UNIX, "/dev/log"};
  const int fd = move_high(kernel::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (fd < 0 || kernel::connect(fd, &kLogSocket, sizeof kLogSocket) == 0) return fd;
  const ErrnoKept errno_kept;
  kernel::close(fd);
  return -1;
}

// To the system's log, as syslog(3) would, but never waiting: what the socket has no room for is
// lost. Without a time, for which local time would have to be known; whoever receives it gives it
// one.
void send_to_syslog(std::string_view text) {
  // In a sandbox no system call may be added.
  if (sandbox() != Sandbox::kNone) return;
  const ForksHeldBack forks_held_back;
  int fd = connect_to_syslog(SOCK_DGRAM);
  // Some daemons have a stream there, in which a zero ends each message.
  const bool is_stream = fd < 0 && errno == EPROTOTYPE;
  if (is_stream) fd = connect_to_syslog(SOCK_STREAM);
  if (fd < 0) return;
  // LOG_USER and LOG_INFO of syslog(3). The tag is what a line of text begins with, by itself.
  constexpr std::string_view kPriority = "<14>";
  constexpr std::string_view kTag = "nextaddr: ";
  const std::string_view tag = config().log_json ? kTag : std::string_view{};
  const std::string_view end("\0", is_stream ? 1 : 0);
  text.remove_suffix(1);
  iovec parts[] = {part(kPriority), part(tag), part(text), part(end)};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = std::size(parts);
  libc::sendmsg(fd, &message, MSG_NOSIGNAL);
  kernel::close(fd);
}

}  // namespace

void remember_stderr() { stderr_at_load = file_of(STDERR_FILENO); }

void write_to_log(Line& line) {
  const ErrnoKept errno_kept;
  const std::string_view text = line.end();
  if (config().log_to_syslog) return send_to_syslog(text);
  if (config().log_file == nullptr) {
    if (stderr_at_load.is_open && file_of(STDERR_FILENO) == stderr_at_load) {
      write_without_hanging(STDERR_FILENO, text.data(), text.size());
    }
    return;
  }
  // Opened for each line: a descriptor kept open would be one the program does not expect. A FIFO
  // that nobody reads must not hold the program up.
  const ForksHeldBack forks_held_back;
  constexpr int kFlags = O_WRONLY | O_CREAT | O_APPEND | O_NOCTTY | O_NONBLOCK;
  const int fd = move_high(open_unless_sandboxed(config().log_file, kFlags, 0600));
  if (fd < 0) return;
  kernel::fcntl(fd, F_SETFL, O_APPEND);
  write_without_hanging(fd, text.data(), text.size());
  kernel::close(fd);
}

}  // namespace nextaddr
