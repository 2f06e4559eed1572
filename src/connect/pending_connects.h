// The connects under way in this process that the program waits for itself: one slot a descriptor.
// What the wait hooks and connect() ask about a descriptor, and the one deadline they all keep.
//
// Slots are held by one caller at a time, for some system calls that do not wait; neither a signal
// nor a cancellation interrupts that, so that nobody jumps out with one. (StartingConnect::enter()
// alone does not hold signals back, for speed: a handler that jumps out of it by siglongjmp(3) may
// cost a slot, which no descriptor has.) Entries whose socket was closed need no hook: they are
// recognised by SO_COOKIE when next seen. A forked child has those that were pending in common with
// its parent (shared_connects.h); one of clone(2) starts with none. Everything here is
// async-signal-safe.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "connect/connect_operation.h"
#include "os/callable.h"
#include "process/activity.h"

namespace nextaddr {

// What a program is to see of one of its descriptors.
enum class ProgramView : std::uint8_t {
  kNotOurs,  // as the kernel has it
  kPending,  // nothing yet
  kFailed,   // an error waits for it, and the kernel no longer knows of it (take_error())
};

// Something else than a connect (a probe, connect/probes.h) is to be looked at now and then, and
// counts as pending as long as it lasts: it begins, or ends. False when there is no memory to keep
// it.
bool note_errand(bool begins);

struct PendingSlot;

// A connect(2) that does not wait, from before it is made until it returns. Other threads know of
// it meanwhile, because one that waits on this descriptor may see its failure before connect(2) has
// returned here. Either started(), elsewhere() with a result, or abandon() ends it; nothing else
// may come between.
class StartingConnect {
 public:
  // False when it cannot be kept: no room, or a socket without a cookie.
  bool enter(int fd, const Endpoint& requested);

  // The requested address is to be asked last: asks another one instead, and, if `to_be_probed`,
  // the requested one by a probe. The result for the program: 0, EINPROGRESS or an error; or
  // nothing when the connect is to be made as usual.
  std::optional<int> elsewhere(bool to_be_probed, bool was_given);

  // The connect, made with this fault, came to `first`: EINPROGRESS, or an error that moves on. The
  // result for the program: 0, EINPROGRESS or an error.
  int started(int first, const Fault& fault);

  // The connect needs no care: its result is the program's as it is.
  void abandon();

 private:
  int result_for_program(ConnectOperation::State state);

  PendingSlot* slot_ = nullptr;
  int fd_ = -1;
};

// Keeps a blocking connect that returned before it was finished: from now on it is the program's
// waits that advance it.
void keep_pending(const ConnectOperation& operation);
// Takes back what was kept, when it was for the same destination; the slot is then free.
bool take_pending(int fd, const Endpoint& requested, ConnectOperation& out);

// True when a connect is known on this very socket, not on an earlier one with its number.
bool knows_connect(int fd);

// True for a socket whose last attempt was left to the kernel: asking connect(2) again then only
// tells its result, and must not start another round.
bool left_to_kernel(int fd);

// The program begins a new connect on this descriptor, or one that is not ours: forgets what was
// pending. When it returns, no other thread is within a step on its socket.
void forget_connect(int fd);
// The same for a descriptor that is about to be closed, in this process alone: another one may have
// the socket, too, and goes on with the connect.
void forget_closed(int fd);
// The same for all descriptors from `first` to `last`.
void forget_closed(unsigned first, unsigned last);

// Advances the connect of one descriptor where needed, and tells what the program is to see of it.
// `error_seen`: the kernel has just called it one with an error (POLLERR).
ProgramView advance(int fd, bool error_seen = false);

// The same, after a call of the program has failed with `error`, if that was the failure of the
// attempt in flight; else kNotOurs.
ProgramView advance_told(int fd, int error);

// The same for a descriptor that the kernel has just called ready with an error, as `events` of
// poll(2) or epoll(7): it may also be a duplicate of one with a connect pending, and the error one
// of an attempt that is over. Once for each event: the next call may see the next attempt.
// `changes_before`: changes() before the kernel was asked.
ProgramView advance_after_error(int fd, std::uint32_t events, std::uint32_t changes_before);

// The same for a descriptor that the kernel has just called ready without an error: if a connect
// was pending, it is done. Spares a healthy connect every system call of advance().
ProgramView advance_connected(int fd);
// The same, where the event may be about another descriptor: only if the kernel says that this one
// is connected. One system call.
ProgramView advance_if_connected(int fd);

using DescriptorVisitor = Callable<void, int>;

// Advances every connect whose time is up among those that the caller waits for, which
// `for_each_own` visits. Those of others are advanced only when nobody has looked after them for a
// while, and then only silent ones: how the program learns of an error is known to who waits for
// it. Returns when there is more to do, in milliseconds of CLOCK_MONOTONIC.
std::uint64_t advance_due(const Callable<void, const DescriptorVisitor&>& for_each_own);

// The earliest time at which some connect has to be advanced, in milliseconds of CLOCK_MONOTONIC;
// the far future when there is none.
std::uint64_t next_deadline_ms();

// What SO_ERROR is to tell of this descriptor; nothing: what the kernel tells. A failure that no
// wait of ours has hidden may have reached the program by another way (a raw epoll_wait(2),
// io_uring, SIGIO), so it gets the truth, and the connect is its own from then on.
std::optional<int> answer_for_so_error(int fd);

// True when a connect is pending on this descriptor, as far as its number tells.
bool may_be_pending(int fd);

// True when the connect that is pending on this descriptor has not failed for good.
bool is_under_way(int fd);

// The descriptor with a connect pending on the same socket: this one, or one of which this is a
// duplicate; -1: none. One system call while any is pending.
int pending_on_same_socket(int fd);

// Walks over the descriptors with a connect pending: the next one, or -1 after the last. `position`
// starts at 0.
int next_pending(std::size_t& position);

// Before a fork: the child will have the sockets too, and may wait for them, as may this process.
// From now on they have the connects that are pending in common, and whoever waits moves one on.
void bequeath_connects();
// After the fork, in the parent.
void drop_inheritance();
// After the fork, in the child, once it owns its memory (process/process.h).
void inherit_connects();

// This process is to have nothing in common with others any more: the connects that it has begun,
// or waited for, are its own from now on, and to others the kernel's.
void keep_shared_connects();

// The error of a connect that failed, once: a second connect() returns it. 0: none.
int take_error(int fd);

}  // namespace nextaddr
