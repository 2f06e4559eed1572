// Connects without blocking and waits with one function of the poll(2) and select(2) family.
// Must never wait in another way, and never look at the socket before the wait has reported it.
//
// host= port=; how=poll|__poll|__poll_chk|ppoll|__ppoll_chk|select|__select|pselect; timeout=MS of
// each wait (-1: none); want=out|in|inout|pri|nothing; syncnt=N; in the same set, with= any of
//   pipe      with data in it            twice    the socket a second time
//   timer     that ticks every 30 ms     negative a descriptor number below zero
//   closed    a number that is not open  signal   SIGUSR1 every 30 ms, blocked but for the waits
//   dup       waits for a duplicate of the socket; dup-only: and closes the original
#include <dlfcn.h>
#include <sys/select.h>

#include <algorithm>
#include <csignal>
#include <memory>

#include "events.h"

using namespace events;

namespace {

// Exported by libc for programs built long ago, or with _FORTIFY_SOURCE; no header declares them.
template <typename Function>
Function libc_alias(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
}

class Waiter {
 public:
  Waiter(const std::string& how, bool with_mask) : how_(how), mask_(with_mask ? &none_ : nullptr) {
    sigemptyset(&none_);
  }

  // As poll(2), whichever function does it.
  int wait(std::vector<pollfd>& fds, int timeout_ms) {
    timespec limit{timeout_ms / 1000, timeout_ms % 1000 * 1'000'000};
    const timespec* time = timeout_ms < 0 ? nullptr : &limit;
    const std::size_t size = fds.size() * sizeof fds[0];
    if (how_ == "poll") return poll(fds.data(), fds.size(), timeout_ms);
    if (how_ == "ppoll") return ppoll(fds.data(), fds.size(), time, mask_);
    if (how_ == "__poll") {
      static const auto alias = libc_alias<int (*)(pollfd*, nfds_t, int)>("__poll");
      return alias(fds.data(), fds.size(), timeout_ms);
    }
    if (how_ == "__poll_chk") {
      static const auto alias =
          libc_alias<int (*)(pollfd*, nfds_t, int, std::size_t)>("__poll_chk");
      return alias(fds.data(), fds.size(), timeout_ms, size);
    }
    if (how_ == "__ppoll_chk") {
      static const auto alias =
          libc_alias<int (*)(pollfd*, nfds_t, const timespec*, const sigset_t*, std::size_t)>(
              "__ppoll_chk");
      return alias(fds.data(), fds.size(), time, mask_, size);
    }
    return select_as_poll(fds, timeout_ms, time);
  }

  // The time that the last select(2) has left; -1 where there is none.
  long left_ms() const { return left_ms_; }

 private:
  int select_as_poll(std::vector<pollfd>& fds, int timeout_ms, const timespec* time) {
    static constexpr short kEvents[] = {POLLIN, POLLOUT, POLLPRI};
    fd_set sets[3] = {};
    int highest = -1;
    for (const pollfd& each : fds) {
      if (each.fd < 0) continue;
      highest = std::max(highest, each.fd);
      for (int i = 0; i < 3; ++i) {
        if ((each.events & kEvents[i]) != 0) FD_SET(each.fd, &sets[i]);
      }
    }
    timeval limit{timeout_ms / 1000, timeout_ms % 1000 * 1000};
    timeval* left = timeout_ms < 0 ? nullptr : &limit;
    int result;
    if (how_ == "pselect") {
      result = pselect(highest + 1, &sets[0], &sets[1], &sets[2], time, mask_);
    } else if (how_ == "select") {
      result = select(highest + 1, &sets[0], &sets[1], &sets[2], left);
    } else {
      static const auto alias =
          libc_alias<int (*)(int, fd_set*, fd_set*, fd_set*, timeval*)>("__select");
      require(how_ == "__select", "how=");
      result = alias(highest + 1, &sets[0], &sets[1], &sets[2], left);
    }
    if (how_ != "pselect" && left != nullptr) {
      left_ms_ = left->tv_sec * 1000 + left->tv_usec / 1000;
    }
    if (result < 0) return result;
    int found = 0;
    int bits = 0;
    for (pollfd& each : fds) {
      each.revents = 0;
      for (int i = 0; i < 3; ++i) {
        if (each.fd >= 0 && FD_ISSET(each.fd, &sets[i])) {
          each.revents = static_cast<short>(each.revents | kEvents[i]);
        }
      }
      found += each.revents != 0;
    }
    for (int fd = 0; fd <= highest; ++fd) {
      for (fd_set& set : sets) bits += FD_ISSET(fd, &set) ? 1 : 0;
    }
    require(bits == result, "select has miscounted");
    require(result != 0 || left_ms_ <= 0, "select says that time is left after all of it");
    return found;
  }

