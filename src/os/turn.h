// What one thread at a time does, and no thread while another forks: a child has only the thread
// that has forked, and would begin with what the others had in hand. Must never be waited for for
// ever: a child of a clone(2) of the program's own may begin with it taken, and a handler may have
// interrupted the very thread that has it. Async-signal-safe.
#pragma once

#include <atomic>
#include <cstdint>

#include "os/clock.h"
#include "os/this_thread.h"

namespace nextaddr {

class Turn {
 public:
  // Makes it this thread's. False when it was another's for `patience_us`, or this one's.
  [[nodiscard]] bool take(std::uint64_t patience_us) {
    const std::uint64_t start = now_us();
    const char* nobody = nullptr;
    while (!holder_.compare_exchange_strong(nobody, &this_thread)) {
      if (nobody == &this_thread || now_us() - start > patience_us) return false;
      nobody = nullptr;
      sleep_briefly();
    }
    return true;
  }

  // Does nothing when it is not this thread's.
  void give_back() {
    const char* mine = &this_thread;
    holder_.compare_exchange_strong(mine, nullptr);
  }

  // In a child of fork(2), whoever had it in the parent.
  void begin_child() { holder_.store(nullptr); }

 private:
  std::atomic<const char*> holder_{nullptr};
};

}  // namespace nextaddr
