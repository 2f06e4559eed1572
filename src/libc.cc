#include "libc.h"

#include <dlfcn.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

namespace nextaddr::libc {
namespace {

// One function of the next object in the search order. Constant-initialised: another library's
// constructor, or an allocator's, may call a hook before ours has run.
template <typename Function>
class Next {
 public:
  explicit constexpr Next(const char* name) : name_(name) {}

  // Null when no later object has it (another libc). errno is left alone.
  Function* get() {
    Function* found = cached_.load(std::memory_order_acquire);
    return found != nullptr ? found : look_up();
  }

 private:
  __attribute__((noinline, cold)) Function* look_up() {
    const int saved = errno;
    auto* found = reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name_));
    errno = saved;
    cached_.store(found, std::memory_order_release);
    return found;
  }

  const char* name_;
  std::atomic<Function*> cached_{nullptr};
};

constinit Next<decltype(libc::connect)> next_connect{"connect"};
constinit Next<decltype(libc::poll)> next_poll{"poll"};
constinit Next<decltype(libc::getaddrinfo)> next_getaddrinfo{"getaddrinfo"};
constinit Next<decltype(libc::getaddrinfo_a)> next_getaddrinfo_a{"getaddrinfo_a"};
constinit Next<decltype(libc::gai_error)> next_gai_error{"gai_error"};
constinit Next<decltype(libc::gethostbyname)> next_gethostbyname{"gethostbyname"};
constinit Next<decltype(libc::gethostbyname2)> next_gethostbyname2{"gethostbyname2"};
constinit Next<decltype(libc::gethostbyname_r)> next_gethostbyname_r{"gethostbyname_r"};
constinit Next<decltype(libc::gethostbyname2_r)> next_gethostbyname2_r{"gethostbyname2_r"};

}  // namespace

int connect(int fd, const sockaddr* address, socklen_t length) {
  auto* next = next_connect.get();
  // A process without a libc connect cannot have called us, except through our own name.
  if (next == nullptr) return static_cast<int>(syscall(SYS_connect, fd, address, length));
  return next(fd, address, length);
}

int poll(pollfd* fds, nfds_t count, int timeout_ms) {
  auto* next = next_poll.get();
  if (next == nullptr) {
    errno = ENOSYS;
    return -1;
  }
  return next(fds, count, timeout_ms);
}

int getaddrinfo(const char* node, const char* service, const addrinfo* hints, addrinfo** result) {
  auto* next = next_getaddrinfo.get();
  return next != nullptr ? next(node, service, hints, result) : EAI_FAIL;
}

int getaddrinfo_a(int mode, gaicb* list[], int count, sigevent* event) {
  auto* next = next_getaddrinfo_a.get();
  return next != nullptr ? next(mode, list, count, event) : EAI_FAIL;
}

int gai_error(gaicb* request) {
  auto* next = next_gai_error.get();
  return next != nullptr ? next(request) : EAI_FAIL;
}

hostent* gethostbyname(const char* name) {
  auto* next = next_gethostbyname.get();
  return next != nullptr ? next(name) : nullptr;
}

hostent* gethostbyname2(const char* name, int family) {
  auto* next = next_gethostbyname2.get();
  return next != nullptr ? next(name, family) : nullptr;
}

int gethostbyname_r(const char* name, hostent* entry, char* buffer, size_t size, hostent** result,
                    int* error) {
  auto* next = next_gethostbyname_r.get();
  return next != nullptr ? next(name, entry, buffer, size, result, error) : ENOSYS;
}

int gethostbyname2_r(const char* name, int family, hostent* entry, char* buffer, size_t size,
                     hostent** result, int* error) {
  auto* next = next_gethostbyname2_r.get();
  return next != nullptr ? next(name, family, entry, buffer, size, result, error) : ENOSYS;
}

void resolve_signal_safe() {
  next_connect.get();
  next_poll.get();
}

}  // namespace nextaddr::libc
