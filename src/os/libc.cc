#include "os/libc.h"

#include <dlfcn.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstring>

#include "os/errno_kept.h"
#include "os/kernel.h"
#include "os/symbol_versions.h"

NEXTADDR_OLDEST_VERSION(dlsym);

// glibc before 2.34 has dlsym in libdl. To need that would load it into every process, on every
// glibc, which takes as long there as all else we do. So dlsym may be missing: where it is, libdl
// is opened by what those versions have for themselves. That is private, and so taken without a
// version: a newer glibc, or another libc, need not have it.
#ifdef NEXTADDR_FIRST_GLIBC
#pragma weak dlsym
extern "C" {
__attribute__((weak)) void* __libc_dlopen_mode(const char* file, int mode);
__attribute__((weak)) void* __libc_dlsym(void* library, const char* name);
}
#endif

namespace nextaddr::libc {
namespace {

using Dlsym = void*(void*, const char*);

#ifdef NEXTADDR_FIRST_GLIBC

// What dlopen adds to the mode, __RTLD_DLOPEN.
constexpr int kAsDlopen = static_cast<int>(0x80000000);

constinit std::atomic<Dlsym*> fetched_dlsym{nullptr};

// Null where there is no libdl either.
__attribute__((noinline, cold)) Dlsym* fetch_dlsym() {
  if (__libc_dlopen_mode == nullptr || __libc_dlsym == nullptr) return nullptr;
  void* libdl = __libc_dlopen_mode("libdl.so.2", RTLD_NOW | kAsDlopen);
  if (libdl == nullptr) return nullptr;
  auto* fetched = reinterpret_cast<Dlsym*>(__libc_dlsym(libdl, "dlsym"));
  fetched_dlsym.store(fetched, std::memory_order_release);
  return fetched;
}

Dlsym* find_dlsym() {
  if (dlsym != nullptr) return dlsym;
  Dlsym* fetched = fetched_dlsym.load(std::memory_order_acquire);
  return fetched != nullptr ? fetched : fetch_dlsym();
}

#else

Dlsym* find_dlsym() { return dlsym; }

#endif

// RTLD_NEXT goes by the object that calls, so that must be ours. Null also when there is no dlsym.
void* find_symbol(void* where, const char* name) {
  Dlsym* find = find_dlsym();
  return find != nullptr ? find(where, name) : nullptr;
}

// One function of the next object in the search order. Constant-initialised: another library's
// constructor, or an allocator's, may call a hook before ours has run.
class NextSymbol {
 public:
  explicit constexpr NextSymbol(const char* name) : name_(name) {}

  // Null until it has been looked up.
  void* known() const { return cached_.load(std::memory_order_acquire); }
  void* get() { return known() != nullptr ? known() : look_up(); }

 private:
  void* look_up();

  const char* name_;
  std::atomic<void*> cached_{nullptr};
};

__attribute__((noinline, cold)) void* NextSymbol::look_up() {
  const ErrnoKept errno_kept;
  void* found = find_symbol(RTLD_NEXT, name_);
  cached_.store(found, std::memory_order_release);
  return found;
}

template <typename Function>
class Next {
 public:
  explicit constexpr Next(const char* name) : symbol_(name) {}

  // Null when no later object has it (another libc). errno is left alone.
  Function* get() { return reinterpret_cast<Function*>(symbol_.get()); }
  Function* known() const { return reinterpret_cast<Function*>(symbol_.known()); }

