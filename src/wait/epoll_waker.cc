#include "wait/epoll_waker.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "connect/pending_connects.h"
#include "os/clock.h"
#include "os/errno_kept.h"
#include "os/kernel.h"
#include "os/libc.h"
#include "process/process.h"
#include "wait/epoll_registry.h"

namespace nextaddr {
namespace {

// Below a limit that programs rarely change and above the numbers they rarely reach.
constexpr int kHighDescriptor = 768;
constexpr int kLessHighDescriptor = 48;

// Our timer: the process that has made it, and above that its descriptor plus one. A forked child
// makes its own, because to set the one it has inherited would set its parent's.
constinit std::atomic<std::uint64_t> the_timer{0};

// The interval by which our timer is known; it never passes.
constexpr timespec kTag{31'536'000, 123'456'789};

bool is_our_timer(int fd) {
  itimerspec time{};
  return timerfd_gettime(fd, &time) == 0 && time.it_interval.tv_sec == kTag.tv_sec &&
         time.it_interval.tv_nsec == kTag.tv_nsec;
}

int make_timer() {
  int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (timer < 0) return -1;
  // Never a low number: programs close 0, 1 or 2, and count on the next open(2) to give it.
  int high = kernel::fcntl(timer, F_DUPFD_CLOEXEC, kHighDescriptor);
  if (high < 0) high = kernel::fcntl(timer, F_DUPFD_CLOEXEC, kLessHighDescriptor);
  kernel::close(timer);
  if (high < 0) return -1;
  timer = high;
  const itimerspec unset{kTag, {}};
  timerfd_settime(timer, 0, &unset, nullptr);
  return timer;
}

int descriptor_in(std::uint64_t known) { return static_cast<int>(known >> 32) - 1; }

// The timer of this process; -1: it has none.
int made_timer() {
  const std::uint64_t known = the_timer.load(std::memory_order_relaxed);
  const int timer = descriptor_in(known);
  // The number is the program's when it has closed all it does not know (closefrom).
  const bool ours = static_cast<std::uint32_t>(known) == own_pid() && is_our_timer(timer);
  return ours ? timer : -1;
}

// The timer of this process, made when there is none; -1: none can be had.
int own_timer() {
  const std::uint32_t pid = own_pid();
  for (;;) {
    std::uint64_t known = the_timer.load(std::memory_order_relaxed);
    const int timer = descriptor_in(known);
    const bool ours = timer >= 0 && is_our_timer(timer);
    if (ours && static_cast<std::uint32_t>(known) == pid) return timer;
    if (known != 0 && !the_timer.compare_exchange_strong(known, 0)) continue;
    if (ours) {
      // The parent's, which may be in sets that are this process's too.
      activity::timer_inherited.store(true, std::memory_order_relaxed);
      kernel::close(timer);
    }
    const int made = make_timer();
    if (made < 0) return -1;
    std::uint64_t none = 0;
    if (the_timer.compare_exchange_strong(
            none, std::uint64_t{static_cast<std::uint32_t>(made) + 1} << 32 | pid)) {
      return made;
    }
    kernel::close(made);
  }
}

constexpr std::uint64_t kNever = ~std::uint64_t{0};

// Sets the timer to pass at `at_ms` (CLOCK_MONOTONIC); kNever: not at all.
void set_timer(int timer, std::uint64_t at_ms) {
  const itimerspec at{kTag, timespec_of_ms(at_ms != kNever ? at_ms : 0)};
  timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, nullptr);
}

// The numbers of sets that have had the timer. More than these are not remembered, and look ready
// to whoever polls them when it passes.
constexpr std::size_t kSets = 16;
constinit std::array<std::atomic<int>, kSets> sets{};  // plus one

void note_set(int epoll) {
  for (std::atomic<int>& each : sets) {
    int known = each.load(std::memory_order_relaxed);
    if (known == epoll + 1 || (known == 0 && each.compare_exchange_strong(known, epoll + 1)))
      return;
  }
}

bool has_timer(int epoll) {
  return std::any_of(sets.begin(), sets.end(), [&](const std::atomic<int>& each) {
    return each.load(std::memory_order_relaxed) == epoll + 1;
  });
}

// Wakes whoever sleeps in `epoll`, or in another set that has the timer, at `at_ms`. Replaces the
// time of earlier calls.
void wake_at(int epoll, std::uint64_t at_ms) {
  const ErrnoKept errno_kept;
  const int timer = own_timer();
  if (timer < 0) return;
  activity::timer_set.store(true, std::memory_order_release);
  note_change();
  note_set(epoll);
  set_timer(timer, at_ms);
  // The timer gives one event (EPOLLONESHOT), which needs no read(2) to go away.
  epoll_event event{EPOLLIN | EPOLLONESHOT, {}};
  event.data.u64 = wake_data();
  if (libc::epoll_ctl(epoll, EPOLL_CTL_MOD, timer, &event) != 0) {
    // Fails where there is no epoll set any more: the registration was that of a closed socket.
    libc::epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event);
  }
}

}  // namespace

void set_timer_anew() {
  if (!timer_is_set()) return;
  if (static_cast<std::uint32_t>(the_timer.load(std::memory_order_relaxed)) != own_pid()) {
    // The timer is that of a parent, which sets it and looks after it.
    activity::timer_inherited.store(true, std::memory_order_relaxed);
    activity::timer_set.store(false, std::memory_order_release);
    return;
  }
  const int timer = made_timer();
  if (timer < 0) return;
  const ErrnoKept errno_kept;
  // Again when another thread may have set the timer, for an earlier deadline, in between.
  for (;;) {
    const bool any = any_pending();
    const std::uint64_t next = any ? next_deadline_ms() : kNever;
    if (!any) activity::timer_set.store(false, std::memory_order_release);
    set_timer(timer, next);
    if (!any_pending() || (any && next_deadline_ms() >= next)) return;
    activity::timer_set.store(true, std::memory_order_release);
  }
}

bool may_be_woken(int epoll) {
  return (timer_is_set() || timer_is_inherited()) && has_timer(epoll);
}

bool is_only_woken(int epoll) {
  if (!may_be_woken(epoll)) return false;
  advance_due([&](const DescriptorVisitor& visit) { for_each_pending_in(epoll, visit); });
  set_timer_anew();
  pollfd now{epoll, POLLIN, 0};
  return libc::poll(&now, 1, 0) == 0;
}

std::uint64_t wake_data() { return reinterpret_cast<std::uintptr_t>(&the_timer); }

void wake_epoll_sleepers(int fd) {
  Registration known;
  if (!registration_of(fd, known) || !others_wait_on(known.epoll)) return;
  wake_others_in(known.epoll);
}

void wake_others_in(int epoll) {
  // Again when another thread, with an earlier deadline, may have set the timer just before.
  std::uint64_t deadline = next_deadline_ms();
  for (std::uint64_t set = kNever; deadline < set; deadline = next_deadline_ms()) {
    wake_at(epoll, deadline);
    set = deadline;
  }
}

}  // namespace nextaddr
