#include "process/table_lock.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/errno_kept.h"

namespace nextaddr {
namespace {

// How long a lookup waits for the writer. The table is written for microseconds at a time (a
// compaction: some milliseconds), but the writer may lose its processor meanwhile, or be stopped.
constexpr std::uint64_t kPatienceUs = 3'000;
// How long it waits for a thread of this process, which nobody has stopped.
constexpr std::uint64_t kOwnPatienceUs = 200'000;
// Where it may not wait: as many looks as the usual writer needs to be done, some microseconds; and
// how often the processor is offered to a writer that has lost it.
constexpr int kQuickLooks = 100;
constexpr int kOffers = 3;

bool is_own_thread(std::uint32_t id) {
  const ErrnoKept errno_kept;
  return id != 0 && syscall(SYS_tgkill, getpid(), id, 0) == 0;
}

}  // namespace

TableLock::TableLock(HostTable& table, MayWait may_wait)
    : table_(table), notice_(table.lock_word()) {
  for (int offers = 0; offers <= kOffers; ++offers) {
    if (offers != 0) sched_yield();
    for (int looks = 0; looks < kQuickLooks && !held_; ++looks) {
      held_ = table_.try_lock(notice_.owner());
    }
    if (held_) return;
  }
  if (may_wait == MayWait::kNo) return;
  const std::uint64_t start = now_us();
  for (;;) {
    held_ = table_.try_lock(notice_.owner());
    if (held_) return;
    const std::uint64_t waited = now_us() - start;
    if (waited >= kOwnPatienceUs ||
        (waited >= kPatienceUs &&
         !is_own_thread(__atomic_load_n(table_.lock_word(), __ATOMIC_RELAXED)))) {
      return;
    }
    sleep_briefly();
  }
}

}  // namespace nextaddr
