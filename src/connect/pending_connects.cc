#include "connect/pending_connects.h"

#include <poll.h>
#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "connect/probes.h"
#include "connect/shared_connects.h"
#include "log/report.h"
#include "memory/memory.h"
#include "os/clock.h"
#include "os/descriptors.h"
#include "os/errno_kept.h"
#include "os/libc.h"
#include "os/pin.h"
#include "os/signals.h"
#include "os/socket.h"
#include "os/this_thread.h"
#include "process/process.h"

namespace nextaddr {

namespace {

constexpr std::size_t kSlots = 16384;
constexpr std::uint64_t kNever = ~std::uint64_t{0};
// While one thread finds the earliest deadline, others look again for it after so long.
constexpr std::uint64_t kScanMs = 5;
// After so long it is looked whether what waits for the program still has its socket.
constexpr std::uint64_t kForgottenMs = 2000;
// What a parent has begun is looked at again after so long at first, and forgotten after so long.
constexpr std::uint64_t kInheritedMs = 500;
constexpr std::uint64_t kLongestConnectMs = 180'000;
// So long after its time a connect is nobody's: whoever waits then advances it.
constexpr std::uint64_t kAbandonedMs = 100;

// How a slot is held; above that, how often it has changed hands.
enum Holding : std::uint32_t { kFree, kIdle, kHeld };
constexpr std::uint32_t kHoldingMask = 3;

Holding holding_of(std::uint32_t word) { return static_cast<Holding>(word & kHoldingMask); }
std::uint32_t next_word(std::uint32_t word, Holding holding) {
  return (word & ~kHoldingMask) + kHoldingMask + 1 + holding;
}

using Stage = ConnectStage;

}  // namespace

// What an event that ends a healthy connect teaches. It is read without the slot being held, and
// counts only when nobody has held it meanwhile.
class FirstAttempt {
 public:
  struct Values {
    Endpoint requested;
    std::uint64_t began_us;
    std::uint64_t cookie;
    bool is_steered;
  };

  void store(const Values& values) {
    std::array<std::uint64_t, kWords> words{};
    std::memcpy(words.data(), &values, sizeof values);
    for (std::size_t i = 0; i < kWords; ++i) {
      words_[i].store(words[i], std::memory_order_relaxed);
    }
  }
  [[nodiscard]] Values load() const {
    std::array<std::uint64_t, kWords> words;
    for (std::size_t i = 0; i < kWords; ++i) words[i] = words_[i].load(std::memory_order_relaxed);
    Values values;
    std::memcpy(static_cast<void*>(&values), words.data(), sizeof values);
    return values;
  }

