// Whether a wait that a signal ended would have gone on in the program's own connect(2).
// Async-signal-safe; used only after an EINTR, so it costs nothing otherwise.
#pragma once

namespace nextaddr {

// connect(2) restarts after a handler with SA_RESTART (signal(7)); poll(2), with which we wait,
// never does, and which handler ran cannot be known. So: true unless some handler that may run in
// this thread lacks it.
bool connect_would_restart();

}  // namespace nextaddr
