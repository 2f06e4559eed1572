#include "lifecycle/forks.h"

#include "connect/pending_connects.h"
#include "connect/probes.h"
#include "lifecycle/deep_binding.h"
#include "lifecycle/sharing.h"
#include "log/report.h"
#include "lookup/dns_answers.h"
#include "os/libc.h"
#include "os/pin.h"
#include "process/process.h"

namespace nextaddr {
namespace {

// How many forks this thread has begun: the handler of a signal that came in the middle of one may
// fork as well. Such a fork finds this done, or being done.
constinit thread_local int depth = 0;

// bequeath_connects() comes before hold_pins_back(): it waits for steps of other threads, which
// would wait for their pins.
void prepare() {
  begin_to_share();
  if (sandbox() != Sandbox::kCertain) bequeath_connects();
  hold_pins_back();
  deep_binding::hold_back();
}

void let_be() {
  deep_binding::let_be();
  let_pins_be();
  drop_inheritance();
  share(Side::kParent);
}

void begin_child() {
  deep_binding::forget_those_of_parent();
  forget_pins_of_parent();
  begin_report_in_child();
  share(Side::kChild);
  // In a sandbox one more system call could be the program's end.
  if (sandbox() == Sandbox::kCertain) return;
  claim_memory();
  inherit_connects();
  dns::forget_queries_of_parent();
  probes::forget_those_of_parent();
}

// Signals are not held back meanwhile: a SIGCHLD that nobody handles would be kept, and end the
// epoll_wait(2) of another thread.
void before_fork() {
  if (depth++ == 0) prepare();
}

void after_fork_in_parent() {
  if (depth == 1) let_be();
  --depth;
}

void after_fork_in_child() {
  begin_child();
  // The fork that was interrupted goes on here as well.
  if (--depth != 0) prepare();
}

}  // namespace

void watch_forks() { libc::at_fork(before_fork, after_fork_in_parent, after_fork_in_child); }

}  // namespace nextaddr
