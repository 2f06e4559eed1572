// Closes every descriptor but its socket and its epoll set while a connect is in flight, as daemons
// and careful programs do; then waits for the connect.
// Must never close what it waits with, and takes over the number of any timer it has not made.
//
// host= port= after=MS; closing=closefrom|close_range|loop; wait=poll|select|epoll|thread (one that
// sleeps in the epoll set since before the connect); syncnt=N.
#include <sys/select.h>

#include <algorithm>
#include <thread>

#include "events.h"

using namespace events;

namespace {

std::string wait_for(const std::string& how, int fd, int set, int timeout_ms) {
  if (how == "poll") {
    pollfd socket{fd, POLLOUT, 0};
    must(poll(&socket, 1, timeout_ms), "poll");
    return event_names(static_cast<std::uint16_t>(socket.revents));
  }
  if (how == "select") {
    fd_set writable;
    FD_ZERO(&writable);
    FD_SET(fd, &writable);
    timeval limit{timeout_ms / 1000, timeout_ms % 1000 * 1000};
    const int count = must(
        select(fd + 1, nullptr, &writable, nullptr, timeout_ms < 0 ? nullptr : &limit), "select");
    return event_names(count == 0 ? 0u : EPOLLOUT);
  }
  epoll_event event{};
  const int count = must(epoll_wait(set, &event, 1, timeout_ms), "epoll_wait");
  return event_names(count == 0 ? 0 : event.events);
}

// A timer that the library has made, because the program has none; -1: there is none.
int foreign_timer() {
  for (int fd = 0; fd < 65536; ++fd) {
    itimerspec time;
    if (timerfd_gettime(fd, &time) == 0) return fd;
  }
  return -1;
}

void close_all_but(const std::string& how, int fd, int set) {
  require(fd == 3 && set == 4, "descriptors are open");
  if (how == "closefrom") {
    closefrom(5);
  } else if (how == "close_range") {
    must(close_range(5, ~0u, 0), "close_range");
  } else {
    require(how == "loop", "closing=");
    for (long i = 5; i < std::min(sysconf(_SC_OPEN_MAX), 65536L); ++i) close(static_cast<int>(i));
  }
}

}  // namespace

int main(int argc, char** argv) {
  limit_time();
  const Arguments arguments(argc, argv);
  const std::string how = arguments.text("wait");
  const Destination to = look_up(arguments.text("host"), arguments.number("port")).front();
  closefrom(3);
  const int fd = new_socket(to.family(), arguments.number("syncnt"));
  const int set = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  const Properties before = properties_of(fd);
  std::string found;
  std::thread sleeper;
  epoll_event event{EPOLLOUT, {}};
  if (how == "thread") {
    // Only from the connect on: a socket that is not connected has an event at once.
    event.events |= EPOLLET;
    must(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
    wait_for(how, fd, set, 0);
    sleeper = std::thread([&] { found = wait_for(how, fd, set, -1); });
    sleep_ms(50);
  }
  begin_connect(fd, to);
  if (how == "epoll") must(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
  const int after = arguments.number("after");
  const std::string early =
      how == "thread" ? (sleep_ms(after), "none") : wait_for(how, fd, set, after);
  const int number = foreign_timer();
  close_all_but(arguments.text("closing"), fd, set);
  int timer = -1;
  if (number >= 0) {
    const int made = must(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), "timerfd");
    timer = must(dup2(made, number), "dup2");
    close(made);
  }
  if (how == "thread") {
    sleeper.join();
  } else {
    found = early == "none" ? wait_for(how, fd, set, -1) : early;
  }
  printf("events=%s had_timer=%d", found.c_str(), number >= 0);
  print_socket(fd, before);
  if (timer >= 0) {
    itimerspec time;
    must(timerfd_gettime(timer, &time), "timerfd_gettime");
    printf(" timer_armed=%d", time.it_value.tv_sec != 0 || time.it_value.tv_nsec != 0 ||
                                  time.it_interval.tv_sec != 0 || time.it_interval.tv_nsec != 0);
    close(timer);
  }
  close(fd);
  close(set);
  printf(" descriptors_left=%d\n", open_descriptors() - 3);
}
