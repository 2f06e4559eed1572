// The one word by which hooks of calls that programs make all the time learn whether there is
// anything to look at: connects that are pending (connect/pending_connects.h), and DNS sockets
// (lookup/dns_answers.h). Must never cost those calls more than loads. Async-signal-safe, no lock.
#pragma once

#include <atomic>
#include <cstdint>

namespace nextaddr {

namespace activity {
// What the word is until there is something to look at.
inline constinit std::atomic<std::uint32_t> nothing{0};
// The word itself is in memory that a forked child finds empty (MADV_WIPEONFORK).
inline constinit std::atomic<std::atomic<std::uint32_t>*> word{&nothing};
// The process has sockets that talk to a DNS server; the other bits count pending connects.
inline constexpr std::uint32_t kDnsSockets = std::uint32_t{1} << 31;
inline constinit std::atomic<std::uint32_t> changes{0};

inline std::uint32_t now() {
  return word.load(std::memory_order_acquire)->load(std::memory_order_acquire);
}
// How many connects are pending now, errands (note_errand()) included.
inline std::uint32_t connects() { return now() & ~kDnsSockets; }

// Makes the word, unless there is one. False when there is no memory for it.
bool begin();
// One more connect is pending, or one less. Only after begin().
void add_connect();
void remove_connect();
}  // namespace activity

// True when a connect is pending: what every wait hook asks first. Two loads.
inline bool any_pending() { return activity::connects() != 0; }

// True when there is anything to look at: the same for hooks that also look at what DNS sockets
// send and receive.
inline bool any_watched() { return activity::now() != 0; }

// From now on there are DNS sockets to look at (`any`), or none.
void note_dns_sockets(bool any);

// Counts what changes the meaning of events that a thread may be fetching right now: a connect
// begins to be pending, or goes on to another attempt, or a sleeper is to be woken for one. Unequal
// before and after a wait: what it found has to be looked through, because it may tell of an
// attempt that is over.
inline std::uint32_t changes() { return activity::changes.load(std::memory_order_acquire); }
inline void note_change() { activity::changes.fetch_add(1, std::memory_order_acq_rel); }

}  // namespace nextaddr
