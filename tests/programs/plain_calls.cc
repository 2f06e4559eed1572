// Calls that are none of the library's business, each to be the same with and without it.
// Must never make a system call that depends on anything but its arguments: traces are compared.
//
// what=udp|nonblocking|blocking|disconnect host= port=; what=unix path=;
// what=null|error_pointer|short|no_socket host= port= (bad arguments to connect).
#include <sys/un.h>

#include "check.h"

using namespace check;

namespace {

void report(const char* what, int result) {
  const int error = result < 0 ? errno : 0;
  printf("%s=%s ", what, result < 0 ? error_name(error) : "0");
}

void connect_unix(const std::string& path) {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  require(path.size() < sizeof to.sun_path, "path too long");
  memcpy(to.sun_path, path.c_str(), path.size() + 1);
  const int fd = must(socket(AF_UNIX, SOCK_STREAM, 0), "socket");
  report("connect", connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to));
}

void connect_udp(const Destination& to) {
  const int fd = must(socket(to.family(), SOCK_DGRAM, 0), "socket");
  report("connect", connect(fd, to.get(), to.length));
  report("send", static_cast<int>(send(fd, "x", 1, 0)));
  // The second one sees what became of the first.
  sleep_ms(20);
  report("send", static_cast<int>(send(fd, "x", 1, 0)));
  printf("peer=%s ", peer_of(fd).c_str());
}

void connect_non_blocking(const Destination& to) {
  const int fd = must(socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
  report("connect", connect(fd, to.get(), to.length));
  pollfd writable{fd, POLLOUT, 0};
  must(poll(&writable, 1, 2000), "poll");
  printf("revents=%x so_error=%s ", static_cast<unsigned>(writable.revents),
         error_name(get_option<int>(fd, SOL_SOCKET, SO_ERROR)));
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  const std::string what = arguments.text("what");
  if (what == "unix") {
    connect_unix(arguments.text("path"));
  } else {
    const Destination to =
        look_up(arguments.text("host"), arguments.number("port"), AF_INET).front();
    if (what == "udp") {
      connect_udp(to);
    } else if (what == "nonblocking") {
      connect_non_blocking(to);
    } else {
      const int fd = tcp_socket(to.family());
      if (what == "blocking") {
        report("connect", connect(fd, to.get(), to.length));
      } else if (what == "disconnect") {
        Destination nowhere = to;
        nowhere.address.ss_family = AF_UNSPEC;
        report("connect", connect(fd, nowhere.get(), nowhere.length));
      } else if (what == "null") {
        report("connect", connect(fd, nullptr, to.length));
      } else if (what == "error_pointer") {
        report("connect", connect(fd, reinterpret_cast<const sockaddr*>(-1), to.length));
      } else if (what == "short") {
        for (const socklen_t length : {0, 1, 2, 4, 8, 15}) {
          report("connect", connect(fd, to.get(), length));
        }
        report("connect", connect(fd, to.get(), static_cast<socklen_t>(-1)));
      } else if (what == "no_socket") {
        report("connect", connect(-1, to.get(), to.length));
        report("connect", connect(999, to.get(), to.length));
        report("connect", connect(STDIN_FILENO, to.get(), to.length));
      } else {
        broken("what?");
      }
    }
  }
  putchar('\n');
}
