// libFuzzer: who is asked last and for how long, played on a clock that is also set back, beginning
// with whatever a record of the memory file may say. Must never park an address for longer than the
// longest parking, whatever the clock and others do.
#include "engine/parking.h"

#include <algorithm>

#include "engine/schedule.h"
#include "fuzz.h"

using namespace nextaddr;

namespace {

constexpr std::uint64_t kLongestMs =
    std::uint64_t{kLongestParkingMs} * (100 + kJitterPercent) / 100;

class Play {
 public:
  explicit Play(Choices choices) : choices_(choices) {}

  void play() {
    for (int steps = 0; steps < 200 && !choices_.ended(); ++steps) {
      step();
      check();
    }
  }

 private:
  void step() {
    constexpr std::uint64_t kTimes[] = {1, 100, 9999, 10'000, 30'000, 300'000, 86'400'000};
    switch (choices_.next()) {
      case 'f':
        return fail_once();
      case 's':
        return succeed_once();
      case 'c':
        return claim_once();
      case 'r':
        return measure();
      case 'q':
        return stay_silent();
      case 't':
        now_ += choices_.of(kTimes);
        return;
      case 'b':  // the clock is set back
        now_ -= choices_.of(kTimes);
        return;
      case 'e':  // to the end of the parking
        if (standing_.until_ms < kNow * 2) now_ = std::max(now_, standing_.until_ms);
        return;
      case 'w':  // somebody else has written it
        standing_ = {number(),        number(),        number(), choices_.word(),
                     choices_.word(), choices_.word(), number()};
        return;
      default:
        return;
    }
  }

  // A time close to now, or any.
  std::uint64_t number() {
    const std::uint64_t bits = choices_.word();
    switch (choices_.next()) {
      case '+':
        return now_ + bits % 1'000'000;
      case '-':
        return now_ - bits % 1'000'000;
      default:
        return bits << 32 | choices_.word();
    }
  }

  void fail_once() {
    constexpr std::uint32_t kParkings[] = {kFirstParkingMs, 0, 1, 1000, kLongestParkingMs};
    const std::uint32_t first = choices_.of(kParkings);
    const AddressHealth before = standing_;
    fail(standing_, now_, first, choices_.word());
    // The first one, twice, four times.. up to 1024 times, but never more than the longest.
    std::uint64_t usual = first;
    for (std::uint32_t i = 1; i < std::min(standing_.failures, 11u); ++i) usual *= 2;
    usual = std::min<std::uint64_t>(usual, kLongestParkingMs);
    const std::uint64_t parked = standing_.until_ms - now_;
    require(parked >= usual * (100 - kJitterPercent) / 100);
    require(parked <= usual * (100 + kJitterPercent) / 100);
    require(standing_.failures == std::min(before.failures, 999u) + 1);
    require(standing_.rtt_us == before.rtt_us && standing_.updated_ms == now_);
    require(standing_.silent_ms == before.silent_ms);
    require(parked == 0 || ask_order_of(standing_, now_) == AskOrder::kLast);
    require(ask_order_of(standing_, now_ + parked) != AskOrder::kUsual);
  }

  void succeed_once() {
    const std::uint32_t rtt_us = standing_.rtt_us;
    succeed(standing_, now_);
    require(ask_order_of(standing_, now_) == AskOrder::kUsual && standing_.rtt_us == rtt_us);
    require(!was_silent(standing_, now_) && standing_.updated_ms == now_);
  }

  [[nodiscard]] static bool is_claim(AskOrder order) {
    return order == AskOrder::kClaim || order == AskOrder::kClaimInPlace;
  }

  // One process at a time asks it, and has kClaimMs to find out; the next one does so in its place.
  void claim_once() {
    if (!is_claim(ask_order_of(standing_, now_))) return;
    const std::uint32_t failures = standing_.failures;
    claim(standing_, now_);
    require(standing_.failures == failures && standing_.updated_ms == now_);
    require(ask_order_of(standing_, now_) == AskOrder::kLast);
    require(ask_order_of(standing_, now_ + kClaimMs - 1) == AskOrder::kLast);
    require(ask_order_of(standing_, now_ + kClaimMs) == AskOrder::kClaimInPlace);
  }

  void stay_silent() {
    constexpr std::uint32_t kSilences[] = {1, kSilentMs - 1, kSilentMs, 60'000};
    const std::uint32_t silent_ms = choices_.of(kSilences);
    const AddressHealth before = standing_;
    const bool changed = note_silence(standing_, silent_ms, now_);
    require(changed || standing_ == before);
    require(was_silent(standing_, now_) && standing_.silent_ms >= silent_ms);
    require(is_silent(standing_, now_) == (standing_.silent_ms >= kSilentMs));
    const bool is_known = was_silent(before, now_);
    require(standing_.silent_ms == (is_known ? std::max(before.silent_ms, silent_ms) : silent_ms));
    // What is not written is known already, and not for long, or for longer than it was just now.
    const bool is_less = is_silent(before, now_) && silent_ms < kSilentMs;
    require(changed || is_less || now_ - standing_.silent_at_ms < 2000);
    require(!changed || !is_less);
    require(!changed || (standing_.silent_at_ms == now_ && standing_.updated_ms == now_));
    require(standing_.failures == before.failures && standing_.rtt_us == before.rtt_us);
    require(!was_silent(standing_, now_ + kSilentForMs));
  }

  void measure() {
    const std::uint32_t measured = choices_.word();
    const AddressHealth before = standing_;
    const bool changed = note_rtt(standing_, measured, now_);
    if (!changed) {
      require(standing_ == before && before.rtt_us != 0);
      return;
    }
    require(standing_.rtt_us != 0 && standing_.updated_ms == now_);
    const std::uint32_t rtt_us = std::max(measured, 1u);
    const std::uint32_t least = std::min(before.rtt_us, rtt_us);
    const std::uint32_t most = std::max(before.rtt_us, rtt_us);
    require(standing_.rtt_us >= least && standing_.rtt_us <= most);
    require(standing_.rtt_us != before.rtt_us && (before.rtt_us != 0 || standing_.rtt_us == most));
    require(standing_.failures == before.failures && standing_.until_ms == before.until_ms);
  }

  void check() const {
    require((ask_order_of(standing_, now_) == AskOrder::kUsual) == (standing_.failures == 0));
    // However it came about: within the longest parking and a claim, somebody may ask it.
    const std::uint64_t latest = now_ + kLongestMs;
    require(standing_.failures == 0 || is_claim(ask_order_of(standing_, now_)) ||
            is_claim(ask_order_of(standing_, latest)) ||
            is_claim(ask_order_of(standing_, latest + kClaimMs)));
    require(!is_silent(standing_, now_) || was_silent(standing_, now_));
    require(!was_silent(standing_, now_) || now_ - standing_.silent_at_ms < kSilentForMs);
  }

  static constexpr std::uint64_t kNow = 1'790'000'000'000;
  Choices choices_;
  std::uint64_t now_ = kNow;
  AddressHealth standing_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Play(Choices(data, size)).play();
  return 0;
}