 private:
  static constexpr std::size_t kWords = (sizeof(Values) + 7) / 8;
  std::array<std::atomic<std::uint64_t>, kWords> words_;
};

struct PendingSlot {
  std::atomic<std::uint32_t> holding;  // Holding
  std::atomic<int> fd;
  std::atomic<std::uint64_t> until_ms;
  std::atomic<std::uint64_t> cookie;
  // Whoever sees the socket connected may not take it for its first attempt: it was moved on, or
  // has failed, and there is more to do than note_connected() does.
  std::atomic<bool> beyond_first;
  std::atomic<const char*> starter;  // the thread whose connect(2) has not returned yet
  std::atomic<bool> knocked;         // somebody wanted to advance it meanwhile
  std::atomic<Stage> stage;
  int error;
  FirstAttempt first;
  // What processes know of it that have its socket in common; null: this one is alone.
  SharedConnect* shared;
  std::uint64_t shared_since;    // while it is held: since when that is, too
  std::uint32_t shared_version;  // that `operation` is up to
  // It was begun by a parent, and this process has not looked after it yet: it may not care.
  bool inherited;
  ConnectOperation operation;
};

namespace {

using Slot = PendingSlot;
using State = ConnectOperation::State;

// Zero pages until used: neither the table nor a slot costs memory before it is needed.
struct Table {
  std::atomic<std::uint32_t> highest;      // slot ever taken
  std::atomic<std::uint32_t> lowest_free;  // slot, but for one that was freed just then
  // deadline_ms <= every slot's until_ms, but while scans_begun != scans_ended: then it is being
  // found anew. 0: nobody has set one yet.
  std::atomic<std::uint64_t> deadline_ms;
  std::atomic<std::uint32_t> scans_begun;
  std::atomic<std::uint32_t> scans_ended;
  std::atomic<std::uint16_t> slot_of[kDescriptors];  // plus one; 0: none
  Slot slots[kSlots];
};

constinit std::atomic<Table*> the_table{nullptr};

Table* table() { return the_table.load(std::memory_order_acquire); }

// Beyond these none was ever taken.
std::size_t slots_in_use(const Table& all) {
  return std::min<std::size_t>(all.highest.load(std::memory_order_relaxed) + 1, kSlots);
}

// Null when there was no memory for it.
Table* make_table() {
  if (!activity::begin()) return nullptr;
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
  return table();
}

// The other processes may go on with it, from where it is now, unless it is over.
void pass_on(Slot& slot, Stage stage) {
  SharedConnect& shared = *slot.shared;
  if (!is_held_since(shared, slot.shared_since)) return;
  shared.operation = slot.operation;
  shared.stage = stage;
  shared.error = slot.error;
  slot.shared_version = shared.version.fetch_add(1, std::memory_order_relaxed) + 1;
  release(shared, slot.shared_since);
}

// Of a slot that has just been held: the other processes are kept from the connect as well, and
// what they have made of it is known here. False when one of them is at it.
bool catch_up(Slot& slot) {
  SharedConnect& shared = *slot.shared;
  slot.shared_since = try_hold(shared);
  if (slot.shared_since == 0) return false;
  const std::uint32_t version = shared.version.load(std::memory_order_relaxed);
  if (version == slot.shared_version) return true;
  slot.shared_version = version;
  // What was fetched before may tell of an attempt that is over.
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

// Of a slot that nobody else holds.
void become(Slot& slot, Holding holding) {
  slot.holding.store(next_word(slot.holding.load(std::memory_order_relaxed), holding));
}

// False when somebody has held it since `word` was read: then it is as it was.
bool change(Slot& slot, std::uint32_t word, Holding from, Holding to) {
  return holding_of(word) == from &&
         slot.holding.compare_exchange_strong(word, next_word(word, to));
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

// So that it is found.
void note_free(Table& all, const Slot& slot) {
  const auto index = static_cast<std::uint32_t>(&slot - all.slots);
  std::uint32_t lowest = all.lowest_free.load(std::memory_order_relaxed);
  while (index < lowest &&
         !all.lowest_free.compare_exchange_weak(lowest, index, std::memory_order_relaxed)) {
  }
}

void make_free(Table& all, Slot& slot) {
  become(slot, kFree);
  note_free(all, slot);
}

// What slot_of has of this one.
std::uint16_t number_of(const Table& all, const Slot& slot) {
  return static_cast<std::uint16_t>(&slot - all.slots + 1);
}

// For the other processes that have its socket, too.
enum class Ends : std::uint8_t { kHere, kEverywhere };

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

// The slot of a descriptor, held; null when there is none.
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

void set_deadline(Table& all, Slot& slot, std::uint64_t until_ms) {
  slot.until_ms.store(until_ms, std::memory_order_relaxed);
  lower_deadline(all, until_ms);
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

// Of a held slot, which is idle afterwards.
void wait_until(Table& all, Slot& slot, std::uint64_t until_ms) {
  set_deadline(all, slot, until_ms);
  release(slot);
}

// The error waits for the program. Perhaps nobody ever asks, and the descriptor is closed some
// time.
ProgramView keep_failed(Table& all, Slot& slot, int error) {
  slot.stage = Stage::kFailed;
  slot.error = error;
  wait_until(all, slot, now_ms() + kForgottenMs);
  return ProgramView::kFailed;
}

void leave_to_kernel(Table& all, Slot& slot) {
  slot.stage = Stage::kLeftToKernel;
  activity::remove_connect();
  wait_until(all, slot, kNever);
}

// Every address failed: where the program will find that. In any case taking the socket back has
// raised an event, which is the one that tells of it.
ProgramView settle_failed(Table& all, Slot& slot) {
  ConnectOperation& operation = slot.operation;
  if (can_be_had_again(operation.error()) && operation.leave_to_kernel()) {
    // Until now it was not connected, of which somebody may have fetched an event: whoever has
    // begun to wait since settle() noted a change has to see one more.
    note_change();
    leave_to_kernel(all, slot);
  } else {
    keep_failed(all, slot, operation.error());
  }
  return ProgramView::kPending;
}

// What a held slot's connect has come to. Leaves the slot idle or free.
ProgramView settle(Table& all, Slot& slot, State state) {
  // Not when a first attempt has only been looked at.
  if (slot.operation.is_planned() || state == State::kLeft) {
    slot.beyond_first.store(true, std::memory_order_relaxed);
    note_change();
  }
  Ends ends = Ends::kEverywhere;
  switch (state) {
    case State::kConnected:
      break;
    case State::kFailed:
      return settle_failed(all, slot);
    case State::kLeft:
      // The program has shut the socket down, and we have read the error.
      if (slot.operation.error() == ECONNRESET) return keep_failed(all, slot, ECONNRESET);
      // The kernel has given up, and its error is still there.
      if (slot.operation.error() == ETIMEDOUT && slot.operation.is_planned()) {
        leave_to_kernel(all, slot);
        return ProgramView::kNotOurs;
      }
      // Only this process has closed its descriptor.
      if (slot.operation.error() == EBADF) ends = Ends::kHere;
      break;
    default:
      wait_until(all, slot, slot.operation.until_ms());
      return ProgramView::kPending;
  }
  empty(all, slot, ends);
  return ProgramView::kNotOurs;
}

// Nobody may advance it before its connect(2) has returned, unless that never will: a signal
// handler has jumped out of it.
bool is_starting(const Slot& slot) {
  const char* starter = slot.starter.load();
  return starter != nullptr && starter != &this_thread &&
         now_ms() < slot.operation.began_ms() + kForgottenMs;
}

// Of a held slot; leaves it idle or free.
ProgramView advance_held(Table& all, Slot& slot) {
  // A vfork child has its parent's table.
  if (!owns_memory() || slot.stage == Stage::kLeftToKernel) {
    release(slot);
    return ProgramView::kNotOurs;
  }
  if (slot.stage == Stage::kFailed && slot.operation.owns_socket()) {
    return keep_failed(all, slot, slot.error);
  }
  if (slot.stage != Stage::kPending) {
    empty(all, slot, Ends::kHere);
    return ProgramView::kNotOurs;
  }
  if (is_starting(slot)) {
    slot.knocked.store(true);
    if (is_starting(slot)) {
      release(slot);
      return ProgramView::kPending;
    }
  }
  slot.starter.store(nullptr);
  return settle(all, slot, slot.operation.advance());
}

// Of a held slot whose connect nobody has looked after for a while; leaves it idle or free.
void advance_abandoned(Table& all, Slot& slot) {
  if (slot.inherited && slot.stage != Stage::kLeftToKernel && slot.stage != Stage::kOver) {
    // More and more rarely, until the kernel has given it up: perhaps this process never cares.
    const std::uint64_t age = now_ms() - slot.operation.began_ms();
    if (age > kLongestConnectMs) return empty(all, slot, Ends::kHere);
    wait_until(all, slot, now_ms() + std::max(kInheritedMs, age / 2));
  } else if (slot.stage == Stage::kPending && slot.operation.has_failed()) {
    wait_until(all, slot, now_ms() + kForgottenMs);
  } else {
    advance_held(all, slot);
  }
}

// A held slot for a connect of this descriptor, or null.
Slot* take_slot_for(int fd) {
  if (!in_tables(fd)) return nullptr;
  Table* all = make_table();
  Slot* slot = all != nullptr ? take_slot(*all) : nullptr;
  if (slot == nullptr) {
    report_problem("no room for one more connect in flight", {});
    return nullptr;
  }
  slot->fd.store(fd, std::memory_order_relaxed);
  slot->stage = Stage::kPending;
  slot->shared = nullptr;
  slot->inherited = false;
  slot->until_ms.store(kNever, std::memory_order_relaxed);
  slot->knocked.store(false, std::memory_order_relaxed);
  return slot;
}

// Its operation has been filled in: everybody may advance it, once it is not starting any more.
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
  // Whoever jumps out here leaves one that nobody finds until its socket is gone.
  release(slot);
  all.slot_of[fd].store(number_of(all, slot), std::memory_order_release);
}

}  // namespace

bool note_errand(bool begins) {
  Table* all = make_table();
  if (all == nullptr) return false;
  if (begins) {
    activity::add_connect();
    // It wants to be looked at at once, which tells when next.
    lower_deadline(*all, now_ms());
  } else {
    activity::remove_connect();
  }
  return true;
}

// ---- Connects that start ----

bool StartingConnect::enter(int fd, const Endpoint& requested) {
  slot_ = take_slot_for(fd);
  if (slot_ == nullptr) return false;
  fd_ = fd;
  if (!slot_->operation.prepare(fd, requested, ProgramSettings::of(fd, false), false)) {
    make_free(*table(), *slot_);
    return false;
  }
  publish(*table(), *slot_, true);
  return true;
}

// What connect(2) itself answers to a connect that has come to this before it returned.
int StartingConnect::result_for_program(State state) {
  Table& all = *table();
  if (!ConnectAttempts::is_over(state)) {
    settle(all, *slot_, state);
    return EINPROGRESS;
  }
  const int error = state == State::kConnected ? 0 : slot_->operation.error();
  // Others may have fetched an event of an attempt that is over.
  note_change();
  empty(all, *slot_, Ends::kEverywhere);
  return error;
}

std::optional<int> StartingConnect::elsewhere(bool to_be_probed, bool was_given) {
  const Uninterrupted uninterrupted;
  if (!wait_and_hold(*slot_, fd_)) return {};
  const State state = slot_->operation.elsewhere(to_be_probed, was_given);
  if (state == State::kLeft) {
    // The requested address is asked after all, as if nothing had been looked at.
    const ConnectOperation& operation = slot_->operation;
    const Endpoint requested = operation.requested();
    const ProgramSettings settings = operation.settings();
    slot_->operation.prepare(fd_, requested, settings, false);
    release(*slot_);
    return {};
  }
  slot_->starter.store(nullptr);
  return result_for_program(state);
}

int StartingConnect::started(int first, const Fault& fault) {
  // It may have been closed meanwhile, and the slot be another's.
  if (slot_ == nullptr || slot_of(fd_) != slot_) return first;
  if (first == EINPROGRESS && fault.action == FaultAction::kNone) {
    set_deadline(*table(), *slot_, slot_->operation.until_ms());
    slot_->starter.store(nullptr);
    if (slot_->knocked.exchange(false)) advance(fd_);
    return first;
  }
  const Uninterrupted uninterrupted;
  if (!wait_and_hold(*slot_, fd_)) return first;
  slot_->starter.store(nullptr);
  return result_for_program(slot_->operation.started(first, fault));
}

void StartingConnect::abandon() {
  const Uninterrupted uninterrupted;
  if (wait_and_hold(*slot_, fd_)) empty(*table(), *slot_, Ends::kEverywhere);
}

// ---- Connects that are pending ----

void keep_pending(const ConnectOperation& operation) {
  const Uninterrupted uninterrupted;
  Slot* slot = take_slot_for(operation.fd());
  if (slot == nullptr) return;
  slot->operation = operation;
  // The program waits by its own clock from now on, not by SO_SNDTIMEO.
  slot->operation.resume(false, {});
  publish(*table(), *slot, false);
}

bool take_pending(int fd, const Endpoint& requested, ConnectOperation& out) {
  if (slot_of(fd) == nullptr || !owns_memory()) return false;
  const Uninterrupted uninterrupted;
  Slot* slot = hold_slot_of(fd);
  if (slot == nullptr) return false;
  out = slot->operation;
  const bool same =
      slot->stage == Stage::kPending && out.requested() == requested && out.owns_socket();
  if (same) slot->operation.was_copied();
  empty(*table(), *slot, Ends::kEverywhere);
  return same;
}

bool left_to_kernel(int fd) {
  if (slot_of(fd) == nullptr) return false;
  const Uninterrupted uninterrupted;
  Slot* slot = hold_slot_of(fd);
  if (slot == nullptr) return false;
  const bool left = slot->stage == Stage::kLeftToKernel && slot->operation.owns_socket();
  release(*slot);
  return left;
}

bool knows_connect(int fd) {
  if (slot_of(fd) == nullptr || !owns_memory()) return false;
  const Uninterrupted uninterrupted;
  Slot* slot = hold_slot_of(fd);
  if (slot == nullptr) return false;
  const bool same = slot->operation.owns_socket();
  release(*slot);
  return same;
}

namespace {

void forget(int fd, Ends ends) {
  if (slot_of(fd) == nullptr || !owns_memory()) return;
  const Uninterrupted uninterrupted;
  Slot* slot = hold_slot_of(fd);
  if (slot != nullptr) empty(*table(), *slot, ends);
}

}  // namespace

void forget_connect(int fd) { forget(fd, Ends::kEverywhere); }

void forget_closed(int fd) { forget(fd, Ends::kHere); }

void forget_closed(unsigned first, unsigned last) {
  std::size_t position = 0;
  for (int fd = next_pending(position); fd >= 0; fd = next_pending(position)) {
    const auto number = static_cast<unsigned>(fd);
    if (first <= number && number <= last) forget_closed(fd);
  }
}

ProgramView advance(int fd) {
  if (slot_of(fd) == nullptr) return ProgramView::kNotOurs;
  const Uninterrupted uninterrupted;
  Slot* slot = hold_slot_of(fd);
  if (slot == nullptr) return ProgramView::kNotOurs;
  slot->inherited = false;
  return advance_held(*table(), *slot);
}

ProgramView advance_told(int fd, int error) {
  const Uninterrupted uninterrupted;
  const ErrnoKept errno_kept;
  Slot* slot = hold_slot_of(fd);
  if (slot == nullptr) return ProgramView::kNotOurs;
  // Without a failed attempt the error is that of the call itself.
  if (slot->stage != Stage::kPending || is_starting(*slot) || !owns_memory() ||
      !slot->operation.has_failed()) {
    release(*slot);
    return ProgramView::kNotOurs;
  }
  return settle(*table(), *slot, slot->operation.ended(error));
}

ProgramView advance_after_error(int fd, std::uint32_t events, std::uint32_t changes_before) {
  ProgramView view = advance(fd);
  if (view == ProgramView::kNotOurs) {
    const int other = pending_on_same_socket(fd);
    if (other >= 0) view = advance(other);
  }
  // To poll(2) some files twice is to lose what they have told (/proc/self/mountinfo).
  if (view != ProgramView::kNotOurs || changes() == changes_before || !is_tcp(fd)) return view;
  // Another thread may have moved the connect on since the event was fetched, and what it has come
  // to has an event of its own: the socket has not failed any more, or has failed only since.
  pollfd now{fd, 0, 0};
  libc::poll(&now, 1, 0);
  const bool failed_since = (now.revents & POLLERR) != 0 && (events & POLLERR) == 0;
  return now.revents == 0 || failed_since ? ProgramView::kPending : ProgramView::kNotOurs;
}

namespace {

// The first attempt of this connect has succeeded, as far as an event tells. The event may be about
// something that has the number of a closed socket by now (a pipe), and must teach nothing then;
// but a healthy connect to a near address pays no system call for that.
void learn_from_first(const FirstAttempt::Values& first, int fd) {
  if (first.is_steered) return;
  constexpr std::uint64_t kNear = 4'000;
  // What the program did before it waited is in it too; when that may be much, the kernel knows.
  constexpr std::uint64_t kLong = 50'000;
  const Endpoint& requested = first.requested;
  const std::uint64_t took_us = wants_rtt() ? now_us() - first.began_us : 0;
  const bool failing = is_failing(fd, requested.address, requested.port);
  if ((failing || took_us > kNear) && socket_cookie(fd) != first.cookie) return;
  if (failing) note_success(fd, requested.address, requested.port);
  if (took_us == 0) return;
  note_rtt(fd, requested.address, requested.port, took_us < kLong ? took_us : round_trip_us(fd));
}

}  // namespace

ProgramView advance_connected(int fd) {
  Slot* slot = slot_of(fd);
  if (slot == nullptr) return ProgramView::kNotOurs;
  // Signals are let in, so the slot is not held, and freed at one blow: whoever jumps out before
  // leaves it as it was, and it is freed with its next look.
  Table& all = *table();
  const std::uint32_t word = slot->holding.load(std::memory_order_acquire);
  std::uint16_t number = number_of(all, *slot);
  // A later attempt has a line to log.
  if (slot->beyond_first.load(std::memory_order_relaxed) || holding_of(word) != kIdle ||
      slot->fd.load(std::memory_order_relaxed) != fd) {
    return advance(fd);
  }
  const FirstAttempt::Values first = slot->first.load();
  if (!all.slot_of[fd].compare_exchange_strong(number, 0)) return advance(fd);
  if (!change(*slot, word, kIdle, kFree)) {
    // Another thread may have moved it on: the event is one of an attempt that is over.
    std::uint16_t none = 0;
    all.slot_of[fd].compare_exchange_strong(none, number);
    return advance(fd);
  }
  activity::remove_connect();
  note_free(all, *slot);
  learn_from_first(first, fd);
  return ProgramView::kNotOurs;
}

ProgramView advance_if_connected(int fd) {
  const SocketPhase phase = socket_phase(fd);
  return phase == SocketPhase::kConnected || phase == SocketPhase::kEnded ? advance_connected(fd)
                                                                          : ProgramView::kNotOurs;
}

std::optional<int> answer_for_so_error(int fd) {
  if (slot_of(fd) == nullptr) return {};
  const Uninterrupted uninterrupted;
  Slot* slot = hold_slot_of(fd);
  if (slot == nullptr) return {};
  Table& all = *table();
  if (slot->stage == Stage::kPending && !is_starting(*slot) && owns_memory()) {
    int error = 0;
    if (slot->operation.deliver_truth(error)) {
      empty(all, *slot, Ends::kEverywhere);
      return error;
    }
  }
  switch (advance_held(all, *slot)) {
    case ProgramView::kPending:
      return 0;
    case ProgramView::kFailed:
      return take_error(fd);
    default:
      return {};
  }
}

int pending_on_same_socket(int fd) {
  if (!any_pending()) return -1;
  // The number of a duplicate is not known here, or as that of an earlier socket; its socket may
  // be.
  const std::uint64_t cookie = socket_cookie(fd);
  if (cookie == 0) return -1;
  std::size_t position = 0;
  for (int other = next_pending(position); other >= 0; other = next_pending(position)) {
    const Slot* slot = slot_of(other);
    if (slot != nullptr && slot->cookie.load(std::memory_order_relaxed) == cookie) return other;
  }
  return -1;
}

bool is_under_way(int fd) {
  const Slot* slot = slot_of(fd);
  return slot != nullptr && slot->stage.load(std::memory_order_relaxed) == Stage::kPending;
}

bool may_be_pending(int fd) { return slot_of(fd) != nullptr; }

int next_pending(std::size_t& position) {
  const Table* all = table();
  if (all == nullptr) return -1;
  const std::size_t end = slots_in_use(*all);
  while (position < end) {
    const Slot& slot = all->slots[position++];
    if (!is_free(slot)) {
      return slot.fd.load(std::memory_order_relaxed);
    }
  }
  return -1;
}

std::uint64_t next_deadline_ms() {
  const Table* all = table();
  if (all == nullptr || !any_pending()) return kNever;
  // Another thread may begin and end meanwhile.
  const std::uint32_t ended = all->scans_ended.load();
  const std::uint64_t deadline = all->deadline_ms.load();
  if (all->scans_begun.load() != ended) return now_ms() + kScanMs;
  return deadline == 0 ? kNever : deadline;
}

std::uint64_t advance_due(const Callable<void, const DescriptorVisitor&>& for_each_own) {
  Table* all = table();
  const std::uint64_t deadline = next_deadline_ms();
  const std::uint64_t now = now_ms();
  if (all == nullptr || now < deadline) return deadline;
  const Uninterrupted uninterrupted;
  std::uint64_t next = kNever;
  for_each_own([&](int fd) {
    Slot* slot = slot_of(fd);
    if (slot == nullptr) return;
    if (slot->until_ms.load(std::memory_order_relaxed) <= now) advance(fd);
    slot = slot_of(fd);
    if (slot != nullptr) next = std::min(next, slot->until_ms.load(std::memory_order_relaxed));
  });
  all->scans_begun.fetch_add(1);
  // Whatever is set from here on is kept: the scan only ever finds earlier ones.
  all->deadline_ms.store(kNever);
  const std::size_t end = slots_in_use(*all);
  for (std::size_t i = 0; i < end; ++i) {
    Slot& slot = all->slots[i];
    if (is_free(slot)) continue;
    std::uint64_t until = slot.until_ms.load(std::memory_order_relaxed);
    if (until < now && now - until >= kAbandonedMs) {
      if (hold(slot)) advance_abandoned(*all, slot);
      until = slot.until_ms.load(std::memory_order_relaxed);
    }
    if (until == kNever) continue;
    set_deadline(*all, slot, until);
    next = std::min(next, std::max(until + kAbandonedMs, now));
  }
  // After what has just been moved on, which may have left some.
  const std::uint64_t errands = probes::look_after();
  if (errands != kNever) {
    lower_deadline(*all, errands);
    next = std::min(next, errands);
  }
  all->scans_ended.fetch_add(1);
  return next;
}

int take_error(int fd) {
  if (slot_of(fd) == nullptr) return 0;
  const Uninterrupted uninterrupted;
  Slot* slot = hold_slot_of(fd);
  if (slot == nullptr) return 0;
  if (slot->stage != Stage::kFailed || !slot->operation.owns_socket()) {
    release(*slot);
    return 0;
  }
  const int error = slot->error;
  // Each process is told, as it was by the event.
  empty(*table(), *slot, Ends::kHere);
  return error;
}

// ---- Connects that a forked child inherits ----

namespace {

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

// Of the fork that this thread is making; null: there is nothing to inherit.
constinit thread_local Inheritance* inheritance = nullptr;

// Of a held slot. False when there is no room.
bool share(Slot& slot) {
  if (slot.shared != nullptr) return true;
  slot.shared = new_shared_connect(slot.operation.cookie(), slot.shared_since);
  if (slot.shared == nullptr) return false;
  // Whoever sees the socket connected has to tell the others.
  slot.beyond_first.store(true, std::memory_order_relaxed);
  return true;
}

// Its connect(2) is made by another thread right now, and takes microseconds. The slot is held.
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
  Table* all = table();
  if (all == nullptr) return;
  const std::size_t end = slots_in_use(*all);
  for (std::size_t i = 0; i < end; ++i) {
    Slot& slot = all->slots[i];
    const int fd = slot.fd.load(std::memory_order_relaxed);
    if (is_free(slot) || slot_of(fd) != &slot || !wait_and_hold(slot, fd)) continue;
    if (slot.shared == nullptr) {
      release(slot);
    } else if (slot.inherited) {
      // The one that has begun it goes on with it.
      empty(*all, slot, Ends::kHere);
    } else {
      pass_on(slot, Stage::kOver);
      slot.shared = nullptr;
      become(slot, kIdle);
    }
  }
}

void bequeath_connects() {
  inheritance = nullptr;
  if (!any_pending() || !owns_memory()) return;
  const ErrnoKept errno_kept;
  const Uninterrupted uninterrupted;
  Table& all = *table();
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
    publish(*table(), *slot, false);
    if (!wait_and_hold(*slot, item.fd)) continue;
    slot->beyond_first.store(true, std::memory_order_relaxed);
    slot->inherited = true;
    slot->shared = item.shared;
    slot->shared_version = 0;  // none
    become(*slot, kIdle);
  }
  drop_inheritance();
}

}  // namespace nextaddr
