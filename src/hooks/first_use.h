// The hooks of calls that send or receive while some connect is pending: this call may be the first
// use of its socket (wait/first_use.h).
#pragma once

#include <sys/socket.h>

#include "connect/pending_connects.h"
#include "os/errno_kept.h"
#include "wait/first_use.h"

namespace nextaddr {

// Makes the call, or fails with the error that a pending connect has come to. A function of its
// own, so that others need no frame.
template <typename Result, typename... Arguments>
__attribute__((noinline, cold)) Result first_use(Waiting waiting, Result (*call)(int, Arguments...),
                                                 int fd, Arguments... arguments) {
  while (any_pending()) {
    const int error = error_of_first_use(fd, waiting);
    if (error != 0) return static_cast<Result>(fail_with(error));
    const Result result = call(fd, arguments...);
    // The call may have been told the failure of an attempt that is followed by others.
    if (result >= 0 || !goes_on_after_failed_use(fd)) return result;
  }
  return call(fd, arguments...);
}

// Whether a call with these flags of send(2) or recv(2) waits.
inline Waiting to_send(int flags) {
  return (flags & MSG_DONTWAIT) == 0 ? Waiting::kToSend : Waiting::kNever;
}
inline Waiting to_receive(int flags) {
  return (flags & MSG_DONTWAIT) == 0 ? Waiting::kToReceive : Waiting::kNever;
}

}  // namespace nextaddr
