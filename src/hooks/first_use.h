// The hooks of calls that send or receive while some connect is pending: this call may be the first
// use of its socket (wait/first_use.h).
#pragma once

#include <sys/socket.h>

#include "connect/pending_connects.h"
#include "os/errno_kept.h"
#include "wait/first_use.h"

namespace nextaddr {

// The call, or the error that a pending connect has come to. Apart, so that others need no frame.
template <typename Result, typename... Arguments>
__attribute__((noinline, cold)) Result first_use(Waiting waiting, Result (*call)(int, Arguments...),
                                                 int fd, Arguments... arguments) {
  while (any_pending()) {
    const int error = error_of_first_use(fd, waiting);
    if (error != 0) return static_cast<Result>(fail_with(error));
    const Result result = call(fd, arguments...);
    // What it was told may be the failure of an attempt that others follow.
    if (result >= 0 || !goes_on_after_failed_use(fd)) return result;
  }
  return call(fd, arguments...);
}

// By the flags of send(2) and recv(2).
inline Waiting to_send(int flags) {
  return (flags & MSG_DONTWAIT) == 0 ? Waiting::kToSend : Waiting::kNever;
}
inline Waiting to_receive(int flags) {
  return (flags & MSG_DONTWAIT) == 0 ? Waiting::kToReceive : Waiting::kNever;
}

}  // namespace nextaddr
