// A blocking connect that signals interrupt, and what the program's handler wants of it.
// Must never have another handler installed than the one the test asks for: which handlers exist is
// part of what is tested.
//
// host= port=; after=MS and every=MS (0: once) for the alarm; handler=plain (no SA_RESTART),
// restart (SA_RESTART), jump (siglongjmp out of connect), connect (the handler itself connects).
// resume=1 calls connect again after EINTR, as POSIX lets a program do. timeout=MS sets
// SO_SNDTIMEO.
#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>

#include "check.h"

using namespace check;

namespace {

volatile sig_atomic_t signals = 0;
sigjmp_buf back;
Destination destination;
Outcome in_handler{};
int handler_socket = -1;

void count_signal(int) { signals = signals + 1; }

void jump_out(int) {
  signals = signals + 1;
  siglongjmp(back, 1);
}

void connect_in_handler(int) {
  const int saved = errno;
  in_handler = timed_connect(handler_socket, destination);
  signals = signals + 1;
  errno = saved;
}

void set_alarm(int after_ms, int every_ms) {
  const itimerval timer{{every_ms / 1000, every_ms % 1000 * 1000},
                        {after_ms / 1000, after_ms % 1000 * 1000}};
  must(setitimer(ITIMER_REAL, &timer, nullptr), "setitimer");
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  const std::string handler = arguments.text("handler");
  struct sigaction action {};
  action.sa_handler = handler == "jump"      ? jump_out
                      : handler == "connect" ? connect_in_handler
                                             : count_signal;
  action.sa_flags = handler == "plain" ? 0 : SA_RESTART;
  must(sigaction(SIGALRM, &action, nullptr), "sigaction");

  destination = look_up(arguments.text("host"), arguments.number("port")).front();
  handler_socket = tcp_socket(destination.family());
  int fd = tcp_socket(destination.family());
  if (const int timeout = arguments.number("timeout")) set_send_timeout(fd, timeout);

  if (handler == "connect") {
    must(raise(SIGALRM), "raise");
    print(in_handler);
    printf("peer=%s transfer=%s\n", peer_of(handler_socket).c_str(),
           transfer(handler_socket).c_str());
    return 0;
  }

  if (handler == "jump" && sigsetjmp(back, 1) != 0) {
    // The socket it left is in an unknown state; a new one must work as ever.
    printf("jumped=1 jumped_timeout=%d ", send_timeout_ms(fd));
    close(fd);
    fd = tcp_socket(destination.family());
  } else {
    set_alarm(arguments.number("after"), arguments.number("every"));
  }
  const Outcome outcome = timed_connect(fd, destination);
  const int during = signals;
  print(outcome);
  printf("signals=%d state=%s ", during, tcp_state_of(fd));
  if (outcome.error == EINTR && arguments.number("resume") != 0) {
    Outcome again{-1, EINTR, 0};
    while (again.error == EINTR) again = timed_connect(fd, destination);
    printf("again=%s ", again.result == 0 ? "0" : error_name(again.error));
  }
  set_alarm(0, 0);
  printf("peer=%s transfer=%s timeout=%d\n", peer_of(fd).c_str(), transfer(fd).c_str(),
         send_timeout_ms(fd));
}
