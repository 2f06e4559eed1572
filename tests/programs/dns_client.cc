// Asks a DNS server for the addresses of a name, each time in one way, and then connects to an
// address that it is given: whether that moves on tells what the answer has taught.
// Must never look a name up by libc, nor read more of an answer than whether it came.
//
// server=PORT at server_address=ADDRESS (127.0.0.1); name= id=NUMBER type=NUMBER; way=WAY, of which
// those with "un" before them are of sockets that are not connected; receive=N answers;
// serve=ADDRESS binds the server's port there first, often=N asks so many times where
// nobody answers; then connect=ADDRESS port=N, by a socket with IPV6_V6ONLY if ipv6_only=1.
// again=WAY asks once more before that, for again_type=NUMBER. busy=N asks N times first, while
// another thread seems to be writing to the host table. way=two asks for second=NAME, too.
#include <dlfcn.h>
#include <linux/futex.h>
#include <netinet/tcp.h>
#include <resolv.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <array>
#include <atomic>
#include <thread>

#include "check.h"

using namespace check;

extern "C" {
ssize_t __recv_chk(int, void*, size_t, size_t, int);
ssize_t __read_chk(int, void*, size_t, size_t);
ssize_t __recvfrom_chk(int, void*, size_t, size_t, int, sockaddr*, socklen_t*);
}

namespace {

constexpr int kLongWait = 2000;

std::string number(int value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value & 0xff)};
}

// What is asked for; that of `again`, too, unless there is again_type=.
int type = 0;

std::string query(const Arguments& arguments, const char* key = "name") {
  std::string message = number(arguments.number("id", 0x1234)) + number(0x0100) + number(1) +
                        number(0) + number(0) + number(0);
  std::string name = arguments.text(key);
  while (!name.empty()) {
    const std::size_t dot = std::min(name.find('.'), name.size());
    message += static_cast<char>(dot) + name.substr(0, dot);
    name.erase(0, dot + 1);
  }
  return message + '\0' + number(type) + number(1);
}

void await(int fd) {
  pollfd answer{fd, POLLIN, 0};
  require(poll(&answer, 1, kLongWait) == 1, "no answer");
}

