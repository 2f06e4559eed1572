// The connects under way in this process that the program waits for itself: one slot a descriptor.
// What the wait hooks and connect() ask about a descriptor, and the one deadline they all keep.
//
// Slots are held by one caller at a time, for some system calls that do not wait; neither a signal
// nor a cancellation interrupts that, so that nobody jumps out with one. (enter_flight() alone does
// not hold signals back, for speed: a handler that jumps out of it by siglongjmp(3) leaves one
// held.) Entries whose socket was closed need no hook: they are recognised by SO_COOKIE when next
// seen. A forked child starts with none (the parent goes on). Everything here is async-signal-safe.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "connect/connect_operation.h"

namespace nextaddr {

// What a program is to see of one of its descriptors.
enum class ProgramView : std::uint8_t {
  kNotOurs,   // as the kernel has it
  kInFlight,  // nothing yet
  kFailed,    // an error waits for it, and the kernel no longer knows of it (take_error())
};

namespace activity {
// How many connects are under way; null until the first. In memory that a forked child finds empty.
inline constinit std::atomic<const std::atomic<std::uint32_t>*> under_way{nullptr};
inline constinit std::atomic<bool> moved_on{false};
}  // namespace activity

// True once a connect was under way in this process.
inline bool any_ever_in_flight() {
  return activity::under_way.load(std::memory_order_acquire) != nullptr;
}

// One load until the first connect, two afterwards: what every wait hook asks first.
inline bool any_in_flight() {
  const auto* count = activity::under_way.load(std::memory_order_acquire);
  return count != nullptr && count->load(std::memory_order_acquire) != 0;
}

// True once some connect of this process has gone on to another attempt: another thread may still
// bring in an event of an attempt that is over.
inline bool any_moved_on() { return activity::moved_on.load(std::memory_order_relaxed); }

// A connect that does not block is about to be made. Known from now on, because a thread that waits
// on this descriptor may see its failure before connect(2) has returned here. False: no room.
bool enter_flight(int fd, const Endpoint& requested);

// That connect is made with this fault.
void suffer_fault(int fd, const Fault& fault);

// The requested address is parked: that connect asks another one instead. Its result for the
// program, or nothing when it is to be made as usual.
std::optional<int> begin_flight_elsewhere(int fd);

// That connect came to `first`: EINPROGRESS, or an error that moves on. Its result for the program:
// 0, EINPROGRESS or an error.
int begin_flight(int fd, int first);

// Keeps a blocking connect that returned before it was finished.
void keep_flight(int fd, const ConnectOperation& flight);
// Takes back what was kept, when it was for the same destination; the slot is then free.
bool take_flight(int fd, const Endpoint& requested, ConnectOperation& out);

// True when a connect is known on this very socket, not on an earlier one with its number.
bool has_flight(int fd);

// True for a socket whose last attempt was left to the kernel: asking connect(2) again then only
// tells its result, and must not start another round.
bool left_to_kernel(int fd);

// A new connect on this descriptor, or none any more: forgets what was under way.
void drop_flight(int fd);

// Looks at one descriptor and moves its connect on where needed.
ProgramView look_at(int fd);

// The kernel has just called this descriptor ready, without an error: if a connect was under way,
// it is done. Spares a healthy connect every system call of look_at().
void note_connected(int fd);
// The same, where the event may be about another descriptor: only if the kernel says so. One system
// call.
void note_if_connected(int fd);

// Looks at a descriptor that the kernel has just called ready with an error, as `events` of poll(2)
// or epoll(7): it may also be a duplicate of one with a connect under way, and the error one of an
// attempt that is over. Once for each event: the next look may see the next attempt.
ProgramView look_at_failed(int fd, std::uint32_t events);

// True when a connect is under way on this descriptor, as far as its number tells.
bool in_flight(int fd);

// Walks over them: the next descriptor with a connect under way, or -1 after the last. `position`
// starts at 0.
int next_in_flight(std::size_t& position);

// Moves on every connect whose time is up.
void drive_due_flights();

// The earliest time at which some connect has to be moved on; the far future when there is none.
std::uint64_t next_flight_deadline();

// The error of a connect that failed, once: SO_ERROR reads it, a second connect() returns it. 0:
// none.
int take_error(int fd);

}  // namespace nextaddr
