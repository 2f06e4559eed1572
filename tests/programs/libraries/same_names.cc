// A library, or a program built with -rdynamic, that happens to have the names our code has inside.
// Must never be called from anywhere: each of these ends the process.
#include <poll.h>
#include <sys/socket.h>

#include <csignal>
#include <cstdlib>

// The result type of a function is no part of its mangled name.
namespace nextaddr {

int any_in_flight() { abort(); }
int connect_would_restart(const sigset_t&) { abort(); }
int host_table() { abort(); }
int is_non_blocking(int) { abort(); }
int name_is_given(const char*) { abort(); }
int owns_memory() { abort(); }
int pending_error(int) { abort(); }
int read_config() { abort(); }

namespace libc {

int connect(int, const sockaddr*, socklen_t) { abort(); }
int poll(pollfd*, nfds_t, int) { abort(); }
int resolve_signal_safe() { abort(); }

}  // namespace libc
}  // namespace nextaddr
