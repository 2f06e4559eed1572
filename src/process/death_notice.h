// A word in shared memory that the kernel marks when its owner dies (robust futexes,
// set_robust_list(2)): at once, before the dead process is reaped, whatever killed it, and
// whichever PID namespace looks. A process id alone cannot tell that: it may be another process's
// by now.
//
// Async-signal-safe. The caller blocks signals, because a handler might use a robust mutex
// meanwhile. Must never leave libc's list other than it was.
#pragma once

#include <linux/futex.h>

#include <cstdint>

namespace nextaddr {

class DeathNotice {
 public:
  // The kernel looks at `word` when this thread dies, as long as this object lives, and sets
  // FUTEX_OWNER_DIED there if owner() is in it.
  explicit DeathNotice(std::uint32_t* word);
  ~DeathNotice();
  DeathNotice(const DeathNotice&) = delete;
  DeathNotice& operator=(const DeathNotice&) = delete;

  // The id of this thread, as the kernel compares it.
  [[nodiscard]] std::uint32_t owner() const { return owner_; }

 private:
  std::uint32_t owner_;
  robust_list_head* list_ = nullptr;
  robust_list* pending_before_ = nullptr;
  robust_list_head own_{};  // where libc has made none (a thread of clone(2), musl)
};

}  // namespace nextaddr
