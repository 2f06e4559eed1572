// What this process shares with its forked children, and they with theirs: what lookups and
// connects have taught. It is trusted, so only processes with the same rights may share it: one
// that gives up rights would else choose where its parent connects.
#pragma once

namespace nextaddr {

// This process is about to change its credentials (set*uid, set*gid, capset, no_new_privs): from
// now on it shares only with children that it makes later. It keeps what it knows. Nothing in one
// that shares with nobody, which has neither forked since nor been forked; nor in a vfork child,
// which does it for what it will execute. Async-signal-safe; errno is left alone.
//
// A child of clone(2), which nobody tells us of, counts from its first call of ours on.
void leave_sharing();

// Before a fork: its child will share. Nobody leaves meanwhile.
void begin_to_share();
// After it, in both.
void share();

}  // namespace nextaddr
