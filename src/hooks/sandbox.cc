// prctl(2), by which a program enters a sandbox, which it never leaves: PR_SET_SECCOMP sets a
// filter, and seccomp(2) needs PR_SET_NO_NEW_PRIVS before it, unless the process is privileged;
// libseccomp always sets that. Must never make a system call after the program's own.
#include <sys/prctl.h>

#include <cstdarg>

#include "connect/probes.h"
#include "hooks/hook.h"
#include "lifecycle/sharing.h"
#include "os/libc.h"
#include "process/process.h"

NEXTADDR_HOOK int prctl(int option, ...) {
  // Four further arguments are read, as libc does, however many there are.
  va_list arguments;
  va_start(arguments, option);
  const auto second = va_arg(arguments, unsigned long);
  const auto third = va_arg(arguments, unsigned long);
  const auto fourth = va_arg(arguments, unsigned long);
  const auto fifth = va_arg(arguments, unsigned long);
  va_end(arguments);
  if (option == PR_SET_NO_NEW_PRIVS || option == PR_SET_SECCOMP) nextaddr::probes::end_all();
  // All of this comes before the call: after it even getpid(2) may be forbidden.
  if (option == PR_SET_NO_NEW_PRIVS) nextaddr::leave_sharing();
  if (option == PR_SET_NO_NEW_PRIVS) nextaddr::note_sandbox(nextaddr::Sandbox::kPossible);
  if (option == PR_SET_SECCOMP) nextaddr::note_sandbox(nextaddr::Sandbox::kCertain);
  return nextaddr::libc::prctl(option, second, third, fourth, fifth);
}
