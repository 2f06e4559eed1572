// A set of positions in a destination address list: small enough to sit on a signal stack.
// Pure; positions are below kMaxAddresses, others are ignored.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "engine/address.h"

namespace nextaddr {

class PositionSet {
 public:
  static constexpr std::size_t kNone = kMaxAddresses;

  void add(std::size_t position) {
    if (position < kMaxAddresses) words_[position / 64] |= bit(position);
  }
  void add(const PositionSet& other) {
    for (std::size_t i = 0; i < words_.size(); ++i) words_[i] |= other.words_[i];
  }
  void remove(std::size_t position) {
    if (position < kMaxAddresses) words_[position / 64] &= ~bit(position);
  }
  [[nodiscard]] bool has(std::size_t position) const {
    return position < kMaxAddresses && (words_[position / 64] & bit(position)) != 0;
  }
  [[nodiscard]] std::size_t count() const {
    std::size_t total = 0;
    for (std::uint64_t word : words_) total += static_cast<std::size_t>(std::popcount(word));
    return total;
  }
  // Keeps only the members that `other` has, or, drop(), has not.
  void keep(const PositionSet& other) {
    for (std::size_t i = 0; i < words_.size(); ++i) words_[i] &= other.words_[i];
  }
  void drop(const PositionSet& other) {
    for (std::size_t i = 0; i < words_.size(); ++i) words_[i] &= ~other.words_[i];
  }
  [[nodiscard]] bool has_all(const PositionSet& others) const {
    for (std::size_t i = 0; i < words_.size(); ++i) {
      if ((others.words_[i] & ~words_[i]) != 0) return false;
    }
    return true;
  }
  // The first member at or after `from`, or kNone.
  [[nodiscard]] std::size_t next(std::size_t from) const {
    for (std::size_t i = from / 64; i < words_.size(); ++i) {
      std::uint64_t word = words_[i];
      if (i == from / 64) word &= ~std::uint64_t{0} << (from % 64);
      if (word != 0) return i * 64 + static_cast<std::size_t>(std::countr_zero(word));
    }
    return kNone;
  }

 private:
  static std::uint64_t bit(std::size_t position) { return std::uint64_t{1} << (position % 64); }
  std::array<std::uint64_t, kMaxAddresses / 64> words_{};
};

}  // namespace nextaddr
