// The attempts of one connect, kept for its log line. Fixed size; of a long list the first ones are
// kept.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "engine/address.h"
#include "engine/host_table.h"

namespace nextaddr {

class Trail {
 public:
  void begin(std::size_t position, std::uint64_t now_ms);
  // The attempt begun last ended: 0 connected, EINPROGRESS nothing was heard, else its error.
  void end(int error, std::uint64_t now_ms);
  [[nodiscard]] std::size_t attempts() const { return attempts_; }

  // Writes the line of the connect that ended with `error` (0: connected).
  void log(const HostTable& table, const DestinationList& list, std::uint16_t port,
           int error) const;

 private:
  struct Attempt {
    std::uint16_t position;
    int error;
    std::uint32_t took_ms;
  };
  static constexpr std::size_t kKept = 12;

  std::array<Attempt, kKept> kept_{};
  Attempt last_{};
  std::size_t attempts_ = 0;
  std::uint64_t began_ms_ = 0;
};

}  // namespace nextaddr
