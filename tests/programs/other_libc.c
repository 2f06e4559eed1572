// Connects to the first address of a host only, with nothing but POSIX: the program for another libc than glibc.
// Must never need what only glibc has.
//
// HOST PORT. Prints the address of its peer, and ends with status 1 if there is none.
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char** argv) {
  struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
  struct addrinfo* list = NULL;
  if (argc != 3 || getaddrinfo(argv[1], argv[2], &hints, &list) != 0) return 2;
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(fd, list->ai_addr, list->ai_addrlen) != 0) return 1;
  freeaddrinfo(list);

  struct sockaddr_in peer;
  socklen_t length = sizeof peer;
  char text[INET_ADDRSTRLEN];
  if (getpeername(fd, (struct sockaddr*)&peer, &length) != 0) return 1;
  puts(inet_ntop(AF_INET, &peer.sin_addr, text, sizeof text));
  close(fd);
  return 0;
}
