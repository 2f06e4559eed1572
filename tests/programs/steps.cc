// Does to a socket what its arguments say, step by step, and prints what each step came to.
// Must never do a step that it was not told, nor look anything up but host=.
//
// The socket: to=ADDRESS, or the first address of host=, and port=; kind=tcp|udp|mptcp;
// nonblocking=1; mapped=1 (an AF_INET6 socket for an IPv4 address), v6only=1; bind=ADDRESS,
// device=NAME; timeout=MS (SO_SNDTIMEO), user_timeout=MS, syncnt=N; min_ttl=N (IP_MINTTL), filter=1
// (one that lets everything pass). steps= any of these, each of which is a line STEP=RESULT ms=MS:
//   connect, then (connects to then=ADDRESS then_port=), disconnect (AF_UNSPEC), so_error, peer,
//   local, port (the local one), state, transfer, poll:MS, sleep:MS, blocking, nonblocking,
//   shutdown, listen, fork:MS (a child, which takes the further steps after so long; the parent
//   waits for it and takes them as well), again (a new socket of the same kind), filter (how many
//   instructions it has), changed (what is not as it was before the first step)
// times=N takes all steps so often, with a new socket each; threads=N and processes=N do that so
// often at once. Then only a count for each way it went is printed.
#include <linux/filter.h>
#include <sys/wait.h>

#include <mutex>
#include <thread>

#include "events.h"

using namespace events;

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

namespace {

Destination mapped(const Destination& ipv4) {
  unsigned char bytes[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  memcpy(bytes + 12, &reinterpret_cast<const sockaddr_in*>(ipv4.get())->sin_addr, 4);
  return destination_of(AF_INET6, bytes, port_of(ipv4));
}

void attach_filter(int fd) {
  sock_filter pass[] = {{BPF_LD | BPF_W | BPF_LEN, 0, 0, 0},
                        {BPF_ALU | BPF_OR | BPF_K, 0, 0, 0},
                        {BPF_RET | BPF_K, 0, 0, 0xffffffff}};
  set_option(fd, SOL_SOCKET, SO_ATTACH_FILTER, sock_fprog{3, pass});
}

std::string filter_of(int fd) {
  socklen_t instructions = 0;
  if (getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, nullptr, &instructions) != 0) {
    return error_name(errno);
  }
  return std::to_string(instructions);
}

std::string min_ttl_of(int fd, int family) {
  const std::string ttl = std::to_string(get_option<int>(fd, IPPROTO_IP, IP_MINTTL));
  if (family != AF_INET6) return ttl;
  return ttl + "/" + std::to_string(get_option<int>(fd, IPPROTO_IPV6, IPV6_MINHOPCOUNT));
}

std::string end_of(int result) { return result < 0 ? error_name(errno) : std::to_string(result); }

class Steps {
 public:
  explicit Steps(const Arguments& arguments, bool quiet)
      : arguments_(arguments), quiet_(quiet), to_(destination()) {}

  // Takes all steps; returns what each came to.
  std::string take() {
    open_socket();
    std::string all;
    for (const std::string& step : arguments_.list("steps")) {
      const std::size_t colon = step.find(':');
      const std::string name = step.substr(0, colon);
      const int number = colon == std::string::npos ? 0 : atoi(step.c_str() + colon + 1);
      const long start = now_ms();
      const std::string end = take_one(name, number);
      if (!quiet_) {
        printf("%s%s=%s ms=%ld\n", child_ == 0 ? "who=child " : "", name.c_str(), end.c_str(),
               now_ms() - start);
        fflush(stdout);
      }
      all += " " + name + "=" + end;
    }
    close(fd_);
    if (child_ == 0) _exit(0);
    return all;
  }

 private:
  Destination destination() const {
    const int port = arguments_.number("port");
    const std::string to = arguments_.text("to");
    const Destination found =
        to.empty() ? look_up(arguments_.text("host"), port).front() : destination_of(to, port);
    return arguments_.number("mapped") != 0 ? mapped(found) : found;
  }