 private:
  NextSymbol symbol_;
};

constinit Next<decltype(libc::connect)> next_connect{"connect"};
constinit Next<decltype(libc::bind)> next_bind{"bind"};
constinit Next<decltype(libc::poll)> next_poll{"poll"};
constinit Next<decltype(libc::ppoll)> next_ppoll{"ppoll"};
constinit Next<decltype(libc::select)> next_select{"select"};
constinit Next<decltype(libc::pselect)> next_pselect{"pselect"};
constinit Next<decltype(libc::epoll_ctl)> next_epoll_ctl{"epoll_ctl"};
constinit Next<decltype(libc::epoll_wait)> next_epoll_wait{"epoll_wait"};
constinit Next<decltype(libc::epoll_pwait)> next_epoll_pwait{"epoll_pwait"};
constinit Next<decltype(libc::epoll_pwait2)> next_epoll_pwait2{"epoll_pwait2"};
constinit Next<decltype(libc::getsockopt)> next_getsockopt{"getsockopt"};
constinit Next<decltype(libc::sendto)> next_sendto{"sendto"};
constinit Next<decltype(libc::sendmsg)> next_sendmsg{"sendmsg"};
constinit Next<decltype(libc::sendmmsg)> next_sendmmsg{"sendmmsg"};
constinit Next<decltype(libc::recvmmsg)> next_recvmmsg{"recvmmsg"};
constinit Next<decltype(libc::setsockopt)> next_setsockopt{"setsockopt"};
constinit Next<decltype(libc::send)> next_send{"send"};
constinit Next<decltype(libc::recv)> next_recv{"recv"};
constinit Next<decltype(libc::recvfrom)> next_recvfrom{"recvfrom"};
constinit Next<decltype(libc::recvmsg)> next_recvmsg{"recvmsg"};
constinit Next<decltype(libc::getpeername)> next_getpeername{"getpeername"};
constinit Next<decltype(libc::read)> next_read{"read"};
constinit Next<decltype(libc::readv)> next_readv{"readv"};
constinit Next<decltype(libc::write)> next_write{"write"};
constinit Next<decltype(libc::writev)> next_writev{"writev"};
constinit Next<decltype(libc::close)> next_close{"close"};
constinit Next<decltype(libc::dup2)> next_dup2{"dup2"};
constinit Next<decltype(libc::dup3)> next_dup3{"dup3"};
constinit Next<decltype(libc::close_range)> next_close_range{"close_range"};
constinit Next<decltype(libc::closefrom)> next_closefrom{"closefrom"};
constinit Next<decltype(libc::getaddrinfo)> next_getaddrinfo{"getaddrinfo"};
constinit Next<decltype(libc::getaddrinfo_a)> next_getaddrinfo_a{"getaddrinfo_a"};
constinit Next<decltype(libc::gai_error)> next_gai_error{"gai_error"};
constinit Next<decltype(libc::gethostbyname)> next_gethostbyname{"gethostbyname"};
constinit Next<decltype(libc::gethostbyname2)> next_gethostbyname2{"gethostbyname2"};
constinit Next<decltype(libc::gethostbyname_r)> next_gethostbyname_r{"gethostbyname_r"};
constinit Next<decltype(libc::gethostbyname2_r)> next_gethostbyname2_r{"gethostbyname2_r"};

// Null where the process has no libresolv beside libc.
void* resolver_library() {
  constexpr const char* kName = "libresolv.so.2";
  using Dlopen = void*(const char*, int);
  if (auto* open = reinterpret_cast<Dlopen*>(find_symbol(RTLD_DEFAULT, "dlopen"))) {
    return open(kName, RTLD_LAZY | RTLD_NOLOAD);
  }
#ifdef NEXTADDR_FIRST_GLIBC
  if (__libc_dlopen_mode != nullptr) {
    return __libc_dlopen_mode(kName, RTLD_LAZY | RTLD_NOLOAD | kAsDlopen);
  }
#endif
  return nullptr;
}

// A function of libresolv, by the name with two underscores. Before glibc 2.34 that is a library of
// its own, and may have only these names, which in newer ones nobody can ask for by hand. A module
// that is loaded later may have brought it along for itself: then it is not after us, but there.
void* find_in_resolver(const char* name) {
  for (const char* each : {name + 2, name}) {
    if (void* found = find_symbol(RTLD_NEXT, each)) return found;
  }
  void* library = resolver_library();
  if (library == nullptr) return nullptr;
  void* found = find_symbol(library, name + 2);
  return found != nullptr ? found : find_symbol(library, name);
}

// Variadic, as libc declares it: that may be another way to be called.
constinit Next<int(int, ...)> next_prctl{"prctl"};
constinit Next<decltype(libc::setuid)> next_setuid{"setuid"};
constinit Next<decltype(libc::seteuid)> next_seteuid{"seteuid"};
constinit Next<decltype(libc::setreuid)> next_setreuid{"setreuid"};
constinit Next<decltype(libc::setresuid)> next_setresuid{"setresuid"};
constinit Next<decltype(libc::setgid)> next_setgid{"setgid"};
constinit Next<decltype(libc::setegid)> next_setegid{"setegid"};
constinit Next<decltype(libc::setregid)> next_setregid{"setregid"};
constinit Next<decltype(libc::setresgid)> next_setresgid{"setresgid"};
constinit Next<decltype(libc::capset)> next_capset{"capset"};

#ifdef NEXTADDR_HAS_TIME64
constinit Next<decltype(libc::ppoll64)> next_ppoll64{"__ppoll64"};
constinit Next<decltype(libc::select64)> next_select64{"__select64"};
constinit Next<decltype(libc::pselect64)> next_pselect64{"__pselect64"};
constinit Next<decltype(libc::epoll_pwait2_time64)> next_epoll_pwait2_time64{
    "__epoll_pwait2_time64"};
constinit Next<decltype(libc::sendmsg64)> next_sendmsg64{"__sendmsg64"};
constinit Next<decltype(libc::recvmsg64)> next_recvmsg64{"__recvmsg64"};
constinit Next<decltype(libc::sendmmsg64)> next_sendmmsg64{"__sendmmsg64"};
constinit Next<decltype(libc::recvmmsg64)> next_recvmmsg64{"__recvmmsg64"};
constinit Next<decltype(libc::setsockopt64)> next_setsockopt64{"__setsockopt64"};
constinit Next<decltype(libc::getsockopt64)> next_getsockopt64{"__getsockopt64"};
#endif

}  // namespace

int connect(int fd, const sockaddr* address, socklen_t length) {
  auto* next = next_connect.get();
  // A process without a libc connect cannot have called us, except through our own name.
  if (next == nullptr) return static_cast<int>(syscall(SYS_connect, fd, address, length));
  return next(fd, address, length);
}

// The waits exist in every libc this loads into, but for epoll_pwait2 (glibc 2.35): -1 and ENOSYS,
// as the kernel answers for a call it does not know.
template <typename Result, typename... Arguments>
__attribute__((noinline, cold)) Result first_call(Next<Result(Arguments...)>& next,
                                                  Arguments... arguments) {
  auto* function = next.get();
  if (function != nullptr) return function(arguments...);
  errno = ENOSYS;
  return -1;
}

// Two jumps, no frame: what looks the function up stands apart.
template <typename Result, typename... Arguments>
Result call(Next<Result(Arguments...)>& next, Arguments... arguments) {
  auto* function = next.known();
  if (function != nullptr) return function(arguments...);
  return first_call(next, arguments...);
}

int close(int fd) {
  auto* next = next_close.known();
  return next != nullptr ? next(fd) : kernel::close(fd);
}

ssize_t read(int fd, void* data, size_t size) {
  auto* next = next_read.known();
  return next != nullptr ? next(fd, data, size) : kernel::read(fd, data, size);
}

ssize_t readv(int fd, const iovec* parts, int count) {
  auto* next = next_readv.known();
  return next != nullptr ? next(fd, parts, count) : syscall(SYS_readv, fd, parts, count);
}

ssize_t write(int fd, const void* data, size_t size) {
  auto* next = next_write.known();
  return next != nullptr ? next(fd, data, size) : kernel::write(fd, data, size);
}

ssize_t writev(int fd, const iovec* parts, int count) {
  auto* next = next_writev.known();
  return next != nullptr ? next(fd, parts, count) : syscall(SYS_writev, fd, parts, count);
}

int dup2(int from, int to) {
  auto* next = next_dup2.known();
  return next != nullptr ? next(from, to) : kernel::dup2(from, to);
}

int dup3(int from, int to, int flags) {
  auto* next = next_dup3.known();
  return next != nullptr ? next(from, to, flags) : kernel::dup3(from, to, flags);
}

int close_range(unsigned first, unsigned last, int flags) {
  auto* next = next_close_range.known();
  return next != nullptr ? next(first, last, flags) : kernel::close_range(first, last, flags);
}

void closefrom(int first) {
  auto* next = next_closefrom.known();
  if (next != nullptr) return next(first);
  kernel::close_range(first > 0 ? static_cast<unsigned>(first) : 0, ~0u, 0);
}

int poll(pollfd* fds, nfds_t count, int timeout_ms) {
  return call(next_poll, fds, count, timeout_ms);
}

int bind(int fd, const sockaddr* address, socklen_t length) {
  return call(next_bind, fd, address, length);
}

int ppoll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask) {
  return call(next_ppoll, fds, count, timeout, mask);
}

