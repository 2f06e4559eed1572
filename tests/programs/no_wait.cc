// Connects without blocking, and then neither waits nor asks: it sends, receives, or asks for its
// peer, again and again. Must never ask in another way than the one it is told before that has
// given a result.
//
// host= port=;
// call=send|sendto|sendmsg|write|writev|recv|recvfrom|recvmsg|read|readv|getpeername|__read_chk|__recv_chk|
// __recvfrom_chk; pause=MS before the first call, nap=MS between two; tries=N at most, then
// SO_ERROR is asked.
#include <dlfcn.h>
#include <sys/uio.h>

#include <csignal>

#include "events.h"

using namespace events;

namespace {

// Exported by libc for programs built with _FORTIFY_SOURCE.
template <typename Function>
Function libc_alias(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
}

ssize_t call_once(const std::string& call, int fd) {
  static char byte = '\n';
  static iovec part{&byte, 1};
  static msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (call == "send") return send(fd, &byte, 1, MSG_NOSIGNAL);
  if (call == "sendto") return sendto(fd, &byte, 1, MSG_NOSIGNAL, nullptr, 0);
  if (call == "sendmsg") return sendmsg(fd, &message, MSG_NOSIGNAL);
  if (call == "write") return write(fd, &byte, 1);
  if (call == "writev") return writev(fd, &part, 1);
  if (call == "recv") return recv(fd, &byte, 1, 0);
  if (call == "recvfrom") return recvfrom(fd, &byte, 1, 0, nullptr, nullptr);
  if (call == "recvmsg") return recvmsg(fd, &message, 0);
  if (call == "read") return read(fd, &byte, 1);
  if (call == "readv") return readv(fd, &part, 1);
  if (call == "__read_chk") {
    static const auto alias = libc_alias<ssize_t (*)(int, void*, size_t, size_t)>("__read_chk");
    return alias(fd, &byte, 1, 1);
  }
  if (call == "__recv_chk") {
    static const auto alias =
        libc_alias<ssize_t (*)(int, void*, size_t, size_t, int)>("__recv_chk");
    return alias(fd, &byte, 1, 1, 0);
  }
  if (call == "__recvfrom_chk") {
    static const auto alias =
        libc_alias<ssize_t (*)(int, void*, size_t, size_t, int, sockaddr*, socklen_t*)>(
            "__recvfrom_chk");
    return alias(fd, &byte, 1, 1, 0, nullptr, nullptr);
  }
  require(call == "getpeername", "call=");
  sockaddr_storage peer;
  socklen_t length = sizeof peer;
  return getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &length);
}

}  // namespace

int main(int argc, char** argv) {
  limit_time(10);
  signal(SIGPIPE, SIG_IGN);
  const Arguments arguments(argc, argv);
  const std::string call = arguments.text("call");
  const std::string early = call == "getpeername" ? "ENOTCONN" : "EAGAIN";
  const Destination to = look_up(arguments.text("host"), arguments.number("port")).front();
  const int descriptors_before = open_descriptors();
  const int fd = must(socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
  begin_connect(fd, to);
  sleep_ms(arguments.number("pause"));
  const long start = now_ms();
  std::string answer;
  int tries = 0;
  do {
    if (tries > 0) sleep_ms(arguments.number("nap", 1));
    errno = 0;
    const ssize_t result = call_once(call, fd);
    answer = result < 0 ? error_name(errno) : std::to_string(result);
  } while (answer == early && ++tries < arguments.number("tries", 4000) && now_ms() < start + 4000);
  printf("answer=%s ms=%ld so_error=%s peer=%s", answer.c_str(), now_ms() - start,
         error_name(get_option<int>(fd, SOL_SOCKET, SO_ERROR)), peer_of(fd).c_str());
  errno = 0;
  const ssize_t again = call_once(call, fd);
  printf(" again=%s tries=%d\n", again < 0 ? error_name(errno) : std::to_string(again).c_str(),
         tries);
  close(fd);
  printf("descriptors_left=%d\n", open_descriptors() - descriptors_before);
}
