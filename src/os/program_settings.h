// What the program has set on a socket that an attempt of ours would lose: its time limit, which we
// borrow, and what the kernel forgets when an attempt is taken back. Read before the first attempt,
// put back after each that was taken back. Must never set what the program has not set.
//
// Nothing of it costs a system call until the program has used it on some socket: the hooks of
// setsockopt(2) and bind(2) note that. Async-signal-safe.
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>

namespace nextaddr {

// What an option is to us. (SO_SNDTIMEO has two names: the second is the one with 64-bit time on
// 32-bit machines.)
enum class OptionKind { kOther, kFastopen, kKept, kSendTimeout, kSteering };
constexpr OptionKind option_kind(int level, int name) {
  if (level == IPPROTO_TCP) {
    if (name == TCP_FASTOPEN_CONNECT) return OptionKind::kFastopen;
    return name == TCP_MAXSEG || name == TCP_WINDOW_CLAMP ? OptionKind::kKept : OptionKind::kOther;
  }
  if (level != SOL_SOCKET) return OptionKind::kOther;
  switch (name) {
    case SO_PEEK_OFF:
      return OptionKind::kKept;
    case SO_SNDTIMEO_OLD:
    case SO_SNDTIMEO_NEW:
      return OptionKind::kSendTimeout;
    case SO_MARK:
    case SO_BINDTODEVICE:
    case SO_BINDTOIFINDEX:
      return OptionKind::kSteering;
    default:
      return OptionKind::kOther;
  }
}

// The program is about to set an option of this kind on this socket.
void note_option(int fd, OptionKind kind);
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
