// Built for speed: programs make these calls all the time.
//
// What sends: by TCP Fast Open, which connects, or without having waited for a connect; and what is
// sent to a DNS server. And the options of sockets, of which only the names are looked at. Must
// never touch the data.
//
// With nothing watched each is a load or two and a jump, as in hooks/receive.cc. A call that names
// an address has its port looked at.
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>

#include "connect/entry.h"
#include "connect/pending_connects.h"
#include "hooks/hook.h"
#include "hooks/watched.h"
#include "os/arguments.h"
#include "os/errno_kept.h"
#include "os/libc.h"
#include "os/program_settings.h"
#include "os/time64.h"
#include "wait/epoll_waker.h"

namespace libc = nextaddr::libc;
using nextaddr::any_watched;
using nextaddr::first_use;
using nextaddr::may_be_read;
using nextaddr::to_send;
using nextaddr::watched_send;
namespace dns = nextaddr::dns;

namespace {

// Makes `call`, which may begin a connect on `fd`, and wakes threads that sleep in an epoll set
// with that.
template <typename Call>
ssize_t with_sleepers_woken(int fd, Call call) {
  const ssize_t result = nextaddr::errno_kept_on_success(call);
  if (result < 0 && errno == EINPROGRESS) nextaddr::wake_epoll_sleepers(fd);
  return result;
}

// sendto(2) with MSG_FASTOPEN. A function of its own, so that other calls need no room for what it
// takes.
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
  if (!may_be_read(message) ||
      !nextaddr::wants_failover(static_cast<const sockaddr*>(message->msg_name),
                                message->msg_namelen, requested)) {
    return plain(fd, message, flags);
  }
  return with_sleepers_woken(
      fd, [&] { return nextaddr::connect_and_send(fd, message, flags, requested); });
}

// Notes a socket that sends to a DNS server as one to look at.
void note_destination(int fd, const sockaddr* address, socklen_t length, int flags) {
  if (!dns::is_server(address, length)) return;
  if ((flags & MSG_FASTOPEN) != 0) return dns::note_connect(fd);
  dns::note_datagram(fd);
}

ssize_t any_sendto(int fd, const void* data, size_t size, int flags, const sockaddr* address,
                   socklen_t length) {
  if ((flags & MSG_FASTOPEN) != 0) return fastopen_sendto(fd, data, size, flags, address, length);
  return first_use(to_send(flags), libc::sendto, fd, data, size, flags, address, length);
}

// sendto(2) that names an address, or while something is watched.
__attribute__((noinline, cold)) ssize_t watched_sendto(int fd, const void* data, size_t size,
                                                       int flags, const sockaddr* address,
                                                       socklen_t length) {
  if (address != nullptr) note_destination(fd, address, length, flags);
  return nextaddr::send_to_server(any_sendto, fd, data, size, flags, address, length);
}

bool names_address(const msghdr* message) {
  return may_be_read(message) && message->msg_name != nullptr;
}

template <Sendmsg plain>
ssize_t any_sendmsg(int fd, const msghdr* message, int flags) {
  if ((flags & MSG_FASTOPEN) != 0) return fastopen_sendmsg(plain, fd, message, flags);
  return first_use(to_send(flags), plain, fd, message, flags);
}

template <Sendmsg plain>
__attribute__((noinline, cold)) ssize_t watched_sendmsg(int fd, const msghdr* message, int flags) {
  if (names_address(message)) {
    note_destination(fd, static_cast<const sockaddr*>(message->msg_name), message->msg_namelen,
                     flags);
  }
  return nextaddr::send_to_server(any_sendmsg<plain>, fd, message, flags);
}

template <Sendmsg plain>
ssize_t sendmsg_hook(int fd, const msghdr* message, int flags) {
  if ((flags & MSG_FASTOPEN) != 0 || any_watched() || names_address(message)) [[unlikely]] {
    return watched_sendmsg<plain>(fd, message, flags);
  }
  return plain(fd, message, flags);
}

using Sendmmsg = int (*)(int, mmsghdr*, unsigned, int);

