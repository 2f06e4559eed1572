#include "wait/first_use.h"

#include <poll.h>

#include "connect/pending_connects.h"
#include "engine/outcome.h"
#include "errno_kept.h"
#include "socket.h"
#include "wait/poll_select.h"

namespace nextaddr {

int error_of_first_use(int fd, bool waits) {
  if (!may_be_pending(fd)) return 0;
  const ErrnoKept errno_kept;
  ProgramView view = advance(fd);
  if (view == ProgramView::kPending && waits && !is_non_blocking(fd)) {
    pollfd socket{fd, POLLOUT, 0};
    // What interrupts this wait would have interrupted the call's own.
    if (wait_poll(&socket, 1, kForever, nullptr, {}) < 0) return errno;
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
