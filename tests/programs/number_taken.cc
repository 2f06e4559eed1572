// Connects in one thread, while another closes the socket and gives its number to a fresh one, in
// round after round. Must never use the number once it has been given away: what is found on the
// fresh socket has been done by somebody else.
//
// host= port=; way=poll|epoll|blocking; how=close|dup2|dup3|close_range|closefrom; what=udp|tcp,
// the fresh socket; rounds=N, or seconds=N of rounds; the number is taken so many microseconds
// after the connect has begun: span=US at most, step=US more in each round, or at random where
// there is none.
#include <dlfcn.h>
#include <sys/syscall.h>

#include <atomic>
#include <random>
#include <thread>

#include "events.h"

using namespace events;

namespace {

class Taker {
 public:
  Taker(const std::string& how, const std::string& what)
      : how_(how), type_(what == "tcp" ? SOCK_STREAM : SOCK_DGRAM) {}

  // The descriptor that has the number afterwards is a socket nobody has done anything to; -1 when
  // another got the number.
  int take(int number) {
    if (how_ == "dup2" || how_ == "dup3") {
      const int fresh = open_fresh();
      must(how_ == "dup2" ? dup2(fresh, number) : dup3(fresh, number, O_CLOEXEC), "dup2");
      close(fresh);
      return number;
    }
    if (how_ == "close_range") {
      must(close_range(static_cast<unsigned>(number), static_cast<unsigned>(number), 0),
           "close_range");
    } else if (how_ == "closefrom") {
      closefrom(number);
    } else {
      require(how_ == "close", "how=");
      must(close(number), "close");
    }
    const int fresh = open_fresh();
    if (fresh == number) return fresh;
    close(fresh);
    return -1;
  }

 private:
  int open_fresh() const { return must(socket(AF_INET, type_, 0), "socket"); }

  std::string how_;
  int type_;
};

// What has been done to a fresh socket, or "".
std::string traces_on(int fd) {
  std::string traces;
  const Destination local = local_of(fd);
  if (peer_of(fd) != "none") traces += "connected-to-" + peer_of(fd);
  if (port_of(local) != 0) traces += ":bound";
  if (send_timeout_ms(fd) != 0) traces += ":timeout";
  if ((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0) traces += ":nonblocking";
  return traces;
}

// The result of the connect does not matter: the number may be another socket's by now.
void wait_for(const std::string& way, int fd) {
  if (way == "poll") {
    pollfd socket{fd, POLLOUT, 0};
    poll(&socket, 1, 2000);
    return;
  }
  const int set = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  epoll_event event{EPOLLOUT, {}};
  // A closed socket leaves the set, and nobody tells of it.
  if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0) epoll_wait(set, &event, 1, 300);
  close(set);
}

}  // namespace

int main(int argc, char** argv) {
  limit_time();
  const Arguments arguments(argc, argv);
  const std::string way = arguments.text("way", "poll");
  const Destination to = look_up(arguments.text("host"), arguments.number("port")).front();
  Taker taker(arguments.text("how", "close"), arguments.text("what", "udp"));
  const int span = arguments.number("span", 1);
  const int step = arguments.number("step");
  const int seconds = arguments.number("seconds");
  const int rounds = arguments.number("rounds", 1);
  const long start = now_ms();
  std::minstd_rand random(std::random_device{}());

  int done = 0, missed = 0, touched = 0;
  std::string traces = "none";
  while (seconds != 0 ? now_ms() < start + 1000 * seconds : done < rounds) {
    const int fd = must(
        socket(to.family(), SOCK_STREAM | (way == "blocking" ? 0 : SOCK_NONBLOCK), 0), "socket");
    std::atomic<bool> begun{false};
    std::thread connecting([&] {
      if (way == "blocking") begun = true;
      connect(fd, to.get(), to.length);
      begun = true;
      if (way != "blocking") wait_for(way, fd);
    });
    while (!begun) sched_yield();
    // A connect that blocks has begun when its socket has a port.
    while (way == "blocking" && port_of(local_of(fd)) == 0) sched_yield();
    const int offset =
        step != 0 ? done * step % span : static_cast<int>(random() % static_cast<unsigned>(span));
    timespec left{0, offset * 1000l};
    if (offset != 0) nanosleep(&left, nullptr);
    const int fresh = taker.take(fd);
    connecting.join();
    ++done;
    if (fresh < 0) {
      ++missed;
      continue;
    }
    const std::string found = traces_on(fresh);
    if (!found.empty() && touched++ == 0) traces = found;
    close(fresh);
  }
  printf("rounds=%d missed=%d touched=%d traces=%s\n", done, missed, touched, traces.c_str());
}
