// Some ports. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace nextaddr {

class PortList {
 public:
  // The most ports in a list, which is as many as anybody needs.
  static constexpr std::size_t kMost = 16;

  constexpr PortList() = default;
  constexpr explicit PortList(std::uint16_t only) : ports_{only}, size_(1) {}

  // False when there are too many.
  constexpr bool add(std::uint16_t port) {
    if (size_ == kMost) return false;
    ports_[size_++] = port;
    return true;
  }

  // True when the list has this port (host order).
  [[nodiscard]] bool has(std::uint16_t port) const {
    for (std::size_t i = 0; i < size_; ++i) {
      if (ports_[i] == port) return true;
    }
    return false;
  }

 private:
  std::array<std::uint16_t, kMost> ports_{};
  std::size_t size_ = 0;
};

}  // namespace nextaddr
