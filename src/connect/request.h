// What speaks against asking the requested address first. Must never change the socket.
// Async-signal-safe; the caller holds signals back.
#pragma once

#include "connect/probes.h"
#include "connect/walk.h"
#include "engine/address.h"
#include "memory/memory.h"
#include "os/socket.h"
#include "process/process.h"

namespace nextaddr {

struct Request {
  bool is_asked_last = false;  // the address failed, or was silent, a moment ago
  bool to_be_probed = false;   // and this connect is to find out how it is now
  bool was_given = false;      // this thread got it already in the place of another one
  bool is_noted = true;        // the walk knows of it, or need not

  [[nodiscard]] bool goes_elsewhere() const { return is_asked_last || was_given; }
  // A connect has begun, to the requested address.
  void has_begun(const Endpoint& requested) const {
    if (!is_noted) walk::note_asked(requested.address, requested.port);
  }
};

// The program calls connect(2) for `requested`. Once for each connect, because it may claim an
// address whose parking is over. Some loads while nothing has failed.
inline Request look_up_request(int fd, const Endpoint& requested) {
  Request request;
  request.was_given = walk::was_given(requested.address, requested.port);
  if (!address_memory().may_hold_failures() && !walk::has_given()) return request;
  const Standing standing =
      standing_of(fd, requested.address, requested.port, probes::can_be_made());
  request.is_asked_last = standing != Standing::kWell;
  request.to_be_probed = standing == Standing::kToBeProbed;
  request.is_noted = false;
  if (!request.goes_elsewhere()) return request;
  // Programs call connect(2) once more to learn its result (Qt, Ruby, ab): no connect begins.
  if (!has_failed(socket_phase(fd))) return {};
  request.has_begun(requested);
  request.is_noted = true;
  return request;
}

}  // namespace nextaddr