  void open_socket() {
    const std::string kind = arguments_.text("kind", "tcp");
    const int type = kind == "udp" ? SOCK_DGRAM : SOCK_STREAM;
    fd_ = must(socket(to_.family(), type, kind == "mptcp" ? IPPROTO_MPTCP : 0), "socket");
    if (arguments_.number("nonblocking") != 0) set_flag(O_NONBLOCK, true);
    if (const int timeout = arguments_.number("timeout")) set_send_timeout(fd_, timeout);
    if (const int count = arguments_.number("syncnt")) {
      set_option(fd_, IPPROTO_TCP, TCP_SYNCNT, count);
    }
    if (const int timeout = arguments_.number("user_timeout")) {
      set_option(fd_, IPPROTO_TCP, TCP_USER_TIMEOUT, timeout);
    }
    if (arguments_.number("v6only") != 0) set_option(fd_, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    const std::string source = arguments_.text("bind");
    if (!source.empty()) {
      Destination local = destination_of(source, 0);
      if (arguments_.number("mapped") != 0) local = mapped(local);
      must(bind(fd_, local.get(), local.length), "bind");
    }
    const std::string device = arguments_.text("device");
    if (!device.empty()) {
      must(setsockopt(fd_, SOL_SOCKET, SO_BINDTODEVICE, device.c_str(),
                      static_cast<socklen_t>(device.size())),
           "SO_BINDTODEVICE");
    }
    if (const int limit = arguments_.number("min_ttl")) {
      set_option(fd_, IPPROTO_IP, IP_MINTTL, limit);
    }
    if (arguments_.number("filter") != 0) attach_filter(fd_);
    if (kind == "tcp") before_ = properties_of(fd_);
  }

  void set_flag(int flag, bool on) {
    const int flags = must(fcntl(fd_, F_GETFL), "F_GETFL");
    must(fcntl(fd_, F_SETFL, on ? flags | flag : flags & ~flag), "F_SETFL");
  }

  std::string connect_to(const Destination& to) {
    const Outcome outcome = timed_connect(fd_, to);
    return error_name(outcome.error);
  }

  std::string take_one(const std::string& name, int number) {
    if (name == "connect") return connect_to(to_);
    if (name == "then") {
      const Destination then =
          destination_of(arguments_.text("then"), arguments_.number("then_port"));
      return connect_to(arguments_.number("mapped") != 0 ? mapped(then) : then);
    }
    if (name == "disconnect") {
      Destination nowhere = to_;
      nowhere.address.ss_family = AF_UNSPEC;
      return connect_to(nowhere);
    }
    if (name == "so_error") return error_name(get_option<int>(fd_, SOL_SOCKET, SO_ERROR));
    if (name == "peer") return peer_of(fd_);
    if (name == "local") return text_of(local_of(fd_));
    if (name == "port") return std::to_string(port_of(local_of(fd_)));
    if (name == "state") return tcp_state_of(fd_);
    if (name == "transfer") return transfer(fd_);
    if (name == "filter") return filter_of(fd_);
    if (name == "min_ttl") return min_ttl_of(fd_, to_.family());
    if (name == "shutdown") return end_of(shutdown(fd_, SHUT_RDWR));
    if (name == "listen") return end_of(listen(fd_, 1));
    if (name == "changed") return changes(before_, properties_of(fd_));
    if (name == "poll") {
      pollfd socket{fd_, POLLOUT, 0};
      must(poll(&socket, 1, number), "poll");
      return event_names(static_cast<std::uint16_t>(socket.revents));
    }
    if (name == "sleep") return sleep_ms(number), "0";
    if (name == "blocking") return set_flag(O_NONBLOCK, false), "0";
    if (name == "nonblocking") return set_flag(O_NONBLOCK, true), "0";
    if (name == "again") {
      close(fd_);
      open_socket();
      return "0";
    }
    require(name == "fork", "steps=");
    fflush(stdout);
    child_ = must(::fork(), "fork");
    if (child_ == 0) {
      sleep_ms(number);
      return "0";
    }
    int status = -1;
    must(waitpid(child_, &status, 0), "waitpid");
    return std::to_string(status);
  }

  const Arguments& arguments_;
  bool quiet_;
  Destination to_;
  int fd_ = -1;
  pid_t child_ = -1;
  Properties before_;
};

// All rounds of this process.
std::map<std::string, int> count_ways(const Arguments& arguments) {
  std::mutex mutex;
  std::map<std::string, int> ways;
  std::vector<std::thread> threads;
  for (int i = 0; i < arguments.number("threads", 1); ++i) {
    threads.emplace_back([&] {
      Steps steps(arguments, true);
      for (int round = 0; round < arguments.number("times", 1); ++round) {
        const std::string way = steps.take();
        const std::lock_guard lock(mutex);
        ++ways[way];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return ways;
}

}  // namespace

int main(int argc, char** argv) {
  limit_time();
  const Arguments arguments(argc, argv);
  const bool once = arguments.text("times").empty() && arguments.text("threads").empty() &&
                    arguments.text("processes").empty();
  const int descriptors_before = open_descriptors();
  if (once) {
    Steps(arguments, false).take();
  } else {
    const int processes = arguments.number("processes", 1);
    int children = 0;
    bool is_child = false;
    while (children < processes - 1 && !is_child) {
      is_child = must(fork(), "fork") == 0;
      children += !is_child;
    }
    std::string said;
    for (const auto& [way, count] : count_ways(arguments)) {
      said += "count=" + std::to_string(count) + way + "\n";
    }
    // One write each, because several processes do.
    must(static_cast<int>(write(STDOUT_FILENO, said.c_str(), said.size())), "write");
    if (is_child) return 0;
    for (int i = 0; i < children; ++i) {
      int status = -1;
      must(wait(&status), "wait");
      require(status == 0, "a child has failed");
    }
  }
  printf("descriptors_left=%d\n", open_descriptors() - descriptors_before);
}
