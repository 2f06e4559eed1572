#include "lifecycle/sharing.h"

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

#include "connect/pending_connects.h"
#include "connect/shared_connects.h"
#include "os/errno_kept.h"
#include "os/turn.h"
#include "process/process.h"
#include "process/table_lock.h"

namespace nextaddr {
namespace {

// A thread leaves, or forks. Threads leave at the same time (haproxy's workers), and each would
// find what the other has in hand.
constinit Turn turn;
constexpr std::uint64_t kPatienceUs = 500'000;

void* map_fresh(std::size_t size) {
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory != MAP_FAILED ? memory : nullptr;
}

// Puts `fresh` in the place of what was shared, in one step: other threads go on reading there.
bool put_in_place(void* fresh, void* shared, std::size_t size) {
  if (mremap(fresh, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, shared) != MAP_FAILED) return true;
  munmap(fresh, size);
  return false;
}

// Copies what is shared while nobody writes to it, puts the copy in its place, and lets the others
// go on.
bool copy_hosts(HostTable& shared, void* fresh) {
  const std::size_t size = HostTable::memory_size();
  HostTable copy(static_cast<HostTable::Memory*>(fresh));
  const TableLock lock(shared, MayWait::kYes);
  // Without the lock somebody may be writing there: this process then knows nothing from now on,
  // and so goes nowhere else.
  if (lock.held()) {
    copy.copy_from(shared);
  } else {
    copy.close_all();
  }
  if (!put_in_place(fresh, host_table().memory(), size)) return false;
  // Doors are closed without the lock, and so perhaps were while this was copied.
  host_table().close_what_is_closed_in(shared);
  return true;
}

bool leave_hosts() {
  const std::size_t size = HostTable::memory_size();
  // The same pages at another address (mremap(2), old_size 0): there the lock is taken, and there
  // it still is when the copy is in place.
  void* pages = mremap(host_table().memory(), 0, size, MREMAP_MAYMOVE);
  if (pages == MAP_FAILED) return false;
  HostTable shared(static_cast<HostTable::Memory*>(pages));
  void* fresh = map_fresh(size);
  const bool left = fresh != nullptr && copy_hosts(shared, fresh);
  munmap(pages, size);
  return left;
}

bool leave_addresses() {
  const AddressMemory& memory = address_memory();
  if (!memory.usable()) return true;
  const std::size_t size = AddressMemory::memory_size();
  void* fresh = map_fresh(size);
  if (fresh == nullptr) return false;
  const AddressMemory copy(static_cast<AddressMemory::Memory*>(fresh));
  memory.for_each([&](const AddressEntry& entry) { copy.store(entry); });
  return put_in_place(fresh, memory.memory(), size);
}

}  // namespace

[[gnu::cold]] void leave_sharing() {
  if (!active() || !owns_memory() || !host_table().is_shared()) return;
  const ErrnoKept errno_kept;
  const Uninterrupted uninterrupted;
  // In a sandbox the system calls that leaving takes may be the last ones. The process has left
  // before it took the first step into one (hooks/sandbox.cc).
  if (sandbox() == Sandbox::kCertain) return become_inert();
  if (sandbox() == Sandbox::kPossible) return;
  const bool held = turn.take(kPatienceUs);
  keep_shared_connects();
  leave_shared_connects();
  if (host_table().is_shared() && !(leave_hosts() && leave_addresses())) become_inert();
  if (held) turn.give_back();
}

void begin_to_share() {
  const ErrnoKept errno_kept;
  // In vain when somebody leaves for longer than that: see share().
  static_cast<void>(turn.take(kPatienceUs));
  host_table().note_shared();
}

void share(Side side) {
  // Noted once more: where leaving took too long for begin_to_share() to wait, a copy may be in the
  // place of what it has noted.
  host_table().note_shared();
  if (side == Side::kChild) return turn.begin_child();
  turn.give_back();
}

}  // namespace nextaddr
