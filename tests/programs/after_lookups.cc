// Looks up several names, then connects to one given address: what the names have in common
// decides. Must never connect to anything but that address itself.
//
// names=A,B.. to=ADDRESS port=; exec=1 replaces the process by a fresh one between the two;
// transfer=1 moves data both ways.
#include "check.h"

using namespace check;

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  const int port = arguments.number("port");
  for (const std::string& name : arguments.list("names")) look_up(name, port);
  if (arguments.number("exec") != 0) {
    const std::string to = "to=" + arguments.text("to");
    const std::string same_port = "port=" + arguments.text("port");
    execl("/proc/self/exe", argv[0], to.c_str(), same_port.c_str(), nullptr);
    broken("exec");
  }
  const Destination to = destination_of(arguments.text("to"), port);
  const int fd = tcp_socket(to.family());
  print(timed_connect(fd, to));
  printf("peer=%s", peer_of(fd).c_str());
  if (arguments.number("transfer") != 0) printf(" transfer=%s", transfer(fd).c_str());
  putchar('\n');
}
