// libFuzzer: the schedule of attempts, against a plain statement of its contract: addresses, limits
// and what becomes of each attempt are the script, and the clock may leap. Must never pass over an
// address, ask one that is no candidate or has answered with an error, nor take longer than the
// kernel would.
#include "engine/schedule.h"

#include <algorithm>
#include <cerrno>
#include <vector>

#include "engine/outcome.h"
#include "fuzz.h"

using namespace nextaddr;

namespace {

using Step = Schedule::Step;
using Kind = Step::Kind;

// Sums up the waits of a kernel that doubles them up to TCP_RTO_MAX.
std::uint64_t patience_of_kernel(int retries) {
  std::uint64_t total = 0;
  for (std::uint64_t i = 0, wait = 1000; i <= static_cast<std::uint64_t>(retries); ++i) {
    total += wait;
    wait = std::min<std::uint64_t>(2 * wait, 120'000);
  }
  return total;
}

struct Host {
  bool candidate = true;
  bool ipv6 = false;
  bool parked = false;
  int asked = 0;
  bool answered = false;  // with an error
};

class Play {
 public:
  explicit Play(Choices choices) : choices_(choices) {
    for (const char c : choices_.line()) {
      if (hosts_.size() < kMaxAddresses) hosts_.push_back(host_named(c));
    }
    if (hosts_.empty()) hosts_.emplace_back();
    requested_ = (choices_.below(256) * 4 + choices_.below(4)) % hosts_.size();
    hosts_[requested_].candidate = true;
    constexpr std::uint32_t kDelays[] = {200, kShortestDelayMs, 1000, 10'000, 50};
    limits_.attempt_delay_ms = choices_.of(kDelays);
    const int retries = std::max(1, static_cast<int>(choices_.below(128)));
    require(kernel_patience_ms(retries) == patience_of_kernel(retries));
    constexpr std::uint32_t kUserTimeouts[] = {~0u, 1, 19, 20, 500, 5000};
    limits_.kernel_ms = std::min(kernel_patience_ms(retries), choices_.of(kUserTimeouts));
    limits_.program_ms = program_timeout();
  }

  void play() {
    PositionSet candidates;
    PositionSet ipv6;
    PositionSet parked;
    for (std::size_t i = 0; i < hosts_.size(); ++i) {
      if (hosts_[i].candidate) candidates.add(i);
      if (hosts_[i].ipv6) ipv6.add(i);
      if (hosts_[i].parked) parked.add(i);
    }
    due_ = candidates.count();
    count_ = due_;
    standing_ = due_;
    start_pass();
    schedule_ = Schedule(candidates, ipv6, requested_, limits_, now_, parked);
    Step step{Kind::kAttempt, schedule_.position(), 0, 0};
    while (step.kind == Kind::kAttempt || step.kind == Kind::kWait) {
      step = step.kind == Kind::kAttempt ? ask(step.position) : wait(step);
      // Silence takes time, and an error takes an address away.
      require(attempts_ <= count_ + (now_ - kStart) / kShortestDelayMs + resumed_ + 2);
      if (connected_) return;
    }
    if (undisturbed_) check_all_were_asked();
  }

 private:
  static constexpr std::uint64_t kStart = 1'000'000;
  static constexpr std::uint32_t kShortestDelayMs = 10;

  static Host host_named(char c) {
    switch (c) {
      case '4':
        return {};
      case '6':
        return {true, true};
      case 'p':
        return {true, false, true};
      case 'P':
        return {true, true, true};
      case '.':
        return {false};
      default:  // of a stranger, so to speak
        return {false, true};
    }
  }

  std::uint32_t program_timeout() {
    constexpr std::uint32_t kTimeouts[] = {0, 1, 20, 100, 1000, 60'000, 1'000'000};
    return choices_.of(kTimeouts);
  }

  [[nodiscard]] std::uint64_t deadline() const {
    const std::uint64_t kernel = kStart + limits_.kernel_ms;
    if (limits_.program_ms == 0) return kernel;
    return std::min(kernel, program_start_ + limits_.program_ms);
  }

  // ---- Who is to be asked next ----

  void start_pass() {
    ++pass_;
    due_ = standing_;
    last_was_ipv6_ = hosts_[requested_].ipv6;
  }

  [[nodiscard]] bool is_due(const Host& host) const {
    return host.candidate && !host.answered && host.asked < pass_;
  }

  // The first due one, of those that are parked or not, of a family or any; or nobody.
  std::size_t first_due(bool parked, const bool* ipv6) const {
    for (std::size_t i = 0; i < hosts_.size(); ++i) {
      const Host& host = hosts_[i];
      if (is_due(host) && host.parked == parked && (ipv6 == nullptr || host.ipv6 == *ipv6))
        return i;
    }
    return hosts_.size();
  }

  std::size_t expected_next() {
    if (due_ == 0) start_pass();
    const bool parked = first_due(false, nullptr) == hosts_.size();
    const Host& requested = hosts_[requested_];
    if (is_due(requested) && requested.parked == parked) return requested_;
    const bool other_family = !last_was_ipv6_;
    const std::size_t alternating = first_due(parked, &other_family);
    return alternating != hosts_.size() ? alternating : first_due(parked, nullptr);
  }

  // ---- Attempts ----

  Step ask(std::size_t position) {
    require(position < hosts_.size() && position == expected_next());
    require(schedule_.position() == position);
    Host& host = hosts_[position];
    require(host.candidate && !host.answered);
    ++attempts_;
    ++host.asked;
    --due_;
    last_was_ipv6_ = host.ipv6;
    current_ = position;
    const char event = choices_.next();
    switch (event) {
      case 'r':
        return fail(ECONNREFUSED);
      case 'e': {
        constexpr int kErrors[] = {ETIMEDOUT,   EHOSTUNREACH, EHOSTDOWN,     ECONNRESET,
                                   ENETUNREACH, ENETDOWN,     EADDRNOTAVAIL, EACCES};
        return fail(choices_.of(kErrors));
      }
      case 'x': {
        constexpr int kErrors[] = {ENOBUFS, EBADF, EINTR, EAFNOSUPPORT, ECONNABORTED};
        return fail(choices_.of(kErrors));
      }
      case 'o': {
        constexpr std::uint32_t kOwnDelays[] = {20, 21, 100, 1000, 2000};
        return start(choices_.of(kOwnDelays));
      }
      default:
        event_ = event;
        return start(0);
    }
  }

  // The answer is not there at once.
  Step start(std::uint32_t own_delay) {
    const Step step = schedule_.in_flight(now_, own_delay);
    const std::uint64_t end = deadline();
    require(step.kind == Kind::kWait && step.position == current_ && step.until_ms <= end);
    if (now_ >= end) return step;
    const std::uint64_t patience = step.until_ms - now_;
    if (standing_ == 1) {
      require(step.until_ms == end);
      return step;
    }
    // An equal share of the time at most, and all of the usual patience where that is less.
    const std::uint64_t share = std::max<std::uint64_t>((end - now_) / (due_ + 1), kMinPatienceMs);
    const std::uint64_t delay = own_delay != 0 ? own_delay : limits_.attempt_delay_ms;
    require(patience >= std::min<std::uint64_t>(kShortestDelayMs, end - now_));
    require(patience <= share);
    if (pass_ == 1) require(patience == std::min({share, delay, end - now_}));
    if (pass_ > 1) require(patience >= std::min({share, delay, end - now_}));
    if (pass_ == 2) require(patience >= std::min<std::uint64_t>({share, 1000, end - now_}));
    return step;
  }

  Step wait(const Step& waiting) {
    const char event = event_ != '\0' ? event_ : choices_.next();
    event_ = '\0';
    constexpr std::uint64_t kTimes[] = {0, 1, 10, 100, 1000, 100'000, 10'000'000};
    switch (event) {
      case 'c':
        connected_ = true;
        return waiting;
      case 'f':  // an error after a while
        now_ = std::max(now_, std::min(waiting.until_ms, now_ + choices_.of(kTimes)));
        return fail(ECONNREFUSED);
      case 'i':  // a signal, and the program comes back to it
        now_ = std::max(now_, std::min(waiting.until_ms, now_ + choices_.of(kTimes)));
        return resume(waiting);
      case 'j':  // nobody looked at the clock for a while
        undisturbed_ = false;
        now_ = std::max(now_, waiting.until_ms) + choices_.of(kTimes);
        return stay_silent();
      default:
        now_ = std::max(now_, waiting.until_ms);
        return stay_silent();
    }
  }

  Step resume(const Step& waiting) {
    undisturbed_ = false;
    ++resumed_;
    limits_.program_ms = program_timeout();
    program_start_ = now_;
    const Step step = schedule_.resumed(now_, limits_.program_ms);
    require(step.kind == Kind::kWait && step.position == current_);
    // The only one left has all the time there is.
    const std::uint64_t until = standing_ == 1 ? deadline() : std::max(waiting.until_ms, now_);
    require(step.until_ms == std::min(until, deadline()));
    return step;
  }

  Step fail(int error) {
    Host& host = hosts_[current_];
    if (current_ == requested_) requested_error_ = error;
    const Step step = schedule_.failed(error, now_);
    if (!moves_on(error)) {
      require(step.kind == Kind::kDeliver);
      require(step.error == (requested_error_ != 0 ? requested_error_ : error));
      undisturbed_ = false;
      return step;
    }
    host.answered = true;
    --standing_;
    check_what_follows(step);
    return step;
  }

  Step stay_silent() {
    const Step step = schedule_.silent(now_);
    const bool time_is_up = limits_.program_ms != 0 && now_ >= program_start_ + limits_.program_ms;
    require((step.kind == Kind::kYield) == time_is_up);
    if (!time_is_up) {
      check_what_follows(step);
    } else if (choices_.next() == 'i') {  // the program comes back
      return resume({Kind::kWait, static_cast<std::uint16_t>(current_), 0, now_});
    }
    return step;
  }

  void check_what_follows(const Step& step) {
    if (now_ < deadline() && standing_ != 0) {
      require(step.kind == Kind::kAttempt);
    } else {
      require(step.kind == Kind::kDeliver);
      require(step.error == (requested_error_ != 0 ? requested_error_ : ETIMEDOUT));
    }
  }

  // However little time there is: each address gets a share.
  void check_all_were_asked() const {
    if (deadline() - kStart < kMinPatienceMs * count_) return;
    for (const Host& host : hosts_) require(!host.candidate || host.asked != 0);
  }

  Choices choices_;
  std::vector<Host> hosts_;
  std::size_t requested_ = 0;
  Schedule::Limits limits_;
  Schedule schedule_;
  std::uint64_t now_ = kStart;
  std::uint64_t program_start_ = kStart;
  int pass_ = 0;
  std::size_t count_ = 0;     // candidates at first
  std::size_t standing_ = 0;  // without those that answered
  std::size_t due_ = 0;       // not yet asked in this pass
  std::size_t current_ = 0;
  std::uint64_t attempts_ = 0;
  std::uint64_t resumed_ = 0;
  bool last_was_ipv6_ = false;
  bool undisturbed_ = true;  // no leap of the clock, no change of limits, no error of the call
  bool connected_ = false;
  int requested_error_ = 0;
  char event_ = '\0';
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Play(Choices(data, size)).play();
  return 0;
}
