// Built for speed: every healthy connect comes by.
#include "connect/nonblocking.h"

#include <cerrno>
#include <optional>

#include "connect/pending_connects.h"
#include "connect/request.h"
#include "engine/outcome.h"
#include "fault/faults.h"
#include "fault/injection.h"
#include "log/report.h"
#include "memory/memory.h"
#include "os/errno_kept.h"
#include "os/libc.h"
#include "os/signals.h"
#include "os/socket.h"
#include "process/process.h"

namespace nextaddr {

int connect_nonblocking(int fd, const sockaddr* address, socklen_t length,
                        const Endpoint& requested) {
  if (any_pending()) {
    // The program asks again: the answer is what has become of the pending connect.
    switch (advance(fd)) {
      case ProgramView::kPending:
        return fail_with(EALREADY);
      case ProgramView::kFailed:
        return fail_with(take_error(fd));
      case ProgramView::kNotOurs:
        break;
    }
  }
  if (left_to_kernel(fd)) {
    const int result = libc::connect(fd, address, length);
    if (result == 0 || (errno != EALREADY && errno != EINPROGRESS)) forget_connect(fd);
    return result;
  }
  forget_connect(fd);
  const CancellationPoint later;
  StartingConnect starting;
  if (!owns_memory() || !starting.enter(fd, requested)) {
    return libc::connect(fd, address, length);
  }
  std::optional<int> error;
  const Request request = look_up_request(fd, requested);
  if (request.goes_elsewhere()) error = starting.elsewhere(request.to_be_probed, request.was_given);
  if (!error) {
    const Fault fault = draw_fault(fd, requested.address, requested);
    // Programs ask connect(2) once more to learn its result (Ruby, ab). And what is taken for TCP
    // by its number may be another kind of socket (connect/entry.cc).
    const bool is_told = reports_every_connect() && is_tcp(fd) && has_failed(socket_phase(fd));
    const int result = connect_with_fault(fd, address, length, fault);
    const int first = errno;
    if (result == 0 || (first != EINPROGRESS && !moves_on(first))) {
      starting.abandon();
      if (is_told) {
        report_only_attempt(requested, fault, result == 0 ? 0 : first, 0);
      }
      errno = first;
      return result;
    }
    request.has_begun(requested);
    error = starting.started(first, fault);
  }
  return *error == 0 ? 0 : fail_with(*error);
}

}  // namespace nextaddr
