#include "process/process.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>

#include "config.h"
#include "os/clock.h"
#include "os/kernel.h"

namespace nextaddr {
namespace {

enum State : std::uint32_t { kNew, kStarting, kActive, kInert };

constinit std::atomic<std::uint32_t> state{kNew};
constinit HostTable table;
constinit AddressMemory entries;

// A page the kernel empties in a forked child, but not in a vfork child (madvise(2),
// MADV_WIPEONFORK): so the child of a fork can be told from a vfork child without hooking either.
// Linux before 4.14 lacks it; there every child is taken for a vfork child and behaves as plain
// libc.
struct OwnPage {
  std::atomic<std::uint32_t> pid;
};
constinit OwnPage* own_page = nullptr;

}  // namespace

bool map_memory() {
  const long page_size = sysconf(_SC_PAGESIZE);
  void* page = mmap(nullptr, static_cast<std::size_t>(page_size), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return false;
  madvise(page, static_cast<std::size_t>(page_size), MADV_WIPEONFORK);
  own_page = static_cast<OwnPage*>(page);
  // MAP_NORESERVE: 26 MB of addresses, of which only what lookups fill is ever memory.
  void* shared = mmap(nullptr, HostTable::memory_size(), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (shared == MAP_FAILED) return false;
  table = HostTable(static_cast<HostTable::Memory*>(shared));
  auto seed = static_cast<std::uint32_t>(now_us());
  constexpr unsigned kNonBlock = 1;  // GRND_NONBLOCK
  static_cast<void>(kernel::getrandom(&seed, sizeof seed, kNonBlock));
  table.set_seed(seed);
  if (config().memory_file == nullptr) return true;
  shared = mmap(nullptr, AddressMemory::memory_size(), PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (shared != MAP_FAILED) entries = AddressMemory(static_cast<AddressMemory::Memory*>(shared));
  return true;
}

bool active() {
  const std::uint32_t now = state.load(std::memory_order_acquire);
  if (now == kActive) return true;
  if (now != kNew) return false;
  start_library();
  return state.load(std::memory_order_acquire) == kActive;
}

bool begin_start() {
  std::uint32_t expected = kNew;
  return state.compare_exchange_strong(expected, kStarting, std::memory_order_acquire);
}

void end_start(bool active) { state.store(active ? kActive : kInert, std::memory_order_release); }

void become_inert() { state.store(kInert, std::memory_order_release); }

bool owns_memory() {
  const auto pid = static_cast<std::uint32_t>(getpid());
  std::uint32_t known = own_page->pid.load(std::memory_order_relaxed);
  if (known == 0) {
    own_page->pid.store(pid, std::memory_order_relaxed);
    known = pid;
    // The child of a fork that we have not seen (clone(2)).
    if (state.load(std::memory_order_relaxed) == kActive) table.note_shared();
  }
  return known == pid;
}

void claim_memory() {
  own_page->pid.store(static_cast<std::uint32_t>(getpid()), std::memory_order_relaxed);
}

std::uint32_t own_pid() { return own_page->pid.load(std::memory_order_relaxed); }

void note_sandbox(Sandbox next) {
  if (!active() || !owns_memory() || next < sandbox()) return;
  known_sandbox.store(next, std::memory_order_relaxed);
}

HostTable& host_table() { return table; }

const AddressMemory& address_memory() { return entries; }

}  // namespace nextaddr
