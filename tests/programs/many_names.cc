// Looks up very many different names from several threads, then connects to the first address of
// one host: nothing may grow without bound, and the last host looked up is still known.
// Must never look the same number up twice, nor one below 127.226.0.0: those are the lab's.
//
// count=N threads=N; host= port= for the connect; first= a name to be looked up before. Prints how
// much memory the lookups took.
#include <thread>

#include "check.h"

using namespace check;

namespace {

long resident_kb() {
  FILE* status = fopen("/proc/self/status", "re");
  require(status != nullptr, "/proc/self/status");
  char line[256];
  long kb = -1;
  while (fgets(line, sizeof line, status) != nullptr) {
    if (sscanf(line, "VmRSS: %ld", &kb) == 1) break;
  }
  fclose(status);
  return kb;
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  const int count = arguments.number("count");
  const int thread_count = arguments.number("threads", 1);
  const int port = arguments.number("port");
  look_up(arguments.text("first", "127.255.0.1"), port);  // what libc allocates once
  const long before = resident_kb();
  std::vector<std::thread> threads;
  for (int t = 0; t < thread_count; ++t) {
    threads.emplace_back([=] {
      for (int i = t; i < count; i += thread_count) {
        const std::string name = "127." + std::to_string(226 + i / 62500) + "." +
                                 std::to_string(i / 250 % 250) + "." + std::to_string(i % 250);
        look_up(name, port);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const long grown = resident_kb() - before;
  const Destination first = look_up(arguments.text("host"), port).front();
  const int fd = tcp_socket(first.family());
  print(timed_connect(fd, first));
  printf("peer=%s grown_kb=%ld\n", peer_of(fd).c_str(), grown);
}
