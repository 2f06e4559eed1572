// For programs that neither wait for a connect nor ask for its result, but send or receive at once
// (wget2, wrk): the first use of the socket is the wait and the question. Must never send or
// receive itself.
#pragma once

#include <cstdint>

namespace nextaddr {

// Before a call that sends or receives: advances the connect that is pending on this descriptor. 0:
// the kernel may be asked, which answers as for a connect in progress, or for a connected socket.
// Else the error of a connect that failed, which the call is to fail with, once.
//
// `waiting`: whether the call itself waits on a blocking socket, for as long as SO_SNDTIMEO or
// SO_RCVTIMEO says. The connect is driven to its end before then, which is a cancellation point.
// Async-signal-safe; errno is left alone.
enum class Waiting : std::uint8_t { kNever, kToSend, kToReceive };
int error_of_first_use(int fd, Waiting waiting);

// Before a question that no failure answers (getpeername(2)): advances the connect, and leaves its
// error to whoever asks for it. Async-signal-safe; errno is left alone.
void advance_before_question(int fd);

// After a call that sends or receives has failed with errno: true when this was the failure of an
// attempt, and the connect has gone on or failed as a whole, so that the call is to be made again.
// errno is left alone.
bool goes_on_after_failed_use(int fd);

}  // namespace nextaddr
