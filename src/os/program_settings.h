// What the program has set on a socket that an attempt of ours would lose: its time limit, which we
// borrow, and what the kernel forgets when an attempt is taken back. Read before the first attempt,
// put back after each that was taken back. Must never set what the program has not set.
//
// Nothing of it costs a system call until the program has used it on some socket: the hooks of
// setsockopt(2) and bind(2) note that. Async-signal-safe.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

namespace nextaddr {

// The program has just set this option on this socket.
void note_option(int fd, int level, int name);
// The program has just bound this socket to this address.
void note_bind(int fd, const sockaddr* address, socklen_t length);

// True once TCP_FASTOPEN_CONNECT was used.
bool fastopen_connect_was_used();

// Like note_option() for the SO_SNDTIMEO that this socket may have come with from another process,
// which has set it.
void look_for_send_timeout(int fd);

struct ProgramSettings {
  timeval send_timeout{};  // SO_SNDTIMEO; zero: none
  int max_segment = 0;     // TCP_MAXSEG; 0: none
  int window_clamp = 0;    // TCP_WINDOW_CLAMP; 0: none
  int peek_offset = -1;    // SO_PEEK_OFF; -1: none
  sockaddr_in6 bound{};    // what it was bound to, without naming a port; no family: nothing
  socklen_t bound_length = 0;
  bool is_steered = false;    // it goes a way of its own: is_steered() of os/socket.h
  bool has_own_port = false;  // the program has named its port by bind(2)

  // The settings of a socket that is about to be connected. `waits`: in connect(2), where
  // SO_SNDTIMEO counts.
  static ProgramSettings of(int fd, bool waits);

  // The program has bound it, whatever to.
  [[nodiscard]] bool is_bound() const { return has_own_port || bound_length != 0; }

  // Puts them back after the attempt of this socket was taken back. False when somebody else has
  // got the port.
  [[nodiscard]] bool put_back(int socket) const;

 private:
  void read_options(int fd);
};

}  // namespace nextaddr