  std::string how_;
  sigset_t none_;
  const sigset_t* mask_;
  long left_ms_ = -1;
};

volatile sig_atomic_t waiting = 0;
volatile sig_atomic_t signals = 0;
volatile sig_atomic_t signals_outside = 0;

void note_signal(int) {
  signals = signals + 1;
  if (waiting == 0) signals_outside = signals_outside + 1;
}

void send_signals_every_30_ms() {
  struct sigaction action {};
  action.sa_handler = note_signal;
  action.sa_flags = SA_RESTART;  // poll and select are interrupted all the same: signal(7)
  must(sigaction(SIGUSR1, &action, nullptr), "sigaction");
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR1);
  must(sigprocmask(SIG_BLOCK, &blocked, nullptr), "sigprocmask");
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGUSR1;
  timer_t timer;
  must(timer_create(CLOCK_MONOTONIC, &event, &timer), "timer_create");
  const itimerspec every{{0, 30'000'000}, {0, 30'000'000}};
  must(timer_settime(timer, 0, &every, nullptr), "timer_settime");
}

}  // namespace

int main(int argc, char** argv) {
  limit_time();
  const Arguments arguments(argc, argv);
  const int timeout = arguments.number("timeout", -1);
  const std::vector<std::string> with = arguments.list("with");
  const auto has = [&with](const char* what) {
    return std::find(with.begin(), with.end(), what) != with.end();
  };
  static const std::map<std::string, short> kWants{{"out", POLLOUT},
                                                   {"in", POLLIN},
                                                   {"inout", POLLIN | POLLOUT},
                                                   {"pri", POLLPRI},
                                                   {"nothing", 0}};
  const short want = kWants.at(arguments.text("want", "out"));
  const Destination to = look_up(arguments.text("host"), arguments.number("port")).front();
  const int descriptors_before = open_descriptors();

  int fd = new_socket(to.family(), arguments.number("syncnt"));
  const Properties before = properties_of(fd);
  const long start = now_ms();
  begin_connect(fd, to);
  if (has("dup") || has("dup-only")) {
    const int duplicate = must(fcntl(fd, F_DUPFD_CLOEXEC, 0), "dup");
    if (has("dup-only")) close(fd);
    fd = duplicate;
  }
  std::vector<pollfd> fds{{fd, want, 0}};
  if (has("twice")) fds.push_back(fds.front());
  if (has("negative")) fds.insert(fds.begin(), {-5, POLLIN, 0});
  auto pipe = std::make_unique<Pipe>();
  pipe->put();
  if (has("pipe")) fds.push_back({pipe->reader, POLLIN, 0});
  const int timer = ticking_timer(30);
  if (has("timer")) fds.push_back({timer, POLLIN, 0});
  if (has("signal")) send_signals_every_30_ms();

  Waiter waiter(arguments.text("how"), has("signal"));
  if (has("closed")) {
    const int closed = must(dup(timer), "dup");
    close(closed);
    fds.push_back({closed, POLLIN, 0});
    const int result = waiter.wait(fds, timeout);
    printf("closed=%s/%s ", result < 0 ? error_name(errno) : "found",
           event_names(static_cast<std::uint16_t>(fds.back().revents)).c_str());
    fds.pop_back();
  }

  const std::size_t socket = has("negative") ? 1 : 0;
  int ticks = 0, interrupted = 0, too_early = 0, pipe_missed = 0, miscounted = 0, timeouts = 0;
  long longest = 0;
  do {
    const long began = now_ms();
    waiting = 1;
    const int result = waiter.wait(fds, timeout);
    waiting = 0;
    const long waited = now_ms() - began;
    longest = std::max(longest, waited);
    if (result < 0) {
      require(errno == EINTR, "wait");
      ++interrupted;
      for (pollfd& each : fds) each.revents = 0;
      continue;
    }
    int found = 0;
    for (const pollfd& each : fds) {
      found += each.revents != 0;
      if (each.fd == pipe->reader && each.revents != POLLIN) ++pipe_missed;
      std::uint64_t expirations = 0;
      if (each.fd == timer && each.revents != 0) ticks += read(timer, &expirations, 8) == 8;
    }
    miscounted += found != result;
    timeouts += result == 0;
    // The clocks of this and of the kernel differ in their fractions.
    too_early += result == 0 && waited < timeout - 1;
  } while (fds[socket].revents == 0);

  printf("events=%s", event_names(static_cast<std::uint16_t>(fds[socket].revents)).c_str());
  if (has("twice")) printf(" twice=%d", fds[socket + 1].revents == fds[socket].revents);
  if (has("negative")) printf(" negative=%d", fds[0].revents);
  printf(" pipe_missed=%d miscounted=%d too_early=%d signals_outside=%d", pipe_missed, miscounted,
         too_early, static_cast<int>(signals_outside));
  print_socket(fd, before);
  printf(" longest=%ld ms=%ld left=%ld timeouts=%d ticks=%d interrupted=%d signals=%d\n", longest,
         now_ms() - start, waiter.left_ms(), timeouts, ticks, interrupted,
         static_cast<int>(signals));

  pipe.reset();
  for (const int each : {fd, timer}) close(each);
  printf("descriptors_left=%d\n", open_descriptors() - descriptors_before - (has("dup") ? 1 : 0));
}
