// A deaf socket: SYN-ACKs that reach it are dropped, so that its connection attempt can never
// become a connection, however late it is looked at; refusals arrive as ever.
//
// Probes are deaf (connect/probes.h). An attempt in flight is made deaf before it is taken back.
// Otherwise its answer may come in between, and the server's application sees a connection that
// nobody made. Must never change a filter or a TTL that the program has set. Async-signal-safe;
// errno is left alone.
#pragma once

#include <cstdint>

namespace nextaddr {

class Deafness {
 public:
  // Makes the socket deaf by a filter (socket(7), SO_ATTACH_FILTER); where the program has one of
  // its own, or may have none, by the TTL of what arrives (ip(7), IP_MINTTL), which drops refusals
  // too. False: the program uses both, and the socket goes on hearing.
  bool begin(int socket);
  // The socket hears again: only once its attempt has been taken back.
  void end(int socket);

  // False when a refusal is dropped as well.
  [[nodiscard]] bool hears_refusals() const { return way_ != Way::kTtl; }

 private:
  enum class Way : std::uint8_t { kNone, kFilter, kTtl };
  Way way_ = Way::kNone;
};

}  // namespace nextaddr
