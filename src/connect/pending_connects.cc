// Longer than other files: whoever moves a connect on has to see all the ways in which it may end.
#include "connect/pending_connects.h"

#include <poll.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

#include "connect/probes.h"
#include "connect/slots.h"
#include "log/report.h"
#include "memory/memory.h"
#include "os/clock.h"
#include "os/errno_kept.h"
#include "os/libc.h"
#include "os/pin.h"
#include "os/signals.h"
#include "os/socket.h"
#include "os/this_thread.h"
#include "process/process.h"

namespace nextaddr {
namespace {

using Slot = PendingSlot;
using Table = SlotTable;
using Stage = ConnectStage;
using State = ConnectOperation::State;

// While one thread looks for the earliest deadline, others come back for it after this long.
constexpr std::uint64_t kScanMs = 5;
// An error that waits for the program is looked at again this often: its socket may be gone.
constexpr std::uint64_t kForgottenMs = 2000;
// A connect that a parent has begun is looked at again after kInheritedMs at first, and forgotten
// after kLongestConnectMs.
constexpr std::uint64_t kInheritedMs = 500;
constexpr std::uint64_t kLongestConnectMs = 180'000;
// A connect that nobody has advanced for this long after its time is abandoned: whoever waits next
// advances it.
constexpr std::uint64_t kAbandonedMs = 100;

// Keeps the error for the program to ask for. Perhaps nobody ever asks, and the descriptor is
// closed some time, so the slot is looked at again.
ProgramView keep_failed(Table& all, Slot& slot, int error) {
  slot.stage = Stage::kFailed;
  slot.error = error;
  release_until(all, slot, now_ms() + kForgottenMs);
  return ProgramView::kFailed;
}

void leave_to_kernel(Table& all, Slot& slot) {
  slot.stage = Stage::kLeftToKernel;
  activity::remove_connect();
  release_until(all, slot, kNoDeadline);
}

// Every address has failed: has the kernel tell the error, or keeps it here. In either case
// taking the socket back has raised an event, which is the one that tells the program.
ProgramView settle_failed(Table& all, Slot& slot) {
  ConnectOperation& operation = slot.operation;
  if (operation.have_kernel_tell()) {
    // Since it was taken back the socket was unconnected, and somebody may have fetched an event of
    // that: whoever has begun to wait since settle() noted a change has to see one more.
    note_change();
    release_until(all, slot, operation.until_ms());
  } else {
    keep_failed(all, slot, operation.error());
  }
  return ProgramView::kPending;
}

// Draws the consequences of what a held slot's connect has come to. Leaves the slot idle or free.
ProgramView settle(Table& all, Slot& slot, State state) {
  // To have looked at a first attempt, with no other address known yet, is no change.
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
      // The program has shut the socket down, or an ICMP error came, and we have read that.
      if (slot.operation.has_read_error()) return keep_failed(all, slot, slot.operation.error());
      // The kernel's error is still there: it has given up, or was made to tell.
      if (slot.operation.is_told_by_kernel()) {
        leave_to_kernel(all, slot);
        return ProgramView::kNotOurs;
      }
      // Only this process has closed its descriptor.
      if (slot.operation.error() == EBADF) ends = Ends::kHere;
      break;
    default:
      release_until(all, slot, slot.operation.until_ms());
      return ProgramView::kPending;
  }
  empty(all, slot, ends);
  return ProgramView::kNotOurs;
}

// Advances the connect of a held slot, which is idle or free afterwards.
ProgramView advance_held(Table& all, Slot& slot, bool error_seen = false) {
  // A vfork child has its parent's table, and must change nothing there.
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
  return settle(all, slot, slot.operation.advance(error_seen));
}

// Looks at a held slot whose connect nobody has looked after for a while; the slot is idle or free
// afterwards.
void advance_abandoned(Table& all, Slot& slot) {
  if (slot.inherited && slot.stage != Stage::kLeftToKernel && slot.stage != Stage::kOver) {
    // An inherited connect is looked at more and more rarely, until the kernel has given it up:
    // perhaps this process never cares.
    const std::uint64_t age = now_ms() - slot.operation.began_ms();
    if (age > kLongestConnectMs) return empty(all, slot, Ends::kHere);
    release_until(all, slot, now_ms() + std::max(kInheritedMs, age / 2));
  } else if (slot.stage == Stage::kPending && slot.operation.has_failed()) {
    release_until(all, slot, now_ms() + kForgottenMs);
  } else {
    advance_held(all, slot);
  }
}

}  // namespace

bool note_errand(bool begins) {
  Table* all = make_slot_table();
  if (all == nullptr) return false;
  if (begins) {
    activity::add_connect();
    // The first look is due at once, and tells when the next one is (probes::look_after()).
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
    give_back(*slot_table(), *slot_);
    return false;
  }
  publish(*slot_table(), *slot_, true);
  return true;
}

