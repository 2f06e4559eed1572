// Forbids itself all system calls but a few, as programs do once they have what they need: any
// other one kills it (SIGSYS). Must never permit one that the test did not name, and so does
// nothing at its end but to end.
//
// host= port=; allow=NAME,.. (system calls, see kCalls); when=before|after the connect;
// how=prctl (PR_SET_SECCOMP), seccomp (the system call), nnp (PR_SET_NO_NEW_PRIVS alone), vfork
// (a child's affair, for what it would execute); wait=poll|epoll: connects without blocking.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cstddef>
#include <map>

#include "check.h"

using namespace check;

namespace {

const std::map<std::string, std::vector<int>> kCalls{
#ifdef SYS_poll
    {"poll", {SYS_poll, SYS_ppoll}},
#else
    {"poll", {SYS_ppoll}},
#endif
#ifdef SYS_epoll_wait
    {"epoll_wait", {SYS_epoll_wait, SYS_epoll_pwait}},
#else
    {"epoll_wait", {SYS_epoll_pwait}},
#endif
    {"write", {SYS_write}},
    {"exit", {SYS_exit_group}},
    {"socket", {SYS_socket}},
    {"connect", {SYS_connect}},
    {"getpeername", {SYS_getpeername}},
    {"getsockopt", {SYS_getsockopt}},
    {"setsockopt", {SYS_setsockopt}},
    {"fcntl", {SYS_fcntl}},
    {"getpid", {SYS_getpid}},
    {"rt_sigprocmask", {SYS_rt_sigprocmask}},
    {"mmap", {SYS_mmap, SYS_madvise}},
    {"epoll_ctl", {SYS_epoll_ctl}},
};

void enter(const Arguments& arguments) {
  const std::string how = arguments.text("how", "prctl");
  if (how == "vfork") {
    const pid_t child = vfork();
    if (child == 0) {
      prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, nullptr);
      _exit(0);
    }
    must(waitpid(child, nullptr, 0), "waitpid");
    return;
  }
  must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
  if (how == "nnp") return;
  std::vector<sock_filter> filter{{BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(seccomp_data, nr)}};
  for (const std::string& name : arguments.list("allow")) {
    require(kCalls.count(name) != 0, "allow=");
    for (const int call : kCalls.at(name)) {
      filter.push_back({BPF_JMP | BPF_JEQ | BPF_K, 0, 1, static_cast<unsigned>(call)});
      filter.push_back({BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW});
    }
  }
  filter.push_back({BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS});
  const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  if (how == "seccomp") {
    must(static_cast<int>(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)), "seccomp");
  } else {
    require(how == "prctl", "how=");
    must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), "PR_SET_SECCOMP");
  }
}

void wait_for(const std::string& how, int fd, int epoll) {
  if (how == "poll") {
    pollfd socket{fd, POLLOUT, 0};
    must(poll(&socket, 1, 10'000), "poll");
  } else {
    epoll_event event{EPOLLOUT, {}};
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
    must(epoll_wait(epoll, &event, 1, 10'000), "epoll_wait");
  }
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  const bool before = arguments.text("when") == "before";
  const std::string how_to_wait = arguments.text("wait");
  const Destination to = look_up(arguments.text("host"), arguments.number("port")).front();
  static char text[400];
  // From here on neither stdio nor allocations, which make system calls of their own.
  const int epoll = how_to_wait == "epoll" ? must(epoll_create1(0), "epoll_create1") : -1;
  if (before) enter(arguments);
  const int type = SOCK_STREAM | (how_to_wait.empty() ? 0 : SOCK_NONBLOCK);
  const int fd = must(socket(to.family(), type, 0), "socket");
  errno = 0;
  int result = connect(fd, to.get(), to.length);
  if (!how_to_wait.empty() && errno == EINPROGRESS) {
    wait_for(how_to_wait, fd, epoll);
    result = 0;
  }
  Destination peer;
  peer.length = sizeof peer.address;
  const bool connected =
      getpeername(fd, reinterpret_cast<sockaddr*>(&peer.address), &peer.length) == 0;
  char reached[INET6_ADDRSTRLEN] = "none";
  if (connected) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(peer.get())->sin_addr, reached,
              sizeof reached);
  }
  const int length = snprintf(text, sizeof text, "result=%d peer=%s\n", result, reached);
  if (!before) enter(arguments);
  must(static_cast<int>(write(STDOUT_FILENO, text, static_cast<std::size_t>(length))), "write");
}
