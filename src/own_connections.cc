#include "own_connections.h"

#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cstddef>

#include "descriptors.h"
#include "errno_kept.h"
#include "libc.h"
#include "process.h"
#include "socket.h"

namespace nextaddr {
namespace {

// By address: 48 bits that stand for it, and the port.
constexpr std::size_t kPlaces = 4096;
constexpr std::size_t kTries = 16;
constinit std::array<std::atomic<std::uint64_t>, kPlaces> first_ports{};

std::uint64_t tag_of(const Address& address) { return long_hash_of(address) << 16 | 1u << 16; }

// A process with a larger table of descriptors may have connections anywhere in it.
constexpr int kMostDescriptors = 1 << 16;

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
  if (sandbox() != Sandbox::kNone) return true;
  const int size = descriptor_table_size();
  if (size == 0 || size > kMostDescriptors) return true;
  for (int fd = 0; fd < size; ++fd) {
    sockaddr_storage peer;
    socklen_t length = sizeof peer;
    auto* address = reinterpret_cast<sockaddr*>(&peer);
    // Only what is connected has one.
    if (libc::getpeername(fd, address, &length) != 0) continue;
    Endpoint endpoint;
    if (!read_sockaddr(address, length, endpoint) || !is_tcp(fd)) continue;
    if (test(context, {endpoint.address, has_received(fd)})) return true;
  }
  return false;
}

}  // namespace nextaddr
