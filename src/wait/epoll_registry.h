// What the program told epoll_ctl(2) of each descriptor, and who waits on which epoll set: an event
// carries only the program's own data, and this tells which descriptor it is about.
//
// Remembered whether or not a connect is under way, because programs register a socket before they
// connect it (nginx, Asio, .NET). Costs a few nanoseconds a call and never decides anything. No
// lock; async-signal-safe.
#pragma once

#include <sys/epoll.h>

#include <cstdint>

namespace nextaddr {

struct Registration {
  int epoll;
  std::uint32_t events;
  std::uint64_t data;
  bool several;  // in more than one epoll set: this is the last one
};

// One epoll_ctl call. What it registers is noted before the kernel is told, because another thread
// may fetch the first event before epoll_ctl(2) has returned.
class NotedCall {
 public:
  NotedCall(int epoll, int operation, int fd, const epoll_event* event);
  // The kernel has accepted it, or not.
  void end(bool accepted) const;

 private:
  int epoll_;
  int operation_;
  int fd_;
  std::uint32_t set_before_ = 0;
  std::uint32_t events_before_ = 0;
  std::uint64_t data_before_ = 0;
};

// What is known of `fd`; false when it is in no epoll set.
bool registration_of(int fd, Registration& out);

// Reads from the kernel whether `fd` is in `epoll` with `data` (/proc/self/fdinfo); slow.
bool registered_with(int epoll, int fd, std::uint64_t data);

// The next descriptor above `after` that is in `epoll` with this `data`, as far as is known (it may
// have been closed); -1: no more.
int next_registered_alike(int epoll, std::uint64_t data, int after);

// This thread is about to wait on `epoll`.
void note_waiter(int epoll);
// Another thread than this one has waited on `epoll`, and may be asleep there.
bool others_wait_on(int epoll);

}  // namespace nextaddr
