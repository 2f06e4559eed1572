#include "unfinished.h"

#include <atomic>

namespace nextaddr {
namespace {

// Threads that are inside an interrupted connect at the same time.
constexpr std::size_t kSlots = 64;

struct Slot {
  // Claimed by exchanging it for kBusy; a slot found busy is simply not ours to look at.
  std::atomic<std::uint64_t> cookie;
  UnfinishedConnect connect;
};

constexpr std::uint64_t kFree = 0;
constexpr std::uint64_t kBusy = ~std::uint64_t{0};

constinit Slot slots[kSlots]{};
constinit std::atomic<std::size_t> next_victim{0};
// Lets the common case, nothing ever interrupted, skip the search.
constinit std::atomic<bool> any_kept{false};

bool claim(Slot& slot, std::uint64_t expected) {
  return slot.cookie.compare_exchange_strong(expected, kBusy, std::memory_order_acquire);
}

void fill(Slot& slot, std::uint64_t cookie, const UnfinishedConnect& connect) {
  slot.connect = connect;
  slot.cookie.store(cookie, std::memory_order_release);
}

}  // namespace

void keep_unfinished(std::uint64_t cookie, const UnfinishedConnect& connect) {
  any_kept.store(true, std::memory_order_relaxed);
  for (Slot& slot : slots) {
    if (claim(slot, kFree)) return fill(slot, cookie, connect);
  }
  Slot& victim = slots[next_victim.fetch_add(1, std::memory_order_relaxed) % kSlots];
  const std::uint64_t present = victim.cookie.load(std::memory_order_relaxed);
  if (present != kBusy && claim(victim, present)) fill(victim, cookie, connect);
}

bool take_unfinished(std::uint64_t cookie, UnfinishedConnect& out) {
  if (!any_kept.load(std::memory_order_relaxed)) return false;
  for (Slot& slot : slots) {
    if (slot.cookie.load(std::memory_order_relaxed) != cookie || !claim(slot, cookie)) continue;
    out = slot.connect;
    slot.cookie.store(kFree, std::memory_order_release);
    return true;
  }
  return false;
}

}  // namespace nextaddr
