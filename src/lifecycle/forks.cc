#include "lifecycle/forks.h"

#include "connect/pending_connects.h"
#include "connect/probes.h"
#include "lifecycle/deep_binding.h"
#include "lifecycle/sharing.h"
#include "lookup/dns_answers.h"
#include "os/libc.h"
#include "os/pin.h"
#include "process/process.h"

namespace nextaddr {
namespace {

// bequeath_connects() comes before hold_pins_back(): it waits for steps of other threads, which
// would wait for their pins.
void before_fork() {
  begin_to_share();
  if (sandbox() != Sandbox::kCertain) bequeath_connects();
  hold_pins_back();
  deep_binding::hold_back();
}

void after_fork_in_parent() {
  deep_binding::let_be();
  let_pins_be();
  drop_inheritance();
  share(Side::kParent);
}

void after_fork_in_child() {
  deep_binding::forget_those_of_parent();
  forget_pins_of_parent();
  share(Side::kChild);
  // In a sandbox one more system call could be the program's end.
  if (sandbox() == Sandbox::kCertain) return;
  claim_memory();
  inherit_connects();
  dns::forget_queries_of_parent();
  probes::forget_those_of_parent();
}

}  // namespace

void watch_forks() { libc::at_fork(before_fork, after_fork_in_parent, after_fork_in_child); }

}  // namespace nextaddr
