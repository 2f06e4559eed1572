// Sends SIGUSR1 in the middle of the first fork(2) of a program that has a handler for it, as a
// timer might. Preloaded so that its constructor comes before that of libnextaddr.so, and what it
// does before a fork comes after what that does.
#include <pthread.h>

#include <csignal>

namespace {

void interrupt_fork() {
  static bool is_done = false;
  struct sigaction action {};
  if (is_done || sigaction(SIGUSR1, nullptr, &action) != 0 || action.sa_handler == SIG_DFL) return;
  is_done = true;
  raise(SIGUSR1);
}

[[gnu::constructor]] void start() { pthread_atfork(interrupt_fork, nullptr, nullptr); }

}  // namespace
