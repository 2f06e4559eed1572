// Sets every option a program may have set, connects to the first address of a host, and compares
// all of it afterwards, on the descriptor and on a duplicate of it.
// Must never compare what a successful connect(2) changes by itself (the local address, unbound).
//
// host= port=; v6only=1. Prints changed=NAMES, or changed=none.
#include <fcntl.h>

#include <map>

#include "check.h"

using namespace check;

namespace {

using State = std::map<std::string, long>;

State state_of(int fd) {
  const auto option = [fd](int level, int name) -> long {
    return get_option<int>(fd, level, name);
  };
  State state{
      {"O_NONBLOCK", must(fcntl(fd, F_GETFL), "F_GETFL") & O_NONBLOCK},
      {"F_GETFL", must(fcntl(fd, F_GETFL), "F_GETFL")},
      {"FD_CLOEXEC", must(fcntl(fd, F_GETFD), "F_GETFD")},
      {"F_GETOWN", fcntl(fd, F_GETOWN)},
      {"SO_SNDTIMEO", send_timeout_ms(fd)},
      {"SO_RCVTIMEO", get_option<timeval>(fd, SOL_SOCKET, SO_RCVTIMEO).tv_usec},
      {"SO_KEEPALIVE", option(SOL_SOCKET, SO_KEEPALIVE)},
      {"SO_REUSEADDR", option(SOL_SOCKET, SO_REUSEADDR)},
      {"SO_RCVLOWAT", option(SOL_SOCKET, SO_RCVLOWAT)},
      {"SO_LINGER", get_option<linger>(fd, SOL_SOCKET, SO_LINGER).l_linger},
      {"SO_PRIORITY", option(SOL_SOCKET, SO_PRIORITY)},
      {"SO_COOKIE", static_cast<long>(cookie_of(fd))},
      {"SO_ERROR", option(SOL_SOCKET, SO_ERROR)},
      {"TCP_NODELAY", option(IPPROTO_TCP, TCP_NODELAY)},
      {"TCP_USER_TIMEOUT", option(IPPROTO_TCP, TCP_USER_TIMEOUT)},
      {"TCP_SYNCNT", option(IPPROTO_TCP, TCP_SYNCNT)},
      {"TCP_KEEPIDLE", option(IPPROTO_TCP, TCP_KEEPIDLE)},
      {"TCP_DEFER_ACCEPT", option(IPPROTO_TCP, TCP_DEFER_ACCEPT)},
  };
  if (get_option<int>(fd, SOL_SOCKET, SO_DOMAIN) == AF_INET6) {
    state["IPV6_V6ONLY"] = option(IPPROTO_IPV6, IPV6_V6ONLY);
    state["IPV6_UNICAST_HOPS"] = option(IPPROTO_IPV6, IPV6_UNICAST_HOPS);
  } else {
    state["IP_TOS"] = option(IPPROTO_IP, IP_TOS);
    state["IP_TTL"] = option(IPPROTO_IP, IP_TTL);
  }
  return state;
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  const Destination first = look_up(arguments.text("host"), arguments.number("port")).front();
  const int fd = tcp_socket(first.family());
  set_send_timeout(fd, 9876);
  set_option(fd, SOL_SOCKET, SO_RCVTIMEO, timeval{0, 500'000});
  for (const int option : {SO_KEEPALIVE, SO_REUSEADDR}) set_option(fd, SOL_SOCKET, option, 1);
  set_option(fd, SOL_SOCKET, SO_RCVLOWAT, 1);
  set_option(fd, SOL_SOCKET, SO_LINGER, linger{1, 7});
  set_option(fd, SOL_SOCKET, SO_PRIORITY, 3);
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 8765);
  set_option(fd, IPPROTO_TCP, TCP_SYNCNT, 3);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 77);
  if (first.family() == AF_INET6) {
    set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, arguments.number("v6only"));
    set_option(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 33);
  } else {
    set_option(fd, IPPROTO_IP, IP_TOS, 0x10);
    set_option(fd, IPPROTO_IP, IP_TTL, 33);
  }
  must(fcntl(fd, F_SETFD, FD_CLOEXEC), "F_SETFD");
  must(fcntl(fd, F_SETOWN, getpid()), "F_SETOWN");
  const int duplicate = must(dup(fd), "dup");

  const State before = state_of(fd);
  const State duplicate_before = state_of(duplicate);
  const Outcome outcome = timed_connect(fd, first);
  const State after = state_of(fd);
  const State duplicate_after = state_of(duplicate);

  std::string changed;
  for (const auto& [name, value] : before) {
    if (after.at(name) != value) changed += name + ",";
    if (duplicate_after.at(name) != duplicate_before.at(name)) changed += "dup:" + name + ",";
  }
  print(outcome);
  printf("peer=%s dup_peer=%s changed=%s\n", peer_of(fd).c_str(), peer_of(duplicate).c_str(),
         changed.empty() ? "none" : changed.c_str());
}
