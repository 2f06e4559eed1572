#include "slices.h"

#include <algorithm>

#include "errno_kept.h"

namespace nextaddr {

int wait_in_slices(std::int64_t limit_ns, const sigset_t* mask,
                   Callable<int, std::int64_t, const sigset_t*> wait, Callable<int, int> sift,
                   Woken woken) {
  return errno_kept_on_success([&] {
    const SignalsBlocked blocked;
    if (mask == nullptr) mask = &blocked.before();
    int ready = woken.found;
    if (ready > 0 && limit_ns != kForever && limit_ns != 0) {
      const std::int64_t waited = ns_of(coarse_time()) - ns_of(woken.since);
      limit_ns = std::max<std::int64_t>(limit_ns - waited, 0);
    }
    const Patience patience(limit_ns);
    for (;;) {
      if (ready == 0) {
        drive_due_flights();
        ready = wait(patience.slice_ns(), mask);
        if (ready < 0) return ready;
      }
      if (ready > 0) ready = sift(ready);
      if (ready > 0) return ready;
      if (patience.over()) return 0;
    }
  });
}

}  // namespace nextaddr
