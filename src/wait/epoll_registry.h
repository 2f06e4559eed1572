// What the program told epoll_ctl(2) of each descriptor, and who waits on which epoll set: an event
// carries only the program's own data, and this tells which descriptor it is about.
//
// Remembered whether or not a connect is under way, because programs register a socket before they
// connect it (nginx, Asio, .NET). Costs a few nanoseconds a call and never decides anything. No
// lock; async-signal-safe.
#pragma once

#include <sys/epoll.h>

#include <cstdint>

#include "connect/pending_connects.h"

namespace nextaddr {

struct Registration {
  int epoll;
  std::uint32_t events;
  std::uint64_t data;
  bool several;  // in more than one epoll set: this is the last one
};

// One epoll_ctl(2) call. What it registers is noted before the kernel is told, because another
// thread may fetch the first event before epoll_ctl(2) has returned.
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

// Visits the descriptors with a connect pending that are in `epoll`, or may be: programs register
// by a duplicate of the set's descriptor (mio), by io_uring (libuv 1.51), or nest sets.
void for_each_pending_in(int epoll, const DescriptorVisitor& visit);

// Visits those descriptors with a connect pending that are in `epoll` with `data`, and of which
// that is not known here: the kernel is asked (/proc/self/fdinfo; slow, and not at all when there
// can be none). `events`: what they are registered for.
using RegistrationVisitor = Callable<void, int, std::uint32_t>;
void for_each_pending_known_to_kernel(int epoll, std::uint64_t data,
                                      const RegistrationVisitor& visit);

// The next descriptor above `after` that is in `epoll` with this `data`, as far as is known (it may
// have been closed); -1: no more.
int next_registered_alike(int epoll, std::uint64_t data, int after);

// This thread is about to wait on `epoll`.
void note_waiter(int epoll);
// True when another thread than this one may be asleep in `epoll`: one has waited there, or none
// ever has by this number, so that it may be waited on by a duplicate, by poll(2), or from within
// another set.
bool others_wait_on(int epoll);

}  // namespace nextaddr
