#include "wait/sliced_wait.h"

#include <algorithm>

#include "errno_kept.h"

namespace nextaddr {

int wait_in_slices(std::int64_t limit_ns, const sigset_t* mask,
                   Callable<int, std::int64_t, const sigset_t*> wait, Callable<int, int> sift,
                   Woken woken) {
  return errno_kept_on_success([&] {
    int ready = woken.found;
    if (ready > 0 && limit_ns != kForever && limit_ns != 0) {
      const std::int64_t waited = ns_of(coarse_time()) - ns_of(woken.since);
      limit_ns = std::max<std::int64_t>(limit_ns - waited, 0);
    }
    const Patience patience(limit_ns);
    const auto look = [&](std::int64_t ns, const sigset_t* look_mask) {
      if (ready == 0) {
        advance_due();
        ready = wait(ns, look_mask);
      }
      if (ready > 0) ready = sift(ready);
      return ready;
    };
    // What is ready already needs no slices, and so no signal held back: busy event loops.
    if (look(0, mask) != 0 || patience.over()) return ready;
    const SignalsBlocked blocked;
    const sigset_t* slice_mask = mask != nullptr ? mask : &blocked.before();
    while (look(patience.slice_ns(), slice_mask) == 0 && !patience.over()) continue;
    return ready;
  });
}

}  // namespace nextaddr
