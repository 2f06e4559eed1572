// Threads sleep in a wait since before a connect is begun by the main thread, which only waits for
// them. Must never look at the socket before an event has come for it.
//
// host= port=; asleep=
//   set          epoll_wait on the set that the socket is in
//   nested       epoll_wait on a set that holds that set; nested-poll: poll(2) on that one
//   poll         poll(2) on the set's descriptor; select: select(2) on it
//   dup          epoll_wait on a duplicate of the set; dup-poll: poll(2) on it
//   added        epoll_wait on the set, which the socket comes into by a duplicate of it
//   many         threads=N in the set, all but one of which are given other work for seconds, by a
//                pipe, from work=MS after the begin of the connect on
// register=before|after the connect; limit=SECONDS
#include <sys/select.h>

#include <atomic>
#include <thread>

#include "events.h"

using namespace events;

namespace {

constexpr std::uint64_t kSocket = 1, kInner = 2, kPipe = 3;

int new_set() { return must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1"); }

void add(int set, int fd, std::uint64_t data, std::uint32_t events) {
  epoll_event event{events, {}};
  event.data.u64 = data;
  must(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

void poll_readable(int fd) {
  pollfd one{fd, POLLIN, 0};
  must(poll(&one, 1, -1), "poll");
}

void select_readable(int fd) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(fd, &set);
  must(select(fd + 1, &set, nullptr, nullptr, nullptr), "select");
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  limit_time(arguments.number("limit", 6));
  const std::string how = arguments.text("asleep");
  const bool before = arguments.text("register") == "before";
  const Destination to = look_up(arguments.text("host"), arguments.number("port")).front();
  const int set = new_set();
  const int outer = new_set();
  const int duplicate = must(fcntl(set, F_DUPFD_CLOEXEC, 0), "dup");
  add(outer, set, kInner, EPOLLIN);
  const Pipe pipe;
  if (how == "many") add(set, pipe.reader, kPipe, EPOLLIN | EPOLLET);

  const int fd = must(socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
  std::atomic<bool> idle_seen{!before};
  std::atomic<int> working{0};
  std::atomic<long> ended{0};
  std::atomic<std::uint32_t> found{0};
  // Sleeps once; true when an event of the connect has come.
  const auto sleep_once = [&] {
    if (how == "poll") poll_readable(set);
    if (how == "select") select_readable(set);
    if (how == "dup-poll") poll_readable(duplicate);
    if (how == "nested-poll") poll_readable(outer);
    epoll_event event{};
    if (how == "nested" || how == "nested-poll") {
      require(must(epoll_wait(outer, &event, 1, -1), "epoll_wait") == 1 && event.data.u64 == kInner,
              "the outer set");
    }
    const bool sleeps_here = how == "set" || how == "dup" || how == "added" || how == "many";
    const int number = how == "dup" ? duplicate : set;
    if (must(epoll_wait(number, &event, 1, sleeps_here ? -1 : 0), "epoll_wait") == 0) return false;
    if (event.data.u64 == kPipe) {
      ++working;
      sleep_ms(4000);
      return false;
    }
    require(event.data.u64 == kSocket, "an event of something else");
    // What an idle socket reports.
    if (before && !idle_seen) {
      idle_seen = true;
      return false;
    }
    found = event.events;
    ended = now_ms();
    return true;
  };
  const auto sleep_to_the_end = [&] {
    while (ended == 0 && !sleep_once()) continue;
  };

  if (before) add(how == "added" ? duplicate : set, fd, kSocket, EPOLLOUT | EPOLLET);
  std::thread first(sleep_to_the_end);
  first.detach();
  const int threads = how == "many" ? arguments.number("threads") : 1;
  for (int i = 1; i < threads; ++i) std::thread(sleep_to_the_end).detach();
  sleep_ms(80);
  while (!idle_seen) sched_yield();
  sleep_ms(20);
  const long start = now_ms();
  begin_connect(fd, to);
  if (!before) add(how == "added" ? duplicate : set, fd, kSocket, EPOLLOUT | EPOLLET);
  if (how == "many") {
    sleep_ms(arguments.number("work"));
    for (int i = 1; i < threads; ++i) {
      pipe.put();
      while (working < i && ended == 0) sleep_ms(1);
    }
  }
  while (ended == 0) sleep_ms(1);
  printf("events=%s ms=%ld working=%d so_error=%s peer=%s\n", event_names(found).c_str(),
         ended - start, working.load(), error_name(get_option<int>(fd, SOL_SOCKET, SO_ERROR)),
         peer_of(fd).c_str());
  fflush(stdout);
  _exit(0);  // with a thread that works, or sleeps
}