// What connect(2) is to return to the program for a connect that has come to `state` before it
// returned: 0, EINPROGRESS or an error.
int StartingConnect::result_for_program(State state) {
  Table& all = *slot_table();
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
  // The descriptor may have been closed meanwhile, and the slot be another's.
  if (slot_ == nullptr || slot_of(fd_) != slot_) return first;
  if (first == EINPROGRESS && fault.action == FaultAction::kNone) {
    set_deadline(*slot_table(), *slot_, slot_->operation.until_ms());
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
  if (wait_and_hold(*slot_, fd_)) empty(*slot_table(), *slot_, Ends::kEverywhere);
}

// ---- Connects that are pending ----

void keep_pending(const ConnectOperation& operation) {
  const Uninterrupted uninterrupted;
  Slot* slot = take_slot_for(operation.fd());
  if (slot == nullptr) return;
  slot->operation = operation;
  // The program waits by its own clock from now on, not by SO_SNDTIMEO.
  slot->operation.resume(false, {});
  publish(*slot_table(), *slot, false);
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
  empty(*slot_table(), *slot, Ends::kEverywhere);
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
  if (slot != nullptr) empty(*slot_table(), *slot, ends);
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

ProgramView advance(int fd, bool error_seen) {
  if (slot_of(fd) == nullptr) return ProgramView::kNotOurs;
  const Uninterrupted uninterrupted;
  Slot* slot = hold_slot_of(fd);
  if (slot == nullptr) return ProgramView::kNotOurs;
  slot->inherited = false;
  return advance_held(*slot_table(), *slot, error_seen);
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
  return settle(*slot_table(), *slot, slot->operation.ended(error));
}

ProgramView advance_after_error(int fd, std::uint32_t events, std::uint32_t changes_before) {
  const bool error_seen = (events & POLLERR) != 0;
  ProgramView view = advance(fd, error_seen);
  if (view == ProgramView::kNotOurs) {
    const int other = pending_on_same_socket(fd);
    if (other >= 0) view = advance(other, error_seen);
  }
  // Only a TCP socket is polled again: some files lose what they have told then
  // (/proc/self/mountinfo).
  if (view != ProgramView::kNotOurs || changes() == changes_before || !is_tcp(fd)) return view;
  // Another thread may have moved the connect on since the event was fetched, and what it has come
  // to has an event of its own: the socket has not failed any more, or has failed only since.
  pollfd now{fd, 0, 0};
  libc::poll(&now, 1, 0);
  const bool failed_since = (now.revents & POLLERR) != 0 && (events & POLLERR) == 0;
  return now.revents == 0 || failed_since ? ProgramView::kPending : ProgramView::kNotOurs;
}

namespace {

// Tells the memory that the first attempt of this connect has succeeded, as far as an event tells.
// The event may be about something that has the number of a closed socket by now (a pipe), and must
// teach nothing then; but a healthy connect to a near address pays no system call for that.
void learn_from_first(const FirstAttempt::Values& first, int fd) {
  if (reports_every_connect() && socket_cookie(fd) == first.cookie) {
    report_only_attempt(first.requested, {}, 0, (now_us() - first.began_us) / 1000);
  }
  if (first.is_steered) return;
  constexpr std::uint64_t kNear = 4'000;
  // The time includes what the program did before it waited; when that may be much, the kernel
  // knows better.
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
  // Signals are let in here, so the slot is not held, but freed by one atomic step: whoever jumps
  // out before leaves it as it was, to be freed with its next look. advance() does the rest: beyond
  // the first attempt there is a line to log, and where another thread has moved the connect on the
  // event is one of an attempt that is over.
  Sight seen;
  if (!look_at(*slot_table(), *slot, fd, seen) || !free_as_seen(*slot_table(), *slot, fd, seen)) {
    return advance(fd);
  }
  learn_from_first(seen.first, fd);
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
  Table& all = *slot_table();
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
  // The number of a duplicate has no slot here, or that of an earlier socket; but the cookie of its
  // socket may be known.
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
  const Table* all = slot_table();
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
  const Table* all = slot_table();
  if (all == nullptr || !any_pending()) return kNoDeadline;
  // scans_ended is read before and scans_begun after deadline_ms, because another thread may begin
  // and end a scan meanwhile.
  const std::uint32_t ended = all->scans_ended.load();
  const std::uint64_t deadline = all->deadline_ms.load();
  if (all->scans_begun.load() != ended) return now_ms() + kScanMs;
  return deadline == 0 ? kNoDeadline : deadline;
}

std::uint64_t advance_due(const Callable<void, const DescriptorVisitor&>& for_each_own) {
  Table* all = slot_table();
  const std::uint64_t deadline = next_deadline_ms();
  const std::uint64_t now = now_ms();
  if (all == nullptr || now < deadline) return deadline;
  const Uninterrupted uninterrupted;
  std::uint64_t next = kNoDeadline;
  for_each_own([&](int fd) {
    Slot* slot = slot_of(fd);
    if (slot == nullptr) return;
    if (slot->until_ms.load(std::memory_order_relaxed) <= now) advance(fd);
    slot = slot_of(fd);
    if (slot != nullptr) next = std::min(next, slot->until_ms.load(std::memory_order_relaxed));
  });
  all->scans_begun.fetch_add(1);
  // A deadline that another thread sets from here on is kept: this scan only lowers deadline_ms.
  all->deadline_ms.store(kNoDeadline);
  const std::size_t end = slots_in_use(*all);
  for (std::size_t i = 0; i < end; ++i) {
    Slot& slot = all->slots[i];
    if (is_free(slot)) continue;
    std::uint64_t until = slot.until_ms.load(std::memory_order_relaxed);
    if (until < now && now - until >= kAbandonedMs) {
      if (hold(slot)) advance_abandoned(*all, slot);
      until = slot.until_ms.load(std::memory_order_relaxed);
    }
    if (until == kNoDeadline) continue;
    set_deadline(*all, slot, until);
    next = std::min(next, std::max(until + kAbandonedMs, now));
  }
  // Probes are looked after last: connects that were just moved on may have left some.
  const std::uint64_t errands = probes::look_after();
  if (errands != kNoDeadline) {
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
  // The slot is freed in this process alone: each process that has the socket is told the error
  // once.
  empty(*slot_table(), *slot, Ends::kHere);
  return error;
}

}  // namespace nextaddr
