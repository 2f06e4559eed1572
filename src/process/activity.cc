#include "process/activity.h"

#include <sys/mman.h>

namespace nextaddr {

bool activity::begin() {
  if (word.load(std::memory_order_acquire) != &nothing) return true;
  void* memory = mmap(nullptr, sizeof(std::atomic<std::uint32_t>), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  std::atomic<std::uint32_t>* none = &nothing;
  // A forked child has no connect that is pending but those that it inherits.
  if (madvise(memory, sizeof(std::atomic<std::uint32_t>), MADV_WIPEONFORK) != 0 ||
      !word.compare_exchange_strong(none, static_cast<std::atomic<std::uint32_t>*>(memory))) {
    munmap(memory, sizeof(std::atomic<std::uint32_t>));
  }
  return word.load(std::memory_order_acquire) != &nothing;
}

void activity::add_connect() { word.load()->fetch_add(1, std::memory_order_release); }

void activity::remove_connect() { word.load()->fetch_sub(1, std::memory_order_relaxed); }

void note_dns_sockets(bool any) {
  if (!any && activity::word.load() == &activity::nothing) return;
  if (!activity::begin()) return;
  if (any) {
    activity::word.load()->fetch_or(activity::kDnsSockets, std::memory_order_release);
  } else {
    activity::word.load()->fetch_and(~activity::kDnsSockets, std::memory_order_relaxed);
  }
}

}  // namespace nextaddr
