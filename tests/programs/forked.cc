// Forks in the middle of something, and looks at the child. Must never execute anything.
//
// host= port=; what=
//   waits   a thread sleeps in a set when a connect is begun there, which is closed early; the
//           child then waits for what is there times=N times in each way, between two calls of
//           getppid(2)
//   vfork   the first that the child does is to vfork a child that connects; then it connects
//   pins    threads connect blocking while times=N children, one after the other, or as many as
//           there is time for, look for a socket that they have by two numbers
//   handler a signal comes in the middle of the fork (libraries/signals_in_fork.cc), whose handler
//           forks as well; each of the processes then connects
//   nested  into a pid namespace, after=MS of looking names up in another thread; the child then
//           connects and looks a name up
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <atomic>
#include <set>
#include <thread>

#include "events.h"

using namespace events;

namespace {

// Sockets that this process has by more than one number.
int sockets_held_twice() {
  std::set<std::string> seen;
  int twice = 0;
  DIR* directory = opendir("/proc/self/fd");
  if (directory == nullptr) broken("/proc/self/fd");
  while (const dirent* entry = readdir(directory)) {
    char target[64] = {};
    if (readlinkat(dirfd(directory), entry->d_name, target, sizeof target - 1) <= 0) continue;
    const std::string name = target;
    if (name.compare(0, 7, "socket:") == 0 && !seen.insert(name).second) ++twice;
  }
  closedir(directory);
  return twice;
}

template <typename Child>
void in_child(Child child) {
  fflush(stdout);
  const pid_t pid = must(fork(), "fork");
  if (pid == 0) {
    limit_time();
    child();
    fflush(stdout);
    _exit(0);
  }
  int status = 0;
  must(waitpid(pid, &status, 0), "waitpid");
  require(status == 0, "the child");
}

void wait_for_what_is_there(int times) {
  const Pipe pipe;
  pipe.put();
  const int set = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  epoll_event event{EPOLLIN, {}};
  must(epoll_ctl(set, EPOLL_CTL_ADD, pipe.reader, &event), "epoll_ctl");
  const auto wait = [&] {
    pollfd one{pipe.reader, POLLIN, 0};
    require(poll(&one, 1, 1000) == 1, "poll");
    fd_set readable;
    FD_ZERO(&readable);
    FD_SET(pipe.reader, &readable);
    timeval limit{1, 0};
    require(select(pipe.reader + 1, &readable, nullptr, nullptr, &limit) == 1, "select");
    require(epoll_wait(set, &event, 1, 1000) == 1, "epoll_wait");
  };
  // Whatever has to be found out once is none of what later waits cost.
  wait();
  syscall(SYS_getppid);
  for (int i = 0; i < times; ++i) wait();
  syscall(SYS_getppid);
  printf("pid=%d\n", getpid());
}

void beside_a_sleeper(const Destination& to, int times) {
  const int set = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  const int fd = new_socket(to.family());
  const Pipe pipe;
  epoll_event readable{EPOLLIN, {}};
  must(epoll_ctl(set, EPOLL_CTL_ADD, pipe.reader, &readable), "epoll_ctl");
  std::thread sleeper([set] {
    epoll_event event{};
    must(epoll_wait(set, &event, 1, -1), "epoll_wait");
  });
  sleep_ms(60);
  begin_connect(fd, to);
  epoll_event event{EPOLLOUT, {}};
  must(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
  close(fd);
  in_child([&] { wait_for_what_is_there(times); });
  pipe.put();
  sleeper.join();
}

void vfork_child_first(const Destination& to) {
  const int first = tcp_socket(to.family());
  const pid_t child = vfork();
  if (child == 0) {
    connect(first, to.get(), to.length);
    _exit(0);
  }
  must(child, "vfork");
  must(waitpid(child, nullptr, 0), "waitpid");
  close(first);
  connect_and_close(tcp_socket(to.family()), to);
}

void pins(const Destination& to, int times) {
  std::atomic<bool> over{false};
  std::atomic<int> connected{0};
  const auto connect_often = [&] {
    while (!over) {
      const int fd = must(socket(to.family(), SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
      connected += connect(fd, to.get(), to.length) == 0;
      close(fd);
    }
  };
  std::thread one(connect_often);
  std::thread other(connect_often);
  int held = 0;
  // With checks a fork takes long.
  const long enough = now_ms() + 1000 * kTimeLimit / 2;
  for (int i = 0; i < times && now_ms() < enough; ++i) {
    int ends[2];
    must(pipe(ends), "pipe");
    in_child([&] {
      const int twice = sockets_held_twice();
      require(write(ends[1], &twice, sizeof twice) == sizeof twice, "write");
    });
    int twice = 0;
    require(read(ends[0], &twice, sizeof twice) == sizeof twice, "read");
    held += twice;
    close(ends[0]);
    close(ends[1]);
  }
  over = true;
  one.join();
  other.join();
  printf("held=%d connected=%d\n", held, connected > 0);
}

void fork_in_handler(int) {
  const int kept = errno;
  if (const pid_t pid = must(fork(), "fork")) must(waitpid(pid, nullptr, 0), "waitpid");
  errno = kept;
}

void in_a_handler(const Destination& to) {
  struct sigaction action {};
  action.sa_handler = fork_in_handler;
  must(sigaction(SIGUSR1, &action, nullptr), "sigaction");
  const long start = now_ms();
  const pid_t pid = must(fork(), "fork");
  limit_time();
  printf("fork_ms=%ld ", now_ms() - start);
  connect_and_close(tcp_socket(to.family()), to);
  fflush(stdout);
  if (pid != 0) must(waitpid(pid, nullptr, 0), "waitpid");
}

// The ids of such a child and of its parent are the same, where the parent is the first as well.
void into_namespace(const Destination& to, int after) {
  std::atomic<bool> over{false};
  std::thread other([&] {
    while (!over) look_up("127.0.0.1", 1);
  });
  must(unshare(CLONE_NEWPID), "unshare");
  sleep_ms(after);
  in_child([&] {
    printf("id=%d ", getpid());
    connect_and_close(tcp_socket(to.family()), to);
    look_up("127.0.0.1", 1);
  });
  over = true;
  other.join();
}

}  // namespace

int main(int argc, char** argv) {
  limit_time();
  const Arguments arguments(argc, argv);
  const std::string what = arguments.text("what");
  const int times = arguments.number("times", 1);
  const Destination to = look_up(arguments.text("host"), arguments.number("port")).front();
  if (what == "waits") beside_a_sleeper(to, times);
  if (what == "vfork") in_child([&] { vfork_child_first(to); });
  if (what == "pins") pins(to, times);
  if (what == "handler") in_a_handler(to);
  if (what == "nested") into_namespace(to, arguments.number("after"));
}
