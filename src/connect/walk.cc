#include "connect/walk.h"

#include <array>

#include "os/clock.h"
#include "os/pin.h"

namespace nextaddr::walk {
namespace {

struct Step {
  Address address;
  in_port_t port;
  bool given;
  bool skipped;         // asked for, and another one was asked instead
  std::uint32_t at_ms;  // of the coarse clock, which wraps; 0: none

  [[nodiscard]] bool is_of(const Address& wanted, in_port_t wanted_port) const {
    return port == wanted_port && address == wanted;
  }
};

struct Walk {
  std::array<Step, 12> steps;
  std::uint8_t next;
  bool has_given;
  int fd;  // the socket that was given last
  std::uint64_t cookie;
};

constinit thread_local Walk walk __attribute__((tls_model("initial-exec"))){};

std::uint32_t coarse_ms() {
  const timespec now = coarse_time();
  return static_cast<std::uint32_t>(static_cast<std::uint64_t>(now.tv_sec) * 1000 +
                                    static_cast<std::uint64_t>(now.tv_nsec) / 1'000'000) |
         1;
}

void add(const Address& address, in_port_t port, bool given) {
  walk.steps[walk.next] = {address, port, given, false, coarse_ms()};
  walk.next = static_cast<std::uint8_t>((walk.next + 1u) % walk.steps.size());
}

void begin_anew() {
  for (Step& step : walk.steps) step.at_ms = 0;
  walk.has_given = false;
}

// The step that was noted last.
const Step& last() { return walk.steps[(walk.next + walk.steps.size() - 1) % walk.steps.size()]; }

bool is_over() { return last().at_ms == 0 || coarse_ms() - last().at_ms > kWalkMs; }

template <typename Test>
bool any(Test test) {
  for (const Step& step : walk.steps) {
    if (step.at_ms != 0 && test(step)) return true;
  }
  return false;
}

}  // namespace

void note_asked(const Address& address, in_port_t port) {
  const bool again =
      any([&](const Step& step) { return !step.given && step.is_of(address, port); });
  if (again || is_over()) begin_anew();
  add(address, port, false);
}

void note_skipped(const Address& address, in_port_t port) {
  for (Step& step : walk.steps) {
    step.skipped = step.skipped || (!step.given && step.is_of(address, port));
  }
}

bool has_given() { return walk.has_given; }

void note_given(const Address& asked, const Address& address, in_port_t port, int fd,
                std::uint64_t cookie) {
  // look_up_request() notes no step as long as nothing has failed: that is made up for.
  const Step& before = last();
  if (before.at_ms == 0 || before.given || !before.is_of(asked, port)) {
    note_asked(asked, port);
  }
  add(address, port, true);
  walk.has_given = true;
  walk.fd = fd;
  walk.cookie = cookie;
}

bool was_given(const Address& address, in_port_t port) {
  if (!walk.has_given || is_over()) return false;
  const bool given = any([&](const Step& step) { return step.given && step.is_of(address, port); });
  return given && socket_cookie(walk.fd) != walk.cookie;
}

PositionSet touched(const HostTable& table, const DestinationList& list, in_port_t port) {
  PositionSet found;
  if (is_over()) return found;
  for (std::size_t i = list.candidates.next(0); i != PositionSet::kNone;
       i = list.candidates.next(i + 1)) {
    Address address;
    if (i == list.requested || !table.address_at(list, i, address)) continue;
    if (any([&](const Step& step) { return !step.skipped && step.is_of(address, port); })) {
      found.add(i);
    }
  }
  return found;
}

}  // namespace nextaddr::walk
