// Connects to a server, a thread of this program, that resets each connection as soon as it has
// accepted it. Must never look at the socket in another way than it is told, nor reset a connection
// that is not accepted.
//
// host= port=; server=ADDRESS, the first of the host; way=blocking|poll|epoll|select|so_error|recv;
// after=MS the server resets; pause=MS before the program waits. For way=blocking the server is
// silent at first, and the thread that connects gets no time between the answer and the reset: it
// has one processor together with the server, and runs only when that sleeps.
#include <sched.h>
#include <sys/select.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "events.h"

using namespace events;

namespace {

class Server {
 public:
  Server(const Destination& at, bool silent_at_first, int after_ms)
      : fd_(must(socket(at.family(), SOCK_STREAM | SOCK_NONBLOCK, 0), "socket")),
        after_ms_(after_ms) {
    set_option(fd_, SOL_SOCKET, SO_REUSEADDR, 1);
    must(bind(fd_, at.get(), at.length), "bind");
    must(listen(fd_, silent_at_first ? 0 : 16), "listen");
    // With a full queue the kernel drops what asks for more.
    for (int i = 0; i < (silent_at_first ? 2 : 0); ++i) {
      const int filler = must(socket(at.family(), SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
      connect(filler, at.get(), at.length);
      fillers_.push_back(port_of(local_of(filler)));
    }
    thread_ = std::thread([this] { run(); });
  }

  // How many it has accepted in all, but for those that have filled its queue.
  int stop() {
    stopped_ = true;
    thread_.join();
    close(fd_);
    return accepted_;
  }

 private:
  void run() {
    if (!fillers_.empty()) {
      sleep_ms(500);
      must(listen(fd_, 16), "listen");
    }
    while (!stopped_) {
      Destination peer;
      peer.length = sizeof peer.address;
      const int one = accept(fd_, reinterpret_cast<sockaddr*>(&peer.address), &peer.length);
      if (one < 0) {
        // The server does not let go of its processor before the first connect.
        if (accepted_ > 0) sleep_ms(1);
        continue;
      }
      if (std::find(fillers_.begin(), fillers_.end(), port_of(peer)) != fillers_.end()) continue;
      ++accepted_;
      if (after_ms_ != 0) sleep_ms(after_ms_);
      set_option(one, SOL_SOCKET, SO_LINGER, linger{1, 0});
      close(one);
    }
  }

  int fd_;
  int after_ms_;
  std::vector<int> fillers_;  // by their ports
  std::atomic<int> accepted_{0};
  std::atomic<bool> stopped_{false};
  std::thread thread_;
};

void share_one_processor() {
  cpu_set_t allowed, one;
  must(sched_getaffinity(0, sizeof allowed, &allowed), "sched_getaffinity");
  CPU_ZERO(&one);
  for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++i) {
    if (CPU_ISSET(i, &allowed)) CPU_SET(i, &one);
  }
  must(sched_setaffinity(0, sizeof one, &one), "sched_setaffinity");
}

std::string wait_for(const std::string& way, int fd) {
  if (way == "poll") {
    pollfd socket{fd, POLLIN | POLLOUT, 0};
    must(poll(&socket, 1, -1), "poll");
    return event_names(static_cast<std::uint16_t>(socket.revents));
  }
  if (way == "select") {
    fd_set readable, writable;
    FD_ZERO(&readable);
    FD_ZERO(&writable);
    FD_SET(fd, &readable);
    FD_SET(fd, &writable);
    must(select(fd + 1, &readable, &writable, nullptr, nullptr), "select");
    return event_names((FD_ISSET(fd, &readable) ? POLLIN : 0u) |
                       (FD_ISSET(fd, &writable) ? POLLOUT : 0u));
  }
  require(way == "epoll", "way=");
  const int set = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  epoll_event event{EPOLLIN | EPOLLOUT, {}};
  must(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
  must(epoll_wait(set, &event, 1, -1), "epoll_wait");
  close(set);
  return event_names(event.events);
}

}  // namespace

int main(int argc, char** argv) {
  limit_time(10);
  const Arguments arguments(argc, argv);
  const std::string way = arguments.text("way");
  const bool blocks = way == "blocking";
  const int port = arguments.number("port");
  if (blocks) share_one_processor();
  Server server(destination_of(arguments.text("server"), port), blocks, arguments.number("after"));
  const Destination to = look_up(arguments.text("host"), port).front();
  const int fd = must(socket(to.family(), SOCK_STREAM | (blocks ? 0 : SOCK_NONBLOCK), 0), "socket");
  if (blocks) {
    const sched_param none{};
    must(sched_setscheduler(0, SCHED_IDLE, &none), "SCHED_IDLE");
    const Outcome outcome = timed_connect(fd, to);
    printf("result=%d error=%s ", outcome.result, error_name(outcome.error));
  } else {
    begin_connect(fd, to);
    sleep_ms(arguments.number("pause"));
    if (way != "so_error" && way != "recv") printf("events=%s ", wait_for(way, fd).c_str());
  }
  char byte;
  const auto read_once = [&] {
    return recv(fd, &byte, 1, MSG_DONTWAIT) < 0 ? error_name(errno) : "0";
  };
  if (way == "recv") printf("first=%s ", read_once());
  printf("so_error=%s ", error_name(get_option<int>(fd, SOL_SOCKET, SO_ERROR)));
  printf("recv=%s peer=%s ", read_once(), peer_of(fd).c_str());
  // A second attempt would have come by then.
  sleep_ms(100);
  printf("accepted=%d\n", server.stop());
  close(fd);
}
