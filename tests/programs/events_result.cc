// Connects without blocking and learns the result in one particular way.
// Must never learn it in another way before: what a test did not ask for is not called.
//
// host= port=; wait=poll|select|epoll, then by=STEP,STEP.. each once: so_error, connect,
// getpeername, write, send, read, recv; or by=STEP spin=1: no wait, the step is repeated every
// millisecond until it no longer says "not yet"; pause=MS first, with nothing but the program's own
// timer; syncnt=N.
#include <sys/select.h>

#include <csignal>

#include "events.h"

using namespace events;

namespace {

std::string answer(long result) { return result < 0 ? error_name(errno) : std::to_string(result); }

// What each step says of the connect: the name of an error, or the result.
std::string take_step(const std::string& step, int fd, const Destination& to) {
  char byte = '\n';
  if (step == "so_error") return error_name(get_option<int>(fd, SOL_SOCKET, SO_ERROR));
  if (step == "connect") return answer(connect(fd, to.get(), to.length));
  if (step == "write") return answer(write(fd, &byte, 1));
  if (step == "send") return answer(send(fd, &byte, 1, MSG_NOSIGNAL));
  if (step == "read") return answer(read(fd, &byte, 1));
  if (step == "recv") return answer(recv(fd, &byte, 1, MSG_PEEK));
  require(step == "getpeername", "by=");
  Destination peer;
  peer.length = sizeof peer.address;
  return answer(getpeername(fd, reinterpret_cast<sockaddr*>(&peer.address), &peer.length));
}

std::uint32_t wait_once(const std::string& how, int fd) {
  if (how == "poll") {
    pollfd socket{fd, POLLIN | POLLOUT, 0};
    must(poll(&socket, 1, -1), "poll");
    return static_cast<std::uint16_t>(socket.revents);
  }
  if (how == "select") {
    fd_set readable, writable;
    FD_ZERO(&readable);
    FD_ZERO(&writable);
    FD_SET(fd, &readable);
    FD_SET(fd, &writable);
    must(select(fd + 1, &readable, &writable, nullptr, nullptr), "select");
    return (FD_ISSET(fd, &readable) ? POLLIN : 0u) | (FD_ISSET(fd, &writable) ? POLLOUT : 0u);
  }
  require(how == "epoll", "wait=");
  const int set = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  epoll_event event{EPOLLIN | EPOLLOUT | EPOLLRDHUP, {}};
  must(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
  must(epoll_wait(set, &event, 1, -1), "epoll_wait");
  close(set);
  return event.events;
}

bool not_yet(const std::string& step, const std::string& answer) {
  if (step == "connect") return answer == "EALREADY" || answer == "EINPROGRESS";
  if (step == "getpeername") return answer == "ENOTCONN";
  return answer == "EAGAIN" || (step == "so_error" && answer == "0");
}

}  // namespace

int main(int argc, char** argv) {
  limit_time();
  signal(SIGPIPE, SIG_IGN);
  const Arguments arguments(argc, argv);
  const std::vector<std::string> by = arguments.list("by");
  const Destination to = look_up(arguments.text("host"), arguments.number("port")).front();
  const int descriptors_before = open_descriptors();
  const int fd = new_socket(to.family(), arguments.number("syncnt"));
  const Properties before = properties_of(fd);
  begin_connect(fd, to);
  sleep_ms(arguments.number("pause"));

  const long start = now_ms();
  if (arguments.number("spin") != 0) {
    require(by.size() == 1, "one step to repeat");
    const std::string& step = by.front();
    std::string last;
    int asked = 0;
    do {
      if (asked++ > 0) sleep_ms(1);
      last = take_step(step, fd, to);
      // SO_ERROR alone never tells of a success.
    } while (not_yet(step, last) && !(step == "so_error" && peer_of(fd) != "none"));
    printf("answer=%s asked=%d ms=%ld", last.c_str(), asked, now_ms() - start);
  } else {
    const std::string how = arguments.text("wait");
    if (!how.empty()) {
      // IN is the greeting of a live server, which may have come already.
      const std::uint32_t found = wait_once(how, fd);
      printf("events=%s ", event_names((found & POLLERR) != 0 ? found : found & ~POLLIN).c_str());
    }
    printf("ms=%ld steps=", now_ms() - start);
    for (const std::string& step : by) {
      printf("%s:%s,", step.c_str(), take_step(step, fd, to).c_str());
    }
  }
  print_socket(fd, before);
  putchar('\n');
  close(fd);
  printf("descriptors_left=%d\n", open_descriptors() - descriptors_before);
}
