// Connects without blocking, and disturbs the connect while it is in flight; then waits for it by
// epoll(7) or poll(2).
// Must never disturb a connect that is finished: the first address of the host has to be silent.
//
// host= port= after=MS; wait=poll|epoll; what=
//   fork      a child waits for the socket as well
//   exec      so does a child that has executed this program again (fd=N)
//   nofile    no descriptor can be opened any more
//   shutdown  shutdown(2) of the socket
//   blocking  O_NONBLOCK is taken off, and connect(2) called again; timeout=MS for SO_SNDTIMEO
//   again     closed, and a second socket connects to the same host
//   give-up   waits no longer: closes
//   closed, and its number goes to something else, which must stay as it is:
//   connecting to silent=ADDRESS silent_port=N, udp connected there, listener, file
#include <sys/resource.h>
#include <sys/wait.h>

#include "events.h"

using namespace events;

namespace {

int set = -1;

// The events of the socket, or none after `timeout_ms`.
std::string wait_for(const std::string& how, int fd, int timeout_ms) {
  if (how == "poll") {
    pollfd socket{fd, POLLOUT, 0};
    must(poll(&socket, 1, timeout_ms), "poll");
    return event_names(static_cast<std::uint16_t>(socket.revents));
  }
  if (set < 0) set = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  epoll_event event{EPOLLOUT, {}};
  // Registered by an earlier wait, or before a fork.
  if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) != 0) require(errno == EEXIST, "epoll_ctl");
  const int count = must(epoll_wait(set, &event, 1, timeout_ms), "epoll_wait");
  return event_names(count == 0 ? 0 : event.events);
}

// A second process that waits for the same socket: 0 once it is connected. It has plain libc, and
// so sees a HUP whenever the first takes an attempt back.
int wait_in_child(const std::string& how, int fd) {
  limit_time();
  while (wait_for(how, fd, -1) != "OUT") sleep_ms(1);
  return peer_of(fd) != "none" ? 0 : 1;
}

int await_child(pid_t child) {
  int status = -1;
  must(waitpid(child, &status, 0), "waitpid");
  return status;
}

// Opens something else, which has to get this number.
void take_number(const std::string& what, int number, const Destination& silent) {
  int other = -1;
  if (what == "connecting") {
    other = new_socket(silent.family());
    begin_connect(other, silent);
  } else if (what == "udp") {
    other = must(socket(silent.family(), SOCK_DGRAM | SOCK_NONBLOCK, 0), "socket");
    must(connect(other, silent.get(), silent.length), "connect");
  } else if (what == "listener") {
    other = tcp_socket(AF_INET);
    must(listen(other, 1), "listen");
  } else {
    require(what == "file", "what=");
    other = must(open("/proc/self/exe", O_RDONLY), "open");
  }
  require(other == number, "the number is not used again");
}

std::string state_of(int fd) {
  const int flags = must(fcntl(fd, F_GETFL), "F_GETFL");
  std::string state = peer_of(fd) + "/" + std::to_string(flags);
  int listens = 0;
  socklen_t length = sizeof listens;
  if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) != 0) return state;
  state += "/" + std::to_string(listens) + "/" + std::to_string(send_timeout_ms(fd));
  return get_option<int>(fd, SOL_SOCKET, SO_TYPE) == SOCK_STREAM ? state + "/" + tcp_state_of(fd)
                                                                 : state;
}

}  // namespace

int main(int argc, char** argv) {
  limit_time();
  const Arguments arguments(argc, argv);
  const std::string what = arguments.text("what");
  const std::string how = arguments.text("wait", "poll");
  if (const int inherited = arguments.number("fd")) {
    return wait_in_child(how, inherited);
  }
  const int port = arguments.number("port");
  const Destination to = look_up(arguments.text("host"), port).front();
  const int descriptors_before = open_descriptors();
  int fd = new_socket(to.family());
  Properties before = properties_of(fd);
  begin_connect(fd, to);
  const std::string early = wait_for(how, fd, arguments.number("after"));
  require(early == "none", "the connect is finished before it is disturbed");

  if (what == "fork" || what == "exec") {
    if (what == "exec") must(fcntl(fd, F_SETFD, 0), "F_SETFD");
    const pid_t child = must(fork(), "fork");
    if (child == 0) {
      if (what == "fork") _exit(wait_in_child(how, fd));
      const std::string number = "fd=" + std::to_string(fd);
      execl("/proc/self/exe", argv[0], number.c_str(), ("wait=" + how).c_str(), nullptr);
      _exit(127);
    }
    const std::string found = wait_for(how, fd, -1);
    printf("events=%s child=%d", found.c_str(), await_child(child));
    if (what == "exec") must(fcntl(fd, F_SETFD, FD_CLOEXEC), "F_SETFD");
  } else if (what == "nofile") {
    rlimit limit;
    must(getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
    const rlimit none{3, limit.rlim_max};
    must(setrlimit(RLIMIT_NOFILE, &none), "setrlimit");
    require(dup(0) == -1 && errno == EMFILE, "a descriptor can be opened");
    printf("events=%s", wait_for(how, fd, -1).c_str());
    must(setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
  } else if (what == "shutdown") {
    const int result = shutdown(fd, SHUT_RDWR);
    printf("shutdown=%s events=%s", result == 0 ? "0" : error_name(errno),
           wait_for(how, fd, 1000).c_str());
  } else if (what == "blocking") {
    set_send_timeout(fd, arguments.number("timeout"));
    must(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK), "F_SETFL");
    before = properties_of(fd);
    print(timed_connect(fd, to));
  } else if (what == "again") {
    close(fd);
    fd = new_socket(to.family());
    before = properties_of(fd);
    begin_connect(fd, to);
    printf("events=%s", wait_for(how, fd, -1).c_str());
  } else if (what == "give-up") {
    printf("state=%s", tcp_state_of(fd));
    before.clear();
  } else {
    const Pipe pipe;
    close(fd);
    take_number(what, fd,
                destination_of(arguments.text("silent"), arguments.number("silent_port")));
    const std::string state = state_of(fd);
    const std::string found = wait_for(how, pipe.reader, 700);
    printf("events=%s state_kept=%d", found.c_str(), state_of(fd) == state);
    before.clear();
  }
  if (!before.empty()) print_socket(fd, before);
  close(fd);
  if (set >= 0) close(set);
  printf(" descriptors_left=%d\n", open_descriptors() - descriptors_before);
}