void buffer_overflow_detected() {
  // glibc's own way to end a program whose array is too small for its poll.
  auto* fail = reinterpret_cast<void (*)()>(find_symbol(RTLD_DEFAULT, "__chk_fail"));
  if (fail != nullptr) fail();
  __builtin_trap();
}

int select(int count, fd_set* read, fd_set* write, fd_set* except, timeval* timeout) {
  return call(next_select, count, read, write, except, timeout);
}

int pselect(int count, fd_set* read, fd_set* write, fd_set* except, const timespec* timeout,
            const sigset_t* mask) {
  return call(next_pselect, count, read, write, except, timeout, mask);
}

int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) {
  return call(next_epoll_ctl, epoll, operation, fd, event);
}

int epoll_wait(int epoll, epoll_event* events, int size, int timeout_ms) {
  return call(next_epoll_wait, epoll, events, size, timeout_ms);
}

int epoll_pwait(int epoll, epoll_event* events, int size, int timeout_ms, const sigset_t* mask) {
  return call(next_epoll_pwait, epoll, events, size, timeout_ms, mask);
}

int epoll_pwait2(int epoll, epoll_event* events, int size, const timespec* timeout,
                 const sigset_t* mask) {
  return call(next_epoll_pwait2, epoll, events, size, timeout, mask);
}

