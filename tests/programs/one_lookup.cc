// Looks a host up once, and connects to its first address several times: a program that lives long.
// Must never look the host up again, nor try a second address itself.
//
// host= port=; times=N connects, pause=MS before each; stay=MS before the end; in_child=1: the
// first connect is that of a forked child, which has ended before the next; only_port=N: the one
// local port that may be chosen (IP_LOCAL_PORT_RANGE). One line for each connect.
#include <sys/wait.h>

#include "check.h"

using namespace check;

#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51
#endif

namespace {

void connect_to(const Destination& to, int only_port) {
  const int fd = tcp_socket(to.family());
  if (only_port != 0) {
    const auto port = static_cast<uint32_t>(only_port);
    set_option(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, port | port << 16);
  }
  connect_and_close(fd, to);
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  const int only_port = arguments.number("only_port");
  const Destination to = look_up(arguments.text("host"), arguments.number("port")).front();
  for (int i = 0; i < arguments.number("times", 1); ++i) {
    sleep_ms(arguments.number("pause"));
    const pid_t child = i == 0 && arguments.number("in_child") != 0 ? must(fork(), "fork") : -1;
    if (child == 0) {
      connect_to(to, only_port);
      _exit(0);
    }
    if (child > 0) {
      must(waitpid(child, nullptr, 0), "waitpid");
    } else {
      connect_to(to, only_port);
    }
  }
  sleep_ms(arguments.number("stay"));
}
