// Rounds of connects in random ways: several at once, to random hosts, waited for by a random
// function with random timeouts, in one thread or by others, and disturbed at random. Ends with
// status 1 at the first that is not as the program could expect: a live host not reached, a
// stranger reached, an event lost, doubled or not its own, a wait that never ends, a descriptor
// left.
//
// Must never depend on time: what is not finished after kPatience is called hung, nothing else is.
//
// live=HOST,HOST.. dead=HOST,HOST.. (all addresses refuse) port=; rounds=N in all; threads=N;
// seed=N.
#include <sys/select.h>
#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <random>
#include <thread>

#include "events.h"

using namespace events;

namespace {

constexpr long kPatience = 20'000;
constexpr std::uint64_t kPipe = 1, kStop = 2;  // epoll data; those of sockets are above

struct Host {
  std::string name;
  bool live;
  std::vector<Destination> addresses;

  bool has(const std::string& address) const {
    return std::any_of(addresses.begin(), addresses.end(), [&](const Destination& each) {
      return text_of(each) == address || "::ffff:" + text_of(each) == address;
    });
  }
};

struct Counts {
  std::atomic<long> connects{0}, reached{0}, refused{0}, abandoned{0}, forks{0}, waits{0};
};

Counts counts;
unsigned seed;

// One thread's rounds.
class Worker {
 public:
  // `alone`: there is no other worker.
  Worker(const std::vector<Host>& hosts, unsigned number, bool alone)
      : hosts_(hosts), random_(seed + number), alone_(alone) {}

  void run(int rounds) {
    for (int i = 0; i < rounds; ++i) {
      began_ = now_ms();
      round();
    }
    pipe_.reset();
    began_ = 0;
  }

  bool hangs() const { return began_ != 0 && now_ms() - began_ > kPatience; }

  [[noreturn]] void fail(const std::string& what) {
    printf("failed=1 seed=%u round: %s: %s (%s)\n", seed, story_.c_str(), what.c_str(),
           strerror(errno));
    fflush(stdout);
    _exit(1);
  }

 private:
  struct Connect {
    const Host* host = nullptr;
    int fd = -1;
    int watched = -1;  // fd, or a duplicate of it
    std::uint32_t trigger = 0;
    std::uint64_t data = 0;
    std::uint64_t cookie = 0;
    bool begun = false, done = false;
    std::string how;  // what was done with it, for the report of a failure
  };

  int pick(int end) { return static_cast<int>(random_() % static_cast<unsigned>(end)); }
  bool chance(int percent) { return pick(100) < percent; }
  void expect(bool holds, const std::string& what) {
    if (!holds) fail(what);
  }

  int random_timeout() {
    static constexpr int kTimeouts[] = {-1, -1, 0, 1, 5, 12, 300};
    return kTimeouts[pick(std::size(kTimeouts))];
  }

  void round() {
    static constexpr const char* kWays[] = {"poll",         "ppoll",      "select",
                                            "pselect",      "epoll_wait", "epoll_pwait",
                                            "epoll_pwait2", "asking",     "sleepers"};
    const std::string way = kWays[pick(std::size(kWays))];
    story_ = way;
    connects_.assign(static_cast<std::size_t>(1 + pick(6)), {});
    pipe_ = std::make_unique<Pipe>();
    pipe_full_ = false;
    if (way == "asking") {
      ask_round();
    } else if (way == "sleepers") {
      sleepers_round();
    } else if (way.starts_with("epoll")) {
      epoll_round(way);
    } else {
      poll_round(way);
    }
    for (Connect& each : connects_) end(each);
  }

  // ---- One connect ----

