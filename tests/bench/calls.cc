// What the benchmark measures by the call: makes one sort of call over and over, and says how long
// each took. The same program runs bare and with the library, so nothing here may know which.
// Must never measure what failed: a call that does not do what it should ends the program.
//
// what=blocking|poll|epoll: a connect, waited for in this way, with accept and close; or
//   lookup, poll_call, select, epoll_wait, epoll_ctl, getsockopt, setsockopt, sendto, send, write,
//   recv, read, close: these calls, with nothing in flight; or first: one connect to the first
//   address of the host, from the lookup on, then an answer; or hold: says that it is there, and
//   waits for the end of standard input.
// host= to look up, or address= that is not; port=; remember=N numeric names to look up before;
// count= calls in each of so many batches=. Under callgrind only the calls are counted.
#include <sys/epoll.h>
#include <valgrind/callgrind.h>

#include <algorithm>

#include "../programs/check.h"

using namespace check;

namespace {

struct Setting {
  std::string what;
  int count;
  int batches;
  int port;
  std::string host;
  Destination to;
};

double now_ns(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

// Processor time, the kernel's included: others on the machine disturb it less than they do time.
// Prints the lower quartile of the batches, because what disturbs one only makes it longer.
template <typename Body>
void measure(const Setting& setting, Body body) {
  for (int i = 0; i <= setting.count / 10; ++i) body();
  std::vector<double> each;
  CALLGRIND_TOGGLE_COLLECT;
  for (int batch = 0; batch < setting.batches; ++batch) {
    const double begin = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < setting.count; ++i) body();
    each.push_back((now_ns(CLOCK_PROCESS_CPUTIME_ID) - begin) / setting.count);
  }
  CALLGRIND_TOGGLE_COLLECT;
  std::sort(each.begin(), each.end());
  printf("ns=%.1f\n", each.empty() ? 0 : each[each.size() / 4]);
}

void remember(int count, int port) {
  for (int i = 0; i < count; ++i) {
    look_up("127." + std::to_string(226 + i / 62500) + "." + std::to_string(i / 250 % 250) + "." +
                std::to_string(i % 250),
            port, AF_INET, AI_NUMERICHOST);
  }
}

int start_listener(const Destination& at) {
  const int listener = tcp_socket(at.family());
  set_option(listener, SOL_SOCKET, SO_REUSEADDR, 1);
  // Accepted sockets inherit it: closed first, they leave no TIME_WAIT behind at either end.
  set_option(listener, SOL_SOCKET, SO_LINGER, linger{1, 0});
  must(bind(listener, at.get(), at.length), "bind");
  must(listen(listener, 128), "listen");
  return listener;
}

void accept_and_close(int listener, int client) {
  close(must(accept(listener, nullptr, nullptr), "accept"));
  close(client);
}

int begin_connect(const Destination& to) {
  const int fd = must(socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
  const int result = connect(fd, to.get(), to.length);
  require(result == 0 || errno == EINPROGRESS, "connect");
  return fd;
}

void expect_connected(int fd) {
  require(get_option<int>(fd, SOL_SOCKET, SO_ERROR) == 0, "connect has failed");
}

bool measure_connects(const Setting& setting) {
  if (setting.what != "blocking" && setting.what != "poll" && setting.what != "epoll") return false;
  const Destination& to = setting.to;
  const int listener = start_listener(to);
  if (setting.what == "blocking") {
    measure(setting, [&] {
      const int fd = tcp_socket(to.family());
      must(connect(fd, to.get(), to.length), "connect");
      accept_and_close(listener, fd);
    });
  } else if (setting.what == "poll") {
    measure(setting, [&] {
      const int fd = begin_connect(to);
      pollfd writable{fd, POLLOUT, 0};
      require(poll(&writable, 1, 5000) == 1, "poll");
      expect_connected(fd);
      accept_and_close(listener, fd);
    });
  } else {
    const int set = must(epoll_create1(0), "epoll_create1");
    measure(setting, [&] {
      const int fd = begin_connect(to);
      epoll_event event{EPOLLOUT | EPOLLET, {}};
      event.data.fd = fd;
      must(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
      require(epoll_wait(set, &event, 1, 5000) == 1 && event.data.fd == fd, "epoll_wait");
      expect_connected(fd);
      accept_and_close(listener, fd);
    });
  }
  return true;
}

void measure_call(const Setting& setting) {
  const std::string& what = setting.what;
  // A connected pair, because programs ask most of those; there is nothing to receive.
  int pair[2];
  must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), "socketpair");
  const int fd = pair[0];
  const int set = must(epoll_create1(0), "epoll_create1");
  epoll_event event{EPOLLOUT, {}};
  must(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
  char nothing[1];
  if (what == "lookup") {
    measure(setting, [&] { require(!look_up(setting.host, setting.port).empty(), "lookup"); });
  } else if (what == "poll_call") {
    measure(setting, [&] {
      pollfd writable{fd, POLLOUT, 0};
      require(poll(&writable, 1, 1000) == 1, "poll");
    });
  } else if (what == "select") {
    measure(setting, [&] {
      fd_set writable;
      FD_ZERO(&writable);
      FD_SET(fd, &writable);
      timeval limit{1, 0};
      require(select(fd + 1, nullptr, &writable, nullptr, &limit) == 1, "select");
    });
  } else if (what == "epoll_wait") {
    measure(setting, [&] { require(epoll_wait(set, &event, 1, 1000) == 1, "epoll_wait"); });
  } else if (what == "epoll_ctl") {
    measure(setting, [&] { must(epoll_ctl(set, EPOLL_CTL_MOD, fd, &event), "epoll_ctl"); });
  } else if (what == "getsockopt") {
    measure(setting, [&] { expect_connected(fd); });
  } else if (what == "setsockopt") {
    measure(setting, [&] { set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1); });
  } else if (what == "sendto") {
    // Nothing is sent, so nobody has to receive it.
    measure(setting, [&] { must(sendto(fd, "", 0, 0, nullptr, 0) < 0 ? -1 : 0, "sendto"); });
  } else if (what == "send") {
    measure(setting, [&] { must(send(fd, "", 0, 0), "send"); });
  } else if (what == "write") {
    measure(setting, [&] { must(write(fd, "", 0), "write"); });
  } else if (what == "recv") {
    measure(setting, [&] { require(recv(fd, nothing, 1, 0) < 0 && errno == EAGAIN, "recv"); });
  } else if (what == "read") {
    measure(setting, [&] { require(read(fd, nothing, 1) < 0 && errno == EAGAIN, "read"); });
  } else if (what == "close") {
    measure(setting, [&] { require(close(-1) < 0 && errno == EBADF, "close"); });
  } else {
    broken("what=");
  }
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  Setting setting;
  setting.what = arguments.text("what");
  setting.count = arguments.number("count", 1);
  setting.batches = arguments.number("batches", 1);
  setting.port = arguments.number("port");
  setting.host = arguments.text("host");
  const double begin = now_ns(CLOCK_MONOTONIC);
  remember(arguments.number("remember"), setting.port);
  if (setting.what != "lookup") {
    if (!setting.host.empty()) setting.to = look_up(setting.host, setting.port).front();
    const std::string address = arguments.text("address");
    if (!address.empty()) setting.to = destination_of(address, setting.port);
  }
  if (setting.what == "first") {
    const int fd = tcp_socket(setting.to.family());
    must(connect(fd, setting.to.get(), setting.to.length), "connect");
    printf("ms=%.3f\n", (now_ns(CLOCK_MONOTONIC) - begin) / 1e6);
    printf("%s\n", read_line(fd).c_str());
  } else if (setting.what == "hold") {
    printf("ready\n");
    fflush(stdout);
    char end;
    while (read(STDIN_FILENO, &end, 1) > 0) continue;
  } else if (!measure_connects(setting)) {
    measure_call(setting);
  }
}
