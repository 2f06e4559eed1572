// What is done around each fork(2) of the program, so that its child neither keeps what a step of
// another thread had in hand, nor is kept from anything; and so that the connects in progress whose
// sockets both have are moved on by whoever waits for them. Must never wait without a limit.
//
// A child of vfork(2), posix_spawn(3) or clone(2) is not seen here. It has the memory of its parent
// for a while, and is recognised by that (owns_memory()), or has a copy of it, and begins with no
// connect that is pending. Async-signal-safe, as fork(2) itself was until lately.
#pragma once

namespace nextaddr {

// Does so around each fork from now on; once, from the library's constructor.
void watch_forks();

}  // namespace nextaddr
