// A thread sleeps in epoll_wait while a connect of another one is in flight; then the process
// forks, and the child does the same once more. Must never wait with a limit, or in the thread that
// connects: only a timer can wake the sleepers.
//
// host= port= after=MS. One line from the child, one from the parent.
#include <sys/wait.h>

#include <thread>

#include "events.h"

using namespace events;

namespace {

class SleptThrough {
 public:
  explicit SleptThrough(const Destination& to) : fd_(new_socket(to.family())) {
    sleeper_ = std::thread([this] {
      epoll_event event{};
      must(epoll_wait(set_, &event, 1, -1), "epoll_wait");
      ended_ = now_ms();
      events_ = event_names(event.events);
    });
    sleep_ms(60);
    begin_ = now_ms();
    begin_connect(fd_, to);
    epoll_event event{EPOLLOUT, {}};
    must(epoll_ctl(set_, EPOLL_CTL_ADD, fd_, &event), "epoll_ctl");
  }

  void end(const char* who) {
    sleeper_.join();
    printf("who=%s events=%s peer=%s ms=%ld\n", who, events_.c_str(), peer_of(fd_).c_str(),
           ended_ - begin_);
    fflush(stdout);
    close(fd_);
    close(set_);
  }

 private:
  const int fd_;
  const int set_ = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  std::thread sleeper_;
  std::string events_;
  long begin_ = 0;
  long ended_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  limit_time();
  const Arguments arguments(argc, argv);
  const Destination to = look_up(arguments.text("host"), arguments.number("port")).front();
  const int before = open_descriptors();
  SleptThrough parents(to);
  sleep_ms(arguments.number("after"));
  const pid_t child = must(fork(), "fork");
  if (child == 0) {
    limit_time();
    SleptThrough(to).end("child");
    _exit(0);
  }
  parents.end("parent");
  int status = 0;
  must(waitpid(child, &status, 0), "waitpid");
  printf("who=status child=%d descriptors_left=%d\n", status, open_descriptors() - before);
}
