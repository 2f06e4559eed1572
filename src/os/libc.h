// The real libc functions behind our exported names: the next definition in the search order, so
// that other preloads after us keep working. Nothing else may call a name we export.
//
// Each is looked up once and cached; the constructor does so for those that must be
// async-signal-safe, because dlsym(3) is not. All have the signature, errors and cancellation
// behaviour of the original.
#pragma once

#include <netdb.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <atomic>

#include "os/time64.h"

namespace nextaddr::libc {

int connect(int fd, const sockaddr* address, socklen_t length);
int bind(int fd, const sockaddr* address, socklen_t length);
int poll(pollfd* fds, nfds_t count, int timeout_ms);
int ppoll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask);
int select(int count, fd_set* read, fd_set* write, fd_set* except, timeval* timeout);
int pselect(int count, fd_set* read, fd_set* write, fd_set* except, const timespec* timeout,
            const sigset_t* mask);
int epoll_ctl(int epoll, int operation, int fd, epoll_event* event);
int epoll_wait(int epoll, epoll_event* events, int size, int timeout_ms);
int epoll_pwait(int epoll, epoll_event* events, int size, int timeout_ms, const sigset_t* mask);
int epoll_pwait2(int epoll, epoll_event* events, int size, const timespec* timeout,
                 const sigset_t* mask);
ssize_t sendto(int fd, const void* data, size_t size, int flags, const sockaddr* address,
               socklen_t length);
ssize_t sendmsg(int fd, const msghdr* message, int flags);
int sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags);
int setsockopt(int fd, int level, int name, const void* value, socklen_t length);
int getsockopt(int fd, int level, int name, void* value, socklen_t* length);

#ifdef NEXTADDR_HAS_TIME64
// The same for programs with 64-bit time: glibc has them since 2.34.
int ppoll64(pollfd* fds, nfds_t count, const Timespec64* timeout, const sigset_t* mask);
int select64(int count, fd_set* read, fd_set* write, fd_set* except, Timeval64* timeout);
int pselect64(int count, fd_set* read, fd_set* write, fd_set* except, const Timespec64* timeout,
              const sigset_t* mask);
int epoll_pwait2_time64(int epoll, epoll_event* events, int size, const Timespec64* timeout,
                        const sigset_t* mask);
ssize_t sendmsg64(int fd, const msghdr* message, int flags);
ssize_t recvmsg64(int fd, msghdr* message, int flags);
int sendmmsg64(int fd, mmsghdr* messages, unsigned count, int flags);
int recvmmsg64(int fd, mmsghdr* messages, unsigned count, int flags, Timespec64* timeout);
int setsockopt64(int fd, int level, int name, const void* value, socklen_t length);
int getsockopt64(int fd, int level, int name, void* value, socklen_t* length);
#endif

int getaddrinfo(const char* node, const char* service, const addrinfo* hints, addrinfo** result);
int getaddrinfo_a(int mode, gaicb* list[], int count, sigevent* event);
int gai_error(gaicb* request);
hostent* gethostbyname(const char* name);
hostent* gethostbyname2(const char* name, int family);
int gethostbyname_r(const char* name, hostent* entry, char* buffer, size_t size, hostent** result,
                    int* error);
int gethostbyname2_r(const char* name, int family, hostent* entry, char* buffer, size_t size,
                     hostent** result, int* error);

// The lookups of libresolv, which is part of libc since glibc 2.34; there it is also found where
// the program has it only for a module. Where there is none: -1, and h_errno as for any internal
// error. `state` is a res_state.
int res_query(const char* name, int of_class, int type, unsigned char* answer, int room);
int res_search(const char* name, int of_class, int type, unsigned char* answer, int room);
int res_querydomain(const char* name, const char* domain, int of_class, int type,
                    unsigned char* answer, int room);
int res_send(const unsigned char* query, int size, unsigned char* answer, int room);
int res_nquery(void* state, const char* name, int of_class, int type, unsigned char* answer,
               int room);
int res_nsearch(void* state, const char* name, int of_class, int type, unsigned char* answer,
                int room);
int res_nquerydomain(void* state, const char* name, const char* domain, int of_class, int type,
                     unsigned char* answer, int room);
int res_nsend(void* state, const unsigned char* query, int size, unsigned char* answer, int room);

ssize_t send(int fd, const void* data, size_t size, int flags);
ssize_t recv(int fd, void* data, size_t size, int flags);
ssize_t recvfrom(int fd, void* data, size_t size, int flags, sockaddr* address, socklen_t* length);
ssize_t recvmsg(int fd, msghdr* message, int flags);
int recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags, timespec* timeout);
int getpeername(int fd, sockaddr* address, socklen_t* length);

// These may be called by whoever starts, before dlsym(3) may be: until resolve_first() they are
// system calls, which are no cancellation points.
int close(int fd);
ssize_t read(int fd, void* data, size_t size);
ssize_t readv(int fd, const iovec* parts, int count);
ssize_t write(int fd, const void* data, size_t size);
ssize_t writev(int fd, const iovec* parts, int count);
int dup2(int from, int to);
int dup3(int from, int to, int flags);
// Where libc has none (before glibc 2.34), the system call.
int close_range(unsigned first, unsigned last, int flags);
void closefrom(int first);

int prctl(int option, unsigned long second, unsigned long third, unsigned long fourth,
          unsigned long fifth);

// Changes of credentials.
int setuid(uid_t user);
int seteuid(uid_t effective);
int setreuid(uid_t real, uid_t effective);
int setresuid(uid_t real, uid_t effective, uid_t saved);
int setgid(gid_t group);
int setegid(gid_t effective);
int setregid(gid_t real, gid_t effective);
int setresgid(gid_t real, gid_t effective, gid_t saved);
int capset(void* header, const void* data);

// Ends the program as glibc's fortified functions do (__chk_fail); no function of libc's interface.
[[noreturn]] void buffer_overflow_detected();

// __libc_single_threaded of glibc 2.32: not 0 while the process has one thread. Null: there is
// none.
inline constinit std::atomic<const char*> single_threaded_flag{nullptr};
// False also where libc does not tell.
inline bool is_single_threaded() {
  const char* flag = single_threaded_flag.load(std::memory_order_relaxed);
  return flag != nullptr && *flag != 0;
}

// False where another library leads connections elsewhere: it has its own connect(2), before ours
// or between ours and libc's (torsocks, proxychains). Known since resolve_signal_safe().
inline constinit std::atomic<bool> connect_is_plain{true};

// These are called around each fork(2) from now on, the last one in the child: not around vfork(2),
// posix_spawn(3) or a clone(2) of the program's own. Nothing where libc has no such thing.
void at_fork(void (*before)(), void (*in_parent)(), void (*in_child)());

// Resolves what is a system call until then. Also where the library does nothing.
void resolve_first();
// Resolves what signal handlers may call. Not async-signal-safe itself.
void resolve_signal_safe();

}  // namespace nextaddr::libc