void ask_by_datagram(const Arguments& arguments, const std::string& way) {
  Destination server =
      destination_of(arguments.text("server_address", "127.0.0.1"), arguments.number("server"));
  std::string message = query(arguments);
  const int fd = must(socket(server.family(), SOCK_DGRAM, 0), "socket");
  const bool connected = way.rfind("un", 0) != 0;
  if (connected) must(connect(fd, server.get(), server.length), "connect");
  char buffer[65536];
  iovec out[2] = {{message.data(), 5}, {message.data() + 5, message.size() - 5}};
  iovec in[2] = {{buffer, 7}, {buffer + 7, sizeof buffer - 7}};
  msghdr to{};
  to.msg_iov = out;
  to.msg_iovlen = 2;
  if (!connected) {
    to.msg_name = &server.address;
    to.msg_namelen = server.length;
  }
  mmsghdr several{to, 0};

  if (way == "send" || way == "fortified" || way == "peek" || way == "peek-first" ||
      way == "small" || way == "closed") {
    must(static_cast<int>(send(fd, message.data(), message.size(), 0)), "send");
  } else if (way == "write") {
    must(static_cast<int>(write(fd, message.data(), message.size())), "write");
  } else if (way == "writev") {
    must(static_cast<int>(writev(fd, out, 2)), "writev");
  } else if (way == "sendmsg" || way == "unsendmsg") {
    must(static_cast<int>(sendmsg(fd, &to, 0)), "sendmsg");
  } else if (way == "sendmmsg" || way == "unsendmmsg") {
    require(sendmmsg(fd, &several, 1, 0) == 1, "sendmmsg");
  } else if (way == "unsendto" || way == "unnamed") {
    must(static_cast<int>(
             sendto(fd, message.data(), message.size(), 0, server.get(), server.length)),
         "sendto");
  } else {
    broken("no such way");
  }

  for (int i = 0; i < arguments.number("receive", 1); ++i) {
    await(fd);
    Destination source;
    source.length = sizeof source.address;
    auto* address = reinterpret_cast<sockaddr*>(&source.address);
    msghdr received{};
    received.msg_iov = in;
    received.msg_iovlen = 2;
    if (!connected) {
      received.msg_name = address;
      received.msg_namelen = source.length;
    }
    mmsghdr all{received, 0};
    if (way == "send" || way == "unnamed") {
      must(static_cast<int>(recv(fd, buffer, sizeof buffer, 0)), "recv");
    } else if (way == "peek") {
      must(static_cast<int>(recv(fd, buffer, sizeof buffer, MSG_PEEK)), "recv");
    } else if (way == "peek-first") {
      must(static_cast<int>(recv(fd, buffer, sizeof buffer, MSG_PEEK)), "recv");
      must(static_cast<int>(recv(fd, buffer, sizeof buffer, 0)), "recv");
    } else if (way == "small") {
      must(static_cast<int>(recv(fd, buffer, 60, 0)), "recv");
    } else if (way == "closed") {
      // Its number is another socket's, which gets the same message from elsewhere.
      int pair[2];
      must(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), "socketpair");
      const auto size = recv(fd, buffer, sizeof buffer, MSG_PEEK);
      must(dup2(pair[0], fd), "dup2");
      must(static_cast<int>(write(pair[1], buffer, static_cast<size_t>(size))), "write");
      must(static_cast<int>(read(fd, buffer, sizeof buffer)), "read");
    } else if (way == "write") {
      must(static_cast<int>(read(fd, buffer, sizeof buffer)), "read");
    } else if (way == "writev") {
      must(static_cast<int>(readv(fd, in, 2)), "readv");
    } else if (way == "fortified") {
      must(static_cast<int>(__recv_chk(fd, buffer, sizeof buffer, sizeof buffer, 0)), "recv");
    } else if (way == "unsendto") {
      must(static_cast<int>(recvfrom(fd, buffer, sizeof buffer, 0, address, &source.length)),
           "recvfrom");
    } else if (way == "sendmsg" || way == "unsendmsg") {
      must(static_cast<int>(recvmsg(fd, &received, 0)), "recvmsg");
    } else {
      require(recvmmsg(fd, &all, 1, 0, nullptr) == 1, "recvmmsg");
    }
  }
  close(fd);
}

// Puts two questions with one id to the server at once, for `name` and `second`, and receives
// `receive` answers at once.
void ask_two(const Arguments& arguments) {
  Destination server = destination_of("127.0.0.1", arguments.number("server"));
  const int fd = must(socket(AF_INET, SOCK_DGRAM, 0), "socket");
  std::string queries[] = {query(arguments), query(arguments, "second")};
  const int count = arguments.number("receive", 2);
  std::vector<std::array<char, 512>> buffers(static_cast<std::size_t>(count));
  std::vector<sockaddr_in> sources(buffers.size());
  std::vector<iovec> parts(buffers.size() + 2);
  std::vector<mmsghdr> messages(parts.size());
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const bool in = i >= 2;
    parts[i] = in ? iovec{buffers[i - 2].data(), 512} : iovec{queries[i].data(), queries[i].size()};
    msghdr& header = messages[i].msg_hdr;
    header.msg_iov = &parts[i];
    header.msg_iovlen = 1;
    header.msg_name = in ? static_cast<void*>(&sources[i - 2]) : &server.address;
    header.msg_namelen = in ? sizeof sources[i - 2] : server.length;
  }
  require(sendmmsg(fd, messages.data(), 2, 0) == 2, "sendmmsg");
  const auto all = static_cast<unsigned>(count);
  require(recvmmsg(fd, messages.data() + 2, all, 0, nullptr) == count, "recvmmsg");
  close(fd);
}

