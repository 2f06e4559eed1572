// What this process shares with its forked children, and they with theirs: what lookups and
// connects have taught. It is trusted, so it must never be shared by processes with different
// rights: one that has given up rights could otherwise choose where its parent connects.
#pragma once

#include <cstdint>

namespace nextaddr {

// This process is about to change its credentials (set*uid, set*gid, capset, no_new_privs): from
// now on it shares only with children that it makes later. It keeps what it knows. Does nothing in
// a process that shares with nobody, which has neither forked since nor been forked; nor in a vfork
// child, which changes them for what it will execute. Async-signal-safe; errno is left alone.
//
// A child of clone(2), which nobody tells us of, counts from its first call of ours on.
void leave_sharing();

// Before a fork, whose child will share. No thread leaves until share().
void begin_to_share();
// After the fork, in each of both.
enum class Side : std::uint8_t { kParent, kChild };
void share(Side side);

}  // namespace nextaddr
