// What sends: by TCP Fast Open, which connects, or without having waited for a connect. And the
// options of sockets, of which only the names are looked at.
//
// With nothing pending each is a load or two and a jump, as in receive.cc.
#include <sys/uio.h>
#include <unistd.h>

#include "arguments.h"
#include "connect/entry.h"
#include "connect/pending_connects.h"
#include "errno_kept.h"
#include "hooks/first_use.h"
#include "hooks/hook.h"
#include "libc.h"
#include "program_settings.h"
#include "time64.h"
#include "wait/epoll_waker.h"

namespace libc = nextaddr::libc;
using nextaddr::any_pending;
using nextaddr::first_use;
using nextaddr::to_send;

namespace {

template <typename Call>
ssize_t with_sleepers_woken(int fd, Call call) {
  const ssize_t result = nextaddr::errno_kept_on_success(call);
  if (result < 0 && errno == EINPROGRESS) nextaddr::wake_epoll_sleepers(fd);
  return result;
}

// Those that ask for it. Apart, so that others need no room for what it takes.
__attribute__((noinline, cold)) ssize_t fastopen_sendto(int fd, const void* data, size_t size,
                                                        int flags, const sockaddr* address,
                                                        socklen_t length) {
  nextaddr::Endpoint requested;
  if (!nextaddr::wants_failover(address, length, requested)) {
    return libc::sendto(fd, data, size, flags, address, length);
  }
  return with_sleepers_woken(fd, [&] {
    return nextaddr::connect_and_send(fd, data, size, flags, address, length, requested);
  });
}

using Sendmsg = ssize_t (*)(int, const msghdr*, int);

__attribute__((noinline, cold)) ssize_t fastopen_sendmsg(Sendmsg plain, int fd,
                                                         const msghdr* message, int flags) {
  nextaddr::Endpoint requested;
  if (!nextaddr::may_be_read(message) ||
      !nextaddr::wants_failover(static_cast<const sockaddr*>(message->msg_name),
                                message->msg_namelen, requested)) {
    return plain(fd, message, flags);
  }
  return with_sleepers_woken(
      fd, [&] { return nextaddr::connect_and_send(fd, message, flags, requested); });
}

ssize_t sendmsg_hook(Sendmsg plain, int fd, const msghdr* message, int flags) {
  if ((flags & MSG_FASTOPEN) != 0) return fastopen_sendmsg(plain, fd, message, flags);
  if (any_pending()) [[unlikely]]
    return first_use(to_send(flags), plain, fd, message, flags);
  return plain(fd, message, flags);
}

}  // namespace

NEXTADDR_HOOK ssize_t sendto(int fd, const void* data, size_t size, int flags,
                             const sockaddr* address, socklen_t length) {
  if ((flags & MSG_FASTOPEN) != 0) return fastopen_sendto(fd, data, size, flags, address, length);
  if (any_pending()) [[unlikely]] {
    return first_use(to_send(flags), libc::sendto, fd, data, size, flags, address, length);
  }
  return libc::sendto(fd, data, size, flags, address, length);
}

NEXTADDR_HOOK ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  return sendmsg_hook(libc::sendmsg, fd, message, flags);
}

NEXTADDR_HOOK ssize_t send(int fd, const void* data, size_t size, int flags) {
  if (any_pending()) [[unlikely]] {
    return first_use(to_send(flags), libc::send, fd, data, size, flags);
  }
  return libc::send(fd, data, size, flags);
}

NEXTADDR_HOOK ssize_t __send(int fd, const void* data, size_t size, int flags) {
  return send(fd, data, size, flags);
}

NEXTADDR_HOOK ssize_t write(int fd, const void* data, size_t size) {
  if (any_pending()) [[unlikely]]
    return first_use(to_send(0), libc::write, fd, data, size);
  return libc::write(fd, data, size);
}

NEXTADDR_HOOK ssize_t __write(int fd, const void* data, size_t size) {
  return write(fd, data, size);
}

NEXTADDR_HOOK ssize_t writev(int fd, const iovec* parts, int count) {
  if (any_pending()) [[unlikely]]
    return first_use(to_send(0), libc::writev, fd, parts, count);
  return libc::writev(fd, parts, count);
}

NEXTADDR_HOOK int setsockopt(int fd, int level, int name, const void* value,
                             socklen_t length) noexcept {
  nextaddr::note_option(fd, level, name);
  return libc::setsockopt(fd, level, name, value, length);
}

#ifdef NEXTADDR_HAS_TIME64

NEXTADDR_HOOK ssize_t __sendmsg64(int fd, const msghdr* message, int flags) {
  return sendmsg_hook(libc::sendmsg64, fd, message, flags);
}

NEXTADDR_HOOK int __setsockopt64(int fd, int level, int name, const void* value,
                                 socklen_t length) noexcept {
  nextaddr::note_option(fd, level, name);
  return libc::setsockopt64(fd, level, name, value, length);
}

#endif
