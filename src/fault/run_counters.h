// What has happened in one run, counted over all its processes: a command under the launcher, or
// else one process and its forked children. Kept for whoever tests with faults; without faults and
// launcher nothing is counted. Must never decide anything.
//
// The launcher makes a file for it (NEXTADDR_RUN) and stays until the command has ended. Unlike the
// memory file it is mapped: it is the launcher's own, made for this run, and all of it is written.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "engine/fault_rules.h"

namespace nextaddr {

// The file begins so, in the machine's byte order; the launcher reads the first two.
struct Run {
  std::atomic<std::uint32_t> magic;      // kRunMagic once the library has been there
  std::atomic<std::uint32_t> failovers;  // connects that another address than the requested one got
  std::atomic<std::uint64_t> seed;       // one more than seed(); 0: not chosen yet
  std::atomic<std::uint32_t> asked;      // connects and lookups that the rules were asked about
  FaultCounters faults;
};

// Processes of 32 and of 64 bits share one, and a lock of one process would be none in another.
static_assert(offsetof(Run, seed) == 8 && offsetof(Run, faults) == 20 && sizeof(Run) % 8 == 0);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

inline constexpr std::uint32_t kRunMagic = 0x6e787231;

// Begins to count, once, from the library's start. Not async-signal-safe.
void open_run();

// Null when nothing is counted.
Run* run();

// The seed of the chances of faults: NEXTADDR_SEED, or one that was chosen for this run. Only while
// run() is not null.
std::uint64_t seed();

// True in the process with which the run ends: what has never happened can be told then.
bool ends_run();

}  // namespace nextaddr
