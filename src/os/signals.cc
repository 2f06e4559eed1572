#include "os/signals.h"

#include "os/symbol_versions.h"

// Before glibc 2.34 a program without threads has no such function.
#pragma weak pthread_testcancel
NEXTADDR_OLDEST_VERSION(pthread_testcancel);

namespace nextaddr {

CancellationPoint::CancellationPoint() {
  if (pthread_testcancel != nullptr) pthread_testcancel();
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state_);
}

bool connect_would_restart(const sigset_t& mask) {
  for (int signal = 1; signal <= SIGRTMAX; ++signal) {
    switch (signal) {
      // Sent by the thread's own instructions, not while it sleeps. Runtimes catch them all.
      case SIGSEGV:
      case SIGBUS:
      case SIGFPE:
      case SIGILL:
      case SIGTRAP:
        continue;
      default:
        break;
    }
    struct sigaction action {};
    if (sigismember(&mask, signal) == 1 || sigaction(signal, nullptr, &action) != 0) continue;
    if (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN) continue;
    if ((action.sa_flags & SA_RESTART) == 0) return false;
  }
  return true;
}

bool connect_is_interrupted(const sigset_t& mask, bool has_timeout) {
  sigset_t pending;
  sigpending(&pending);
  for (int signal = 1; signal <= SIGRTMAX; ++signal) {
    struct sigaction action {};
    if (sigismember(&pending, signal) != 1 || sigismember(&mask, signal) == 1 ||
        sigaction(signal, nullptr, &action) != 0) {
      continue;
    }
    const bool handled = action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
    if (handled && (has_timeout || (action.sa_flags & SA_RESTART) == 0)) return true;
  }
  return false;
}

}  // namespace nextaddr
