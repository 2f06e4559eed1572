// Connects to an address that is silent, gives up and closes; a pipe gets the number and becomes
// readable. Must never connect a second time.
//
// host= port= after=MS of waiting for the connect; wait=poll|select|epoll, for both.
#include <sys/select.h>

#include "events.h"

using namespace events;

namespace {

bool wait_for(const std::string& how, int fd, std::uint32_t events, int timeout_ms) {
  if (how == "poll") {
    pollfd one{fd, static_cast<short>(events), 0};
    return must(poll(&one, 1, timeout_ms), "poll") == 1;
  }
  if (how == "select") {
    fd_set set, none;
    FD_ZERO(&set);
    FD_ZERO(&none);
    FD_SET(fd, &set);
    timeval limit{timeout_ms / 1000, timeout_ms % 1000 * 1000};
    const bool reads = events == EPOLLIN;
    return must(select(fd + 1, reads ? &set : &none, reads ? &none : &set, nullptr, &limit),
                "select") == 1;
  }
  require(how == "epoll", "wait=");
  const int set = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  epoll_event event{events, {}};
  must(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
  const bool found = must(epoll_wait(set, &event, 1, timeout_ms), "epoll_wait") == 1;
  close(set);
  return found;
}

}  // namespace

int main(int argc, char** argv) {
  limit_time();
  const Arguments arguments(argc, argv);
  const std::string how = arguments.text("wait");
  const Destination to = look_up(arguments.text("host"), arguments.number("port")).front();
  const int fd = must(socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
  begin_connect(fd, to);
  require(!wait_for(how, fd, EPOLLOUT, arguments.number("after")), "the address must be silent");
  close(fd);
  Pipe pipe;
  require(pipe.reader == fd, "the number is not used again");
  pipe.put();
  printf("readable=%d\n", wait_for(how, pipe.reader, EPOLLIN, 2000));
}
