// A module for dlopen(3), which connects by whatever connect it has been bound to.
// Must never be preloaded, nor look anything up.
#include <poll.h>
#include <sys/socket.h>

extern "C" int connect_in_module(int fd, const sockaddr* address, socklen_t length) {
  return connect(fd, address, length);
}

extern "C" int wait_in_module(int fd, int timeout_ms) {
  pollfd socket{fd, POLLOUT, 0};
  return poll(&socket, 1, timeout_ms) == 1 ? socket.revents : 0;
}
