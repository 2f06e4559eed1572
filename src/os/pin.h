// A duplicate of one of the program's sockets, for the microseconds of a step that changes it: the
// program may close the descriptor in another thread meanwhile, and its number may be another
// socket's the next moment, but a duplicate stays the socket it was made of.
//
// Must never outlive a step: a duplicate keeps the socket, and its epoll registrations, alive after
// the program has closed it; nor get into a forked child. Whoever makes one holds back signals, and
// the hooks of close(2) and its kin wait for the holder of the connect
// (connect/pending_connects.h).
#pragma once

#include <cstdint>

#include "os/signals.h"

namespace nextaddr {

// SO_COOKIE or, where there is none, the socket's inode: tells this socket from a later one with
// the same descriptor number. 0: it is no socket.
std::uint64_t socket_cookie(int fd);

// Gives a descriptor that we have just opened, or -1, a number that no program counts on, because
// another thread may be about to give the low one to something of the program's. -1: none is free.
int move_high(int fd);

// As long as this lives no thread forks: for a descriptor of ours that is to be in no child.
// Whoever has one holds back signals.
class ForksHeldBack {
 public:
  ForksHeldBack();
  ~ForksHeldBack();
  ForksHeldBack(const ForksHeldBack&) = delete;
  ForksHeldBack& operator=(const ForksHeldBack&) = delete;

 private:
  const Uncancelled uncancelled_;
};

class Pin {
 public:
  // Pins `fd`, if that still is the socket with this cookie. Where no descriptor is to be had, or
  // in a sandbox, the step works on `fd` itself.
  Pin(int fd, std::uint64_t cookie);
  ~Pin();
  Pin(const Pin&) = delete;
  Pin& operator=(const Pin&) = delete;

  // The descriptor to work on; -1 when the number has another socket by now, or none.
  [[nodiscard]] int socket() const { return socket_; }

 private:
  const ForksHeldBack forks_held_back_;
  int socket_ = -1;
  bool is_duplicate_ = false;
};

// Around a fork: hold_pins_back() before and let_pins_be() after it, in the parent. No thread has a
// pin, or makes one, when the child comes into being, which would keep it and with it a connection
// of its parent's. Waits for the microseconds that one lasts; some 0.1 s at most.
void hold_pins_back();
void let_pins_be();
// In the child, where no other thread is left: forgets the pins of the parent's threads.
void forget_pins_of_parent();

}  // namespace nextaddr
