// For threads that sleep in an epoll set since before another one has begun a connect there: a
// timer in the set wakes them when it has to be moved on. It is in all such sets, and the one
// descriptor that nextaddr keeps for long: high-numbered and close-on-exec.
//
// Must never wake anybody while no connect is pending, but once when the one it was set for has
// ended early; its event must never reach the program. Async-signal-safe.
#pragma once

#include <atomic>
#include <cstdint>

namespace nextaddr {

namespace activity {
inline constinit std::atomic<bool> timer_set{false};
inline constinit std::atomic<bool> timer_inherited{false};
}  // namespace activity

// True while our timer is set, or has passed and nobody has seen it yet: some epoll set may have an
// event of it. A forked child inherits the sets and this, and finds out with its first wait.
inline bool timer_is_set() { return activity::timer_set.load(std::memory_order_acquire); }

// True once that is known to be the timer of a parent: it may pass at any time, in a set that is
// this process's too, and what a wait has found is looked through for it. That is no system call.
inline bool timer_is_inherited() {
  return activity::timer_inherited.load(std::memory_order_relaxed);
}

// A connect has been begun on `fd`, or `fd`, with one pending, has been registered in an epoll set:
// a thread that sleeps in that set since before must wake in time to advance it.
void wake_epoll_sleepers(int fd);

// The same for whoever sleeps in `epoll`.
void wake_others_in(int epoll);

// The data of the timer's event.
std::uint64_t wake_data();

// The timer has woken somebody, who has advanced what was due: sets it for the next deadline.
void set_timer_anew();

// True when our timer, or that of a parent, may make this epoll set ready. No system call.
bool may_be_woken(int epoll);

// True when this is an epoll set that is ready only because our timer has passed. Advances what was
// due there, as who waits on the set itself would.
bool is_only_woken(int epoll);

}  // namespace nextaddr