  void prepare(Connect& connect) {
    connect = {};
    connect.host = &hosts_[static_cast<std::size_t>(pick(static_cast<int>(hosts_.size())))];
    const int family = connect.host->addresses.front().family();
    connect.fd = must(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
    // Leaves no TIME_WAIT behind.
    set_option(connect.fd, SOL_SOCKET, SO_LINGER, linger{1, 0});
    connect.cookie = cookie_of(connect.fd);
    connect.watched = chance(15) ? must(fcntl(connect.fd, F_DUPFD_CLOEXEC, 0), "dup") : connect.fd;
    story_ += " " + connect.host->name + (connect.watched != connect.fd ? "/dup" : "");
  }

  int call_connect(const Connect& connect) {
    const Destination& to = connect.host->addresses.front();
    return ::connect(connect.fd, to.get(), to.length) == 0 ? 0 : errno;
  }

  void begin(Connect& connect) {
    expect(call_connect(connect) == EINPROGRESS, "connect is not in progress");
    connect.begun = true;
    ++counts.connects;
  }

  void end(Connect& connect) {
    if (connect.watched != connect.fd) close(connect.watched);
    close(connect.fd);
    connect = {};
  }

  // The program has been told that the connect is finished: it must be, and well.
  void finish(Connect& connect, int error) {
    expect(!connect.done, "told twice of " + connect.host->name + ": " + last_event_);
    connect.done = true;
    if (!connect.host->live) {
      expect(error == ECONNREFUSED, connect.host->name + " came to " + error_name(error));
      ++counts.refused;
      return;
    }
    expect(error == 0, connect.host->name + " came to " + error_name(error));
    const std::string peer = peer_of(connect.fd);
    expect(connect.host->has(peer), connect.host->name + " is connected to " + peer);
    expect(cookie_of(connect.fd) == connect.cookie, "another socket");
    expect((fcntl(connect.fd, F_GETFL) & O_NONBLOCK) != 0, "O_NONBLOCK is gone");
    if (chance(25)) {
      connect.how += " transfer";
      const std::string from = transfer(connect.fd);
      expect(from == peer || "::ffff:" + from == peer, "data came from " + from + ", not " + peer);
    }
    ++counts.reached;
  }

  int so_error(const Connect& connect) { return get_option<int>(connect.fd, SOL_SOCKET, SO_ERROR); }

  // An event that says so has come. Learns the result in one of the ways programs have.
  void note_ready(Connect& connect) {
    int error = 0;
    if (chance(60)) {
      error = so_error(connect);
      connect.how += " so_error";
    } else {
      connect.how += " connect";
      error = call_connect(connect);
      if (error == EISCONN) error = 0;
    }
    finish(connect, error);
  }

  // ---- Disturbances ----

  void fork_once() {
    ++counts.forks;
    const pid_t child = must(fork(), "fork");
    if (child == 0) {
      for (const Connect& each : connects_) {
        pollfd socket{each.watched, POLLOUT, 0};
        poll(&socket, 1, 0);
      }
      _exit(0);
    }
    must(waitpid(child, nullptr, 0), "waitpid");
  }

  // Asks about a connect in flight; it may turn out to be finished. SO_ERROR without a wait tells
  // of a refusal as it is, also where another address would be live.
  void ask(Connect& connect) {
    const bool by_option = chance(50);
    const int error = by_option ? so_error(connect) : call_connect(connect);
    connect.how += " ask";
    if (error == EALREADY) return;
    if (by_option && error == ECONNREFUSED) {
      connect.done = true;
      ++counts.refused;
      return;
    }
    const bool says_nothing = error == 0 && peer_of(connect.fd) == "none";
    if (!says_nothing) finish(connect, error == EISCONN ? 0 : error);
  }

  bool all_done() const {
    return std::all_of(connects_.begin(), connects_.end(),
                       [](const Connect& each) { return each.done; });
  }

  Connect& random_connect() {
    return connects_[static_cast<std::size_t>(pick(static_cast<int>(connects_.size())))];
  }

  void fill_pipe() {
    if (pipe_full_) return;
    pipe_->put();
    pipe_full_ = true;
  }

  void drain_pipe() {
    char byte;
    expect(pipe_full_ && read(pipe_->reader, &byte, 1) == 1, "an empty pipe is readable");
    pipe_full_ = false;
  }

  // ---- Asking again and again: no wait at all ----

  void ask_round() {
    for (Connect& each : connects_) {
      prepare(each);
      begin(each);
    }
    while (!all_done()) {
      for (Connect& each : connects_) {
        if (!each.done) ask(each);
      }
      if (chance(30)) sleep_ms(1);
    }
  }

  // ---- poll(2) and select(2) ----

  int wait_by_poll(const std::string& way, std::vector<pollfd>& fds, int timeout_ms) {
    const timespec limit{timeout_ms / 1000, timeout_ms % 1000 * 1'000'000};
    const timespec* time = timeout_ms < 0 ? nullptr : &limit;
    ++counts.waits;
    if (way == "poll") return poll(fds.data(), fds.size(), timeout_ms);
    if (way == "ppoll") return ppoll(fds.data(), fds.size(), time, nullptr);
    fd_set readable, writable;
    FD_ZERO(&readable);
    FD_ZERO(&writable);
    int end = 0;
    for (const pollfd& each : fds) {
      if (each.fd < 0) continue;
      FD_SET(each.fd, (each.events & POLLIN) != 0 ? &readable : &writable);
      end = std::max(end, each.fd + 1);
    }
    timeval left{timeout_ms / 1000, timeout_ms % 1000 * 1000};
    const int result = way == "select" ? select(end, &readable, &writable, nullptr,
                                                timeout_ms < 0 ? nullptr : &left)
                                       : pselect(end, &readable, &writable, nullptr, time, nullptr);
    for (pollfd& each : fds) {
      const bool found =
          each.fd >= 0 && FD_ISSET(each.fd, (each.events & POLLIN) != 0 ? &readable : &writable);
      each.revents = found ? each.events : 0;
    }
    return result;
  }

  void poll_round(const std::string& way) {
    for (Connect& each : connects_) {
      prepare(each);
      begin(each);
    }
    while (!all_done()) {
      if (chance(20)) fill_pipe();
      if (chance(3)) fork_once();
      if (chance(5)) abandon(random_connect());
      std::vector<pollfd> fds{{pipe_->reader, POLLIN, 0}};
      for (const Connect& each : connects_) {
        if (!each.done) fds.push_back({each.watched, POLLOUT, 0});
        if (!each.done && chance(10)) fds.push_back({each.watched, POLLOUT, 0});
      }
      if (chance(20)) fds.push_back({-1, POLLIN, 0});
      std::shuffle(fds.begin(), fds.end(), random_);
      expect(wait_by_poll(way, fds, random_timeout()) >= 0, "wait");
      for (const pollfd& found : fds) {
        if (found.revents == 0) continue;
        if (found.fd == pipe_->reader) {
          drain_pipe();
          continue;
        }
        const auto about =
            std::find_if(connects_.begin(), connects_.end(),
                         [&](const Connect& each) { return each.watched == found.fd; });
        expect(about != connects_.end(), "an event of no socket");
        // In the set twice: told of it a moment ago.
        if (!about->done) note_ready(*about);
      }
      if (chance(5) && !all_done()) {
        Connect& some = random_connect();
        if (!some.done) ask(some);
      }
    }
  }

  // Closes a socket whose connect is in flight; the next gets its number.
  void abandon(Connect& connect) {
    if (connect.done) return;
    ++counts.abandoned;
    end(connect);
    prepare(connect);
    begin(connect);
  }

  // ---- epoll(7) ----

  void control(int set, int operation, Connect& connect) {
    static std::atomic<std::uint64_t> next{100};
    // Some look like descriptors, some like pointers.
    connect.how += operation == EPOLL_CTL_MOD ? " mod" : " add";
    connect.data = chance(50) ? ++next : 0x7f00'0000'0000 + 16 * ++next;
    epoll_event event{EPOLLOUT | connect.trigger, {}};
    event.data.u64 = connect.data;
    must(epoll_ctl(set, operation, connect.watched, &event), "epoll_ctl");
  }

  void choose_trigger(Connect& connect) {
    static constexpr std::uint32_t kTriggers[] = {0, EPOLLET, EPOLLONESHOT, EPOLLONESHOT | EPOLLET};
    connect.trigger = kTriggers[pick(std::size(kTriggers))];
    story_ += connect.trigger == 0 ? "/level" : connect.trigger == EPOLLET ? "/edge" : "/oneshot";
  }

  int new_set() {
    const int set = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    epoll_event event{EPOLLIN | EPOLLET, {}};
    event.data.u64 = kPipe;
    must(epoll_ctl(set, EPOLL_CTL_ADD, pipe_->reader, &event), "epoll_ctl");
    return set;
  }

  // Of two threads that wait on one set, both may fetch a level-triggered event before the first of
  // them has taken the socket out of it. And an edge may be told again wherever there are other
  // threads: when the kernel has changed the socket's state and is about to wake for it.
  bool may_repeat(const Connect& connect, bool shared) const {
    if ((connect.trigger & EPOLLONESHOT) != 0) return false;
    return shared || (!alone_ && connect.trigger == EPOLLET);
  }

  std::string describe(const epoll_event& event) {
    std::string text = event_names(event.events);
    for (const Connect& each : connects_) {
      if (each.data == event.data.u64) text += " of " + each.host->name + " " + each.how;
    }
    return text;
  }
  // `shared`: other threads wait on the set too.
  void note_event(int set, const epoll_event& event, bool shared) {
    if (event.data.u64 == kPipe) {
      expect(event.events == EPOLLIN, "the pipe has " + event_names(event.events));
      drain_pipe();
      return;
    }
    last_event_ = describe(event);
    for (Connect& each : connects_) {
      if (each.fd < 0 || each.data != event.data.u64) continue;
      if (each.done && may_repeat(each, shared)) return;
      expect((event.events & EPOLLERR) != 0 || event.events == EPOLLOUT, event_names(event.events));
      note_ready(each);
      // connect(2) that tells of a failure raises one more event.
      if (each.trigger == 0 || !each.host->live)
        must(epoll_ctl(set, EPOLL_CTL_DEL, each.watched, nullptr), "EPOLL_CTL_DEL");
      return;
    }
    fail("an event of nobody");
  }

  int wait_by_epoll(const std::string& way, int set, epoll_event* found, int size, int timeout_ms) {
    ++counts.waits;
    if (way == "epoll_pwait") return epoll_pwait(set, found, size, timeout_ms, nullptr);
    if (way == "epoll_pwait2") {
      const timespec limit{timeout_ms / 1000, timeout_ms % 1000 * 1'000'000};
      return epoll_pwait2(set, found, size, timeout_ms < 0 ? nullptr : &limit, nullptr);
    }
    return epoll_wait(set, found, size, timeout_ms);
  }

  void disturb(int set) {
    Connect& connect = random_connect();
    if (connect.done) return;
    if (chance(40)) {
      control(set, EPOLL_CTL_MOD, connect);
    } else if (chance(40)) {
      must(epoll_ctl(set, EPOLL_CTL_DEL, connect.watched, nullptr), "EPOLL_CTL_DEL");
      control(set, EPOLL_CTL_ADD, connect);
    } else if (chance(50)) {
      // Another thread's child may hold the socket for a moment longer, and so its registration.
      must(epoll_ctl(set, EPOLL_CTL_DEL, connect.watched, nullptr), "EPOLL_CTL_DEL");
      abandon(connect);
      choose_trigger(connect);
      control(set, EPOLL_CTL_ADD, connect);
    } else {
      ask(connect);
      // An event of it may wait to be fetched, and is not to come any more.
      if (connect.done)
        must(epoll_ctl(set, EPOLL_CTL_DEL, connect.watched, nullptr), "EPOLL_CTL_DEL");
    }
  }

  void epoll_round(const std::string& way) {
    const int set = new_set();
    for (Connect& each : connects_) {
      prepare(each);
      choose_trigger(each);
      const bool before = chance(40);
      if (before) control(set, EPOLL_CTL_ADD, each);
      begin(each);
      if (!before) control(set, EPOLL_CTL_ADD, each);
    }
    epoll_event found[4];
    while (!all_done()) {
      if (chance(20)) fill_pipe();
      if (chance(3)) fork_once();
      if (chance(15)) disturb(set);
      if (all_done()) break;
      const int count = wait_by_epoll(way, set, found, 1 + pick(4), random_timeout());
      expect(count >= 0, "wait");
      for (int i = 0; i < count; ++i) note_event(set, found[i], false);
    }
    // Nothing is left but what is in the pipe.
    while (pipe_full_) {
      expect(wait_by_epoll(way, set, found, 1, 5000) == 1, "the event of the pipe is lost");
      note_event(set, found[0], false);
    }
    while (wait_by_epoll(way, set, found, 1, 0) != 0) {
      const bool repeated =
          std::any_of(connects_.begin(), connects_.end(), [&](const Connect& each) {
            return each.data == found[0].data.u64 && may_repeat(each, false);
          });
      expect(repeated, "an event is left: " + describe(found[0]));
    }
    close(set);
  }

  // ---- Other threads wait, since before the connects ----

  void sleepers_round() {
    const int set = new_set();
    const Pipe stop;
    epoll_event event{EPOLLIN, {}};
    event.data.u64 = kStop;
    must(epoll_ctl(set, EPOLL_CTL_ADD, stop.reader, &event), "epoll_ctl");
    std::mutex mutex;
    std::vector<std::thread> sleepers;
    const int many = 1 + pick(2);
    for (int i = 0; i < many; ++i) {
      sleepers.emplace_back([&, timeout = random_timeout()] {
        for (;;) {
          epoll_event found[1];
          const int count = wait_by_epoll("epoll_wait", set, found, 1, timeout);
          const std::lock_guard lock(mutex);
          expect(count >= 0, "wait");
          if (count == 0) continue;
          if (found[0].data.u64 == kStop) return;
          note_event(set, found[0], true);
          if (all_done()) stop.put();
        }
      });
    }
    story_ += "(" + std::to_string(many) + ")";
    int pause = 0;
    for (Connect& each : connects_) {
      sleep_ms(pause);
      const std::lock_guard lock(mutex);
      prepare(each);
      choose_trigger(each);
      begin(each);
      control(set, EPOLL_CTL_ADD, each);
      pause = chance(50) ? pick(4) : 0;
    }
    for (std::thread& each : sleepers) each.join();
    close(set);
  }

  const std::vector<Host>& hosts_;
  std::mt19937 random_;
  const bool alone_;
  std::atomic<long> began_{0};
  std::string story_;
  std::string last_event_;
  std::vector<Connect> connects_;
  std::unique_ptr<Pipe> pipe_;
  bool pipe_full_ = false;
};

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  seed = static_cast<unsigned>(
      arguments.number("seed", static_cast<int>(std::random_device{}() % 1000000)));
  const int port = arguments.number("port");
  std::vector<Host> hosts;
  for (const char* kind : {"live", "dead"}) {
    for (const std::string& name : arguments.list(kind)) {
      hosts.push_back({name, strcmp(kind, "live") == 0, look_up(name, port)});
    }
  }
  const int count = arguments.number("threads", 1);
  const int rounds = arguments.number("rounds", 100) / count;
  const int descriptors_before = open_descriptors();
  std::vector<std::unique_ptr<Worker>> workers;
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) {
    workers.push_back(std::make_unique<Worker>(hosts, static_cast<unsigned>(i), count == 1));
    threads.emplace_back([worker = workers.back().get(), rounds] { worker->run(rounds); });
  }
  std::atomic<bool> ended{false};
  std::thread watchdog([&] {
    while (!ended) {
      sleep_ms(50);
      for (const auto& worker : workers) {
        if (worker->hangs()) worker->fail("hangs");
      }
    }
  });
  for (std::thread& each : threads) each.join();
  ended = true;
  watchdog.join();
  printf(
      "seed=%u rounds=%d connects=%ld reached=%ld refused=%ld abandoned=%ld forks=%ld waits=%ld "
      "descriptors_left=%d\n",
      seed, rounds * count, counts.connects.load(), counts.reached.load(), counts.refused.load(),
      counts.abandoned.load(), counts.forks.load(), counts.waits.load(),
      open_descriptors() - descriptors_before);
}
