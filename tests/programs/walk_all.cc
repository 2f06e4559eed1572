// Walks over all addresses of a host by itself until one answers, as curl, Python and wget do.
// Must never look the host up again between two attempts.
//
// host= port=; same_socket=1 keeps one socket for all attempts (LuaSocket); rounds=N walks N times
// with a lookup each, pause=MS apart; timeout=MS sets SO_SNDTIMEO; every=1 goes on after the one
// that answers.
#include "check.h"

using namespace check;

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  const int port = arguments.number("port");
  for (int round = 0; round < arguments.number("rounds", 1); ++round) {
    if (round > 0) sleep_ms(arguments.number("pause"));
    const std::vector<Destination> all = look_up(arguments.text("host"), port);
    int fd = -1;
    for (const Destination& to : all) {
      if (fd < 0 || arguments.number("same_socket") == 0) {
        if (fd >= 0) close(fd);
        fd = tcp_socket(to.family());
        set_send_timeout(fd, arguments.number("timeout"));
      }
      const Outcome outcome = timed_connect(fd, to);
      printf("asked=%s ", text_of(to).c_str());
      print(outcome);
      printf("peer=%s\n", peer_of(fd).c_str());
      if (outcome.result == 0 && arguments.number("every") == 0) break;
    }
    close(fd);
  }
}
