#include "os/own_connections.h"

#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cstddef>

#include "os/clock.h"
#include "os/descriptors.h"
#include "os/errno_kept.h"
#include "os/libc.h"
#include "os/sandbox.h"
#include "os/socket.h"

namespace nextaddr {
namespace {

// The first port of each address, by its hash: 48 bits that stand for the address, and the port.
constexpr std::size_t kPlaces = 4096;
constexpr std::size_t kTries = 16;
constinit std::array<std::atomic<std::uint64_t>, kPlaces> first_ports{};

std::uint64_t tag_of(const Address& address) { return long_hash_of(address) << 16 | 1u << 16; }

// How long one search takes at most. A process with so many descriptors that this is not enough may
// have connections anywhere among them, and is taken to have them for a while, so that its connects
// do not each take so long.
constexpr std::uint64_t kPatienceUs = 4'000;
constexpr std::uint64_t kTakenToHaveMs = 100;
constinit std::atomic<std::uint64_t> taken_to_have_until_ms{0};

// One search through the descriptors of this process, some of which are looked at more than once.
class Search {
 public:
  [[nodiscard]] int size() const { return size_; }

  // True as long as the search may go on. Only the time counts in which this thread has the
  // processor.
  bool step() {
    constexpr unsigned kStepsOfLook = 64;
    if (++steps_ % kStepsOfLook != 0 || spent_us() - began_us_ < kPatienceUs) return true;
    taken_to_have_until_ms.store(now_ms() + kTakenToHaveMs, std::memory_order_relaxed);
    return false;
  }

  // True when the peer has made this connection, to a port that we listen at ourselves. (Whoever
  // connects from such a port has bound the socket to it, and is known by where he connected
  // first.)
  bool was_accepted(const OwnConnection& connection) {
    if (is_first_port(connection.peer.address, connection.peer.port)) return false;
    const in_port_t port = local_port(connection.fd);
    if (port == listened_) return true;
    for (int fd = 0; fd < size_ && step(); ++fd) {
      if (option_value(fd, SOL_SOCKET, SO_ACCEPTCONN) == 0 || local_port(fd) != port) continue;
      listened_ = port;
      return true;
    }
    return false;
  }

 private:
  static std::uint64_t spent_us() { return us_of(CLOCK_THREAD_CPUTIME_ID); }

  const std::uint64_t began_us_ = spent_us();
  const int size_ = descriptor_table_size();
  unsigned steps_ = 0;
  in_port_t listened_ = 0;
};

}  // namespace

void note_connect_to(const Address& address, in_port_t port) {
  const std::uint64_t tag = tag_of(address);
  const std::size_t place = hash_of(address);
  for (std::size_t i = 0; i < kTries; ++i) {
    std::atomic<std::uint64_t>& entry = first_ports[(place + i) % kPlaces];
    std::uint64_t known = entry.load(std::memory_order_relaxed);
    if (known == 0 && entry.compare_exchange_strong(known, tag | port, std::memory_order_relaxed)) {
      return;
    }
    if (known >> 16 == tag >> 16) return;
  }
}

bool is_first_port(const Address& address, in_port_t port) {
  const std::uint64_t wanted = tag_of(address) | port;
  const std::size_t place = hash_of(address);
  for (std::size_t i = 0; i < kTries; ++i) {
    if (first_ports[(place + i) % kPlaces].load(std::memory_order_relaxed) == wanted) return true;
  }
  return false;
}

[[gnu::cold]] bool may_have_connection(ConnectionTest test, void* context) {
  const ErrnoKept errno_kept;
  if (sandbox() != Sandbox::kNone ||
      now_ms() < taken_to_have_until_ms.load(std::memory_order_relaxed)) {
    return true;
  }
  Search search;
  if (search.size() == 0) return true;
  for (int fd = 0; fd < search.size(); ++fd) {
    if (!search.step()) return true;
    sockaddr_storage peer;
    socklen_t length = sizeof peer;
    auto* address = reinterpret_cast<sockaddr*>(&peer);
    // Only a connected socket has a peer.
    if (libc::getpeername(fd, address, &length) != 0) continue;
    OwnConnection connection{fd, {}};
    if (!read_sockaddr(address, length, connection.peer)) continue;
    if (test(context, connection) && is_tcp(fd) && !search.was_accepted(connection)) return true;
  }
  return false;
}

}  // namespace nextaddr
