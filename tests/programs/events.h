// What the small programs with non-blocking connects share: sockets whose properties are
// remembered, names for events, and what is registered in an epoll set.
//
// Must never wait for a connect, or drive one: each program waits in its own way. Every program
// ends by SIGALRM after limit_time(), so that a connect that is never finished shows as a failure.
#pragma once

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include <cstdint>
#include <fstream>
#include <map>

#include "check.h"

namespace events {

using namespace check;

constexpr int kTimeLimit = 25;

inline void limit_time(int seconds = kTimeLimit) { alarm(static_cast<unsigned>(seconds)); }

// Of poll(2) and epoll(7), which have the same bits.
inline std::string event_names(std::uint32_t events) {
  static constexpr std::pair<std::uint32_t, const char*> kNames[] = {
      {EPOLLIN, "IN"},   {EPOLLPRI, "PRI"},  {EPOLLOUT, "OUT"},     {EPOLLERR, "ERR"},
      {EPOLLHUP, "HUP"}, {POLLNVAL, "NVAL"}, {EPOLLRDHUP, "RDHUP"},
  };
  std::string names;
  for (const auto& [bit, name] : kNames) {
    if ((events & bit) != 0) names += (names.empty() ? "" : "|") + std::string(name);
  }
  return names.empty() ? "none" : names;
}

// What a connect must leave as it was.
using Properties = std::map<std::string, std::uint64_t>;

inline Properties properties_of(int fd) {
  const auto option = [fd](int level, int name) -> std::uint64_t {
    return static_cast<unsigned>(get_option<int>(fd, level, name));
  };
  return {
      {"SO_COOKIE", cookie_of(fd)},
      {"F_GETFL", static_cast<unsigned>(must(fcntl(fd, F_GETFL), "F_GETFL"))},
      {"F_GETFD", static_cast<unsigned>(must(fcntl(fd, F_GETFD), "F_GETFD"))},
      {"SO_SNDTIMEO", static_cast<unsigned>(send_timeout_ms(fd))},
      {"SO_RCVTIMEO",
       static_cast<std::uint64_t>(get_option<timeval>(fd, SOL_SOCKET, SO_RCVTIMEO).tv_sec)},
      {"SO_KEEPALIVE", option(SOL_SOCKET, SO_KEEPALIVE)},
      {"SO_PRIORITY", option(SOL_SOCKET, SO_PRIORITY)},
      {"TCP_NODELAY", option(IPPROTO_TCP, TCP_NODELAY)},
      {"TCP_USER_TIMEOUT", option(IPPROTO_TCP, TCP_USER_TIMEOUT)},
      {"TCP_SYNCNT", option(IPPROTO_TCP, TCP_SYNCNT)},
  };
}

// The names of those that differ, or "none".
inline std::string changes(const Properties& before, const Properties& after) {
  std::string names;
  for (const auto& [name, value] : before) {
    if (after.at(name) != value) names += name + ",";
  }
  return names.empty() ? "none" : names;
}

// A non-blocking socket with properties unlike the defaults. `syncnt`: TCP_SYNCNT, 0 for the
// default.
inline int new_socket(int family, int syncnt = 0) {
  const int fd = must(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
  set_send_timeout(fd, 9876);
  set_option(fd, SOL_SOCKET, SO_RCVTIMEO, timeval{7, 0});
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, SOL_SOCKET, SO_PRIORITY, 3);
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (syncnt != 0) set_option(fd, IPPROTO_TCP, TCP_SYNCNT, syncnt);
  return fd;
}

// Starts a connect, which must neither wait nor be finished at once.
inline void begin_connect(int fd, const Destination& to) {
  const Outcome outcome = timed_connect(fd, to);
  require(outcome.result == -1 && outcome.error == EINPROGRESS, "connect is not in progress");
  require(outcome.ms < 2000, "connect has waited");
}

// What the program finds on its socket at the end.
inline void print_socket(int fd, const Properties& before) {
  const char* error = error_name(get_option<int>(fd, SOL_SOCKET, SO_ERROR));
  const std::string changed = changes(before, properties_of(fd));
  const std::string peer = peer_of(fd);
  printf(" so_error=%s peer=%s transfer=%s changed=%s", error, peer.c_str(), transfer(fd).c_str(),
         changed.c_str());
}

// How `fd` is registered in `epoll`: "EVENTS:DATA" in hexadecimal, "no" when it is not.
inline std::string registration_of(int epoll, int fd) {
  std::ifstream info("/proc/self/fdinfo/" + std::to_string(epoll));
  for (std::string line; std::getline(info, line);) {
    int registered = -1;
    unsigned bits = 0;
    unsigned long long data = 0;
    if (sscanf(line.c_str(), "tfd: %d events: %x data: %llx", &registered, &bits, &data) == 3 &&
        registered == fd) {
      char text[40];
      snprintf(text, sizeof text, "%x:%llx", bits, data);
      return text;
    }
  }
  return "no";
}

// A timer that ticks every `ms`.
inline int ticking_timer(int ms) {
  const int fd = must(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), "timerfd");
  const timespec every{ms / 1000, ms % 1000 * 1'000'000};
  const itimerspec time{every, every};
  must(timerfd_settime(fd, 0, &time, nullptr), "timerfd_settime");
  return fd;
}

struct Pipe {
  int reader = -1;
  int writer = -1;

  Pipe() {
    int ends[2];
    must(pipe2(ends, O_NONBLOCK | O_CLOEXEC), "pipe2");
    reader = ends[0];
    writer = ends[1];
  }
  ~Pipe() {
    close(reader);
    close(writer);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  void put() const { require(write(writer, "x", 1) == 1, "write to the pipe"); }
};

}  // namespace events
