// Begins a connect that does not block, and forks; the child waits for the socket, and tells what
// has become of it. Must never look at the socket in the child before its wait has told of it, or
// its time is over.
//
// host= port=; fork=MS after the begin of the connect, until which this process waits for the
// socket when waits=1; wait=poll| select|epoll, in the child, for within=MS;
// parent=sleeps|closes|exits|waits, as long as the child needs.
#include <sys/select.h>
#include <sys/wait.h>

#include "events.h"

using namespace events;

namespace {

std::uint32_t wait_for(const std::string& how, int fd, int timeout_ms) {
  if (how == "poll") {
    pollfd socket{fd, POLLOUT, 0};
    must(poll(&socket, 1, timeout_ms), "poll");
    return static_cast<std::uint16_t>(socket.revents);
  }
  if (how == "select") {
    fd_set writable;
    FD_ZERO(&writable);
    FD_SET(fd, &writable);
    timeval limit{timeout_ms / 1000, timeout_ms % 1000 * 1000};
    return must(select(fd + 1, nullptr, &writable, nullptr, &limit), "select") == 1 ? POLLOUT : 0;
  }
  require(how == "epoll", "wait=");
  const int set = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  epoll_event event{EPOLLOUT, {}};
  must(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
  const int count = must(epoll_wait(set, &event, 1, timeout_ms), "epoll_wait");
  close(set);
  return count == 0 ? 0 : event.events;
}

}  // namespace

int main(int argc, char** argv) {
  limit_time(12);
  const Arguments arguments(argc, argv);
  const std::string how = arguments.text("wait");
  const std::string parent = arguments.text("parent");
  const int within = arguments.number("within", 4000);
  const Destination to = look_up(arguments.text("host"), arguments.number("port")).front();
  const int fd = must(socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
  begin_connect(fd, to);
  const int before = arguments.number("fork");
  if (arguments.number("waits") != 0) {
    if (wait_for(how, fd, before) != 0) printf("told=1 ");
  } else {
    sleep_ms(before);
  }
  fflush(stdout);
  const pid_t child = must(fork(), "fork");
  if (child != 0) {
    if (parent == "exits") _exit(0);
    if (parent == "closes") close(fd);
    if (parent == "waits") wait_for(how, fd, within);
    int status = -1;
    must(waitpid(child, &status, 0), "waitpid");
    return status == 0 ? 0 : 1;
  }
  limit_time(12);
  const long start = now_ms();
  const std::uint32_t events = wait_for(how, fd, within);
  const long ms = now_ms() - start;
  const char* error = error_name(get_option<int>(fd, SOL_SOCKET, SO_ERROR));
  const std::string peer = peer_of(fd);
  printf("events=%s so_error=%s peer=%s state=%s ms=%ld\n", event_names(events).c_str(), error,
         peer.c_str(), tcp_state_of(fd), ms);
  fflush(stdout);
  _exit(0);
}
