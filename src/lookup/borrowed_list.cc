#include "lookup/borrowed_list.h"

#include <sys/mman.h>

#include <atomic>
#include <new>

#include "os/errno_kept.h"

namespace nextaddr {
namespace {

constinit std::atomic<void*> spare{nullptr};

void* map() {
  const ErrnoKept errno_kept;
  void* memory = mmap(nullptr, sizeof(AddressList), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory != MAP_FAILED ? memory : nullptr;
}

}  // namespace

BorrowedList::BorrowedList() {
  void* memory = spare.exchange(nullptr, std::memory_order_acquire);
  if (memory == nullptr) memory = map();
  list_ = memory != nullptr ? new (memory) AddressList : nullptr;
}

BorrowedList::~BorrowedList() {
  void* none = nullptr;
  if (list_ == nullptr || spare.compare_exchange_strong(none, list_, std::memory_order_release)) {
    return;
  }
  const ErrnoKept errno_kept;
  munmap(list_, sizeof(AddressList));
}

}  // namespace nextaddr
