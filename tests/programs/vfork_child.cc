// A vfork child connects, in its parent's memory; then the parent does.
// Must never use fork(2), and the child must do nothing but connect and _exit.
//
// host= port=. Prints the child's error, then the parent's.
#include <sys/wait.h>

#include "check.h"

using namespace check;

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  const Destination to = look_up(arguments.text("host"), arguments.number("port")).front();
  const int childs = tcp_socket(to.family());
  const int parents = tcp_socket(to.family());
  volatile int childs_error = -1;
  const pid_t child = vfork();
  if (child == 0) {
    childs_error = connect(childs, to.get(), to.length) == 0 ? 0 : errno;
    _exit(0);
  }
  must(child, "vfork");
  must(waitpid(child, nullptr, 0), "waitpid");
  printf("child=%s ", error_name(childs_error));
  print(timed_connect(parents, to));
  printf("peer=%s\n", peer_of(parents).c_str());
}
