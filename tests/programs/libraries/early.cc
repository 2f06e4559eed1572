// A library that looks up and connects in its constructor and in its destructor: before our own
// constructor has run, or after main has returned.
// Must never leave a descriptor open.
//
// EARLY_HOST and EARLY_PORT. Prints one line each to stderr, because stdout is main's.
#include "../check.h"

namespace {

void connect_now(const char* when) {
  const char* host = getenv("EARLY_HOST");
  const char* port = getenv("EARLY_PORT");
  if (host == nullptr || port == nullptr) check::broken("EARLY_HOST or EARLY_PORT is not set");
  const check::Destination to = check::look_up(host, atoi(port)).front();
  const int fd = check::tcp_socket(to.family());
  const check::Outcome outcome = check::timed_connect(fd, to);
  fprintf(stderr, "when=%s result=%d error=%s peer=%s\n", when, outcome.result,
          check::error_name(outcome.error), check::peer_of(fd).c_str());
  close(fd);
}

__attribute__((constructor)) void at_start() { connect_now("constructor"); }
__attribute__((destructor)) void at_end() { connect_now("destructor"); }

}  // namespace
