// Connects without blocking to an address that is silent at first, and answers when the kernel asks
// a second time, while two threads wait for the same socket: the first since the connect, the
// second from a moment on. Must never look at the socket before a wait has told of it. Under
// `strace --inject`, which makes every connect(2) late, the answer comes in the moment in which an
// attempt is taken back.
//
// host= port=; late=ADDRESS, the first of the host, which is opened here; answers=MS, joins=MS
// after the begin of the connect; wait=poll|epoll. A line for each of the threads, and one of what
// that address has accepted.
#include <atomic>
#include <thread>

#include "events.h"

using namespace events;

namespace {

// Its queue is full, so that the kernel drops what asks for more, until it answers.
class LateListener {
 public:
  explicit LateListener(const Destination& at) : fd_(tcp_socket(at.family())) {
    set_option(fd_, SOL_SOCKET, SO_REUSEADDR, 1);
    must(bind(fd_, at.get(), at.length), "bind");
    must(listen(fd_, 0), "listen");
    for (int& filler : fillers_) {
      filler = must(socket(at.family(), SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
      // Not a connect of the program's: no library takes care of it.
      connect(filler, at.get(), at.length);
    }
  }
  ~LateListener() { close(fd_); }
  LateListener(const LateListener&) = delete;
  LateListener& operator=(const LateListener&) = delete;

  void answer() { must(listen(fd_, 16), "listen"); }

  // Those that have filled the queue do not count.
  int accepted() {
    must(fcntl(fd_, F_SETFL, O_NONBLOCK), "F_SETFL");
    int count = -2;
    for (int one; (one = accept(fd_, nullptr, nullptr)) >= 0; close(one)) ++count;
    return count;
  }

 private:
  int fd_;
  int fillers_[2];
};

std::uint32_t wait_for(const std::string& how, int fd) {
  if (how == "poll") {
    pollfd socket{fd, POLLOUT, 0};
    must(poll(&socket, 1, -1), "poll");
    return static_cast<std::uint16_t>(socket.revents);
  }
  const int set = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  epoll_event event{EPOLLOUT, {}};
  must(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
  must(epoll_wait(set, &event, 1, -1), "epoll_wait");
  close(set);
  return event.events;
}

}  // namespace

int main(int argc, char** argv) {
  limit_time(10);
  const Arguments arguments(argc, argv);
  const std::string how = arguments.text("wait", "poll");
  const int port = arguments.number("port");
  LateListener late(destination_of(arguments.text("late"), port));
  const Destination to = look_up(arguments.text("host"), port).front();
  const int fd = must(socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");

  const long start = now_ms();
  const auto wait_until = [start](long ms) { sleep_ms(std::max(0l, start + ms - now_ms())); };
  std::thread answer([&] {
    wait_until(arguments.number("answers"));
    late.answer();
  });
  const Outcome outcome = timed_connect(fd, to);
  require(outcome.result == -1 && outcome.error == EINPROGRESS, "connect is not in progress");
  const auto tell = [&](const char* who) {
    const std::string events = event_names(wait_for(how, fd));
    const std::string peer = peer_of(fd);
    printf("who=%s events=%s peer=%s ms=%ld\n", who, events.c_str(), peer.c_str(),
           now_ms() - start);
  };
  std::thread second([&] {
    wait_until(arguments.number("joins"));
    tell("second");
  });
  tell("first");
  second.join();
  answer.join();
  printf("so_error=%s peer=%s ", error_name(get_option<int>(fd, SOL_SOCKET, SO_ERROR)),
         peer_of(fd).c_str());
  sleep_ms(50);
  printf("accepted=%d\n", late.accepted());
  close(fd);
}
