// A connect that does not block, and then what few programs do before it has come to its end, or
// after. Must never use the socket in another way than it is told.
//
// host= port=; use=oob        recv(2) of data that this socket cannot have: EINVAL, of the call
//              use=parts      writev(2) of more parts than there may be: likewise
//              use=room       recvmmsg(2) of another socket, with more messages than it has room
//                             for, which it need not have, and with no room
//              use=read|write on a socket that was made blocking meanwhile, with a time limit (a
//                             SO_RCVTIMEO or SO_SNDTIMEO) of 300 ms
//              use=duplicate  waits for a duplicate of the socket, and asks that for SO_ERROR
//              use=left       a thread sleeps in an epoll set since before; this one waits there
//              for
//                             wait=MS, has nothing, and does not come back
#include <sys/mman.h>
#include <sys/uio.h>

#include <cerrno>
#include <thread>

#include "events.h"

using namespace events;

namespace {

int error_of(ssize_t result) { return result < 0 ? errno : 0; }

void make_blocking(int fd) {
  must(fcntl(fd, F_SETFL, must(fcntl(fd, F_GETFL), "F_GETFL") & ~O_NONBLOCK), "F_SETFL");
}

void wait_and_print(int fd, int timeout_ms) {
  pollfd socket{fd, POLLOUT, 0};
  must(poll(&socket, 1, timeout_ms), "poll");
  const char* error = error_name(get_option<int>(fd, SOL_SOCKET, SO_ERROR));
  printf(" events=%s so_error=%s peer=%s\n",
         event_names(static_cast<std::uint16_t>(socket.revents)).c_str(), error,
         peer_of(fd).c_str());
}

void sleep_in(int set, int fd) {
  epoll_event event{};
  const long start = now_ms();
  const int count = must(epoll_wait(set, &event, 1, 6000), "epoll_wait");
  printf("woken=%d events=%s peer=%s ms=%ld\n", count, event_names(event.events).c_str(),
         peer_of(fd).c_str(), now_ms() - start);
}

// Where memory ends. The first call has room for the one message that there is, the second for
// none.
ssize_t receive_at_an_end() {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  auto* memory = static_cast<char*>(
      mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  require(memory != MAP_FAILED && munmap(memory + page, page) == 0, "mmap");
  auto* end = reinterpret_cast<mmsghdr*>(memory + page);
  int pair[2];
  must(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), "socketpair");
  char byte = 'x';
  must(static_cast<int>(write(pair[1], &byte, 1)), "write");
  iovec part{&byte, 1};
  end[-1].msg_hdr.msg_iov = &part;
  end[-1].msg_hdr.msg_iovlen = 1;
  printf("received=%d ", recvmmsg(pair[0], end - 1, 1024, MSG_WAITFORONE, nullptr));
  return recvmmsg(pair[0], end, 4, MSG_DONTWAIT, nullptr);
}

}  // namespace

int main(int argc, char** argv) {
  limit_time();
  const Arguments arguments(argc, argv);
  const std::string use = arguments.text("use");
  const Destination to = look_up(arguments.text("host"), arguments.number("port")).front();
  const int fd = must(socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
  static char byte;
  if (use == "left") {
    const int set = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    std::thread sleeper([&] { sleep_in(set, fd); });
    sleep_ms(100);
    begin_connect(fd, to);
    epoll_event event{EPOLLOUT, {}};
    must(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
    const int count = epoll_wait(set, &event, 1, arguments.number("wait"));
    require(count == 0, "nothing is to come to this thread");
    sleeper.join();
    return 0;
  }
  begin_connect(fd, to);
  int error = 0;
  if (use == "oob") {
    error = error_of(recv(fd, &byte, 1, MSG_OOB));
  } else if (use == "parts") {
    static std::vector<iovec> parts(2000, iovec{&byte, 1});
    error = error_of(writev(fd, parts.data(), static_cast<int>(parts.size())));
  } else if (use == "read" || use == "write") {
    make_blocking(fd);
    const timeval limit{0, 300'000};
    set_option(fd, SOL_SOCKET, use == "read" ? SO_RCVTIMEO : SO_SNDTIMEO, limit);
    const long start = now_ms();
    error = error_of(use == "read" ? read(fd, &byte, 1) : write(fd, &byte, 1));
    printf("in_time=%d ", now_ms() - start < 3000);
  } else if (use == "room") {
    error = error_of(receive_at_an_end());
  } else {
    require(use == "duplicate", "use=");
    wait_and_print(must(dup(fd), "dup"), 9000);
    return 0;
  }
  printf("error=%s", error_name(error));
  wait_and_print(fd, arguments.number("wait", 0));
}
