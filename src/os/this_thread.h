// Tells threads apart without a system call: each has its own address of this.
#pragma once

namespace nextaddr {

inline constinit thread_local char this_thread = 0;

}  // namespace nextaddr
