// Built for speed: programs make these calls all the time.
//
// connect(2), and the alias by which old programs import it; bind(2), whose choice of a port must
// outlive an attempt.
#include "connect/entry.h"
#include "connect/pending_connects.h"
#include "hooks/hook.h"
#include "lookup/dns_answers.h"
#include "os/errno_kept.h"
#include "os/libc.h"
#include "os/program_settings.h"
#include "wait/epoll_waker.h"

namespace {

int connect_hook(int fd, const sockaddr* address, socklen_t length) {
  if (nextaddr::dns::is_server(address, length)) [[unlikely]]
    nextaddr::dns::note_connect(fd);
  nextaddr::Endpoint requested;
  if (!nextaddr::wants_failover(address, length, requested)) {
    nextaddr::forget_connect(fd);
    return nextaddr::libc::connect(fd, address, length);
  }
  const int result = nextaddr::errno_kept_on_success(
      [&] { return nextaddr::connect_with_failover(fd, address, length, requested); });
  if (result != 0 && errno == EINPROGRESS) nextaddr::wake_epoll_sleepers(fd);
  return result;
}

}  // namespace

NEXTADDR_HOOK int connect(int fd, const sockaddr* address, socklen_t length) {
  return connect_hook(fd, address, length);
}

NEXTADDR_HOOK int __connect(int fd, const sockaddr* address, socklen_t length) {
  return connect_hook(fd, address, length);
}

NEXTADDR_HOOK int bind(int fd, const sockaddr* address, socklen_t length) noexcept {
  const int result = nextaddr::libc::bind(fd, address, length);
  if (result == 0) {
    nextaddr::note_bind(fd, address, length);
    nextaddr::dns::note_bound(address, length);
  }
  return result;
}