ssize_t sendto(int fd, const void* data, size_t size, int flags, const sockaddr* address,
               socklen_t length) {
  return call(next_sendto, fd, data, size, flags, address, length);
}

ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  return call(next_sendmsg, fd, message, flags);
}

int sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) {
  return call(next_sendmmsg, fd, messages, count, flags);
}

int recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags, timespec* timeout) {
  return call(next_recvmmsg, fd, messages, count, flags, timeout);
}

ssize_t send(int fd, const void* data, size_t size, int flags) {
  return call(next_send, fd, data, size, flags);
}

ssize_t recv(int fd, void* data, size_t size, int flags) {
  return call(next_recv, fd, data, size, flags);
}

ssize_t recvfrom(int fd, void* data, size_t size, int flags, sockaddr* address, socklen_t* length) {
  return call(next_recvfrom, fd, data, size, flags, address, length);
}

ssize_t recvmsg(int fd, msghdr* message, int flags) {
  return call(next_recvmsg, fd, message, flags);
}

int getpeername(int fd, sockaddr* address, socklen_t* length) {
  return call(next_getpeername, fd, address, length);
}

int setsockopt(int fd, int level, int name, const void* value, socklen_t length) {
  return call(next_setsockopt, fd, level, name, value, length);
}

int getsockopt(int fd, int level, int name, void* value, socklen_t* length) {
  return call(next_getsockopt, fd, level, name, value, length);
}

#ifdef NEXTADDR_HAS_TIME64

int ppoll64(pollfd* fds, nfds_t count, const Timespec64* timeout, const sigset_t* mask) {
  return call(next_ppoll64, fds, count, timeout, mask);
}

