// Connects in progress that a process and its forked children have in common: each of them may wait
// for the socket, and whoever does moves it on for all. What is known of such a connect is kept in
// memory that they share, from the first fork on that meets it.
//
// One is held by one thread of one process at a time, for some system calls that do not wait. Where
// that process ended in the middle of them, others go on after a while. What another process has
// written is not trusted: whoever takes it over keeps what it knows better
// (ConnectOperation::catch_up()), and positions are bounded. Async-signal-safe.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "connect/connect_operation.h"

namespace nextaddr {

enum class ConnectStage : std::uint8_t {
  kPending,
  kFailed,  // for good: an error waits for the program to ask
  // The last attempt was left to the kernel. Not pending any more (not counted), but remembered
  // until the descriptor's next connect.
  kLeftToKernel,
  // Another process has seen its end, or begun another connect on the socket: the kernel tells the
  // rest.
  kOver,
};

// Zero-filled memory is a SharedConnect of no connect.
struct SharedConnect {
  std::atomic<std::uint64_t> held_since_ms;  // 0: by nobody
  std::atomic<std::uint64_t> cookie;         // of its socket; 0: of none
  std::atomic<std::uint64_t> used_ms;
  std::atomic<std::uint32_t> version;  // another one whenever somebody has held it
  ConnectStage stage;
  int error;
  ConnectOperation operation;
};

// Holds it. Returns what is_held_since() and release() are to be given, or 0: somebody else holds
// it.
std::uint64_t try_hold(SharedConnect& connect);
// False when another process has taken it from us, because we have held it for seconds.
bool is_held_since(const SharedConnect& connect, std::uint64_t since);
// Releases it, unless it was taken from us.
void release(SharedConnect& connect, std::uint64_t since);

// This process is about to change what it may do: the memory of shared connects is the other
// processes' alone from now on. What this one keeps of them is its own by now
// (keep_shared_connects()); to it the others' connects are the kernel's.
void leave_shared_connects();

// A free one, held, for the socket of this cookie; `since` as of try_hold(). Null: no memory, or
// too many.
SharedConnect* new_shared_connect(std::uint64_t cookie, std::uint64_t& since);

}  // namespace nextaddr
