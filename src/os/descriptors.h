// The numbers of descriptors: how many the tables by descriptor have room for, and how many the
// kernel's table of this process has. Async-signal-safe.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace nextaddr {

// How many descriptors our tables have room for: as many as Linux gives a process unless it is told
// otherwise (fs.nr_open). A socket of a higher number behaves as in plain libc.
inline constexpr std::size_t kDescriptors = std::size_t{1} << 20;

inline bool in_tables(int fd) { return fd >= 0 && static_cast<std::size_t>(fd) < kDescriptors; }

// A set of descriptor numbers, for what is worth knowing of the socket that has one. Zero pages
// until used. What was noted of a closed socket is found with the next one of its number: whoever
// asks must be able to bear that.
class DescriptorSet {
 public:
  [[nodiscard]] bool has(int fd) const {
    return in_tables(fd) && (byte_of(fd).load(std::memory_order_relaxed) & bit_of(fd)) != 0;
  }
  void add(int fd) {
    if (in_tables(fd)) byte_of(fd).fetch_or(bit_of(fd), std::memory_order_relaxed);
  }
  void remove(int fd) {
    const auto others = static_cast<std::uint8_t>(~bit_of(fd));
    if (in_tables(fd)) byte_of(fd).fetch_and(others, std::memory_order_relaxed);
  }

 private:
  using Byte = std::atomic<std::uint8_t>;
  static std::uint8_t bit_of(int fd) { return static_cast<std::uint8_t>(1u << fd % 8); }
  Byte& byte_of(int fd) { return bytes_[static_cast<std::size_t>(fd) / 8]; }
  const Byte& byte_of(int fd) const { return bytes_[static_cast<std::size_t>(fd) / 8]; }

  std::array<Byte, kDescriptors / 8> bytes_{};
};

// For how many descriptors the kernel's table of this process has room now (proc(5), FDSize); 0
// when it does not tell. Reads a file.
int descriptor_table_size();

}  // namespace nextaddr
