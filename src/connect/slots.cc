#include "connect/slots.h"

#include <sched.h>
#include <sys/mman.h>

#include <algorithm>

#include "log/report.h"
#include "os/clock.h"
#include "os/this_thread.h"
#include "process/activity.h"

namespace nextaddr {
namespace {

using Slot = PendingSlot;
using Table = SlotTable;
using Stage = ConnectStage;

// How a slot is held, in the two lowest bits of its word; those above count how often it has
// changed hands.
enum Holding : std::uint32_t { kFree, kIdle, kHeld };
constexpr std::uint32_t kHoldingMask = 3;

Holding holding_of(std::uint32_t word) { return static_cast<Holding>(word & kHoldingMask); }
std::uint32_t next_word(std::uint32_t word, Holding holding) {
  return (word & ~kHoldingMask) + kHoldingMask + 1 + holding;
}

constinit std::atomic<Table*> the_table{nullptr};

// Writes where the connect is now to what processes share of it, and lets them go on from there,
// or, with kOver, not. Does nothing when another process has taken it over meanwhile.
void pass_on(Slot& slot, Stage stage) {
  SharedConnect& shared = *slot.shared;
  if (!is_held_since(shared, slot.shared_since)) return;
  shared.operation = slot.operation;
  shared.stage = stage;
  shared.error = slot.error;
  slot.shared_version = shared.version.fetch_add(1, std::memory_order_relaxed) + 1;
  release(shared, slot.shared_since);
}

// For a slot that has just been held: keeps the other processes from its connect as well, and takes
// over what they have made of it. False when one of them is at it.
bool catch_up(Slot& slot) {
  SharedConnect& shared = *slot.shared;
  slot.shared_since = try_hold(shared);
  if (slot.shared_since == 0) return false;
  const std::uint32_t version = shared.version.load(std::memory_order_relaxed);
  if (version == slot.shared_version) return true;
  slot.shared_version = version;
  // Events that were fetched before may tell of an attempt that is over.
  note_change();
  const bool same = shared.cookie.load(std::memory_order_relaxed) == slot.cookie &&
                    slot.operation.catch_up(shared.operation);
  const Stage stage = same ? shared.stage : Stage::kOver;
  slot.error = shared.error;
  if (stage == Stage::kLeftToKernel && slot.stage != stage) {
    activity::remove_connect();
  }
  slot.stage = stage;
  if (same) return true;
  release(shared, slot.shared_since);
  slot.shared = nullptr;
  return true;
}

// Changes how a slot is held that nobody else holds, or may come to hold.
void become(Slot& slot, Holding holding) {
  slot.holding.store(next_word(slot.holding.load(std::memory_order_relaxed), holding));
}

// Changes how a slot is held. False, and it is as it was, when it was not held so in `word`, or
// somebody has held it since that was read.
bool change(Slot& slot, std::uint32_t word, Holding from, Holding to) {
  return holding_of(word) == from &&
         slot.holding.compare_exchange_strong(word, next_word(word, to));
}

// Has take_slot() find this slot, which is free: lowest_free <= its index from now on.
void note_free(Table& all, const Slot& slot) {
  const auto index = static_cast<std::uint32_t>(&slot - all.slots);
  std::uint32_t lowest = all.lowest_free.load(std::memory_order_relaxed);
  while (index < lowest &&
         !all.lowest_free.compare_exchange_weak(lowest, index, std::memory_order_relaxed)) {
  }
}

// Frees a slot that nobody else holds.
void make_free(Table& all, Slot& slot) {
  become(slot, kFree);
  note_free(all, slot);
}

// What SlotTable::slot_of has of this slot.
std::uint16_t number_of(const Table& all, const Slot& slot) {
  return static_cast<std::uint16_t>(&slot - all.slots + 1);
}

// A free slot, held: the lowest, so that few are ever touched. When all are taken, those whose
// socket is gone are cleared out first.
Slot* take_slot(Table& all) {
  std::uint32_t lowest = all.lowest_free.load(std::memory_order_relaxed);
  for (const bool sweep : {false, true}) {
    for (std::uint32_t i = sweep ? 0 : lowest; i < kSlots; ++i) {
      Slot& slot = all.slots[i];
      if (sweep && hold(slot)) {
        if (slot.operation.owns_socket()) {
          release(slot);
        } else {
          empty(all, slot, Ends::kHere);
        }
      }
      if (!change(slot, slot.holding.load(std::memory_order_relaxed), kFree, kHeld)) continue;
      std::uint32_t highest = all.highest.load(std::memory_order_relaxed);
      while (highest < i &&
             !all.highest.compare_exchange_weak(highest, i, std::memory_order_relaxed)) {
      }
      if (!sweep) {
        all.lowest_free.compare_exchange_strong(lowest, i + 1, std::memory_order_relaxed);
      }
      return &slot;
    }
  }
  return nullptr;
}

}  // namespace

Table* slot_table() { return the_table.load(std::memory_order_acquire); }

std::size_t slots_in_use(const Table& all) {
  return std::min<std::size_t>(all.highest.load(std::memory_order_relaxed) + 1, kSlots);
}

Table* make_slot_table() {
  if (!activity::begin()) return nullptr;
  if (slot_table() == nullptr) {
    void* memory = mmap(nullptr, sizeof(Table), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    Table* present = nullptr;
    // A forked child finds the table empty (MADV_WIPEONFORK), because it has the sockets, too, and
    // two processes that both moved them on would undo each other's attempts. What it may go on
    // with it inherits (inherit_connects()).
    if (madvise(memory, sizeof(Table), MADV_WIPEONFORK) != 0 ||
        !the_table.compare_exchange_strong(present, static_cast<Table*>(memory))) {
      munmap(memory, sizeof(Table));
    }
  }
  return slot_table();
}

bool is_free(const Slot& slot) {
  return holding_of(slot.holding.load(std::memory_order_relaxed)) == kFree;
}

bool hold(Slot& slot) {
  if (!change(slot, slot.holding.load(std::memory_order_relaxed), kIdle, kHeld)) return false;
  if (slot.shared == nullptr || catch_up(slot)) return true;
  become(slot, kIdle);
  return false;
}

void release(Slot& slot) {
  if (slot.shared != nullptr) pass_on(slot, slot.stage);
  become(slot, kIdle);
}

Slot* slot_of(int fd) {
  Table* all = slot_table();
  if (all == nullptr || !in_tables(fd)) return nullptr;
  const std::uint16_t index = all->slot_of[fd].load(std::memory_order_acquire);
  return index == 0 ? nullptr : &all->slots[index - 1];
}

bool wait_and_hold(Slot& slot, int fd) {
  constexpr int kYields = 100;
  constexpr int kSleeps = 1000;
  for (int i = 0; i < kYields + kSleeps && slot_of(fd) == &slot; ++i) {
    if (hold(slot)) {
      if (slot.fd.load(std::memory_order_relaxed) == fd) return true;
      release(slot);
      return false;
    }
    if (i < kYields) {
      sched_yield();
    } else {
      sleep_briefly();
    }
  }
  return false;
}

void give_back(Table& all, Slot& slot) { make_free(all, slot); }

void empty(Table& all, Slot& slot, Ends ends) {
  const int fd = slot.fd.load(std::memory_order_relaxed);
  slot.operation.let_go();
  if (all.slot_of[fd].load(std::memory_order_relaxed) == number_of(all, slot)) {
    all.slot_of[fd].store(0, std::memory_order_relaxed);
  }
  if (slot.stage != Stage::kLeftToKernel) activity::remove_connect();
  if (slot.shared != nullptr) {
    pass_on(slot, ends == Ends::kEverywhere ? Stage::kOver : slot.stage.load());
    slot.shared = nullptr;
  }
  make_free(all, slot);
}

Slot* hold_slot_of(int fd) {
  Slot* slot = slot_of(fd);
  return slot != nullptr && wait_and_hold(*slot, fd) ? slot : nullptr;
}

void lower_deadline(Table& all, std::uint64_t until_ms) {
  std::uint64_t present = all.deadline_ms.load(std::memory_order_relaxed);
  while ((present == 0 || until_ms < present) &&
         !all.deadline_ms.compare_exchange_weak(present, until_ms, std::memory_order_relaxed)) {
  }
}

bool is_starting(const Slot& slot) {
  constexpr std::uint64_t kLongestStartMs = 2000;
  const char* starter = slot.starter.load();
  return starter != nullptr && starter != &this_thread &&
         now_ms() < slot.operation.began_ms() + kLongestStartMs;
}

void set_deadline(Table& all, Slot& slot, std::uint64_t until_ms) {
  slot.until_ms.store(until_ms, std::memory_order_relaxed);
  lower_deadline(all, until_ms);
}

void release_until(Table& all, Slot& slot, std::uint64_t until_ms) {
  set_deadline(all, slot, until_ms);
  release(slot);
}

Slot* take_slot_for(int fd) {
  if (!in_tables(fd)) return nullptr;
  Table* all = make_slot_table();
  Slot* slot = all != nullptr ? take_slot(*all) : nullptr;
  if (slot == nullptr) {
    report_problem("no room for one more connect in flight", {});
    return nullptr;
  }
  slot->fd.store(fd, std::memory_order_relaxed);
  slot->stage = Stage::kPending;
  slot->shared = nullptr;
  slot->inherited = false;
  slot->until_ms.store(kNoDeadline, std::memory_order_relaxed);
  slot->knocked.store(false, std::memory_order_relaxed);
  return slot;
}

void publish(Table& all, Slot& slot, bool starting) {
  const int fd = slot.fd.load(std::memory_order_relaxed);
  slot.starter.store(starting ? &this_thread : nullptr, std::memory_order_relaxed);
  slot.beyond_first.store(slot.operation.is_planned(), std::memory_order_relaxed);
  slot.cookie.store(slot.operation.cookie(), std::memory_order_relaxed);
  slot.first.store({slot.operation.requested(), slot.operation.began_us(), slot.operation.cookie(),
                    slot.operation.settings().is_steered});
  activity::add_connect();
  note_change();
  if (!starting) set_deadline(all, slot, slot.operation.until_ms());
  // Whoever jumps out between these two steps leaves a slot that no descriptor has. take_slot()
  // frees it when its socket is gone.
  release(slot);
  all.slot_of[fd].store(number_of(all, slot), std::memory_order_release);
}

bool look_at(const Table& all, const Slot& slot, int fd, Sight& out) {
  out.holding = slot.holding.load(std::memory_order_acquire);
  out.number = number_of(all, slot);
  if (slot.beyond_first.load(std::memory_order_relaxed) || holding_of(out.holding) != kIdle ||
      slot.fd.load(std::memory_order_relaxed) != fd) {
    return false;
  }
  out.first = slot.first.load();
  return true;
}

bool free_as_seen(Table& all, Slot& slot, int fd, const Sight& seen) {
  std::uint16_t number = seen.number;
  if (!all.slot_of[fd].compare_exchange_strong(number, 0)) return false;
  if (!change(slot, seen.holding, kIdle, kFree)) {
    std::uint16_t none = 0;
    all.slot_of[fd].compare_exchange_strong(none, number);
    return false;
  }
  activity::remove_connect();
  note_free(all, slot);
  return true;
}

void take_over_shared(Slot& slot, SharedConnect* shared) {
  slot.shared = shared;
  slot.shared_version = 0;  // none
  become(slot, kIdle);
}

void keep_for_itself(Slot& slot) {
  pass_on(slot, Stage::kOver);
  slot.shared = nullptr;
  become(slot, kIdle);
}

}  // namespace nextaddr
