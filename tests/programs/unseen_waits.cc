// Connects without blocking, and learns that the connect has ended in a way no library can see, or
// by select(2) with sets that overlap. Then it asks SO_ERROR once, and believes it. Must never look
// at the socket before the end has been told, nor ask twice.
//
// host= port=; wait=
//   raw          an epoll set that libc knows nothing of: epoll_ctl and epoll_pwait by syscall(2)
//   raw-ctl      epoll_ctl by syscall(2), epoll_wait by libc, as libuv with io_uring
//   dup          epoll_ctl on a duplicate of the set, epoll_wait on the set, as mio
//   dup-wait     epoll_ctl on the set, epoll_wait on a duplicate of it
//   sigio        O_ASYNC and SIGIO
//   select-many  select(2) of 9000 descriptors, the last of which is open: "limit=N" alone where
//                the hard limit N forbids it
//   we|rw|re|rwe select(2) with one fd_set as these of its three sets, as perl
// trigger=level|edge; register=before|after the connect; others=N further epoll sets that libc
// knows; tries=N: goes through the addresses of the host itself until one says that it is
// connected.
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/syscall.h>

#include <csignal>

#include "events.h"

using namespace events;

namespace {

class EpollWait {
 public:
  EpollWait(const std::string& how, std::uint32_t trigger)
      : how_(how), trigger_(trigger), set_(must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1")) {
    if (how == "dup" || how == "dup-wait") other_ = must(fcntl(set_, F_DUPFD_CLOEXEC, 0), "dup");
  }
  ~EpollWait() {
    close(set_);
    if (other_ >= 0) close(other_);
  }
  EpollWait(const EpollWait&) = delete;
  EpollWait& operator=(const EpollWait&) = delete;

  void add(int fd) {
    epoll_event event{EPOLLIN | EPOLLOUT | EPOLLRDHUP | trigger_, {}};
    event.data.u64 = kData;
    if (how_ == "raw" || how_ == "raw-ctl") {
      must(static_cast<int>(syscall(SYS_epoll_ctl, set_, EPOLL_CTL_ADD, fd, &event)), "epoll_ctl");
    } else {
      must(epoll_ctl(how_ == "dup" ? other_ : set_, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
    }
  }

  std::uint32_t wait() {
    epoll_event event{};
    int count = 0;
    while (count == 0) {
      if (how_ == "raw") {
        count = static_cast<int>(syscall(SYS_epoll_pwait, set_, &event, 1, -1, nullptr, 0));
      } else {
        count = epoll_wait(how_ == "dup-wait" ? other_ : set_, &event, 1, -1);
      }
      must(count, "wait");
    }
    require(event.data.u64 == kData, "an event of something else");
    return event.events;
  }

 private:
  static constexpr std::uint64_t kData = 77;
  std::string how_;
  std::uint32_t trigger_;
  int set_;
  int other_ = -1;
};

void wait_for_signal() {
  sigset_t io;
  sigemptyset(&io);
  sigaddset(&io, SIGIO);
  siginfo_t info;
  require(sigwaitinfo(&io, &info) == SIGIO, "sigwaitinfo");
}

constexpr int kMany = 9000;

// The kernel has a table for so many, and nobody looks at fewer.
void open_many() {
  rlimit limit;
  must(getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
  if (limit.rlim_max < kMany) {
    printf("limit=%ld\n", static_cast<long>(limit.rlim_max));
    exit(0);
  }
  limit.rlim_cur = limit.rlim_max;
  must(setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
  must(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, kMany - 1), "dup");
}

struct Found {
  int result;
  bool set;
};

Found select_many(int fd) {
  constexpr int kBits = 8 * sizeof(long);
  std::vector<unsigned long> writable(kMany / kBits + 1);
  writable[static_cast<std::size_t>(fd / kBits)] |= 1ul << (fd % kBits);
  const int result =
      must(select(kMany, nullptr, reinterpret_cast<fd_set*>(writable.data()), nullptr, nullptr),
           "select");
  return {result, (writable[static_cast<std::size_t>(fd / kBits)] >> (fd % kBits) & 1) != 0};
}

Found select_shared(const std::string& which, int fd) {
  fd_set shared, alone;
  FD_ZERO(&shared);
  FD_ZERO(&alone);
  FD_SET(fd, &shared);
  FD_SET(fd, &alone);
  const auto of = [&](char c) { return which.find(c) != std::string::npos ? &shared : nullptr; };
  // Somebody has to ask for writing.
  fd_set* write = of('w') != nullptr ? &shared : &alone;
  const int result = must(select(fd + 1, of('r'), write, of('e'), nullptr), "select");
  return {result, FD_ISSET(fd, &shared) != 0};
}

}  // namespace

int main(int argc, char** argv) {
  limit_time(10);
  signal(SIGPIPE, SIG_IGN);
  const Arguments arguments(argc, argv);
  const std::string how = arguments.text("wait");
  const bool by_select = how == "select-many" || how.find_first_not_of("rwe") == std::string::npos;
  const bool before = arguments.text("register") == "before";
  const std::vector<Destination> all = look_up(arguments.text("host"), arguments.number("port"));

  const Pipe pipe;
  std::vector<int> others;
  for (int i = 0; i < arguments.number("others"); ++i) {
    others.push_back(must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1"));
    epoll_event event{EPOLLOUT, {}};
    must(epoll_ctl(others.back(), EPOLL_CTL_ADD, pipe.writer, &event), "epoll_ctl");
    must(epoll_wait(others.back(), &event, 1, 0), "epoll_wait");
  }
  if (how == "select-many") open_many();
  if (how == "sigio") {
    sigset_t io;
    sigemptyset(&io);
    sigaddset(&io, SIGIO);
    must(sigprocmask(SIG_BLOCK, &io, nullptr), "sigprocmask");
  }

  int error = -1;
  const std::size_t tries = static_cast<std::size_t>(arguments.number("tries", 1));
  for (std::size_t i = 0; i < std::min(tries, all.size()) && error != 0; ++i) {
    const int fd =
        must(socket(all[i].family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
    EpollWait epoll(how, arguments.text("trigger") == "edge" ? EPOLLET : 0u);
    const bool by_epoll = !by_select && how != "sigio";
    if (how == "sigio") {
      must(fcntl(fd, F_SETOWN, getpid()), "F_SETOWN");
      must(fcntl(fd, F_SETFL, O_NONBLOCK | O_ASYNC), "F_SETFL");
    }
    if (by_epoll && before) epoll.add(fd);
    const long start = now_ms();
    begin_connect(fd, all[i]);
    if (by_epoll && !before) epoll.add(fd);
    if (by_epoll) {
      const std::uint32_t events = epoll.wait();
      printf("events=%s ",
             event_names((events & EPOLLERR) != 0 ? events : events & ~EPOLLIN).c_str());
    } else if (how == "sigio") {
      wait_for_signal();
    } else {
      const Found found = how == "select-many" ? select_many(fd) : select_shared(how, fd);
      // A greeting may have come as well.
      printf("found=%d set=%d ", found.result > 0, found.set);
    }
    error = get_option<int>(fd, SOL_SOCKET, SO_ERROR);
    const std::string peer = peer_of(fd);
    printf("so_error=%s peer=%s ", error_name(error), peer.c_str());
    // A refusal after all is not said to who has been told of a connection.
    printf("write=%s ms=%ld\n", write(fd, "\n", 1) == 1 ? "0" : error_name(errno),
           now_ms() - start);
    fflush(stdout);
    close(fd);
  }
}
