// TCP Fast Open: the sends that connect, and the option that delays a connect. All other sends
// pass; of options only the names are looked at.
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "arguments.h"
#include "errno_kept.h"
#include "failover.h"
#include "hooks/hook.h"
#include "libc.h"
#include "time64.h"

namespace libc = nextaddr::libc;
using nextaddr::errno_kept_on_success;

NEXTADDR_HOOK ssize_t sendto(int fd, const void* data, size_t size, int flags,
                             const sockaddr* address, socklen_t length) {
  nextaddr::Endpoint requested;
  if ((flags & MSG_FASTOPEN) != 0 && nextaddr::wants_failover(address, length, requested)) {
    return errno_kept_on_success([&] {
      return nextaddr::connect_and_send(fd, data, size, flags, address, length, requested);
    });
  }
  return libc::sendto(fd, data, size, flags, address, length);
}

namespace {

ssize_t sendmsg_hook(ssize_t (*plain)(int, const msghdr*, int), int fd, const msghdr* message,
                     int flags) {
  nextaddr::Endpoint requested;
  if ((flags & MSG_FASTOPEN) != 0 && nextaddr::may_be_read(message) &&
      nextaddr::wants_failover(static_cast<const sockaddr*>(message->msg_name),
                               message->msg_namelen, requested)) {
    return errno_kept_on_success(
        [&] { return nextaddr::connect_and_send(fd, message, flags, requested); });
  }
  return plain(fd, message, flags);
}

}  // namespace

NEXTADDR_HOOK ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  return sendmsg_hook(libc::sendmsg, fd, message, flags);
}

NEXTADDR_HOOK int setsockopt(int fd, int level, int name, const void* value,
                             socklen_t length) noexcept {
  nextaddr::note_option(level, name);
  return libc::setsockopt(fd, level, name, value, length);
}

#ifdef NEXTADDR_HAS_TIME64

NEXTADDR_HOOK ssize_t __sendmsg64(int fd, const msghdr* message, int flags) {
  return sendmsg_hook(libc::sendmsg64, fd, message, flags);
}

NEXTADDR_HOOK int __setsockopt64(int fd, int level, int name, const void* value,
                                 socklen_t length) noexcept {
  nextaddr::note_option(level, name);
  return libc::setsockopt64(fd, level, name, value, length);
}

#endif
