// Signals around our own steps: held back while we hold something a handler must not jump out with,
// and judged after they have ended a wait. Must never leave the program's mask other than it was.
// Async-signal-safe.
#pragma once

#include <pthread.h>

#include <csignal>

namespace nextaddr {

// All signals of this thread are blocked as long as this lives. sigprocmask(2) is
// pthread_sigmask(3) by an older name: on Linux both are about one thread.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { sigprocmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

  // The program's own mask, for a wait that lets its signals in (ppoll(2)).
  [[nodiscard]] const sigset_t& before() const { return before_; }

 private:
  sigset_t before_;
};

// Acts on a cancellation of the thread that was requested before, as connect(2) does, and on none
// as long as this object lives.
class CancellationPoint {
 public:
  CancellationPoint();
  ~CancellationPoint() { pthread_setcancelstate(state_, nullptr); }
  CancellationPoint(const CancellationPoint&) = delete;
  CancellationPoint& operator=(const CancellationPoint&) = delete;

 private:
  int state_ = 0;
};

// Acts on no cancellation of the thread (pthreads(7), "Cancellation points") as long as this lives.
// No system call.
class Uncancelled {
 public:
  Uncancelled() { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state_); }
  ~Uncancelled() { pthread_setcancelstate(state_, nullptr); }
  Uncancelled(const Uncancelled&) = delete;
  Uncancelled& operator=(const Uncancelled&) = delete;

 private:
  int state_ = 0;
};

// Blocks signals, and acts on no cancellation of the thread, as long as this lives.
class Uninterrupted {
 private:
  const SignalsBlocked signals_blocked_;
  const Uncancelled uncancelled_;
};

// Whether a wait that a signal ended would have gone on in the program's own connect(2), which
// restarts after a handler with SA_RESTART (signal(7)); ppoll(2), with which we wait, never does,
// and which handler ran cannot be known. So: true unless some handler that `mask` lets in lacks it.
// Used only after an EINTR, so it costs nothing otherwise.
bool connect_would_restart(const sigset_t& mask);

// True when a signal that is pending now, and that `mask` lets in, would have ended a connect(2)
// that waits: its handler lacks SA_RESTART, or the socket `has_timeout` (SO_SNDTIMEO), with which
// any handler ends it (signal(7)).
bool connect_is_interrupted(const sigset_t& mask, bool has_timeout);

}  // namespace nextaddr
