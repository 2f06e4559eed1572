// The lookup happens somewhere else than the connect: in another thread (curl, node), or in a
// forked child that pipes the address back (lynx), or in the parent of the process that connects.
// Must never look the host up where it connects.
//
// host= port= where=thread|child|parent
#include <sys/wait.h>

#include <thread>

#include "check.h"

using namespace check;

namespace {

Destination look_up_in_child(const std::string& host, int port) {
  int ends[2];
  must(pipe(ends), "pipe");
  const pid_t child = must(fork(), "fork");
  if (child == 0) {
    const Destination first = look_up(host, port).front();
    _exit(write(ends[1], &first, sizeof first) == sizeof first ? 0 : 1);
  }
  Destination first;
  require(read(ends[0], &first, sizeof first) == sizeof first, "no answer from the child");
  must(waitpid(child, nullptr, 0), "waitpid");
  close(ends[0]);
  close(ends[1]);
  return first;
}

void connect_to(const Destination& to) { connect_and_close(tcp_socket(to.family()), to); }

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  const std::string host = arguments.text("host");
  const std::string where = arguments.text("where");
  const int port = arguments.number("port");
  Destination first;
  if (where == "child") {
    first = look_up_in_child(host, port);
  } else {
    std::thread([&] { first = look_up(host, port).front(); }).join();
  }
  if (where != "parent") {
    connect_to(first);
    return 0;
  }
  const pid_t child = must(fork(), "fork");
  if (child == 0) {
    connect_to(first);
    _exit(0);
  }
  must(waitpid(child, nullptr, 0), "waitpid");
}
