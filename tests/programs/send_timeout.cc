// Connects with a SO_SNDTIMEO that was set where a library of this process does not see it, or at
// another time than before the connect; then tells what is left of it. Must never set it to
// anything but its own value.
//
// host= port=; set=before   by this program, before the connect
//                  forked   by the parent of this process, which has forked
//                  executed by a program that has executed this one
//                  began    after a connect that does not block has begun, waited for with
//                  wait=poll|epoll|none (by SO_ERROR)
// nonblocking=1; then=blocking: O_NONBLOCK is taken off when the connect has begun; fd=N: the
// socket, of an executed program.
#include <sys/syscall.h>
#include <sys/wait.h>

#include "events.h"

using namespace events;

namespace {

constexpr int kTimeout = 7654;

void wait_for(const std::string& how, int fd) {
  if (how == "poll") {
    pollfd writable{fd, POLLOUT, 0};
    must(poll(&writable, 1, -1), "poll");
  } else if (how == "epoll") {
    const int set = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    epoll_event event{EPOLLOUT, {}};
    must(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
    must(epoll_wait(set, &event, 1, -1), "epoll_wait");
    close(set);
  } else {
    require(how == "none", "wait=");
    while (get_option<int>(fd, SOL_SOCKET, SO_ERROR) == 0 && peer_of(fd) == "none") sleep_ms(1);
  }
}

// As a parent with another libc would.
void set_unseen(int fd) {
  const timeval value{kTimeout / 1000, kTimeout % 1000 * 1000};
  must(static_cast<int>(syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDTIMEO, &value, sizeof value)),
       "setsockopt");
}

}  // namespace

int main(int argc, char** argv) {
  limit_time();
  const Arguments arguments(argc, argv);
  const std::string when = arguments.text("set");
  const bool blocks = arguments.number("nonblocking") == 0;
  const Destination to = look_up(arguments.text("host"), arguments.number("port")).front();
  int fd = arguments.number("fd", -1);
  const bool executed = fd >= 0;
  if (!executed)
    fd = must(socket(to.family(), SOCK_STREAM | (blocks ? 0 : SOCK_NONBLOCK), 0), "socket");
  if (when == "before") set_send_timeout(fd, kTimeout);
  if ((when == "forked" || when == "executed") && !executed) {
    set_unseen(fd);
    const pid_t child = must(fork(), "fork");
    if (child != 0) {
      int status = -1;
      must(waitpid(child, &status, 0), "waitpid");
      return WEXITSTATUS(status);
    }
    if (when == "executed") {
      std::vector<std::string> words(argv, argv + argc);
      words.push_back("fd=" + std::to_string(fd));
      std::vector<char*> pointers;
      for (std::string& word : words) pointers.push_back(word.data());
      pointers.push_back(nullptr);
      execv("/proc/self/exe", pointers.data());
      broken("execv");
    }
  }
  const Outcome outcome = timed_connect(fd, to);
  if (when == "began") set_send_timeout(fd, kTimeout);
  if (arguments.text("then") == "blocking") {
    must(fcntl(fd, F_SETFL, must(fcntl(fd, F_GETFL), "F_GETFL") & ~O_NONBLOCK), "F_SETFL");
  }
  if (!blocks) {
    require(outcome.result == 0 || outcome.error == EINPROGRESS, "connect");
    wait_for(arguments.text("wait", "poll"), fd);
  }
  printf("error=%s so_error=%s peer=%s timeout=%d\n", blocks ? error_name(outcome.error) : "0",
         error_name(get_option<int>(fd, SOL_SOCKET, SO_ERROR)), peer_of(fd).c_str(),
         send_timeout_ms(fd));
}