void ask_by_stream(const Arguments& arguments, const std::string& way) {
  const Destination server =
      destination_of(arguments.text("server_address", "127.0.0.1"), arguments.number("server"));
  std::string message = query(arguments);
  message = number(static_cast<int>(message.size())) + message;
  const int fd = must(socket(server.family(), SOCK_STREAM, 0), "socket");
  if (way == "tcp-fastopen") {
    must(static_cast<int>(
             sendto(fd, message.data(), message.size(), MSG_FASTOPEN, server.get(), server.length)),
         "sendto");
  } else {
    must(connect(fd, server.get(), server.length), "connect");
    const std::size_t step = way == "tcp-pieces" ? 1 : message.size();
    for (std::size_t at = 0; at < message.size(); at += step) {
      must(static_cast<int>(write(fd, message.data() + at, step)), "write");
    }
  }
  std::string got;
  const std::size_t step = way == "tcp-pieces" ? 1 : 65536;
  std::vector<char> buffer(step);
  if (way == "tcp-peek") {
    await(fd);
    must(static_cast<int>(recv(fd, buffer.data(), step, MSG_PEEK)), "recv");
  }
  while (way != "tcp-peek") {
    if (got.size() >= 2) {
      const std::size_t size =
          static_cast<unsigned char>(got[0]) * 256u + static_cast<unsigned char>(got[1]);
      if (got.size() >= size + 2) break;
    }
    await(fd);
    const ssize_t part = read(fd, buffer.data(), step);
    require(part > 0, "the server has ended it");
    got.append(buffer.data(), static_cast<std::size_t>(part));
  }
  close(fd);
}

void ask_by_libresolv(const Arguments& arguments, const std::string& way) {
  const Destination server = destination_of("127.0.0.1", arguments.number("server"));
  require(res_init() == 0, "res_init");
  memcpy(&_res.nsaddr_list[0], &server.address, sizeof _res.nsaddr_list[0]);
  _res.nscount = 1;
  struct __res_state own = _res;
  unsigned char buffer[65536];
  const std::string name = arguments.text("name");
  const std::string first = name.substr(0, name.find('.'));
  const std::string rest = name.substr(name.find('.') + 1);
  const std::string message = query(arguments);
  const auto* bytes = reinterpret_cast<const unsigned char*>(message.data());
  const int size = static_cast<int>(message.size());
  int got = -1;
  if (way == "res_query") got = res_query(name.c_str(), 1, type, buffer, sizeof buffer);
  if (way == "res_query_by_its_old_name") {
    using Query = int(const char*, int, int, unsigned char*, int);
    auto* old = reinterpret_cast<Query*>(dlsym(RTLD_DEFAULT, "__res_query"));
    got = old(name.c_str(), 1, type, buffer, sizeof buffer);
  }
  if (way == "res_search") got = res_search(name.c_str(), 1, type, buffer, sizeof buffer);
  if (way == "res_querydomain") {
    got = res_querydomain(first.c_str(), rest.c_str(), 1, type, buffer, sizeof buffer);
  }
  if (way == "res_send") got = res_send(bytes, size, buffer, sizeof buffer);
  if (way == "res_nquery") got = res_nquery(&own, name.c_str(), 1, type, buffer, sizeof buffer);
  if (way == "res_nsearch") got = res_nsearch(&own, name.c_str(), 1, type, buffer, sizeof buffer);
  if (way == "res_nquerydomain") {
    got = res_nquerydomain(&own, first.c_str(), rest.c_str(), 1, type, buffer, sizeof buffer);
  }
  if (way == "res_nsend") got = res_nsend(&own, bytes, size, buffer, sizeof buffer);
  printf("resolved=%d ", got > 0 ? 1 : 0);
}

// The child asks by a socket that its parent has connected, and looks up nothing else.
void ask_in_child(const Arguments& arguments) {
  const Destination server = destination_of("127.0.0.1", arguments.number("server"));
  const int fd = must(socket(AF_INET, SOCK_DGRAM, 0), "socket");
  must(connect(fd, server.get(), server.length), "connect");
  const pid_t child = must(fork(), "fork");
  if (child != 0) {
    int status = 0;
    waitpid(child, &status, 0);
    _exit(WEXITSTATUS(status));
  }
  const std::string message = query(arguments);
  must(static_cast<int>(send(fd, message.data(), message.size(), 0)), "send");
  await(fd);
  char buffer[512];
  must(static_cast<int>(recv(fd, buffer, sizeof buffer, 0)), "recv");
}

