// Connects without blocking and waits with epoll(7).
// Must never look at the socket before an event has come for it, nor take any event but one of its
// own.
//
// host= port=; how=epoll_wait|epoll_pwait|epoll_pwait2; trigger=level|edge|oneshot|exclusive;
// register=before|after the connect; data=fd|pointer|zero|ones|same (every descriptor has the
// same); want=out|in|inout; timeout=MS of each wait (-1: none); size=N events at most;
// during=mod|del|readd while in flight; sets=N epoll sets with the socket; nested=epoll|poll waits
// for an epoll set that holds the set; waiter=thread: another thread waits, since before the
// connect; syncnt=N; pipe=N: N edge-triggered events of a pipe in the same set, while in flight and
// after.
#include <atomic>
#include <csignal>
#include <memory>
#include <thread>

#include "events.h"

using namespace events;

namespace {

int wait_with(const std::string& how, int epoll, epoll_event* found, int size, int timeout_ms) {
  sigset_t none;
  sigemptyset(&none);
  if (how == "epoll_pwait") return epoll_pwait(epoll, found, size, timeout_ms, &none);
  if (how == "epoll_pwait2") {
    const timespec limit{timeout_ms / 1000, timeout_ms % 1000 * 1'000'000};
    return epoll_pwait2(epoll, found, size, timeout_ms < 0 ? nullptr : &limit, &none);
  }
  require(how == "epoll_wait", "how=");
  return epoll_wait(epoll, found, size, timeout_ms);
}

int new_set() { return must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1"); }

void control(int epoll, int operation, int fd, std::uint32_t events, std::uint64_t data) {
  epoll_event event{events, {}};
  event.data.u64 = data;
  must(epoll_ctl(epoll, operation, fd, &event), "epoll_ctl");
}

// Writes to the pipe once in a while, each time only after the event before has been seen.
class PipeWriter {
 public:
  explicit PipeWriter(int count) : thread_([this, count] { run(count); }) {}
  ~PipeWriter() { thread_.join(); }

  int reader() const { return pipe_.reader; }
  int seen() const { return seen_; }
  void note_event() {
    ++seen_;
    seen_.notify_one();
  }

 private:
  void run(int count) {
    for (int i = 0; i < count; ++i) {
      sleep_ms(15);
      pipe_.put();
      seen_.wait(i);
    }
  }

  const Pipe pipe_;
  std::atomic<int> seen_{0};
  std::thread thread_;
};

}  // namespace

int main(int argc, char** argv) {
  limit_time();
  const Arguments arguments(argc, argv);
  const std::string how = arguments.text("how", "epoll_wait");
  const std::string trigger = arguments.text("trigger", "level");
  const std::string during = arguments.text("during");
  const std::string nested = arguments.text("nested");
  const bool before = arguments.text("register", "after") == "before";
  const bool in_thread = arguments.text("waiter") == "thread";
  const int size = arguments.number("size", 16);
  const int timeout = arguments.number("timeout", during.empty() ? -1 : 20);
  const Destination to = look_up(arguments.text("host"), arguments.number("port")).front();
  const int descriptors_before = open_descriptors();

  const int fd = new_socket(to.family(), arguments.number("syncnt"));
  const Properties properties = properties_of(fd);
  static const std::map<std::string, std::uint32_t> kWants{
      {"out", EPOLLOUT}, {"in", EPOLLIN}, {"inout", EPOLLIN | EPOLLOUT}};
  static const std::map<std::string, std::uint32_t> kTriggers{
      {"level", 0}, {"edge", EPOLLET}, {"oneshot", EPOLLONESHOT}, {"exclusive", EPOLLEXCLUSIVE}};
  const std::uint32_t want = kWants.at(arguments.text("want", "out")) | kTriggers.at(trigger);
  const std::map<std::string, std::uint64_t> values{
      {"fd", static_cast<std::uint64_t>(fd)},
      {"pointer", reinterpret_cast<std::uintptr_t>(&arguments)},
      {"zero", 0},
      {"ones", ~std::uint64_t{0}},
      {"same", 7}};
  const bool same = arguments.text("data") == "same";
  std::uint64_t data = values.at(arguments.text("data", "fd"));
  const std::uint64_t pipe_data = same ? data : 0x7f12'3456'0000 + 1;

  std::vector<int> sets;
  for (int i = 0; i < arguments.number("sets", 1); ++i) sets.push_back(new_set());
  const int set = sets.front();
  const int outer = nested.empty() ? -1 : new_set();
  if (!nested.empty()) control(outer, EPOLL_CTL_ADD, set, EPOLLIN, 99);

  std::string found_events;
  int foreign = 0, idle_wakes = 0, deleted_events = 0;
  bool deleted = false;
  std::unique_ptr<PipeWriter> writer;

  // Waits once, and notes what came. True when something came for the socket.
  const auto wait_once = [&](int timeout_ms) {
    if (nested == "epoll") {
      epoll_event inner;
      if (must(wait_with(how, outer, &inner, 1, timeout_ms), "wait") == 0) return false;
      foreign += inner.data.u64 != 99;
      timeout_ms = 0;
    } else if (nested == "poll") {
      pollfd inner{outer, POLLIN, 0};
      if (must(poll(&inner, 1, timeout_ms), "poll") == 0) return false;
      timeout_ms = 0;
    }
    std::vector<epoll_event> found(static_cast<std::size_t>(size));
    const int count = must(wait_with(how, set, found.data(), size, timeout_ms), "wait");
    idle_wakes += count == 0 && timeout_ms != timeout;
    bool about_socket = false;
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = found[static_cast<std::size_t>(i)];
      // Events with the same data are told apart only by what is asked of them.
      const bool from_pipe = same ? event.events == EPOLLIN : event.data.u64 == pipe_data;
      if (from_pipe && writer != nullptr) {
        foreign += event.events != EPOLLIN;
        writer->note_event();
      } else if (event.data.u64 != data) {
        ++foreign;
      } else {
        deleted_events += deleted;
        found_events += (about_socket ? "+" : "") + event_names(event.events);
        about_socket = true;
      }
    }
    return about_socket;
  };

