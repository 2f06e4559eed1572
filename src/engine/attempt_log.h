// The attempts of one connect, kept for its log line. Fixed size; of a long list the first ones and
// the last are kept. Pure: time comes in.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "engine/fault_rules.h"

namespace nextaddr {

class AttemptLog {
 public:
  struct Attempt {
    std::uint16_t position;  // of its address in the list
    int error;               // 0: connected; EINPROGRESS: silent; kParked: not asked
    std::uint32_t took_ms;
    Fault fault;
  };

  // An attempt begins.
  void begin(std::size_t position, std::uint64_t now_ms, const Fault& fault = {});
  // The attempt begun last ended with `error`.
  void end(int error, std::uint64_t now_ms);
  // A probe has ended with `error` beside the attempt begun last, which goes on.
  void note(std::size_t position, int error, std::uint32_t took_ms);

  [[nodiscard]] std::size_t attempts() const { return attempts_; }
  // How many attempts were not kept.
  [[nodiscard]] std::size_t left_out() const {
    return attempts_ > kKept + 1 ? attempts_ - kKept - 1 : 0;
  }

  // Calls first(attempt) for those kept from the beginning, and last(attempt) when others came
  // after them.
  template <typename First, typename Last>
  void for_each(First first, Last last) const {
    for (std::size_t i = 0; i < attempts_ && i < kKept; ++i) first(kept_[i]);
    if (attempts_ > kKept) last(last_);
  }

 private:
  static constexpr std::size_t kKept = 12;

  std::array<Attempt, kKept> kept_{};
  Attempt last_{};
  std::size_t attempts_ = 0;
  std::uint64_t began_ms_ = 0;
};

}  // namespace nextaddr
