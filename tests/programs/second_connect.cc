// A socket whose first connect was refused is connected once more, while the program has set
// options of that kind on another one. Must never set any on this one.
//
// host= port=; refused=ADDRESS: where the first one goes, at that port.
#include "events.h"

using namespace events;

int main(int argc, char** argv) {
  limit_time();
  const Arguments arguments(argc, argv);
  const int port = arguments.number("port");
  const Destination to = look_up(arguments.text("host"), port).front();
  const int other = tcp_socket(to.family());
  set_option(other, IPPROTO_TCP, TCP_WINDOW_CLAMP, 5000);
  set_option(other, IPPROTO_TCP, TCP_MAXSEG, 988);
  const int fd = must(socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
  begin_connect(fd, destination_of(arguments.text("refused"), port));
  pollfd one{fd, POLLOUT, 0};
  must(poll(&one, 1, -1), "poll");
  for (int i = 0; i < 3 && peer_of(fd) == "none"; ++i) {
    timed_connect(fd, to);
    must(poll(&one, 1, -1), "poll");
  }
  printf("peer=%s clamp=%d maxseg=%d\n", peer_of(fd).c_str(),
         get_option<int>(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP),
         get_option<int>(fd, IPPROTO_TCP, TCP_MAXSEG));
}