int select64(int count, fd_set* read, fd_set* write, fd_set* except, Timeval64* timeout) {
  return call(next_select64, count, read, write, except, timeout);
}

int pselect64(int count, fd_set* read, fd_set* write, fd_set* except, const Timespec64* timeout,
              const sigset_t* mask) {
  return call(next_pselect64, count, read, write, except, timeout, mask);
}

int epoll_pwait2_time64(int epoll, epoll_event* events, int size, const Timespec64* timeout,
                        const sigset_t* mask) {
  return call(next_epoll_pwait2_time64, epoll, events, size, timeout, mask);
}

ssize_t sendmsg64(int fd, const msghdr* message, int flags) {
  return call(next_sendmsg64, fd, message, flags);
}

int setsockopt64(int fd, int level, int name, const void* value, socklen_t length) {
  return call(next_setsockopt64, fd, level, name, value, length);
}

ssize_t recvmsg64(int fd, msghdr* message, int flags) {
  return call(next_recvmsg64, fd, message, flags);
}

int sendmmsg64(int fd, mmsghdr* messages, unsigned count, int flags) {
  return call(next_sendmmsg64, fd, messages, count, flags);
}

int recvmmsg64(int fd, mmsghdr* messages, unsigned count, int flags, Timespec64* timeout) {
  return call(next_recvmmsg64, fd, messages, count, flags, timeout);
}

int getsockopt64(int fd, int level, int name, void* value, socklen_t* length) {
  return call(next_getsockopt64, fd, level, name, value, length);
}

#endif

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

namespace {

// Looked up each time: beside a lookup that takes no time.
template <typename... Arguments>
int resolve_by(const char* function, Arguments... arguments) {
  const int saved = errno;
  void* found = find_in_resolver(function);
  errno = saved;
  if (found != nullptr) return reinterpret_cast<int (*)(Arguments...)>(found)(arguments...);
  h_errno = NETDB_INTERNAL;
  return fail_with(ENOSYS);
}

}  // namespace

int res_query(const char* name, int of_class, int type, unsigned char* answer, int room) {
  return resolve_by("__res_query", name, of_class, type, answer, room);
}

int res_search(const char* name, int of_class, int type, unsigned char* answer, int room) {
  return resolve_by("__res_search", name, of_class, type, answer, room);
}

int res_querydomain(const char* name, const char* domain, int of_class, int type,
                    unsigned char* answer, int room) {
  return resolve_by("__res_querydomain", name, domain, of_class, type, answer, room);
}

int res_send(const unsigned char* query, int size, unsigned char* answer, int room) {
  return resolve_by("__res_send", query, size, answer, room);
}

int res_nquery(void* state, const char* name, int of_class, int type, unsigned char* answer,
               int room) {
  return resolve_by("__res_nquery", state, name, of_class, type, answer, room);
}

int res_nsearch(void* state, const char* name, int of_class, int type, unsigned char* answer,
                int room) {
  return resolve_by("__res_nsearch", state, name, of_class, type, answer, room);
}

int res_nquerydomain(void* state, const char* name, const char* domain, int of_class, int type,
                     unsigned char* answer, int room) {
  return resolve_by("__res_nquerydomain", state, name, domain, of_class, type, answer, room);
}

int res_nsend(void* state, const unsigned char* query, int size, unsigned char* answer, int room) {
  return resolve_by("__res_nsend", state, query, size, answer, room);
}

int setuid(uid_t user) { return call(next_setuid, user); }
int seteuid(uid_t effective) { return call(next_seteuid, effective); }
int setreuid(uid_t real, uid_t effective) { return call(next_setreuid, real, effective); }
int setresuid(uid_t real, uid_t effective, uid_t saved) {
  return call(next_setresuid, real, effective, saved);
}
int setgid(gid_t group) { return call(next_setgid, group); }
int setegid(gid_t effective) { return call(next_setegid, effective); }
int setregid(gid_t real, gid_t effective) { return call(next_setregid, real, effective); }
int setresgid(gid_t real, gid_t effective, gid_t saved) {
  return call(next_setresgid, real, effective, saved);
}
int capset(void* header, const void* data) { return call(next_capset, header, data); }

