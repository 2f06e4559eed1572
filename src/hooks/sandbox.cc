// prctl(2): the way into a sandbox, from which a program is never let out. A filter for seccomp(2)
// is set by it, or needs a step of it before that libseccomp always takes.
#include <sys/prctl.h>

#include <cstdarg>

#include "connect/probes.h"
#include "hooks/hook.h"
#include "lifecycle/sharing.h"
#include "os/libc.h"
#include "process/process.h"

NEXTADDR_HOOK int prctl(int option, ...) {
  // As libc does: four, however many there are.
  va_list arguments;
  va_start(arguments, option);
  const auto second = va_arg(arguments, unsigned long);
  const auto third = va_arg(arguments, unsigned long);
  const auto fourth = va_arg(arguments, unsigned long);
  const auto fifth = va_arg(arguments, unsigned long);
  va_end(arguments);
  if (option == PR_SET_NO_NEW_PRIVS || option == PR_SET_SECCOMP) nextaddr::probes::end_all();
  // Before the call: after it even getpid(2) may be forbidden.
  if (option == PR_SET_NO_NEW_PRIVS) nextaddr::leave_sharing();
  if (option == PR_SET_NO_NEW_PRIVS) nextaddr::note_sandbox(nextaddr::Sandbox::kPossible);
  if (option == PR_SET_SECCOMP) nextaddr::note_sandbox(nextaddr::Sandbox::kCertain);
  return nextaddr::libc::prctl(option, second, third, fourth, fifth);
}
