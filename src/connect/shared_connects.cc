#include "connect/shared_connects.h"

#include <sys/mman.h>

#include "os/clock.h"

namespace nextaddr {
namespace {

constexpr std::size_t kMost = 1024;
// Nobody holds one for so long, unless the process has been stopped or killed.
constexpr std::uint64_t kLostMs = 2000;
// One that nobody has used for so long is free: the kernel gives a connect up long before.
constexpr std::uint64_t kForgottenMs = 300'000;

struct Arena {
  std::atomic<std::uint32_t> last_taken;
  SharedConnect connects[kMost];
};

// Inherited by children, which then add to it what they have in common with theirs.
constinit std::atomic<Arena*> the_arena{nullptr};

// Null when there was no memory for it.
Arena* make_arena() {
  if (the_arena.load(std::memory_order_acquire) == nullptr) {
    void* memory = mmap(nullptr, sizeof(Arena), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    Arena* present = nullptr;
    if (!the_arena.compare_exchange_strong(present, static_cast<Arena*>(memory))) {
      munmap(memory, sizeof(Arena));
    }
  }
  return the_arena.load(std::memory_order_acquire);
}

// True when one that we hold is no connect's any more.
bool is_free(const SharedConnect& connect, std::uint64_t now) {
  return connect.cookie.load(std::memory_order_relaxed) == 0 ||
         connect.stage == ConnectStage::kOver ||
         now > connect.used_ms.load(std::memory_order_relaxed) + kForgottenMs;
}

}  // namespace

std::uint64_t try_hold(SharedConnect& connect) {
  const std::uint64_t now = now_ms();
  std::uint64_t since = connect.held_since_ms.load(std::memory_order_relaxed);
  if (since != 0 && now < since + kLostMs) return 0;
  return connect.held_since_ms.compare_exchange_strong(since, now) ? now : 0;
}

bool is_held_since(const SharedConnect& connect, std::uint64_t since) {
  return connect.held_since_ms.load(std::memory_order_relaxed) == since;
}

void release(SharedConnect& connect, std::uint64_t since) {
  connect.used_ms.store(since, std::memory_order_relaxed);
  connect.held_since_ms.compare_exchange_strong(since, 0);
}

void leave_shared_connects() {
  Arena* arena = the_arena.load(std::memory_order_acquire);
  if (arena == nullptr) return;
  const void* own = mmap(arena, sizeof(Arena), PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  // What others can write is not read any more, whatever becomes of the connects in it.
  if (own == MAP_FAILED) the_arena.store(nullptr, std::memory_order_release);
}

SharedConnect* new_shared_connect(std::uint64_t cookie, std::uint64_t& since) {
  Arena* arena = make_arena();
  if (arena == nullptr) return nullptr;
  for (std::size_t i = 0; i < kMost; ++i) {
    SharedConnect& connect = arena->connects[arena->last_taken.fetch_add(1) % kMost];
    since = try_hold(connect);
    if (since == 0) continue;
    if (is_free(connect, since)) {
      connect.cookie.store(cookie, std::memory_order_relaxed);
      return &connect;
    }
    // Let go without a change of used_ms: to look at it is no use of it.
    std::uint64_t mine = since;
    connect.held_since_ms.compare_exchange_strong(mine, 0);
  }
  return nullptr;
}

}  // namespace nextaddr
