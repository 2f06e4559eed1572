// Connects by TCP Fast Open: the first send connects, or the option makes connect(2) wait for it.
// Must never call connect(2) but with how=option.
//
// host= port=; how=sendto|sendmsg|option; blocking=1.
#include "events.h"

using namespace events;

namespace {

constexpr char kGreeting[] = "echo\n";

ssize_t send_first(const std::string& how, int fd, const Destination& to) {
  const std::size_t size = strlen(kGreeting);
  if (how == "sendto") return sendto(fd, kGreeting, size, MSG_FASTOPEN, to.get(), to.length);
  if (how == "sendmsg") {
    iovec part{const_cast<char*>(kGreeting), size};
    msghdr message{};
    message.msg_name = const_cast<sockaddr*>(to.get());
    message.msg_namelen = to.length;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    return sendmsg(fd, &message, MSG_FASTOPEN);
  }
  require(how == "option", "how=");
  set_option(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1);
  return connect(fd, to.get(), to.length) != 0 ? -1 : send(fd, kGreeting, size, MSG_NOSIGNAL);
}

}  // namespace

int main(int argc, char** argv) {
  limit_time();
  const Arguments arguments(argc, argv);
  const Destination to = look_up(arguments.text("host"), arguments.number("port")).front();
  const int descriptors_before = open_descriptors();
  const int fd = new_socket(to.family());
  if (arguments.number("blocking") != 0) {
    must(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK), "F_SETFL");
  }
  const Properties before = properties_of(fd);
  ssize_t sent = send_first(arguments.text("how"), fd, to);
  const std::string first = sent < 0 ? error_name(errno) : std::to_string(sent);
  if (sent < 0 && errno == EINPROGRESS) {
    pollfd socket{fd, POLLOUT, 0};
    must(poll(&socket, 1, -1), "poll");
    sent = send(fd, kGreeting, strlen(kGreeting), MSG_NOSIGNAL);
  }
  printf("first=%s sent=%s", first.c_str(),
         sent < 0 ? error_name(errno) : std::to_string(sent).c_str());
  // What was sent first is echoed first; transfer() sends and expects the same line.
  print_socket(fd, before);
  printf(" echo=%s", read_line(fd).c_str());
  close(fd);
  printf(" descriptors_left=%d\n", open_descriptors() - descriptors_before);
}
