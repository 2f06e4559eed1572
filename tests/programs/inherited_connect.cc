// Begins a connect that does not block, and forks; the child waits for the socket, and tells what
// has become of it. Must never look at the socket in the child before its wait has told of it, or
// its time is over.
//
// host= port=; fork=MS after the begin of the connect, until which this process waits for the
// socket when waits=1; wait=poll| select|epoll, in the child, for within=MS;
// parent=sleeps|closes|exits|waits, as long as the child needs; tells=1: what has become of it
// there, too. child=waits, or exec: it executes something else; or idle: it waits so long for
// another thing. children=N of them.
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

void tell(const char* who, std::uint32_t events, int fd) {
  const char* error = error_name(get_option<int>(fd, SOL_SOCKET, SO_ERROR));
  const std::string peer = peer_of(fd);
  printf("who=%s events=%s so_error=%s peer=%s state=%s\n", who, event_names(events).c_str(), error,
         peer.c_str(), tcp_state_of(fd));
  fflush(stdout);
}

[[noreturn]] void be_child(const std::string& what, const std::string& how, int fd, int within) {
  limit_time(12);
  if (what == "exec") {
    execl("/bin/true", "true", nullptr);
    broken("execl");
  }
  if (what == "idle") {
    const int other = must(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), "timerfd_create");
    pollfd never{other, POLLIN, 0};
    must(poll(&never, 1, within), "poll");
    printf("who=child state=%s\n", tcp_state_of(fd));
    fflush(stdout);
    _exit(0);
  }
  tell("child", wait_for(how, fd, within), fd);
  _exit(0);
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
  const int children = arguments.number("children", 1);
  for (int i = 0; i < children; ++i) {
    if (must(fork(), "fork") == 0) be_child(arguments.text("child", "waits"), how, fd, within);
  }
  if (parent == "exits") _exit(0);
  if (parent == "closes") close(fd);
  if (parent == "waits") {
    const std::uint32_t events = wait_for(how, fd, within);
    if (arguments.number("tells") != 0) tell("parent", events, fd);
  }
  bool well = true;
  for (int i = 0; i < children; ++i) {
    int status = -1;
    must(wait(&status), "wait");
    well = well && status == 0;
  }
  return well ? 0 : 1;
}
