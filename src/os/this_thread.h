// Tells threads apart without a system call: each has its own address of this. A later thread may
// have that of one that has ended.
#pragma once

namespace nextaddr {

inline constinit thread_local char this_thread = 0;

}  // namespace nextaddr
