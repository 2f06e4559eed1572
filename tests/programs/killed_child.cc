// Children that look names up without end are killed in the middle of it; the parent goes on
// looking up and connecting.
// Must never wait for a child to be at any particular point.
//
// names=A,B.. for the children, host= port= for the parent; rounds=N
#include <signal.h>
#include <sys/wait.h>

#include "check.h"

using namespace check;

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  const int port = arguments.number("port");
  const std::vector<std::string> names = arguments.list("names");
  int right = 0;
  long slowest = 0;
  const int rounds = arguments.number("rounds");
  for (int round = 0; round < rounds; ++round) {
    const pid_t child = must(fork(), "fork");
    if (child == 0) {
      for (;;) {
        for (const std::string& name : names) look_up(name, port);
      }
    }
    sleep_ms(5 + round % 7);
    must(kill(child, SIGKILL), "kill");
    must(waitpid(child, nullptr, 0), "waitpid");
    const Destination first = look_up(arguments.text("host"), port).front();
    const int fd = tcp_socket(first.family());
    const Outcome outcome = timed_connect(fd, first);
    right += outcome.result == 0;
    if (outcome.ms > slowest) slowest = outcome.ms;
    close(fd);
  }
  printf("right=%d of=%d slowest=%ld\n", right, rounds, slowest);
}
