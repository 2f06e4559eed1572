#include "connect/pending_connects.h"

#include <poll.h>
#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

#include "clock.h"
#include "descriptors.h"
#include "libc.h"
#include "memory/memory.h"
#include "process.h"
#include "report.h"
#include "signals.h"
#include "socket.h"
#include "this_thread.h"

namespace nextaddr {
namespace {

constexpr std::size_t kSlots = 16384;
// Slot::error of a connect whose last attempt was left to the kernel. It is not under way any more
// (not counted), but remembered until the descriptor's next connect.
constexpr int kLeftToKernel = -1;
constexpr std::uint64_t kNever = ~std::uint64_t{0};
// So soon it is looked again for a deadline that is just being found.
constexpr std::uint64_t kScanMs = 5;
// After so long it is looked whether what waits for the program still has its socket.
constexpr std::uint64_t kForgottenMs = 2000;

enum SlotState : std::uint32_t { kFree, kIdle, kHeld };

struct Slot {
  std::atomic<std::uint32_t> state;
  std::atomic<int> fd;
  std::atomic<std::uint64_t> until_ms;
  std::atomic<std::uint64_t> cookie;
  std::atomic<bool> later_attempt;   // or an error that waits for the program
  std::atomic<const char*> starter;  // the thread whose connect(2) has not returned yet
  std::atomic<bool> knocked;         // somebody wanted to look meanwhile
  int error;  // of a connect that failed for good, until the program has seen it
  ConnectOperation flight;
};

// Zero pages until used: neither the table nor a slot costs memory before it is needed.
struct Table {
  std::atomic<std::uint32_t> count;
  std::atomic<std::uint32_t> highest;                // slot ever taken
  std::atomic<std::uint32_t> lowest_free;            // slot, but for one that was freed just then
  std::atomic<std::uint64_t> deadline_ms;            // not later than any slot's until_ms, but
  std::atomic<std::uint32_t> scans_begun;            // while it is found anew: from here
  std::atomic<std::uint32_t> scans_ended;            // to here
  std::atomic<std::uint16_t> slot_of[kDescriptors];  // plus one; 0: none
  Slot slots[kSlots];
};

constinit std::atomic<Table*> the_table{nullptr};

Table* table() { return the_table.load(std::memory_order_acquire); }

// Null when there was no memory for it.
Table* make_table() {
  if (table() == nullptr) {
    void* memory = mmap(nullptr, sizeof(Table), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    Table* present = nullptr;
    // A forked child shares the sockets: two processes moving them on would undo each other's
    // attempts.
    if (madvise(memory, sizeof(Table), MADV_WIPEONFORK) != 0 ||
        !the_table.compare_exchange_strong(present, static_cast<Table*>(memory))) {
      munmap(memory, sizeof(Table));
    }
  }
  Table* all = table();
  // By each thread, because another that has made the table may not have come to this yet.
  if (all != nullptr && !any_ever_in_flight()) {
    activity::under_way.store(&all->count, std::memory_order_release);
  }
  return all;
}

bool hold(Slot& slot) {
  std::uint32_t idle = kIdle;
  return slot.state.compare_exchange_strong(idle, kHeld);
}

void release(Slot& slot) { slot.state.store(kIdle); }

// The slot of a descriptor, or null. May be stale the next moment.
Slot* slot_of(int fd) {
  Table* all = table();
  if (all == nullptr || !in_tables(fd)) return nullptr;
  const std::uint16_t index = all->slot_of[fd].load(std::memory_order_acquire);
  return index == 0 ? nullptr : &all->slots[index - 1];
}

// Waits for another thread that holds the slot of `fd`, which it does for some system calls of its
// own and never longer. False when the descriptor has another slot by now, or none.
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

void make_free(Table& all, Slot& slot) {
  const auto index = static_cast<std::uint32_t>(&slot - all.slots);
  slot.state.store(kFree, std::memory_order_release);
  std::uint32_t lowest = all.lowest_free.load(std::memory_order_relaxed);
  while (index < lowest &&
         !all.lowest_free.compare_exchange_weak(lowest, index, std::memory_order_relaxed)) {
  }
}

void empty(Table& all, Slot& slot) {
  const int fd = slot.fd.load(std::memory_order_relaxed);
  const auto index = static_cast<std::uint16_t>(&slot - all.slots + 1);
  if (all.slot_of[fd].load(std::memory_order_relaxed) == index) {
    all.slot_of[fd].store(0, std::memory_order_relaxed);
  }
  if (slot.error != kLeftToKernel) all.count.fetch_sub(1, std::memory_order_relaxed);
  make_free(all, slot);
}

// The slot of a descriptor, held; null when there is none.
Slot* hold_slot_of(int fd) {
  Slot* slot = slot_of(fd);
  return slot != nullptr && wait_and_hold(*slot, fd) ? slot : nullptr;
}

void set_deadline(Table& all, Slot& slot, std::uint64_t until_ms) {
  slot.until_ms.store(until_ms, std::memory_order_relaxed);
  std::uint64_t present = all.deadline_ms.load(std::memory_order_relaxed);
  // 0: nobody has set one yet.
  while ((present == 0 || until_ms < present) &&
         !all.deadline_ms.compare_exchange_weak(present, until_ms, std::memory_order_relaxed)) {
  }
}

// A free slot, held: the lowest, so that few are ever touched. When all are taken, those whose
// socket is gone are cleared out first.
Slot* take_slot(Table& all) {
  std::uint32_t lowest = all.lowest_free.load(std::memory_order_relaxed);
  for (const bool sweep : {false, true}) {
    for (std::uint32_t i = sweep ? 0 : lowest; i < kSlots; ++i) {
      Slot& slot = all.slots[i];
      if (sweep && hold(slot)) {
        if (slot.flight.owns(slot.fd.load(std::memory_order_relaxed))) {
          release(slot);
        } else {
          empty(all, slot);
        }
      }
      std::uint32_t free = kFree;
      if (slot.state.load(std::memory_order_relaxed) != kFree ||
          !slot.state.compare_exchange_strong(free, kHeld, std::memory_order_acquire)) {
        continue;
      }
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

// What a held slot's connect has come to. Leaves the slot idle or free.
ProgramView settle(Table& all, Slot& slot, ConnectOperation::Progress progress) {
  // Not when a first attempt has only been looked at.
  if (slot.flight.planned || progress == ConnectOperation::Progress::kLost) {
    slot.later_attempt.store(true, std::memory_order_relaxed);
    activity::moved_on.store(true, std::memory_order_relaxed);
  }
  const int fd = slot.fd.load(std::memory_order_relaxed);
  ConnectOperation& flight = slot.flight;
  switch (progress) {
    case ConnectOperation::Progress::kTimeUp:
      // The program waits by its own clock now, not by SO_SNDTIMEO.
      flight.blocking = false;
      flight.resume(flight.program_timeout);
      [[fallthrough]];
    case ConnectOperation::Progress::kInFlight:
      set_deadline(all, slot, flight.until_ms);
      release(slot);
      return ProgramView::kInFlight;
    case ConnectOperation::Progress::kLost:
      if (flight.error != ECONNRESET) break;
      // The program has shut the socket down, and we have read the error.
      slot.error = flight.error;
      set_deadline(all, slot, now_ms() + kForgottenMs);
      release(slot);
      return ProgramView::kFailed;
    case ConnectOperation::Progress::kFailed:
      // Only the kernel's time-out cannot be had again at once.
      slot.error = flight.error;
      if (flight.error != ETIMEDOUT) slot.error = flight.leave_to_kernel(fd);
      if (slot.error == 0) {
        slot.error = kLeftToKernel;
        all.count.fetch_sub(1, std::memory_order_relaxed);
      }
      set_deadline(all, slot, slot.error == kLeftToKernel ? kNever : now_ms() + kForgottenMs);
      release(slot);
      // Taking the socket back has raised an event, which is the one that tells of it.
      return ProgramView::kInFlight;
    case ConnectOperation::Progress::kConnected:
      break;
  }
  empty(all, slot);
  return ProgramView::kNotOurs;
}

// Nobody may look at it before its connect(2) has returned, unless that never will: a signal
// handler has jumped out of it.
bool is_starting(const Slot& slot) {
  const char* starter = slot.starter.load();
  return starter != nullptr && starter != &this_thread &&
         now_ms() < slot.flight.began_ms + kForgottenMs;
}

// Of a held slot; leaves it idle or free.
ProgramView look_at_held(Table& all, Slot& slot) {
  // A vfork child has its parent's table.
  if (!owns_memory()) {
    release(slot);
    return ProgramView::kNotOurs;
  }
  const int fd = slot.fd.load(std::memory_order_relaxed);
  if (slot.error == kLeftToKernel) {
    release(slot);
    return ProgramView::kNotOurs;
  }
  if (slot.error != 0) {
    if (!slot.flight.owns(fd)) {
      empty(all, slot);
      return ProgramView::kNotOurs;
    }
    // Perhaps nobody ever asks, and the descriptor is closed some time.
    set_deadline(all, slot, now_ms() + kForgottenMs);
    release(slot);
    return ProgramView::kFailed;
  }
  if (is_starting(slot)) {
    slot.knocked.store(true);
    if (is_starting(slot)) {
      release(slot);
      return ProgramView::kInFlight;
    }
  }
  slot.starter.store(nullptr);
  return settle(all, slot, slot.flight.check(fd));
}

// A held slot for a flight of this descriptor, or null.
Slot* take_slot_for(int fd) {
  if (!in_tables(fd)) return nullptr;
  Table* all = make_table();
  Slot* slot = all != nullptr ? take_slot(*all) : nullptr;
  if (slot == nullptr) {
    report_problem("no room for one more connect in flight", {});
    return nullptr;
  }
  slot->fd.store(fd, std::memory_order_relaxed);
  slot->error = 0;
  slot->until_ms.store(kNever, std::memory_order_relaxed);
  slot->knocked.store(false, std::memory_order_relaxed);
  return slot;
}

// Its flight has been filled in: everybody may look at it.
void publish(Table& all, Slot& slot, bool starting) {
  const int fd = slot.fd.load(std::memory_order_relaxed);
  slot.starter.store(starting ? &this_thread : nullptr, std::memory_order_relaxed);
  slot.later_attempt.store(slot.flight.planned, std::memory_order_relaxed);
  slot.cookie.store(slot.flight.cookie, std::memory_order_relaxed);
  all.count.fetch_add(1, std::memory_order_release);
  all.slot_of[fd].store(static_cast<std::uint16_t>(&slot - all.slots + 1),
                        std::memory_order_release);
  if (!starting) set_deadline(all, slot, slot.flight.until_ms);
  release(slot);
}

// The number of a duplicate is not known here, its socket may be.
ProgramView look_at_same_socket(int fd) {
  const std::uint64_t cookie = socket_cookie(fd);
  if (cookie == 0) return ProgramView::kNotOurs;
  std::size_t position = 0;
  for (int other = next_in_flight(position); other >= 0; other = next_in_flight(position)) {
    const Slot* slot = slot_of(other);
    if (slot != nullptr && slot->cookie.load(std::memory_order_relaxed) == cookie) {
      return look_at(other);
    }
  }
  return ProgramView::kNotOurs;
}

// What connect(2) itself answers to a connect that has come to this before it returned.
int result_of(Table& all, Slot& slot, ConnectOperation::Progress progress) {
  if (progress == ConnectOperation::Progress::kInFlight) {
    settle(all, slot, progress);
    return EINPROGRESS;
  }
  const int error = progress == ConnectOperation::Progress::kConnected ? 0 : slot.flight.error;
  empty(all, slot);
  return error;
}

}  // namespace

bool enter_flight(int fd, const Endpoint& requested) {
  Slot* slot = take_slot_for(fd);
  if (slot == nullptr) return false;
  if (!slot->flight.prepare(fd, requested, {}, false)) {
    make_free(*table(), *slot);
    return false;
  }
  publish(*table(), *slot, true);
  return true;
}

void suffer_fault(int fd, const Fault& fault) {
  const Uninterrupted uninterrupted;
  Slot* slot = hold_slot_of(fd);
  if (slot == nullptr) return;
  slot->flight.suffer(fault);
  release(*slot);
}

int begin_flight(int fd, int first) {
  Slot* slot = slot_of(fd);
  if (slot == nullptr) return first;
  Table& all = *table();
  if (first == EINPROGRESS) {
    set_deadline(all, *slot, slot->flight.until_ms);
    slot->starter.store(nullptr);
    if (slot->knocked.exchange(false)) look_at(fd);
    return first;
  }
  const Uninterrupted uninterrupted;
  if (!wait_and_hold(*slot, fd)) return first;
  slot->starter.store(nullptr);
  return result_of(all, *slot, slot->flight.begin(fd, first));
}

std::optional<int> begin_flight_elsewhere(int fd) {
  const Uninterrupted uninterrupted;
  Slot* slot = hold_slot_of(fd);
  if (slot == nullptr) return {};
  const ConnectOperation::Progress progress = slot->flight.begin_elsewhere(fd);
  if (progress == ConnectOperation::Progress::kLost) {
    release(*slot);
    return {};
  }
  slot->starter.store(nullptr);
  return result_of(*table(), *slot, progress);
}

void keep_flight(int fd, const ConnectOperation& flight) {
  const Uninterrupted uninterrupted;
  Slot* slot = take_slot_for(fd);
  if (slot == nullptr) return;
  slot->flight = flight;
  publish(*table(), *slot, false);
}

bool take_flight(int fd, const Endpoint& requested, ConnectOperation& out) {
  if (slot_of(fd) == nullptr || !owns_memory()) return false;
  const Uninterrupted uninterrupted;
  Slot* slot = hold_slot_of(fd);
  if (slot == nullptr) return false;
  out = slot->flight;
  const bool same = slot->error == 0 && out.requested == requested && out.owns(fd);
  empty(*table(), *slot);
  return same;
}

bool left_to_kernel(int fd) {
  if (slot_of(fd) == nullptr) return false;
  const Uninterrupted uninterrupted;
  Slot* slot = hold_slot_of(fd);
  if (slot == nullptr) return false;
  const bool left = slot->error == kLeftToKernel && slot->flight.owns(fd);
  release(*slot);
  return left;
}

bool has_flight(int fd) {
  if (slot_of(fd) == nullptr || !owns_memory()) return false;
  const Uninterrupted uninterrupted;
  Slot* slot = hold_slot_of(fd);
  if (slot == nullptr) return false;
  const bool same = slot->flight.owns(fd);
  release(*slot);
  return same;
}

void drop_flight(int fd) {
  if (slot_of(fd) == nullptr || !owns_memory()) return;
  const Uninterrupted uninterrupted;
  Slot* slot = hold_slot_of(fd);
  if (slot != nullptr) empty(*table(), *slot);
}

ProgramView look_at(int fd) {
  if (slot_of(fd) == nullptr) return ProgramView::kNotOurs;
  const Uninterrupted uninterrupted;
  Slot* slot = hold_slot_of(fd);
  return slot != nullptr ? look_at_held(*table(), *slot) : ProgramView::kNotOurs;
}

void note_connected(int fd) {
  Slot* slot = slot_of(fd);
  if (slot == nullptr) return;
  // A later attempt has a line to log.
  if (slot->later_attempt.load(std::memory_order_relaxed)) {
    look_at(fd);
  } else if ((slot = hold_slot_of(fd)) != nullptr) {
    // Moved on by another thread while this one waited for the slot.
    if (slot->later_attempt.load(std::memory_order_relaxed)) {
      look_at_held(*table(), *slot);
      return;
    }
    const ConnectOperation& flight = slot->flight;
    note_success(flight.current, flight.requested.port);
    if (wants_rtt()) {
      // What the program did before it waited is in it too; when that may be much, the kernel
      // knows.
      constexpr std::uint64_t kLong = 50'000;
      const std::uint64_t took_us = now_us() - flight.began_us;
      note_rtt(flight.current, flight.requested.port,
               took_us < kLong ? took_us : round_trip_us(fd));
    }
    empty(*table(), *slot);
  }
}

void note_if_connected(int fd) {
  if (tcp_phase(fd) == TcpPhase::kConnected) note_connected(fd);
}

ProgramView look_at_failed(int fd, std::uint32_t events) {
  ProgramView sight = look_at(fd);
  if (sight == ProgramView::kNotOurs) sight = look_at_same_socket(fd);
  if (sight != ProgramView::kNotOurs) return sight;
  // Another thread may have moved the connect on since the event was fetched, and what it has come
  // to has an event of its own: the socket has not failed any more, or has failed only since.
  pollfd now{fd, 0, 0};
  libc::poll(&now, 1, 0);
  const bool failed_since = (now.revents & POLLERR) != 0 && (events & POLLERR) == 0;
  return now.revents == 0 || failed_since ? ProgramView::kInFlight : ProgramView::kNotOurs;
}

bool in_flight(int fd) { return slot_of(fd) != nullptr; }

int next_in_flight(std::size_t& position) {
  const Table* all = table();
  if (all == nullptr) return -1;
  const std::size_t end = all->highest.load(std::memory_order_relaxed) + std::size_t{1};
  while (position < end) {
    const Slot& slot = all->slots[position++];
    if (slot.state.load(std::memory_order_relaxed) != kFree) {
      return slot.fd.load(std::memory_order_relaxed);
    }
  }
  return -1;
}

std::uint64_t next_flight_deadline() {
  const Table* all = table();
  if (all == nullptr || all->count.load(std::memory_order_relaxed) == 0) return kNever;
  // Another thread may begin and end meanwhile.
  const std::uint32_t ended = all->scans_ended.load();
  const std::uint64_t deadline = all->deadline_ms.load();
  if (all->scans_begun.load() != ended) return now_ms() + kScanMs;
  return deadline == 0 ? kNever : deadline;
}

void drive_due_flights() {
  Table* all = table();
  if (all == nullptr || now_ms() < next_flight_deadline()) return;
  const Uninterrupted uninterrupted;
  all->scans_begun.fetch_add(1);
  // Whatever is set from here on is kept: the scan only ever finds earlier ones.
  all->deadline_ms.store(kNever);
  const std::uint64_t now = now_ms();
  const std::size_t last =
      std::min<std::size_t>(all->highest.load(std::memory_order_relaxed) + 1, kSlots);
  for (std::size_t i = 0; i < last; ++i) {
    Slot& slot = all->slots[i];
    if (slot.state.load(std::memory_order_relaxed) == kFree) continue;
    const std::uint64_t until = slot.until_ms.load(std::memory_order_relaxed);
    if (until > now) {
      if (until != kNever) set_deadline(*all, slot, until);
      continue;
    }
    if (hold(slot)) look_at_held(*all, slot);
  }
  all->scans_ended.fetch_add(1);
}

int take_error(int fd) {
  if (slot_of(fd) == nullptr) return 0;
  const Uninterrupted uninterrupted;
  Slot* slot = hold_slot_of(fd);
  if (slot == nullptr) return 0;
  const int error = slot->flight.owns(fd) ? slot->error : 0;
  if (error == 0 || error == kLeftToKernel) {
    release(*slot);
    return 0;
  }
  empty(*table(), *slot);
  return error;
}

}  // namespace nextaddr
