#include "connect/ipv6_only.h"

#include <netinet/in.h>

#include <array>
#include <atomic>
#include <cstring>

#include "os/errno_kept.h"
#include "os/libc.h"
#include "os/pin.h"

namespace nextaddr {
namespace {

// The cookies of the sockets whose IPV6_V6ONLY was lifted, each at its place_of(). The kernel gives
// no other socket the same, so that none has to be removed. Where two have one place, the older
// socket reads as the kernel has it.
using Place = std::atomic<std::uint64_t>;
constinit std::array<Place, 1024> lifted{};

Place& place_of(std::uint64_t cookie) { return lifted[cookie % lifted.size()]; }

bool set(int socket, int value) {
  return libc::setsockopt(socket, IPPROTO_IPV6, IPV6_V6ONLY, &value, sizeof value) == 0;
}

}  // namespace

bool lift_ipv6_only(int socket, std::uint64_t cookie) {
  if (!set(socket, 0)) return false;
  place_of(cookie).store(cookie, std::memory_order_relaxed);
  ipv6_only_was_lifted.store(true, std::memory_order_relaxed);
  return true;
}

void set_ipv6_only_again(int socket, std::uint64_t cookie) {
  if (!set(socket, 1)) return;
  std::uint64_t own = cookie;
  place_of(cookie).compare_exchange_strong(own, 0, std::memory_order_relaxed);
}

void tell_ipv6_only(int fd, void* value, const socklen_t* length) {
  const ErrnoKept errno_kept;
  const std::uint64_t cookie = socket_cookie(fd);
  constexpr int kOn = 1;
  if (cookie == 0 || place_of(cookie).load(std::memory_order_relaxed) != cookie) return;
  // *length is the number of bytes that the kernel has written.
  std::memcpy(value, &kOn, *length);
}

}  // namespace nextaddr
