// Many threads look up and connect at the same time, to hosts in different states.
// Must never share a socket between threads.
//
// hosts=A,B.. port= threads=N rounds=N; live=ADDRESS.. are the peers that are right. Prints the
// number of connects that went right, and how the others ended.
#include <map>
#include <mutex>
#include <thread>

#include "check.h"

using namespace check;

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  const std::vector<std::string> hosts = arguments.list("hosts");
  const std::vector<std::string> live = arguments.list("live");
  const int port = arguments.number("port");
  const int descriptors_before = open_descriptors();
  std::mutex mutex;
  std::map<std::string, int> ends;
  std::vector<std::thread> threads;
  for (int t = 0; t < arguments.number("threads"); ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < arguments.number("rounds"); ++round) {
        const std::string& host = hosts[static_cast<std::size_t>(t + round) % hosts.size()];
        const Destination first = look_up(host, port).front();
        const int fd = tcp_socket(first.family());
        const Outcome outcome = timed_connect(fd, first);
        std::string end = error_name(outcome.error);
        if (outcome.result == 0) {
          const std::string peer = peer_of(fd);
          end = "stranger";
          for (const std::string& address : live) {
            if (peer == address) end = "right";
          }
        }
        close(fd);
        const std::lock_guard lock(mutex);
        ++ends[end];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& [end, count] : ends) printf("%s=%d ", end.c_str(), count);
  printf("descriptors_left=%d\n", open_descriptors() - descriptors_before);
}
