// How the library begins in a process, and what it still does when the process ends: the only
// constructor and the only destructor. Must never make a program's start or end depend on anything
// outside of it: what cannot be had leaves the library inert.
#include <sys/auxv.h>

#include "config.h"
#include "connect/probes.h"
#include "fault/faults.h"
#include "fault/run_counters.h"
#include "lifecycle/answers.h"
#include "lifecycle/forks.h"
#include "log/log.h"
#include "log/report.h"
#include "memory/memory.h"
#include "os/errno_kept.h"
#include "os/libc.h"
#include "process/process.h"

namespace nextaddr {
namespace {

bool start_all() {
  if (getauxval(AT_SECURE) != 0) return false;
  const std::string_view question = launchers_question();
  read_config(!question.empty());
  if (config().off || !map_memory()) return false;
  libc::resolve_signal_safe();
  // The first call makes this process the owner.
  owns_memory();
  if (config().log_level != LogLevel::kOff) remember_stderr();
  if (!question.empty()) answer_launcher(question);
  if (config().problem != nullptr) report_problem("bad value ignored in ", config().problem);
  if (config().file_problem != nullptr) {
    report_problem("ignored in /etc/nextaddr.conf: ", config().file_problem);
  }
  const char* memory = config().memory_file;
  report_debug("memory ", memory != nullptr ? memory : "off");
  open_run();
  const FaultSyntaxError error = load_faults();
  if (error.reason != nullptr) report_bad_faults(error);
  return true;
}

__attribute__((constructor)) void on_load() {
  libc::resolve_first();
  if (active()) watch_forks();
}

__attribute__((destructor)) void on_exit() {
  // What probes have found out is told to the memory before that is saved.
  probes::look_after();
  save_rtts();
  report_unmatched_faults();
}

}  // namespace

[[gnu::noinline, gnu::cold]] void start_library() {
  if (!begin_start()) return;
  const ErrnoKept errno_kept;
  end_start(start_all());
}

}  // namespace nextaddr
