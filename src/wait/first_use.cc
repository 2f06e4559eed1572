#include "wait/first_use.h"

#include <poll.h>

#include <csignal>

#include "connect/pending_connects.h"
#include "engine/outcome.h"
#include "os/errno_kept.h"
#include "os/signals.h"
#include "os/socket.h"
#include "wait/poll_select.h"

namespace nextaddr {

namespace {

timeval limit_of(int fd, Waiting waiting) {
  return waiting == Waiting::kToSend ? send_timeout(fd) : receive_timeout(fd);
}

// Waits until the connect of a blocking socket has come to its end, as the call would: 0, EAGAIN
// when its time is over, or EINTR.
int wait_for_connect(int fd, const timeval& limit) {
  const bool limited = is_set(limit);
  const Patience patience(limited ? limit_of_select(&limit) : kForever);
  for (;;) {
    pollfd socket{fd, POLLOUT, 0};
    const int ready = wait_poll(&socket, 1, patience.left_ns(), nullptr, {});
    if (ready > 0) return 0;
    if (ready == 0) return EAGAIN;
    if (errno != EINTR) return 0;
    // A handler ends our wait as it would end the call: with a time limit any handler does
    // (signal(7)).
    sigset_t mask;
    sigprocmask(SIG_SETMASK, nullptr, &mask);
    if (limited || !connect_would_restart(mask)) return EINTR;
  }
}

}  // namespace

int error_of_first_use(int fd, Waiting waiting) {
  if (!may_be_pending(fd)) return 0;
  const ErrnoKept errno_kept;
  ProgramView view = advance(fd);
  if (view == ProgramView::kPending && waiting != Waiting::kNever && !is_non_blocking(fd)) {
    const int error = wait_for_connect(fd, limit_of(fd, waiting));
    if (error != 0) return error;
    view = advance(fd);
  }
  return view == ProgramView::kFailed ? take_error(fd) : 0;
}

void advance_before_question(int fd) {
  if (!may_be_pending(fd)) return;
  const ErrnoKept errno_kept;
  advance(fd);
}

bool goes_on_after_failed_use(int fd) {
  return may_be_pending(fd) && moves_on(errno) && advance_told(fd, errno) != ProgramView::kNotOurs;
}

}  // namespace nextaddr
