// Connects without blocking once, waits for it and closes it; then mounts and unmounts something,
// while another thread waits for that to be told by /proc/self/mountinfo, where asking takes the
// event away. Must never be started in the mount namespace of others.
//
// host= port=; wait=poll|ppoll|select|pselect|epoll; directory=PATH to mount at; events=N
#include <sys/mount.h>
#include <sys/select.h>

#include <atomic>
#include <thread>

#include "events.h"

using namespace events;

namespace {

// Is there an event within so long? With the descriptor in no set of the program's before, but for
// epoll.
bool wait_for_change(const std::string& how, int fd, int set, int timeout_ms) {
  const timespec limit{timeout_ms / 1000, timeout_ms % 1000 * 1'000'000};
  if (how == "epoll") {
    epoll_event event;
    return must(epoll_wait(set, &event, 1, timeout_ms), "epoll_wait") == 1;
  }
  if (how == "poll" || how == "ppoll") {
    pollfd one{fd, POLLPRI, 0};
    return must(how == "poll" ? poll(&one, 1, timeout_ms) : ppoll(&one, 1, &limit, nullptr),
                "poll") == 1;
  }
  fd_set changed;
  FD_ZERO(&changed);
  FD_SET(fd, &changed);
  if (how == "pselect")
    return must(pselect(fd + 1, nullptr, nullptr, &changed, &limit, nullptr), "pselect") == 1;
  require(how == "select", "wait=");
  timeval left{timeout_ms / 1000, timeout_ms % 1000 * 1000};
  return must(select(fd + 1, nullptr, nullptr, &changed, &left), "select") == 1;
}

}  // namespace

int main(int argc, char** argv) {
  limit_time();
  const Arguments arguments(argc, argv);
  const std::string how = arguments.text("wait");
  const std::string directory = arguments.text("directory");
  const int events = arguments.number("events", 3);
  const Destination to = look_up(arguments.text("host"), arguments.number("port")).front();
  const int connection = must(socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
  begin_connect(connection, to);
  pollfd writable{connection, POLLOUT, 0};
  must(poll(&writable, 1, -1), "poll");
  printf("peer=%s ", peer_of(connection).c_str());
  close(connection);

  const int mounts = must(open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC), "mountinfo");
  const int set = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  if (how == "epoll") {
    epoll_event event{EPOLLPRI | EPOLLET, {}};
    must(epoll_ctl(set, EPOLL_CTL_ADD, mounts, &event), "epoll_ctl");
  }
  while (wait_for_change(how, mounts, set, 0)) continue;
  std::atomic<int> seen{0};
  std::atomic<bool> done{false};
  std::thread waiter([&] {
    while (!done) seen += wait_for_change(how, mounts, set, 400) ? 1 : 0;
  });
  for (int i = 0; i < events; ++i) {
    sleep_ms(150);
    if (i % 2 == 0) {
      must(mount("none", directory.c_str(), "tmpfs", 0, "size=4k"), "mount");
    } else {
      must(umount(directory.c_str()), "umount");
    }
  }
  sleep_ms(200);
  done = true;
  waiter.join();
  printf("seen=%d\n", seen.load());
}
