// Asks select(2) for as many descriptors as the process may have, with sets of the usual size, as
// old programs do: the kernel touches no more of them than its table of descriptors is long. Must
// never have a descriptor beyond FD_SETSIZE.
//
// host= port=; timeout=MS of each wait.
#include <sys/resource.h>
#include <sys/select.h>

#include <algorithm>

#include "events.h"

using namespace events;

int main(int argc, char** argv) {
  limit_time();
  const Arguments arguments(argc, argv);
  const Destination to = look_up(arguments.text("host"), arguments.number("port")).front();
  rlimit limit;
  must(getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
  limit.rlim_cur = std::min<rlim_t>(4096, limit.rlim_max);
  must(setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");

  struct {
    fd_set set;
    unsigned char behind[1024];
  } memory;
  memset(memory.behind, 0xaa, sizeof memory.behind);
  const int fd = new_socket(to.family());
  const Properties before = properties_of(fd);
  begin_connect(fd, to);
  int found = 0;
  int waits = 0;
  while (found == 0) {
    FD_ZERO(&memory.set);
    FD_SET(fd, &memory.set);
    const int timeout = arguments.number("timeout", 50);
    timeval time{timeout / 1000, timeout % 1000 * 1000};
    found = must(select(getdtablesize(), nullptr, &memory.set, nullptr, &time), "select");
    ++waits;
  }
  const auto changed = std::count_if(std::begin(memory.behind), std::end(memory.behind),
                                     [](unsigned char byte) { return byte != 0xaa; });
  printf("asked_for=%d found=%d waits=%d changed_behind=%ld", getdtablesize(), found, waits,
         static_cast<long>(changed));
  print_socket(fd, before);
  putchar('\n');
}
