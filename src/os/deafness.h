// A deaf socket: SYN-ACKs that reach it are dropped, so that its connection attempt can never
// become a connection, however late it is looked at; refusals arrive as ever.
//
// Probes are (connect/probes.h). An attempt in flight is made deaf before it is taken back.
// Otherwise its answer may come in between, and the server's application sees a connection that
// nobody made. Async-signal-safe; errno is left alone.
#pragma once

#include <cstdint>

namespace nextaddr {

class Deafness {
 public:
  // By a socket filter (socket(7), SO_ATTACH_FILTER); where the program has one of its own, or may
  // have none, by its distance (ip(7), IP_MINTTL), which drops refusals too. Where the program uses
  // both, the socket goes on hearing.
  // False: it hears.
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
