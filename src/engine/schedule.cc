#include "engine/schedule.h"

#include <algorithm>
#include <cerrno>

#include "engine/outcome.h"

namespace nextaddr {
namespace {

// Patience of the second pass, and by how much each later one grows: about 1 s, 3 s, 9 s. A SYN
// lost on the way is sent again by the kernel after 1 s (RFC 6298), so the third pass outlives one
// loss; that the second does gains nothing worth its time (tests/simulate/README.md).
constexpr std::uint32_t kSecondPassMs = 1000;
constexpr std::uint32_t kPassGrowth = 3;

}  // namespace

std::uint32_t kernel_patience_ms(int syn_retries) {
  constexpr std::uint32_t kLongestWaitMs = 120'000;  // TCP_RTO_MAX
  std::uint32_t total = 0;
  std::uint32_t wait = 1000;
  for (int retries = std::clamp(syn_retries, 1, 127); retries >= 0; --retries) {
    total += wait;
    wait = std::min(2 * wait, kLongestWaitMs);
  }
  return total;
}

Schedule::Schedule(const PositionSet& candidates, const PositionSet& ipv6, std::size_t requested,
                   const Limits& limits, std::uint64_t now_ms, const PositionSet& parked)
    : candidates_(candidates),
      due_(candidates),
      ipv6_(ipv6),
      parked_(parked),
      limits_(limits),
      started_ms_(now_ms),
      program_started_ms_(now_ms),
      requested_(static_cast<std::uint16_t>(requested)),
      last_was_ipv6_(ipv6.has(requested)) {
  current_ = static_cast<std::uint16_t>(next_in_pass());
}

std::uint64_t Schedule::deadline() const {
  const std::uint64_t kernel = started_ms_ + limits_.kernel_ms;
  if (limits_.program_ms == 0) return kernel;
  return std::min(kernel, program_started_ms_ + limits_.program_ms);
}

Schedule::Step Schedule::in_flight(std::uint64_t now_ms, std::uint32_t own_delay_ms) {
  const std::uint64_t end = deadline();
  until_ms_ = end;
  // The last one standing gets all the time there is; the others an equal share of it at most, so
  // that each is asked even when the program has little time (as Go's dialer and curl do).
  if (candidates_.count() > 1 && now_ms < end) {
    const std::uint32_t delay = own_delay_ms != 0 ? own_delay_ms : limits_.attempt_delay_ms;
    const std::uint64_t share = (end - now_ms) / (due_.count() + 1);
    const std::uint64_t patience = std::min<std::uint64_t>(
        std::max(pass_patience_ms_, delay), std::max<std::uint64_t>(share, kMinPatienceMs));
    until_ms_ = std::min(end, now_ms + patience);
  }
  return {Step::Kind::kWait, current_, 0, until_ms_};
}

Schedule::Step Schedule::resumed(std::uint64_t now_ms, std::uint32_t program_ms) {
  limits_.program_ms = program_ms;
  program_started_ms_ = now_ms;
  // Nobody else is to be asked: what is in flight goes on.
  until_ms_ =
      candidates_.count() == 1 ? deadline() : std::min(std::max(until_ms_, now_ms), deadline());
  return {Step::Kind::kWait, current_, 0, until_ms_};
}

Schedule::Step Schedule::give_up() const {
  return {Step::Kind::kDeliver, current_, requested_error_ != 0 ? requested_error_ : ETIMEDOUT, 0};
}

Schedule::Step Schedule::failed(int error, std::uint64_t now_ms) {
  if (current_ == requested_) requested_error_ = error;
  if (!moves_on(error)) {
    const int own = requested_error_ != 0 ? requested_error_ : error;
    return {Step::Kind::kDeliver, current_, own, 0};
  }
  candidates_.remove(current_);
  return ask_next(now_ms);
}

Schedule::Step Schedule::silent(std::uint64_t now_ms) {
  const bool program_time_is_up =
      limits_.program_ms != 0 && now_ms >= program_started_ms_ + limits_.program_ms;
  if (program_time_is_up) return {Step::Kind::kYield, current_, EINPROGRESS, 0};
  return ask_next(now_ms);
}

Schedule::Step Schedule::ask_next(std::uint64_t now_ms) {
  if (now_ms >= deadline()) return give_up();
  std::size_t next = next_in_pass();
  if (next == PositionSet::kNone) {
    start_pass();
    next = next_in_pass();
  }
  if (next == PositionSet::kNone) return give_up();
  current_ = static_cast<std::uint16_t>(next);
  return {Step::Kind::kAttempt, current_, 0, 0};
}

void Schedule::start_pass() {
  const std::uint32_t before = std::max(pass_patience_ms_, limits_.attempt_delay_ms);
  pass_patience_ms_ =
      before < kSecondPassMs ? kSecondPassMs : std::min(before * kPassGrowth, limits_.kernel_ms);
  due_ = candidates_;
  last_was_ipv6_ = ipv6_.has(requested_);
}

std::size_t Schedule::next_in_pass() {
  PositionSet group = due_;
  group.drop(parked_);
  if (group.count() == 0) group = due_;
  std::size_t found = requested_;
  if (!group.has(requested_)) {
    PositionSet other_family = group;
    if (last_was_ipv6_) {
      other_family.drop(ipv6_);
    } else {
      other_family.keep(ipv6_);
    }
    found = (other_family.count() != 0 ? other_family : group).next(0);
    if (found == PositionSet::kNone) return found;
  }
  last_was_ipv6_ = ipv6_.has(found);
  due_.remove(found);
  return found;
}

}  // namespace nextaddr
