#include "wait/sliced_wait.h"

#include <algorithm>

#include "os/errno_kept.h"
#include "wait/epoll_waker.h"

namespace nextaddr {

int wait_in_slices(std::int64_t limit_ns, const sigset_t* mask, const Wait& wait, Woken woken) {
  return errno_kept_on_success([&] {
    int ready = woken.found;
    std::uint32_t changes_before = woken.changes;
    if (ready > 0 && limit_ns != kForever && limit_ns != 0) {
      const std::int64_t waited = ns_of(coarse_time()) - ns_of(woken.since);
      limit_ns = std::max<std::int64_t>(limit_ns - waited, 0);
    }
    if (!any_pending()) set_timer_anew();
    const Patience patience(limit_ns);
    const auto look = [&](bool waits, const sigset_t* look_mask) {
      if (ready == 0) {
        const std::uint64_t until_ms = advance_due(wait.for_each_own);
        changes_before = changes();
        ready = wait.call(waits ? patience.slice_ns(until_ms) : 0, look_mask);
      }
      if (ready > 0) ready = wait.sift(ready, changes_before);
      return ready;
    };
    // What is ready already, as in busy event loops, needs no slices, and so no signal held back.
    if (look(false, mask) != 0 || patience.over()) return ready;
    const SignalsBlocked blocked;
    const sigset_t* slice_mask = mask != nullptr ? mask : &blocked.before();
    while (look(true, slice_mask) == 0 && !patience.over()) continue;
    return ready;
  });
}

}  // namespace nextaddr
