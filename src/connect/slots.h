// The slots of pending connects: which descriptor has one, who holds it, and by when the next of
// them wants to be looked at. What a connect comes to is none of this file's business: it never
// advances one.
//
// A slot is held by one thread at a time, for some system calls that do not wait. Where the connect
// is shared with other processes, to hold its slot is to hold it there too. Signals are held back
// by whoever holds a slot. Async-signal-safe. Only for pending_connects.cc and
// inherited_connects.cc.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "connect/connect_operation.h"
#include "connect/shared_connects.h"
#include "engine/address.h"
#include "os/descriptors.h"

namespace nextaddr {

inline constexpr std::size_t kSlots = 16384;
inline constexpr std::uint64_t kNoDeadline = ~std::uint64_t{0};

// What is needed to learn from the event that ends a healthy connect. It is read without the slot
// being held (look_at()), and counts only when nobody has held it meanwhile (free_as_seen()).
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
  std::atomic<std::uint32_t> holding;  // how it is held, and a count of that (slots.cc)
  std::atomic<int> fd;
  std::atomic<std::uint64_t> until_ms;
  std::atomic<std::uint64_t> cookie;
  // The socket was moved on, has failed, or is shared: whoever sees it connected may not take that
  // for the first attempt, and there is more to do than advance_connected() does by itself.
  std::atomic<bool> beyond_first;
  std::atomic<const char*> starter;  // the thread whose connect(2) has not returned yet
  std::atomic<bool> knocked;         // somebody wanted to advance it meanwhile
  std::atomic<ConnectStage> stage;
  int error;
  FirstAttempt first;
  // What all processes know that have the socket in common; null: this one is alone.
  SharedConnect* shared;
  std::uint64_t shared_since;    // while the slot is held: what try_hold(*shared) has returned
  std::uint32_t shared_version;  // the version of `shared` that `operation` has
  // The connect was begun by a parent, and this process has not looked after it yet: it may not
  // care.
  bool inherited;
  ConnectOperation operation;
};

// Zero pages until used: neither the table nor a slot costs memory before it is needed.
struct SlotTable {
  std::atomic<std::uint32_t> highest;  // the highest slot ever taken
  // No lower slot is free, but one that is being freed just now.
  std::atomic<std::uint32_t> lowest_free;
  // deadline_ms <= every slot's until_ms, except while scans_begun != scans_ended: then it is being
  // found anew. 0: nobody has set one yet. CLOCK_MONOTONIC.
  std::atomic<std::uint64_t> deadline_ms;
  std::atomic<std::uint32_t> scans_begun;
  std::atomic<std::uint32_t> scans_ended;
  // By descriptor: the index of its slot plus one; 0: it has none.
  std::atomic<std::uint16_t> slot_of[kDescriptors];
  PendingSlot slots[kSlots];
};

// The table of this process; null as long as there is none.
SlotTable* slot_table();
// Makes the table, unless there is one. Null when there was no memory for it.
SlotTable* make_slot_table();
// How many slots are to be looked at: none beyond these was ever taken.
std::size_t slots_in_use(const SlotTable& all);

// The slot of a descriptor, or null. May be stale the next moment.
PendingSlot* slot_of(int fd);
bool is_free(const PendingSlot& slot);

// True while the connect(2) of this slot has not returned in another thread, before which nobody
// may advance the connect. After two seconds it is taken to have returned: a signal handler may
// have jumped out of it.
bool is_starting(const PendingSlot& slot);

// Holds an idle slot. False when the slot is free, or somebody else holds it, here or in another
// process.
bool hold(PendingSlot& slot);
// Holds the slot of `fd`, and waits for another thread that holds it, which it does for some system
// calls of its own and never longer: so about 0.1 s at most. False when the descriptor has another
// slot by then, or none.
bool wait_and_hold(PendingSlot& slot, int fd);
// The slot of a descriptor, held; null when there is none.
PendingSlot* hold_slot_of(int fd);
// Releases a held slot, which is idle afterwards; other processes that share its connect may go on
// with it.
void release(PendingSlot& slot);
// The same, and the slot is to be looked at again at `until_ms` (CLOCK_MONOTONIC).
void release_until(SlotTable& all, PendingSlot& slot, std::uint64_t until_ms);

// A held slot for a connect of this descriptor, or null, which is logged.
PendingSlot* take_slot_for(int fd);
// The operation of a held slot has been filled in: everybody may advance it, once it is not
// starting any more. The slot is idle afterwards.
void publish(SlotTable& all, PendingSlot& slot, bool starting);
// Frees a held slot that was never published.
void give_back(SlotTable& all, PendingSlot& slot);

// For whom the connect of a slot ends: for this process, or for all that have its socket, too.
enum class Ends : std::uint8_t { kHere, kEverywhere };
// Ends the connect of a held slot, which is free afterwards.
void empty(SlotTable& all, PendingSlot& slot, Ends ends);

// What advance_connected() has seen of a slot that it does not hold.
struct Sight {
  std::uint32_t holding;
  std::uint16_t number;
  FirstAttempt::Values first;
};
// False when the slot is held, or not of this descriptor, or beyond its first attempt.
bool look_at(const SlotTable& all, const PendingSlot& slot, int fd, Sight& out);
// Frees the slot, unless somebody has held it since it was looked at: then false, and it is as it
// was.
bool free_as_seen(SlotTable& all, PendingSlot& slot, int fd, const Sight& seen);

// Ties a held slot to `shared`, where all processes keep what they know of its connect. The slot is
// idle afterwards.
void take_over_shared(PendingSlot& slot, SharedConnect* shared);
// Unties a held slot from what it shares: the other processes are told that the connect is over for
// them, and this one has it alone. The slot is idle afterwards.
void keep_for_itself(PendingSlot& slot);

// The next look at this slot (set_deadline()), or at any, comes no later than `until_ms`
// (CLOCK_MONOTONIC).
void set_deadline(SlotTable& all, PendingSlot& slot, std::uint64_t until_ms);
void lower_deadline(SlotTable& all, std::uint64_t until_ms);

}  // namespace nextaddr