int prctl(int option, unsigned long second, unsigned long third, unsigned long fourth,
          unsigned long fifth) {
  auto* next = next_prctl.get();
  if (next != nullptr) return next(option, second, third, fourth, fifth);
  return static_cast<int>(syscall(SYS_prctl, option, second, third, fourth, fifth));
}

void at_fork(void (*before)(), void (*in_parent)(), void (*in_child)()) {
  // glibc has pthread_atfork(3) not as a symbol but in each object, where it calls this.
  using Register = int(void (*)(), void (*)(), void (*)(), void*);
  if (void* found = find_symbol(RTLD_DEFAULT, "__register_atfork")) {
    reinterpret_cast<Register*>(found)(before, in_parent, in_child, nullptr);
    return;
  }
  using Atfork = int(void (*)(), void (*)(), void (*)());
  if (void* found = find_symbol(RTLD_DEFAULT, "pthread_atfork")) {
    reinterpret_cast<Atfork*>(found)(before, in_parent, in_child);
  }
}

void resolve_first() {
  next_read.get();
  next_readv.get();
  next_write.get();
  next_writev.get();
  next_close.get();
  next_dup2.get();
  next_dup3.get();
  next_close_range.get();
  next_closefrom.get();
}

namespace {

using Dladdr = int(const void*, Dl_info*);

// The sanitizers' own connect(2) leads nowhere else.
bool is_in(Dladdr* dladdr_function, const void* symbol, const Dl_info& object) {
  Dl_info found{};
  return symbol == nullptr || dladdr_function(symbol, &found) == 0 ||
         found.dli_fbase == object.dli_fbase || std::strstr(found.dli_fname, "san.so") != nullptr;
}

bool is_connect_plain() {
  // In libdl before glibc 2.34, and so perhaps not there.
  auto* find = reinterpret_cast<Dladdr*>(find_symbol(RTLD_DEFAULT, "dladdr"));
  Dl_info ours{};
  Dl_info libcs{};
  if (find == nullptr || find(reinterpret_cast<const void*>(&is_connect_plain), &ours) == 0 ||
      find(find_symbol(RTLD_NEXT, "gai_strerror"), &libcs) == 0) {
    return true;
  }
  return is_in(find, find_symbol(RTLD_DEFAULT, "connect"), ours) &&
         is_in(find, reinterpret_cast<const void*>(next_connect.get()), libcs);
}

}  // namespace

void resolve_signal_safe() {
  single_threaded_flag.store(
      static_cast<const char*>(find_symbol(RTLD_DEFAULT, "__libc_single_threaded")),
      std::memory_order_relaxed);
  next_connect.get();
  next_bind.get();
  next_poll.get();
  next_ppoll.get();
  next_select.get();
  next_pselect.get();
  next_epoll_ctl.get();
  next_epoll_wait.get();
  next_epoll_pwait.get();
  next_getsockopt.get();
  next_sendto.get();
  next_sendmmsg.get();
  next_recvmmsg.get();
  next_sendmsg.get();
  next_send.get();
  next_recv.get();
  next_recvfrom.get();
  next_recvmsg.get();
  next_getpeername.get();
  next_setsockopt.get();
  next_prctl.get();
  connect_is_plain.store(is_connect_plain(), std::memory_order_relaxed);
  next_setuid.get();
  next_seteuid.get();
  next_setreuid.get();
  next_setresuid.get();
  next_setgid.get();
  next_setegid.get();
  next_setregid.get();
  next_setresgid.get();
  next_capset.get();
#ifdef NEXTADDR_HAS_TIME64
  next_ppoll64.get();
  next_select64.get();
  next_pselect64.get();
  next_sendmsg64.get();
  next_sendmmsg64.get();
  next_recvmmsg64.get();
  next_recvmsg64.get();
  next_setsockopt64.get();
  next_getsockopt64.get();
#endif
}

}  // namespace nextaddr::libc
