// Looks a host up and connects to its first address only: the basic program that tries one.
// Must never try a second address itself.
//
// host= port=; mapped=1 (AF_INET6 with AI_V4MAPPED|AI_ALL); family=6 (AF_INET6); timeout=MS
// (SO_SNDTIMEO), user_timeout=MS, syncnt=N, v6only=1, protocol=mptcp; bind=ADDRESS bind_port=N, and
// with dup=1 all else by a duplicate of the descriptor that was bound;
// transfer=1 moves data both ways; then=ADDRESS then_port=N connects the same socket once more;
// close_all=1 and clear_environment=1 come before the lookup.
#include "check.h"

using namespace check;

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  if (arguments.number("close_all") != 0) closefrom(3);
  if (arguments.number("clear_environment") != 0) clearenv();

  const int port = arguments.number("port");
  const bool mapped = arguments.number("mapped") != 0;
  const bool ipv6 = mapped || arguments.number("family") == 6;
  const Destination first = look_up(arguments.text("host"), port, ipv6 ? AF_INET6 : AF_UNSPEC,
                                    mapped ? AI_V4MAPPED | AI_ALL : 0)
                                .front();

  const int descriptors_before = open_descriptors();
  int fd = tcp_socket(first.family(), arguments.text("protocol") == "mptcp" ? IPPROTO_MPTCP : 0);
  if (const int timeout = arguments.number("timeout")) set_send_timeout(fd, timeout);
  if (const int count = arguments.number("syncnt")) set_option(fd, IPPROTO_TCP, TCP_SYNCNT, count);
  if (const int timeout = arguments.number("user_timeout")) {
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, timeout);
  }
  if (arguments.number("v6only") != 0) set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  const std::string source = arguments.text("bind");
  if (!source.empty()) {
    const Destination local = destination_of(source, arguments.number("bind_port"));
    must(bind(fd, local.get(), local.length), "bind");
    if (arguments.number("dup") != 0) {
      const int duplicate = must(fcntl(fd, F_DUPFD_CLOEXEC, 0), "F_DUPFD_CLOEXEC");
      close(fd);
      fd = duplicate;
    }
    printf("bound_port=%d ", port_of(local_of(fd)));
  }

  print(timed_connect(fd, first));
  const Destination local = local_of(fd);
  printf("peer=%s local=%s local_port=%d state=%s timeout=%d", peer_of(fd).c_str(),
         text_of(local).c_str(), port_of(local), tcp_state_of(fd), send_timeout_ms(fd));
  if (arguments.number("transfer") != 0) printf(" transfer=%s", transfer(fd).c_str());
  if (first.family() == AF_INET6) {
    printf(" v6only=%d", get_option<int>(fd, IPPROTO_IPV6, IPV6_V6ONLY));
  }
  printf(" so_error=%s\n", error_name(get_option<int>(fd, SOL_SOCKET, SO_ERROR)));

  const std::string then = arguments.text("then");
  if (!then.empty()) {
    print(timed_connect(fd, destination_of(then, arguments.number("then_port", port))));
    printf("transfer=%s\n", transfer(fd).c_str());
  }
  close(fd);
  printf("descriptors_left=%d\n", open_descriptors() - descriptors_before);
}
