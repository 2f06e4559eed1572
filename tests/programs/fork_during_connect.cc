// The process forks while another thread of it is inside connect; parent and child both connect.
// Must never use anything in the child that fork(2) of a threaded process does not allow.
//
// host= port= after=MS. One line from the child, one from the parent's main thread, one from the
// thread that was connecting all the while.
#include <sys/wait.h>

#include <thread>

#include "check.h"

using namespace check;

namespace {

void connect_to(const char* who, const Destination& to) {
  const int fd = tcp_socket(to.family());
  const Outcome outcome = timed_connect(fd, to);
  // One line each, because three of these run at the same time.
  printf("who=%s result=%d error=%s ms=%ld peer=%s transfer=%s\n", who, outcome.result,
         error_name(outcome.error), outcome.ms, peer_of(fd).c_str(), transfer(fd).c_str());
  fflush(stdout);
  close(fd);
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  const Destination to = look_up(arguments.text("host"), arguments.number("port")).front();
  std::thread thread(connect_to, "thread", to);
  sleep_ms(arguments.number("after"));
  const pid_t child = must(fork(), "fork");
  if (child == 0) {
    connect_to("child", to);
    _exit(0);
  }
  connect_to("parent", to);
  thread.join();
  int status = 0;
  must(waitpid(child, &status, 0), "waitpid");
  printf("who=status child=%d\n", status);
}
