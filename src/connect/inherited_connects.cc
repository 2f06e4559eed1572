// The connects in progress that a forked child inherits, from before the fork until after it in
// both processes. Nothing here waits for longer than a step of another thread takes.
#include <sys/mman.h>

#include <atomic>
#include <cstddef>

#include "connect/pending_connects.h"
#include "connect/slots.h"
#include "os/clock.h"
#include "os/errno_kept.h"
#include "os/signals.h"
#include "process/activity.h"
#include "process/process.h"

namespace nextaddr {
namespace {

using Slot = PendingSlot;
using Stage = ConnectStage;

struct Inheritance {
  struct Item {
    int fd;
    std::uint64_t until_ms;
    SharedConnect* shared;
    ConnectOperation operation;
  };
  std::size_t bytes;
  std::size_t count;
  Item items[];
};

// What the child of the fork that this thread is making inherits; null: nothing.
constinit thread_local Inheritance* inheritance = nullptr;

// Has the connect of a held slot kept where a child shares it. False when there is no room.
bool share(Slot& slot) {
  if (slot.shared != nullptr) return true;
  slot.shared = new_shared_connect(slot.operation.cookie(), slot.shared_since);
  if (slot.shared == nullptr) return false;
  // Whoever sees the socket connected has to tell the others.
  slot.beyond_first.store(true, std::memory_order_relaxed);
  return true;
}

// Waits for the connect(2) of a held slot, if another thread is in it right now, which takes
// microseconds. False, and the slot is released, when it does not end, or the connect is over.
bool wait_for_start(Slot& slot, int fd) {
  constexpr int kSleeps = 50;
  for (int i = 0; i < kSleeps && is_starting(slot); ++i) {
    release(slot);
    sleep_briefly();
    if (!wait_and_hold(slot, fd)) return false;
  }
  if (slot.stage == Stage::kPending && !is_starting(slot)) return true;
  release(slot);
  return false;
}

}  // namespace

void keep_shared_connects() {
  SlotTable* all = slot_table();
  if (all == nullptr) return;
  const std::size_t end = slots_in_use(*all);
  for (std::size_t i = 0; i < end; ++i) {
    Slot& slot = all->slots[i];
    const int fd = slot.fd.load(std::memory_order_relaxed);
    if (is_free(slot) || slot_of(fd) != &slot || !wait_and_hold(slot, fd)) continue;
    if (slot.shared == nullptr) {
      release(slot);
    } else if (slot.inherited) {
      // The process that has begun the connect goes on with it.
      empty(*all, slot, Ends::kHere);
    } else {
      keep_for_itself(slot);
    }
  }
}

void bequeath_connects() {
  drop_inheritance();
  if (!any_pending() || !owns_memory()) return;
  const ErrnoKept errno_kept;
  const Uninterrupted uninterrupted;
  SlotTable& all = *slot_table();
  const std::size_t room = activity::connects();
  const std::size_t bytes = sizeof(Inheritance) + room * sizeof(Inheritance::Item);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return;
  inheritance = static_cast<Inheritance*>(memory);
  inheritance->bytes = bytes;
  const std::size_t end = slots_in_use(all);
  for (std::size_t i = 0; i < end && inheritance->count < room; ++i) {
    Slot& slot = all.slots[i];
    const int fd = slot.fd.load(std::memory_order_relaxed);
    if (is_free(slot) || slot_of(fd) != &slot || !wait_and_hold(slot, fd) ||
        !wait_for_start(slot, fd)) {
      continue;
    }
    const bool is_shared = share(slot);
    if (is_shared) {
      inheritance->items[inheritance->count++] = {fd, slot.operation.until_ms(), slot.shared,
                                                  slot.operation};
    }
    release(slot);
    if (!is_shared) break;
  }
}

void drop_inheritance() {
  if (inheritance == nullptr) return;
  const ErrnoKept errno_kept;
  munmap(inheritance, inheritance->bytes);
  inheritance = nullptr;
}

void inherit_connects() {
  if (inheritance == nullptr) return;
  const ErrnoKept errno_kept;
  const Uninterrupted uninterrupted;
  for (std::size_t i = 0; i < inheritance->count; ++i) {
    const Inheritance::Item& item = inheritance->items[i];
    Slot* slot = take_slot_for(item.fd);
    if (slot == nullptr) break;
    slot->operation = item.operation;
    publish(*slot_table(), *slot, false);
    if (!wait_and_hold(*slot, item.fd)) continue;
    slot->beyond_first.store(true, std::memory_order_relaxed);
    slot->inherited = true;
    take_over_shared(*slot, item.shared);
  }
  drop_inheritance();
}

}  // namespace nextaddr
