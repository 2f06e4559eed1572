// Is the simulator right? What it says of cases small enough to compute by hand. `make simulate`
// runs these first; the numbers of a simulator that fails here mean nothing.
#include <cmath>
#include <stdexcept>
#include <string>

#include "fleet.h"

namespace simulate {
namespace {

constexpr Microseconds kMs = 1000;
constexpr Microseconds kRtt = 20 * kMs;  // of Distance::kExact

void expect(const std::string& what, double got, double wanted, double tolerance) {
  if (std::abs(got - wanted) <= tolerance) return;
  throw std::runtime_error("the simulator is wrong: " + what + " is " + std::to_string(got) +
                           ", not " + std::to_string(wanted));
}

Server always(State state) { return {{{0, state}}, 0}; }

Setting alone(std::vector<State> states) {
  Setting setting;
  for (const State state : states) setting.network.servers.push_back(always(state));
  setting.network.distance = Distance::kExact;
  setting.order = Order::kFixed;
  setting.clients = 1;
  setting.connects_per_s = 0.01;
  setting.lasts = setting.window_to = 100'000 * kSecond;
  return setting;
}

Rules with(Program program, std::uint32_t delay_ms, Memory memory = Memory::kOff) {
  Rules rules;
  rules.program = program;
  rules.memory = memory;
  rules.delay_ms = delay_ms;
  return rules;
}

// Every connect takes the same time: the longest is the shortest.
void expect_each(const std::string& what, const Setting& setting, const Rules& rules,
                 Microseconds took, double syns) {
  const Result result = run(setting, rules);
  if (result.window.count() < 100) throw std::runtime_error("nothing was simulated: " + what);
  const double slack = 0.001 * kMs;
  expect(what + ": failures", static_cast<double>(result.window.failed()), 0, 0);
  expect(what + ": mean", result.window.mean(), static_cast<double>(took), slack);
  expect(what + ": longest", static_cast<double>(result.window.longest()),
         static_cast<double>(took), slack);
  expect(what + ": attempts",
         static_cast<double>(result.syns_in_window) / static_cast<double>(result.window.count()),
         syns, 1e-9);
}

constexpr State kLive = State::kLive;
constexpr State kSilent = State::kSilent;
constexpr State kRefuses = State::kRefuses;

void check_single_connects() {
  const Rules library = with(Program::kNextaddr, 200);
  expect_each("all live", alone({kLive, kLive}), library, kRtt, 1);
  expect_each("one silent", alone({kSilent, kLive, kLive}), library, 200 * kMs + kRtt, 2);
  expect_each("one refused", alone({kRefuses, kLive}), library, 2 * kRtt, 2);
  expect_each("three silent", alone({kSilent, kSilent, kSilent, kLive}), library, 600 * kMs + kRtt,
              4);
  expect_each("refused, silent", alone({kRefuses, kSilent, kLive}), library,
              kRtt + 200 * kMs + kRtt, 3);
  expect_each("another delay", alone({kSilent, kLive}), with(Program::kNextaddr, 50),
              50 * kMs + kRtt, 2);
  expect_each("a race", alone({kSilent, kSilent, kLive}), with(Program::kRaces, 250),
              500 * kMs + kRtt, 3);
  expect_each("a race with a refusal", alone({kRefuses, kLive}), with(Program::kRaces, 250),
              2 * kRtt, 2);
  // Seven SYNs to the silent one.
  expect_each("all in turn", alone({kSilent, kLive}), with(Program::kWalksAll, 0),
              kKernelMs * kMs + kRtt, 8);
}

void check_failures() {
  const Setting dead = alone({kSilent, kSilent});
  const Result kernel = run(dead, with(Program::kFirstOnly, 0));
  expect("the kernel's patience", static_cast<double>(kernel.window.longest_failure()),
         static_cast<double>(kKernelMs * kMs), 0);
  expect("the kernel's SYNs",
         static_cast<double>(kernel.syns_in_window) / static_cast<double>(kernel.window.count()), 7,
         0);
  const Result library = run(dead, with(Program::kNextaddr, 200));
  expect("never longer than the kernel", static_cast<double>(library.window.longest_failure()),
         static_cast<double>(kKernelMs * kMs), 1.0 * kMs);
  // Of each of the two 1, 1, 2, 4 and 5 in passes of 0.2, 1, 3, 9 and 27 s, and 5 in what is left
  // then.
  expect("the library's SYNs",
         static_cast<double>(library.syns_in_window) / static_cast<double>(library.window.count()),
         36, 0);
  expect("all silent is a failure", library.window.share_above(kSecond), 1, 0);
  const Result refused = run(alone({kRefuses, kRefuses, kRefuses}), with(Program::kNextaddr, 200));
  expect("all refused", static_cast<double>(refused.window.longest_failure()), 3.0 * kRtt, 0);
}

// The kernel asks again after 1, 3 and 7 s: whoever is silent for 5 s is connected to after 7.
void check_resends() {
  Setting setting = alone({kLive});
  setting.clients = 1000;
  setting.connects_per_s = 0.1;
  setting.lasts = setting.window_to = 100 * kSecond;
  setting.network.servers[0].phases = {{50 * kSecond, kSilent}, {55 * kSecond, kLive}};
  const Result result = run(setting, with(Program::kFirstOnly, 0));
  expect("the longest wait for a resend", static_cast<double>(result.window.longest()),
         static_cast<double>(7 * kSecond + kRtt), 50.0 * kMs);
  Setting lossy = alone({kLive});
  lossy.connects_per_s = 10;
  lossy.lasts = lossy.window_to = 20'000 * kSecond;
  lossy.network.loss = 0.05;
  const Latencies lost = run(lossy, with(Program::kFirstOnly, 0)).window;
  expect("one SYN lost", lost.share_above(kSecond), 0.05, 0.002);
  expect("the second SYN after 1 s", lost.share_above(1100 * kMs), 0.0025, 0.0005);
  expect("two SYNs lost", lost.share_above(3 * kSecond), 0.0025, 0.0005);
}

// Ends of parkings without jitter: 30 s, then 60, 120, 120 .. after the one before, each found out
// about by the next connect (10 in a second) and 200 ms of silence.
void check_parking() {
  Setting setting = alone({kSilent, kLive});
  setting.connects_per_s = 10;
  setting.lasts = setting.window_to = 3600 * kSecond;
  Rules rules = with(Program::kNextaddr, 200, Memory::kProcess);
  rules.parking = kNoJitter;
  double at = 0.1;
  int asked = 0;
  for (double parking = 30; at < 3600; parking = std::min(2 * parking, 120.0)) {
    ++asked;
    at += 0.2 + parking + 0.1;
  }
  const Result result = run(setting, rules);
  double syns = 0;
  for (const Counts& second : result.seconds) syns += second.syns[0];
  // Before the first silence is known, others may have begun.
  expect("connects that ask a parked address", syns, asked + 2, 4);
  expect("connects that pay for it",
         result.window.share_above(100 * kMs) * static_cast<double>(result.window.count()), syns,
         0.5);
}

void check_spread() {
  Setting setting = alone({kLive, kLive, kLive, kLive});
  setting.clients = 1000;
  setting.connects_per_s = 1;
  setting.lasts = setting.window_to = 400 * kSecond;
  for (const Order order : {Order::kRotated, Order::kShuffled}) {
    setting.order = order;
    const Result result = run(setting, with(Program::kNextaddr, 200, Memory::kProcess));
    double connections[4] = {};
    for (const Counts& second : result.seconds) {
      for (std::size_t i = 0; i < 4; ++i) connections[i] += second.connections[i];
    }
    for (const double of_one : connections) {
      expect("a fair share", of_one, 100'000, 4 * std::sqrt(75'000.0) + 4 * std::sqrt(25'000.0));
    }
  }
}

// With one of four dead its third goes to each survivor if the order is shuffled, all of it to the
// next if it is rotated.
void check_neighbours() {
  Setting setting = alone({kRefuses, kLive, kLive, kLive});
  setting.clients = 1000;
  setting.connects_per_s = 1;
  setting.lasts = setting.window_to = 400 * kSecond;
  const auto share_of_second = [&](Order order) {
    setting.order = order;
    const Result result = run(setting, with(Program::kNextaddr, 200));
    double second = 0;
    double all = 0;
    for (const Counts& counts : result.seconds) {
      second += counts.connections[1];
      for (const std::uint32_t each : counts.connections) all += each;
    }
    return second / all;
  };
  expect("the neighbour's share, rotated", share_of_second(Order::kRotated), 0.5, 0.01);
  expect("the neighbour's share, shuffled", share_of_second(Order::kShuffled), 1.0 / 3, 0.01);
}

}  // namespace

void check_simulator() {
  check_single_connects();
  check_failures();
  check_resends();
  check_parking();
  check_spread();
  check_neighbours();
  const Setting setting = alone({kSilent, kLive});
  const Rules rules = with(Program::kNextaddr, 200, Memory::kProcess);
  if (run(setting, rules).syns_in_window != run(setting, rules).syns_in_window) {
    throw std::runtime_error("the simulator is wrong: the same seed gives another run");
  }
}

}  // namespace simulate
