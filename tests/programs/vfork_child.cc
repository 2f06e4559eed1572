// A vfork child connects, in its parent's memory; then the parent does.
// Must never use fork(2), and the child must do nothing but connect and _exit.
//
// host= port=. Prints the child's error, then the parent's. With during=1 the parent has begun to
// connect before, without blocking, and the child connects another socket of the same number.
#include <fcntl.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "check.h"

using namespace check;

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  const Destination to = look_up(arguments.text("host"), arguments.number("port")).front();
  const int childs = tcp_socket(to.family());
  const bool during = arguments.number("during") != 0;
  const int parents = tcp_socket(to.family());
  if (during) {
    must(fcntl(parents, F_SETFL, O_NONBLOCK), "F_SETFL");
    require(connect(parents, to.get(), to.length) != 0 && errno == EINPROGRESS, "connect");
  }
  sockaddr_un nobody{};
  nobody.sun_family = AF_UNIX;
  volatile int childs_error = -1;
  const pid_t child = vfork();
  if (child == 0) {
    if (during) {
      dup2(socket(AF_UNIX, SOCK_STREAM, 0), parents);
      const int result = connect(parents, reinterpret_cast<sockaddr*>(&nobody), sizeof(nobody));
      childs_error = result == 0 ? 0 : errno;
    } else {
      childs_error = connect(childs, to.get(), to.length) == 0 ? 0 : errno;
    }
    _exit(0);
  }
  must(child, "vfork");
  must(waitpid(child, nullptr, 0), "waitpid");
  printf("child=%s ", error_name(childs_error));
  if (during) {
    pollfd parent{parents, POLLOUT, 0};
    printf("told=%d ", must(poll(&parent, 1, 5000), "poll"));
  } else {
    print(timed_connect(parents, to));
  }
  printf("peer=%s\n", peer_of(parents).c_str());
}
