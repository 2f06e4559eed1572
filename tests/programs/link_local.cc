// Connects to a host whose first address is one of a link, and tells which device the socket is
// tied to then. Must never name a device itself.
//
// host= port=; live=ADDRESS, opened here at that port; way=blocking|poll|epoll
#include "events.h"

using namespace events;

int main(int argc, char** argv) {
  limit_time(4);
  const Arguments arguments(argc, argv);
  const std::string way = arguments.text("way");
  const int port = arguments.number("port");
  const Destination live = destination_of(arguments.text("live"), port);
  const int server = tcp_socket(live.family());
  must(bind(server, live.get(), live.length), "bind");
  must(listen(server, 16), "listen");

  const Destination to = look_up(arguments.text("host"), port).front();
  const int fd =
      must(socket(to.family(), SOCK_STREAM | (way == "blocking" ? 0 : SOCK_NONBLOCK), 0), "socket");
  int error = timed_connect(fd, to).error;
  if (way != "blocking" && error == EINPROGRESS) {
    pollfd writable{fd, POLLOUT, 0};
    const int set = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    epoll_event event{EPOLLOUT, {}};
    must(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
    must(way == "poll" ? poll(&writable, 1, -1) : epoll_wait(set, &event, 1, -1), "wait");
    error = get_option<int>(fd, SOL_SOCKET, SO_ERROR);
  }
  printf("error=%s peer=%s device=%d\n", error_name(error), peer_of(fd).c_str(),
         get_option<int>(fd, SOL_SOCKET, SO_BINDTOIFINDEX));
}
