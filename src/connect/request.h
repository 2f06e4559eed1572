// What speaks against asking the requested address first. Must never change the socket.
// Async-signal-safe; the caller holds signals back.
#pragma once

#include "connect/probes.h"
#include "connect/walk.h"
#include "engine/address.h"
#include "memory/memory.h"
#include "process/process.h"

namespace nextaddr {

struct Request {
  bool is_asked_last = false;  // the address failed, or was silent, a moment ago
  bool to_be_probed = false;   // and this connect is to find out how it is now
  bool was_given = false;      // this thread got it already in the place of another one

  [[nodiscard]] bool goes_elsewhere() const { return is_asked_last || was_given; }
};

// A connect to `requested` is about to begin. Once for each connect, because it may claim an
// address whose parking is over. Some loads while nothing has failed.
inline Request look_up_request(int fd, const Endpoint& requested) {
  Request request;
  request.was_given = walk::was_given(requested.address, requested.port);
  if (!address_memory().may_hold_failures() && !walk::has_given()) return request;
  walk::note_asked(requested.address, requested.port);
  const Standing standing =
      standing_of(fd, requested.address, requested.port, probes::can_be_made());
  request.is_asked_last = standing != Standing::kWell;
  request.to_be_probed = standing == Standing::kToBeProbed;
  return request;
}

}  // namespace nextaddr
