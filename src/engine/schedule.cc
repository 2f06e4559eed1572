#include "engine/schedule.h"

#include <algorithm>
#include <cerrno>

#include "engine/outcome.h"

namespace nextaddr {
namespace {

// Patience of the second pass, and by how much each later one grows: about 1 s, 3 s, 9 s. A SYN
// lost on the way is sent again by the kernel after 1 s (RFC 6298), so the second pass already
// outlives one loss.
constexpr std::uint32_t kSecondPassMs = 1000;
constexpr std::uint32_t kPassGrowth = 3;

}  // namespace

std::uint32_t kernel_patience_ms(int syn_retries) {
  const int retries = std::clamp(syn_retries, 1, 20);
  return ((std::uint32_t{2} << retries) - 1) * 1000;
}

Schedule::Schedule(const PositionSet& candidates, const PositionSet& ipv6, std::size_t requested,
                   const Limits& limits, std::uint64_t now_ms)
    : candidates_(candidates),
      ipv6_(ipv6),
      limits_(limits),
      started_ms_(now_ms),
      program_started_ms_(now_ms),
      pass_patience_ms_(limits.attempt_delay_ms),
      requested_(static_cast<std::uint16_t>(requested)),
      current_(requested_),
      last_was_ipv6_(ipv6.has(requested)) {
  left_in_pass_ = static_cast<std::uint16_t>(candidates_.count());
}

bool Schedule::alone() const { return candidates_.count() == 1 && candidates_.has(requested_); }

std::uint64_t Schedule::deadline() const {
  const std::uint64_t kernel = started_ms_ + limits_.kernel_ms;
  if (limits_.program_ms == 0) return kernel;
  return std::min(kernel, program_started_ms_ + limits_.program_ms);
}

Schedule::Step Schedule::wait(std::uint64_t now_ms) {
  const std::uint64_t end = deadline();
  until_ms_ = end;
  // The last one standing gets all the time there is; the others an equal share of it at most, so
  // that each is asked even when the program has little time (as Go's dialer and curl do).
  if (candidates_.count() > 1 && now_ms < end) {
    const std::uint64_t share = (end - now_ms) / std::max<std::uint64_t>(left_in_pass_, 1);
    const std::uint64_t patience =
        std::min<std::uint64_t>(pass_patience_ms_, std::max<std::uint64_t>(share, kMinPatienceMs));
    until_ms_ = std::min(end, now_ms + patience);
  }
  return {Step::Kind::kWait, current_, 0, until_ms_};
}

Schedule::Step Schedule::in_flight(std::uint64_t now_ms) { return wait(now_ms); }

Schedule::Step Schedule::resumed(std::uint64_t now_ms, std::uint32_t program_ms) {
  limits_.program_ms = program_ms;
  program_started_ms_ = now_ms;
  until_ms_ = std::min(std::max(until_ms_, now_ms), deadline());
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
  if (left_in_pass_ > 0) --left_in_pass_;
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
  pass_patience_ms_ = pass_patience_ms_ < kSecondPassMs
                          ? kSecondPassMs
                          : std::min(pass_patience_ms_ * kPassGrowth, limits_.kernel_ms);
  left_in_pass_ = static_cast<std::uint16_t>(candidates_.count());
  cursor_[0] = cursor_[1] = 0;
  last_was_ipv6_ = ipv6_.has(requested_);
  requested_due_ = candidates_.has(requested_);
}

std::size_t Schedule::next_in_pass() {
  if (requested_due_) {
    requested_due_ = false;
    return requested_;
  }
  PositionSet rest = candidates_;
  rest.remove(requested_);
  for (const bool want_ipv6 : {!last_was_ipv6_, last_was_ipv6_}) {
    PositionSet family = rest;
    if (want_ipv6) {
      family.keep(ipv6_);
    } else {
      family.drop(ipv6_);
    }
    std::uint16_t& cursor = cursor_[want_ipv6 ? 1 : 0];
    const std::size_t found = family.next(cursor);
    if (found == PositionSet::kNone) continue;
    cursor = static_cast<std::uint16_t>(found + 1);
    last_was_ipv6_ = want_ipv6;
    return found;
  }
  return PositionSet::kNone;
}

}  // namespace nextaddr
