// What is done around each fork(2) of the program, so that its child neither keeps what a step of
// another thread had in hand, nor is kept from anything; and that the connects in progress whose
// sockets both have are moved on by whoever waits for them.
//
// A child of vfork(2), posix_spawn(3) or clone(2) is not seen here. It has the memory of its parent
// for a while, and is recognised by that (owns_memory()), or has a copy of it, and begins with no
// connect that is pending. Async-signal-safe, as fork(2) itself was until lately.
#include "connect/pending_connects.h"
#include "connect/probes.h"
#include "libc.h"
#include "lookup/dns_answers.h"
#include "pin.h"
#include "process.h"
#include "sharing.h"

namespace nextaddr {
namespace {

// To bequeath waits for steps, which would wait for their pins.
void before_fork() {
  begin_to_share();
  if (sandbox() != Sandbox::kCertain) bequeath_connects();
  hold_pins_back();
}

void after_fork_in_parent() {
  let_pins_be();
  drop_inheritance();
  share();
}

void after_fork_in_child() {
  forget_pins_of_parent();
  share();
  // One system call more could be the program's end.
  if (sandbox() == Sandbox::kCertain) return;
  claim_memory();
  inherit_connects();
  dns::forget_queries_of_parent();
  probes::forget_those_of_parent();
}

__attribute__((constructor)) void watch_forks() {
  if (active()) libc::at_fork(before_fork, after_fork_in_parent, after_fork_in_child);
}

}  // namespace
}  // namespace nextaddr