// sendmmsg(2) that names an address, or while something is watched: several datagrams, or several
// parts of a stream.
__attribute__((noinline, cold)) int watched_sendmmsg(Sendmmsg plain, int fd, mmsghdr* messages,
                                                     unsigned count, int flags) {
  for (unsigned i = 0; i < std::min(count, nextaddr::kMostMessages) && may_be_read(messages); ++i) {
    const msghdr& each = messages[i].msg_hdr;
    if (each.msg_name != nullptr) {
      note_destination(fd, static_cast<const sockaddr*>(each.msg_name), each.msg_namelen, 0);
    }
    if (dns::may_be_socket(fd)) dns::note_sending(fd, nextaddr::parcel_of(&each, flags));
  }
  const int sent = first_use(to_send(flags), plain, fd, messages, count, flags);
  for (int i = 0; i < sent && dns::may_be_socket(fd); ++i) {
    dns::note_sent(fd, nextaddr::parcel_of(&messages[i].msg_hdr, flags), messages[i].msg_len);
  }
  return sent;
}

int sendmmsg_hook(Sendmmsg plain, int fd, mmsghdr* messages, unsigned count, int flags) {
  if (any_watched() || (count != 0 && names_address(&messages->msg_hdr))) [[unlikely]] {
    return watched_sendmmsg(plain, fd, messages, count, flags);
  }
  return plain(fd, messages, count, flags);
}

using Setsockopt = int (*)(int, int, int, const void*, socklen_t);

__attribute__((noinline, cold)) int noted_setsockopt(Setsockopt plain, int fd, int level, int name,
                                                     const void* value, socklen_t length) {
  nextaddr::note_option(fd, nextaddr::option_kind(level, name));
  return plain(fd, level, name, value, length);
}

int setsockopt_hook(Setsockopt plain, int fd, int level, int name, const void* value,
                    socklen_t length) {
  if (nextaddr::option_kind(level, name) != nextaddr::OptionKind::kOther) [[unlikely]] {
    return noted_setsockopt(plain, fd, level, name, value, length);
  }
  return plain(fd, level, name, value, length);
}

}  // namespace

NEXTADDR_HOOK ssize_t sendto(int fd, const void* data, size_t size, int flags,
                             const sockaddr* address, socklen_t length) {
  if ((flags & MSG_FASTOPEN) != 0 || any_watched() || address != nullptr) [[unlikely]] {
    return watched_sendto(fd, data, size, flags, address, length);
  }
  return libc::sendto(fd, data, size, flags, address, length);
}

NEXTADDR_HOOK ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  return sendmsg_hook<libc::sendmsg>(fd, message, flags);
}

NEXTADDR_HOOK int sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) {
  return sendmmsg_hook(libc::sendmmsg, fd, messages, count, flags);
}

NEXTADDR_HOOK ssize_t send(int fd, const void* data, size_t size, int flags) {
  if (any_watched()) [[unlikely]] {
    return watched_send(to_send(flags), libc::send, fd, data, size, flags);
  }
  return libc::send(fd, data, size, flags);
}

NEXTADDR_HOOK ssize_t __send(int fd, const void* data, size_t size, int flags) {
  return send(fd, data, size, flags);
}

NEXTADDR_HOOK ssize_t write(int fd, const void* data, size_t size) {
  if (any_watched()) [[unlikely]]
    return watched_send(to_send(0), libc::write, fd, data, size);
  return libc::write(fd, data, size);
}

NEXTADDR_HOOK ssize_t __write(int fd, const void* data, size_t size) {
  return write(fd, data, size);
}

NEXTADDR_HOOK ssize_t writev(int fd, const iovec* parts, int count) {
  if (any_watched()) [[unlikely]]
    return watched_send(to_send(0), libc::writev, fd, parts, count);
  return libc::writev(fd, parts, count);
}

NEXTADDR_HOOK int setsockopt(int fd, int level, int name, const void* value,
                             socklen_t length) noexcept {
  return setsockopt_hook(libc::setsockopt, fd, level, name, value, length);
}

#ifdef NEXTADDR_HAS_TIME64

NEXTADDR_HOOK ssize_t __sendmsg64(int fd, const msghdr* message, int flags) {
  return sendmsg_hook<libc::sendmsg64>(fd, message, flags);
}

NEXTADDR_HOOK int __sendmmsg64(int fd, mmsghdr* messages, unsigned count, int flags) {
  return sendmmsg_hook(libc::sendmmsg64, fd, messages, count, flags);
}

NEXTADDR_HOOK int __setsockopt64(int fd, int level, int name, const void* value,
                                 socklen_t length) noexcept {
  return setsockopt_hook(libc::setsockopt64, fd, level, name, value, length);
}

#endif