  // A socket that is not connected yet reports HUP; who waits must have seen that before.
  std::atomic<bool> registered{false};
  const auto register_socket = [&] {
    for (const int each : sets) control(each, EPOLL_CTL_ADD, fd, want, data);
    registered = true;
  };
  std::atomic<bool> idle_seen{!(before && in_thread)};
  // Taken by whoever waits: TSan may hold up the other thread for seconds while it thinks about the
  // use of one descriptor in two of them.
  long ended = 0;
  const auto wait_to_the_end = [&] {
    if (!idle_seen) {
      require(wait_once(-1) && found_events == "OUT|HUP", "an idle socket reports HUP");
      found_events.clear();
      idle_seen = true;
    }
    while (!wait_once(timeout)) {
      if (!registered) continue;
      if (during == "mod") {
        // Other data from now on: what has the old is foreign.
        ++data;
        for (const int each : sets) control(each, EPOLL_CTL_MOD, fd, want, data);
      } else if (during == "readd" || deleted) {
        deleted = false;
        if (during == "readd") must(epoll_ctl(set, EPOLL_CTL_DEL, fd, nullptr), "EPOLL_CTL_DEL");
        control(set, EPOLL_CTL_ADD, fd, want, data);
      }
    }
    ended = now_ms();
  };

  std::thread waiter;
  if (before) register_socket();
  if (in_thread) {
    waiter = std::thread(wait_to_the_end);
    sleep_ms(60);
    while (!idle_seen) sched_yield();
  }
  const int pipes = arguments.number("pipe");
  if (pipes != 0) {
    writer = std::make_unique<PipeWriter>(pipes);
    control(set, EPOLL_CTL_ADD, writer->reader(), EPOLLIN | EPOLLET, pipe_data);
  }
  const long start = now_ms();
  begin_connect(fd, to);
  if (!before) register_socket();
  if (during == "del") {
    must(epoll_ctl(set, EPOLL_CTL_DEL, fd, nullptr), "EPOLL_CTL_DEL");
    deleted = true;
  }
  if (in_thread) {
    waiter.join();
  } else {
    wait_to_the_end();
  }
  const long ms = ended - start;
  // A level-triggered event is told again each time now.
  const bool told_again = trigger == "level" || trigger == "exclusive";
  const std::string told = found_events;
  while (writer != nullptr && writer->seen() < pipes) {
    wait_once(-1);
    if (told_again) found_events = told;
  }
  // Each of the other sets has it as well.
  for (std::size_t i = 1; i < sets.size(); ++i) {
    epoll_event event;
    const bool found = wait_with(how, sets[i], &event, 1, 5000) == 1;
    found_events += found && event.data.u64 == data ? "," + event_names(event.events) : ",missing";
  }
  const std::string registration = registration_of(set, fd);
  char expected[40];
  snprintf(expected, sizeof expected, ":%llx", static_cast<unsigned long long>(data));

  printf("events=%s registered=%s data_kept=%d", found_events.c_str(),
         registration.substr(0, registration.find(':')).c_str(),
         registration.find(expected) != std::string::npos);
  // What is edge-triggered, or one shot, has been told once for all.
  found_events.clear();
  if (!told_again) wait_once(60);
  printf(" again=%s foreign=%d deleted_events=%d pipe_events=%d",
         found_events.empty() ? "none" : found_events.c_str(), foreign, deleted_events,
         writer == nullptr ? 0 : writer->seen());
  print_socket(fd, properties);
  printf(" ms=%ld idle_wakes=%d\n", ms, idle_wakes);

  writer.reset();
  close(fd);
  for (const int each : sets) close(each);
  if (outer >= 0) close(outer);
  printf("descriptors_left=%d\n", open_descriptors() - descriptors_before);
}
