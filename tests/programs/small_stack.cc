// Looks a host up, or connects to it, in a thread with a small stack, below which nothing is
// mapped. Must never use much of that stack itself: results are printed by the main thread.
//
// host= port=; stack=KIB; what=getaddrinfo|gethostbyname|gethostbyname_r: the lookup alone; or
// blocking|poll|select|epoll|pselect|connect: a connect, which is waited for so, after a lookup
// by the main thread.
#include <pthread.h>
#include <sys/mman.h>
#include <sys/select.h>

#include "events.h"

using namespace events;

namespace {

enum class What {
  kGetaddrinfo,
  kGethostbyname,
  kGethostbynameR,
  kBlocking,
  kPoll,
  kSelect,
  kPselect,
  kEpoll,
  kConnect
};

struct Task {
  What what;
  const char* host;
  const char* port;
  Destination to;
  int fd = -1;
  int set = -1;
  // Not on its stack.
  char buffer[8192];
  int addresses = 0;
  int error = 0;
};

int count_of(const hostent* entry) {
  int count = 0;
  while (entry != nullptr && entry->h_addr_list[count] != nullptr) ++count;
  return count;
}

void look_up_only(Task& task) {
  hostent* entry = nullptr;
  if (task.what == What::kGetaddrinfo) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_family = AF_INET;
    addrinfo* result = nullptr;
    task.error = getaddrinfo(task.host, task.port, &hints, &result);
    for (const addrinfo* each = result; each != nullptr; each = each->ai_next) ++task.addresses;
    if (result != nullptr) freeaddrinfo(result);
  } else if (task.what == What::kGethostbyname) {
    entry = gethostbyname(task.host);
    task.addresses = count_of(entry);
  } else {
    static hostent storage;
    task.error = gethostbyname_r(task.host, &storage, task.buffer, sizeof task.buffer, &entry,
                                 &task.addresses);
    task.addresses = count_of(entry);
  }
}

void wait_for(Task& task) {
  static fd_set set, none;
  FD_ZERO(&none);
  FD_SET(task.fd, &set);
  epoll_event event;
  pollfd writable{task.fd, POLLOUT, 0};
  switch (task.what) {
    case What::kPoll:
      must(poll(&writable, 1, -1), "poll");
      break;
    case What::kSelect:
      must(select(task.fd + 1, &none, &set, nullptr, nullptr), "select");
      break;
    case What::kPselect:
      must(pselect(task.fd + 1, &none, &set, nullptr, nullptr, nullptr), "pselect");
      break;
    case What::kEpoll:
      event = {EPOLLOUT, {}};
      must(epoll_ctl(task.set, EPOLL_CTL_ADD, task.fd, &event), "epoll_ctl");
      must(epoll_wait(task.set, &event, 1, -1), "epoll_wait");
      break;
    default:
      // Asked again until it is over.
      while (connect(task.fd, task.to.get(), task.to.length) != 0 &&
             (errno == EALREADY || errno == EINPROGRESS)) {
        sleep_ms(1);
      }
  }
}

void* run(void* argument) {
  Task& task = *static_cast<Task*>(argument);
  if (task.what <= What::kGethostbynameR) {
    look_up_only(task);
    return nullptr;
  }
  const int result = connect(task.fd, task.to.get(), task.to.length);
  task.error = result == 0 ? 0 : errno;
  if (task.what == What::kBlocking || task.error != EINPROGRESS) return nullptr;
  wait_for(task);
  task.error = get_option<int>(task.fd, SOL_SOCKET, SO_ERROR);
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  limit_time(10);
  const Arguments arguments(argc, argv);
  const std::map<std::string, What> whats{{"getaddrinfo", What::kGetaddrinfo},
                                          {"gethostbyname", What::kGethostbyname},
                                          {"gethostbyname_r", What::kGethostbynameR},
                                          {"blocking", What::kBlocking},
                                          {"poll", What::kPoll},
                                          {"select", What::kSelect},
                                          {"pselect", What::kPselect},
                                          {"epoll", What::kEpoll},
                                          {"connect", What::kConnect}};
  static Task task;
  task.what = whats.at(arguments.text("what"));
  const std::string host = arguments.text("host"), port = arguments.text("port");
  task.host = host.c_str();
  task.port = port.c_str();
  if (task.what > What::kGethostbynameR) {
    task.to = look_up(host, arguments.number("port")).front();
    const bool blocks = task.what == What::kBlocking;
    task.fd =
        must(socket(task.to.family(), SOCK_STREAM | (blocks ? 0 : SOCK_NONBLOCK), 0), "socket");
    task.set = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  }

  constexpr std::size_t kGuard = 64 * 1024;
  const std::size_t size = static_cast<std::size_t>(arguments.number("stack")) * 1024;
  void* memory = mmap(nullptr, kGuard + size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  require(memory != MAP_FAILED, "mmap");
  char* stack = static_cast<char*>(memory) + kGuard;
  must(mprotect(stack, size, PROT_READ | PROT_WRITE), "mprotect");
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  require(pthread_attr_setstack(&attributes, stack, size) == 0, "pthread_attr_setstack");
  pthread_t thread;
  require(pthread_create(&thread, &attributes, run, &task) == 0, "pthread_create");
  pthread_join(thread, nullptr);
  std::size_t unused = 0;
  while (unused < size && stack[unused] == 0) ++unused;
  printf("error=%s addresses=%d peer=%s used=%zu\n",
         task.what <= What::kGethostbynameR ? "0" : error_name(task.error), task.addresses,
         task.fd >= 0 ? peer_of(task.fd).c_str() : "none", size - unused);
}
