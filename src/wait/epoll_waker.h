// Threads that sleep in an epoll set since before another one has begun a connect there: a timer in
// the set wakes them when it has to be moved on. It is in all such sets, and the one descriptor
// that nextaddr owns: high-numbered and close-on-exec.
//
// Never wakes anybody while no connect is under way, and its event never reaches the program.
// Async-signal-safe.
#pragma once

#include <atomic>
#include <cstdint>

namespace nextaddr {

namespace activity {
inline constinit std::atomic<bool> any_timer{false};
}  // namespace activity

// True once our timer is in some epoll set; a forked child inherits the sets and this.
inline bool wakes_exist() { return activity::any_timer.load(std::memory_order_relaxed); }

// A connect has been started on `fd`, or it has been registered in an epoll set with one under way:
// a thread that sleeps in that set since before must wake in time to move it on.
void wake_epoll_sleepers(int fd);

// What the event of the timer carries.
std::uint64_t wake_data();

}  // namespace nextaddr
