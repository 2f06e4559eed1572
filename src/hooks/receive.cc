// Built for speed: programs make these calls all the time.
//
// What receives, and getpeername(2): for programs that do so without having waited for their
// connect, and for those that receive answers of a DNS server. Must never touch the data.
//
// With nothing watched each is a load or two and a jump, without a frame. Before libc's function is
// known the system call is made, because an allocator that starts may read a file before anything
// else.
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>

#include "connect/pending_connects.h"
#include "hooks/hook.h"
#include "hooks/watched.h"
#include "os/libc.h"
#include "os/time64.h"

namespace libc = nextaddr::libc;
using nextaddr::any_pending;
using nextaddr::any_watched;
using nextaddr::watched_receive;

NEXTADDR_HOOK ssize_t read(int fd, void* data, size_t size) {
  if (any_watched()) [[unlikely]]
    return watched_receive(0, libc::read, fd, data, size);
  return libc::read(fd, data, size);
}

NEXTADDR_HOOK ssize_t __read(int fd, void* data, size_t size) { return read(fd, data, size); }

// Programs built with _FORTIFY_SOURCE: `room` is what the compiler knows of the buffer.
NEXTADDR_HOOK ssize_t __read_chk(int fd, void* data, size_t size, size_t room) {
  if (size > room) libc::buffer_overflow_detected();
  return read(fd, data, size);
}

NEXTADDR_HOOK ssize_t readv(int fd, const iovec* parts, int count) {
  if (any_watched()) [[unlikely]]
    return watched_receive(0, libc::readv, fd, parts, count);
  return libc::readv(fd, parts, count);
}

NEXTADDR_HOOK ssize_t recv(int fd, void* data, size_t size, int flags) {
  if (any_watched()) [[unlikely]] {
    return watched_receive(flags, libc::recv, fd, data, size, flags);
  }
  return libc::recv(fd, data, size, flags);
}

NEXTADDR_HOOK ssize_t __recv_chk(int fd, void* data, size_t size, size_t room, int flags) {
  if (size > room) libc::buffer_overflow_detected();
  return recv(fd, data, size, flags);
}

NEXTADDR_HOOK ssize_t recvfrom(int fd, void* data, size_t size, int flags, sockaddr* address,
                               socklen_t* length) {
  if (any_watched()) [[unlikely]] {
    return watched_receive(flags, libc::recvfrom, fd, data, size, flags, address, length);
  }
  return libc::recvfrom(fd, data, size, flags, address, length);
}

NEXTADDR_HOOK ssize_t __recvfrom_chk(int fd, void* data, size_t size, size_t room, int flags,
                                     sockaddr* address, socklen_t* length) {
  if (size > room) libc::buffer_overflow_detected();
  return recvfrom(fd, data, size, flags, address, length);
}

NEXTADDR_HOOK ssize_t recvmsg(int fd, msghdr* message, int flags) {
  if (any_watched()) [[unlikely]] {
    return watched_receive(flags, libc::recvmsg, fd, message, flags);
  }
  return libc::recvmsg(fd, message, flags);
}

namespace {

// recvmmsg(2) while something is watched: looks at every message that was received. `Timeout` is
// that of recvmmsg(2), which concerns libc.
template <typename Timeout>
__attribute__((noinline, cold)) int watched_recvmmsg(int (*call)(int, mmsghdr*, unsigned, int,
                                                                 Timeout*),
                                                     int fd, mmsghdr* messages, unsigned count,
                                                     int flags, Timeout* timeout) {
  // The call writes the length of each address over that of the room for it.
  socklen_t least_room = ~socklen_t{0};
  const bool is_dns = nextaddr::dns::may_be_socket(fd);
  const unsigned last =
      is_dns && nextaddr::may_be_read(messages) ? std::min(count, nextaddr::kMostMessages) : 0;
  for (unsigned i = 0; i < last; ++i) {
    const msghdr& each = messages[i].msg_hdr;
    if (each.msg_name != nullptr) least_room = std::min(least_room, each.msg_namelen);
  }
  const int got =
      nextaddr::first_use(nextaddr::to_receive(flags), call, fd, messages, count, flags, timeout);
  if (!is_dns) return got;
  for (int i = 0; i < got; ++i) {
    const mmsghdr& each = messages[i];
    if (each.msg_len == 0) continue;
    nextaddr::dns::Parcel parcel = nextaddr::parcel_of(&each.msg_hdr, flags);
    parcel.length = std::min(parcel.length, least_room);
    nextaddr::dns::note_received(fd, parcel, each.msg_len, flags);
  }
  return got;
}

__attribute__((noinline, cold)) int pending_getpeername(int fd, sockaddr* address,
                                                        socklen_t* length) {
  nextaddr::advance_before_question(fd);
  return libc::getpeername(fd, address, length);
}

}  // namespace

NEXTADDR_HOOK int recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags,
                           timespec* timeout) {
  if (any_watched()) [[unlikely]] {
    return watched_recvmmsg(libc::recvmmsg, fd, messages, count, flags, timeout);
  }
  return libc::recvmmsg(fd, messages, count, flags, timeout);
}

NEXTADDR_HOOK int getpeername(int fd, sockaddr* address, socklen_t* length) noexcept {
  if (any_pending()) [[unlikely]]
    return pending_getpeername(fd, address, length);
  return libc::getpeername(fd, address, length);
}

#ifdef NEXTADDR_HAS_TIME64

NEXTADDR_HOOK ssize_t __recvmsg64(int fd, msghdr* message, int flags) {
  if (any_watched()) [[unlikely]] {
    return watched_receive(flags, libc::recvmsg64, fd, message, flags);
  }
  return libc::recvmsg64(fd, message, flags);
}

NEXTADDR_HOOK int __recvmmsg64(int fd, mmsghdr* messages, unsigned count, int flags,
                               nextaddr::Timespec64* timeout) {
  if (any_watched()) [[unlikely]] {
    return watched_recvmmsg(libc::recvmmsg64, fd, messages, count, flags, timeout);
  }
  return libc::recvmmsg64(fd, messages, count, flags, timeout);
}

#endif