void ask(const Arguments& arguments, const std::string& way) {
  if (way == "two") return ask_two(arguments);
  if (way == "child") return ask_in_child(arguments);
  if (way.rfind("res_", 0) == 0) return ask_by_libresolv(arguments, way);
  if (way.rfind("tcp", 0) == 0) return ask_by_stream(arguments, way);
  ask_by_datagram(arguments, way);
}

// The lock of the host table, which a thread that learns gives the kernel as the one it is about to
// take (set_robust_list(2)). A number that is new is learnt.
std::atomic<std::uint32_t>* lock_of_table() {
  std::atomic<bool> found{false};
  std::atomic<int> id{0};
  std::thread learner([&] {
    id = static_cast<int>(syscall(SYS_gettid));
    // No lab uses these.
    for (unsigned i = 256; !found && i < 65'536; ++i) {
      char number[32];
      snprintf(number, sizeof number, "127.0.%u.%u", i >> 8, i & 255);
      look_up(number, 80);
    }
  });
  robust_list_head* head = nullptr;
  std::size_t size = sizeof *head;
  while (id == 0) sched_yield();
  must(static_cast<int>(syscall(SYS_get_robust_list, id.load(), &head, &size)), "robust list");
  volatile auto* pending = &head->list_op_pending;
  char* entry = nullptr;
  const long since = now_ms();
  while (entry == nullptr && now_ms() < since + 10'000) {
    entry = reinterpret_cast<char*>(*pending);
  }
  found = true;
  learner.join();
  require(entry != nullptr, "nothing is learnt");
  return reinterpret_cast<std::atomic<std::uint32_t>*>(entry + head->futex_offset);
}

// Says how long the fastest took.
void ask_while_busy(const Arguments& arguments, const std::string& way) {
  std::atomic<std::uint32_t>& lock = *lock_of_table();
  lock = static_cast<std::uint32_t>(syscall(SYS_gettid));
  long fastest = kLongWait;
  for (int i = 0; i < arguments.number("busy"); ++i) {
    const long start = now_ms();
    ask(arguments, way);
    fastest = std::min(fastest, now_ms() - start);
  }
  lock = 0;
  printf("fastest=%ld ", fastest);
}

// Becomes what a name server is to the library.
void serve(const Arguments& arguments) {
  const int fd = must(socket(AF_INET, SOCK_DGRAM, 0), "socket");
  const Destination local = destination_of(arguments.text("serve"), arguments.number("server"));
  must(bind(fd, local.get(), local.length), "bind");
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  type = arguments.number("type", 1);
  if (!arguments.text("serve").empty()) serve(arguments);
  for (int i = 0; i < arguments.number("often"); ++i) {
    // Nobody is there: a server would lose questions, the last one too, when so many come at once.
    const Destination server = destination_of("127.9.9.9", arguments.number("server"));
    const std::string message = query(arguments);
    const int fd = must(socket(AF_INET, SOCK_DGRAM, 0), "socket");
    sendto(fd, message.data(), message.size(), 0, server.get(), server.length);
    close(fd);
  }
  const std::string way = arguments.text("way");
  if (arguments.number("busy") != 0) {
    ask_while_busy(arguments, way);
  } else {
    ask(arguments, way);
  }
  if (!arguments.text("again").empty()) {
    type = arguments.number("again_type", type);
    ask(arguments, arguments.text("again"));
  }
  errno = 0;
  const Destination to = destination_of(arguments.text("connect"), arguments.number("port"));
  const int fd = tcp_socket(to.family());
  const int ipv6_only = arguments.number("ipv6_only");
  if (ipv6_only != 0) set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, ipv6_only);
  const int result = connect(fd, to.get(), to.length);
  const int error = result == 0 ? 0 : errno;
  printf("error=%s peer=%s\n", error_name(error), peer_of(fd).c_str());
  return 0;
}
