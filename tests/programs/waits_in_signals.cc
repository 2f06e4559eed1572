// A signal handler comes in the middle of a wait for a connect: it jumps out of the wait, or waits
// and connects itself.
// Must never touch the socket that is waited for but by what wait= names.
//
// host= port= after=MS; wait=poll|select|epoll; handler=jump (siglongjmp), poll (polls the same
// socket for a while), connect (another socket connects to the host without blocking, and is polled
// to the end).
#include <setjmp.h>
#include <sys/select.h>
#include <sys/time.h>

#include <csignal>

#include "events.h"

using namespace events;

namespace {

sigjmp_buf back;
volatile sig_atomic_t signals = 0;
std::string handler;
Destination destination;
int fd = -1, other = -1, set = -1;
volatile int handlers_events = 0, handlers_error = -1;

int wait_once(const std::string& how) {
  if (how == "poll") {
    pollfd socket{fd, POLLOUT, 0};
    return poll(&socket, 1, -1);
  }
  if (how == "select") {
    fd_set writable;
    FD_ZERO(&writable);
    FD_SET(fd, &writable);
    return select(fd + 1, nullptr, &writable, nullptr, nullptr);
  }
  require(how == "epoll", "wait=");
  epoll_event event;
  return epoll_wait(set, &event, 1, -1);
}

void handle(int) {
  const int saved = errno;
  signals = signals + 1;
  if (handler == "jump") siglongjmp(back, 1);
  pollfd socket{handler == "poll" ? fd : other, POLLOUT, 0};
  if (handler == "connect") connect(other, destination.get(), destination.length);
  if (poll(&socket, 1, handler == "poll" ? 60 : -1) > 0) handlers_events = socket.revents;
  if (handler == "connect") handlers_error = get_option<int>(other, SOL_SOCKET, SO_ERROR);
  errno = saved;
}

}  // namespace

int main(int argc, char** argv) {
  limit_time();
  const Arguments arguments(argc, argv);
  handler = arguments.text("handler");
  const std::string how = arguments.text("wait");
  destination = look_up(arguments.text("host"), arguments.number("port")).front();
  const int descriptors_before = open_descriptors();
  fd = new_socket(destination.family());
  other = new_socket(destination.family());
  set = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  const Properties before = properties_of(fd);
  struct sigaction action {};
  action.sa_handler = handle;
  must(sigaction(SIGUSR1, &action, nullptr), "sigaction");
  begin_connect(fd, destination);
  epoll_event event{EPOLLOUT, {}};
  must(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
  const int after = arguments.number("after");
  timer_t timer;
  sigevent notice{};
  notice.sigev_notify = SIGEV_SIGNAL;
  notice.sigev_signo = SIGUSR1;
  must(timer_create(CLOCK_MONOTONIC, &notice, &timer), "timer_create");
  const itimerspec once{{}, {after / 1000, after % 1000 * 1'000'000}};
  if (sigsetjmp(back, 1) == 0) must(timer_settime(timer, 0, &once, nullptr), "timer_settime");
  int ready = -1;
  while ((ready = wait_once(how)) < 0) require(errno == EINTR, "wait");
  printf("ready=%d signals=%d handlers_events=%s handlers_error=%s handlers_peer=%s", ready,
         static_cast<int>(signals),
         event_names(static_cast<std::uint16_t>(handlers_events)).c_str(),
         error_name(handlers_error), peer_of(other).c_str());
  print_socket(fd, before);
  for (const int each : {fd, other, set}) close(each);
  printf(" descriptors_left=%d\n", open_descriptors() - descriptors_before);
}
