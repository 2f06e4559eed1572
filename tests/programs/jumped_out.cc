// A handler jumps out of a wait (siglongjmp) just when it has found that a healthy connect is done;
// then the socket is closed. Again and again. Must never jump out of anything else, nor wait for a
// connect but by sleeping.
//
// host= port=; wait=poll|epoll; rounds=N. Prints how often the wait was left so, and how often the
// close had to wait for somebody.
#include <sys/resource.h>
#include <sys/time.h>

#include <csetjmp>
#include <csignal>
#include <random>

#include "events.h"

using namespace events;

namespace {

sigjmp_buf back;
volatile sig_atomic_t may_jump = 0;

void jump(int) {
  if (may_jump == 0) return;
  may_jump = 0;
  siglongjmp(back, 1);
}

void send_signal_in(long us) {
  const itimerval at{{}, {0, us}};
  must(setitimer(ITIMER_REAL, &at, nullptr), "setitimer");
}

long sleeps_so_far() {
  rusage usage{};
  must(getrusage(RUSAGE_THREAD, &usage), "getrusage");
  return usage.ru_nvcsw;
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  const Destination to = look_up(arguments.text("host"), arguments.number("port")).front();
  const int rounds = arguments.number("rounds", 1);
  const bool epoll = arguments.text("wait") == "epoll";
  struct sigaction action {};
  action.sa_handler = jump;
  must(sigaction(SIGALRM, &action, nullptr), "sigaction");
  std::minstd_rand random(std::random_device{}());
  volatile int jumped = 0;
  volatile int waited = 0;
  const int set = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  volatile int round = 0;
  while (round < rounds) {
    round = round + 1;
    const int fd = must(socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
    begin_connect(fd, to);
    epoll_event event{EPOLLOUT, {}};
    event.data.fd = fd;
    must(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
    sleep_ms(1);
    if (sigsetjmp(back, 1) == 0) {
      const long us = 1 + static_cast<long>(random() % 12);
      may_jump = 1;
      send_signal_in(us);
      if (epoll) {
        epoll_wait(set, &event, 1, 0);
      } else {
        pollfd one{fd, POLLOUT, 0};
        poll(&one, 1, 0);
      }
      may_jump = 0;
    } else {
      jumped = jumped + 1;
    }
    send_signal_in(0);
    const long before = sleeps_so_far();
    close(fd);
    waited = waited + (sleeps_so_far() - before > 100 ? 1 : 0);
  }
  printf("jumped=%d waited=%d\n", jumped > 0, waited);
}
