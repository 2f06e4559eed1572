// Connects to the first address of a host only, with nothing but POSIX and epoll: the program for another libc than
// glibc. Must never need what only glibc has.
//
// HOST PORT HOW: blocking, or without blocking and then one wait: poll, ppoll, select, pselect, epoll_wait,
// epoll_pwait. Prints the address of its peer, and ends with status 1 if there is none.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

enum { kPatience = 5 };

static int wait_for(int fd, const char* how) {
  struct pollfd one = {.fd = fd, .events = POLLOUT};
  const struct timespec limit = {.tv_sec = kPatience};
  struct timeval left = {.tv_sec = kPatience};
  if (strcmp(how, "poll") == 0) return poll(&one, 1, kPatience * 1000);
  if (strcmp(how, "ppoll") == 0) return ppoll(&one, 1, &limit, NULL);

  fd_set set;
  FD_ZERO(&set);
  FD_SET(fd, &set);
  if (strcmp(how, "select") == 0) return select(fd + 1, NULL, &set, NULL, &left);
  if (strcmp(how, "pselect") == 0) return pselect(fd + 1, NULL, &set, NULL, &limit, NULL);

  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLOUT, .data = {.ptr = &one}};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) return -1;
  const int found = strcmp(how, "epoll_wait") == 0 ? epoll_wait(epoll, &event, 1, kPatience * 1000)
                                                   : epoll_pwait(epoll, &event, 1, kPatience * 1000, NULL);
  close(epoll);
  return event.data.ptr == &one && (event.events & ~(unsigned)EPOLLOUT) == 0 ? found : -1;
}

int main(int argc, char** argv) {
  struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
  struct addrinfo* list = NULL;
  if (argc != 4 || getaddrinfo(argv[1], argv[2], &hints, &list) != 0) return 2;
  const int blocks = strcmp(argv[3], "blocking") == 0;
  const int fd = socket(AF_INET, blocks ? SOCK_STREAM : SOCK_STREAM | SOCK_NONBLOCK, 0);
  const int result = connect(fd, list->ai_addr, list->ai_addrlen);
  freeaddrinfo(list);
  if (blocks ? result != 0 : result == 0 || errno != EINPROGRESS || wait_for(fd, argv[3]) != 1) return 1;

  int error = -1;
  socklen_t length = sizeof error;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error != 0) return 1;
  struct sockaddr_in peer;
  char text[INET_ADDRSTRLEN];
  length = sizeof peer;
  if (getpeername(fd, (struct sockaddr*)&peer, &length) != 0) return 1;
  puts(inet_ntop(AF_INET, &peer.sin_addr, text, sizeof text));
  close(fd);
  return 0;
}
