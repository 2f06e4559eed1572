// A handler interrupts a wait for a connect, and returns, or jumps out of it (siglongjmp). Which
// signals are held back then, in the handler and afterwards?
//
// host= port=; wait=poll|select|epoll|ppoll; after=MS; handler=return|jump|nested (which is
// interrupted by another one, that returns). Signals by their numbers, without those of libc.
#include <sys/select.h>
#include <sys/time.h>

#include <array>
#include <cerrno>
#include <csetjmp>
#include <csignal>

#include "events.h"

using namespace events;

namespace {

sigjmp_buf back;
bool nests, jumps;
// What the handlers saw. They may neither allocate nor print.
std::array<sigset_t, 3> seen;
std::size_t seen_count = 0;

void look() { must(sigprocmask(SIG_SETMASK, nullptr, &seen.at(seen_count++)), "sigprocmask"); }

std::string text_of(const sigset_t& mask) {
  std::string numbers;
  for (int signal = 1; signal < 32; ++signal) {
    if (sigismember(&mask, signal) == 1) {
      numbers += (numbers.empty() ? "" : ",") + std::to_string(signal);
    }
  }
  return numbers.empty() ? "none" : numbers;
}

void inner(int) { look(); }

void handle(int) {
  const int kept = errno;
  look();
  if (nests) {
    raise(SIGUSR1);
    look();
  }
  errno = kept;
  if (jumps) siglongjmp(back, 1);
}

int wait_for(const std::string& what, int fd) {
  if (what == "select") {
    fd_set writable;
    FD_ZERO(&writable);
    FD_SET(fd, &writable);
    return select(fd + 1, nullptr, &writable, nullptr, nullptr);
  }
  if (what == "epoll") {
    const int set = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    epoll_event event{EPOLLOUT, {}};
    must(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
    return epoll_wait(set, &event, 1, -1);
  }
  pollfd one{fd, POLLOUT, 0};
  if (what == "poll") return poll(&one, 1, -1);
  require(what == "ppoll", "wait=");
  sigset_t other;
  sigemptyset(&other);
  sigaddset(&other, SIGTERM);
  return ppoll(&one, 1, nullptr, &other);
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  const std::string how = arguments.text("handler");
  nests = how == "nested";
  jumps = how == "jump";
  const std::string what = arguments.text("wait");
  const int after = arguments.number("after", 50);
  struct sigaction action {};
  action.sa_handler = handle;
  sigaddset(&action.sa_mask, SIGHUP);
  must(sigaction(SIGALRM, &action, nullptr), "sigaction");
  action.sa_handler = inner;
  must(sigaction(SIGUSR1, &action, nullptr), "sigaction");
  sigset_t own;
  sigemptyset(&own);
  sigaddset(&own, SIGUSR2);
  sigaddset(&own, SIGWINCH);
  must(sigprocmask(SIG_SETMASK, &own, nullptr), "sigprocmask");
  const Destination to = look_up(arguments.text("host"), arguments.number("port")).front();
  const int fd = must(socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
  begin_connect(fd, to);
  const itimerval at{{}, {0, after * 1000}};
  if (sigsetjmp(back, 1) == 0) {
    must(setitimer(ITIMER_REAL, &at, nullptr), "setitimer");
    const int result = wait_for(what, fd);
    printf("result=%s ", result < 0 ? error_name(errno) : std::to_string(result).c_str());
  } else {
    printf("result=jumped ");
  }
  sigset_t afterwards;
  must(sigprocmask(SIG_SETMASK, nullptr, &afterwards), "sigprocmask");
  std::string handlers;
  for (std::size_t i = 0; i < seen_count; ++i) handlers += (i == 0 ? "" : "/") + text_of(seen[i]);
  printf("handler=%s afterwards=%s\n", handlers.c_str(), text_of(afterwards).c_str());
}
