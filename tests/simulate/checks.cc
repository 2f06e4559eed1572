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

// A probe is looked at every 5 ms at first. Who has left an address in silence asks it once more by
// a probe that lingers, which ends after a second, just before its SYN is sent again.
void check_single_connects() {
  const Rules library = with(Program::kNextaddr, 200);
  expect_each("all live", alone({kLive, kLive}), library, kRtt, 1);
  // A probe after 200 ms, a grace as long as its answer has taken, and another handshake.
  expect_each("one silent", alone({kSilent, kLive, kLive}), library, 200 * kMs + 3 * kRtt, 4);
  expect_each("one refused", alone({kRefuses, kLive}), library, 2 * kRtt, 2);
  // The delay after the second probe is two and a half times that after the first.
  expect_each("three silent", alone({kSilent, kSilent, kSilent, kLive}), library,
              (200 + 200 + 500) * kMs + 3 * kRtt, 6);
  // What is asked after a refusal is asked by the program's socket; nothing says how far it is. The
  // one that has refused is not asked again before 400 ms.
  expect_each("refused, silent", alone({kRefuses, kSilent, kLive}), library,
              kRtt + 200 * kMs + 3 * kRtt, 5);
  expect_each("another delay", alone({kSilent, kLive}), with(Program::kNextaddr, 50),
              50 * kMs + 3 * kRtt, 4);
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
  // Seven by the kernel, and probes of two each at the beginning and after 30 and 90 s.
  expect("the library's SYNs",
         static_cast<double>(library.syns_in_window) / static_cast<double>(library.window.count()),
         13, 0);
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
  lossy.network.loss = 0.05;  // of SYNs
  const Latencies lost = run(lossy, with(Program::kFirstOnly, 0)).window;
  expect("one SYN lost", lost.share_above(kSecond), 0.05, 0.002);
  expect("the second SYN after 1 s", lost.share_above(1100 * kMs), 0.0025, 0.0005);
  expect("two SYNs lost", lost.share_above(3 * kSecond), 0.0025, 0.0005);
}

// Of two addresses, 350 and 200 ms or 420 and 150 ms away, and of one as far as its SYN is sent
// twice.
void check_distances() {
  const auto away = [](double first, double second) {
    Setting setting = alone({kLive, kLive});
    setting.network.servers[0].round_trip_ms = first;
    setting.network.servers[1].round_trip_ms = second;
    return setting;
  };
  const Rules first = with(Program::kFirstOnly, 0);
  const Rules race = with(Program::kRaces, 250);
  const Rules probes = with(Program::kProbes, 250);
  const Rules library = with(Program::kNextaddr, 200);
  expect_each("350 and 200 ms", away(350, 200), first, 350 * kMs, 1);
  expect_each("350 and 200 ms, all in turn", away(350, 200), with(Program::kWalksAll, 0), 350 * kMs,
              1);
  expect_each("350 and 200 ms, a race", away(350, 200), race, 350 * kMs, 2);
  expect_each("350 and 200 ms, probes", away(350, 200), probes, 350 * kMs, 2);
  expect_each("420 and 150 ms, a race", away(420, 150), race, (250 + 150) * kMs, 2);
  expect_each("420 and 150 ms, probes", away(420, 150), probes, (250 + 2 * 150) * kMs, 3);
  // A grace of 100 ms after the other's answer, and one look at it in 10 ms or so: just enough.
  expect_each("420 and 150 ms, the library", away(420, 150), library, 420 * kMs, 2);
  // Not enough. The answer is met by the look 211 ms after the probe, one in 12 ms by then.
  expect_each("600 and 200 ms, the library", away(600, 200), library, (200 + 211 + 100 + 200) * kMs,
              4);
  expect_each("250 and 250 ms, the library", away(250, 250), library, 250 * kMs, 2);
  expect_each("1500 ms", away(1500, 20), first, 1500 * kMs, 2);
}

// A second handshake: what a probe has heard does not connect the program's socket.
void check_probes() {
  const Rules probes = with(Program::kProbes, 250);
  expect_each("a probe, and a move", alone({kSilent, kLive}), probes, 250 * kMs + 2 * kRtt, 3);
  expect_each("two probes", alone({kSilent, kSilent, kLive}), probes, 500 * kMs + 2 * kRtt, 4);
  expect_each("a probe refused", alone({kSilent, kRefuses, kLive}), probes, 250 * kMs + 3 * kRtt,
              4);
  expect_each("refused, no probe", alone({kRefuses, kLive}), probes, 2 * kRtt, 2);
  const Result result = run(alone({kSilent, kLive}), probes);
  double connections = 0;
  for (const Counts& second : result.seconds) connections += second.connections[1];
  expect("connections that the server sees", connections,
         static_cast<double>(result.window.count()), 0);
}

// A lost SYN is sent again after a second; a lost answer is asked for again, and sent again by the
// server as well: both have to be lost for a third time.
void check_losses() {
  Setting setting = alone({kLive});
  setting.connects_per_s = 10;
  setting.lasts = setting.window_to = 20'000 * kSecond;
  const auto shares = [&](double of_syns, double of_answers, double above_1s, double above_2s,
                          double syns) {
    setting.network.loss = of_syns;
    setting.network.answer_loss = of_answers;
    const Result result = run(setting, with(Program::kFirstOnly, 0));
    const std::string what = std::to_string(of_syns) + ", " + std::to_string(of_answers);
    expect("lost " + what, result.window.share_above(kSecond), above_1s, 0.005);
    expect("lost again " + what, result.window.share_above(2 * kSecond), above_2s, 0.001);
    expect("SYNs of lost " + what,
           static_cast<double>(result.syns_in_window) / static_cast<double>(result.window.count()),
           syns, 0.01);
    expect("sent again " + what, static_cast<double>(result.window.percentile(90)),
           static_cast<double>(kSecond + kRtt), 10.0 * kMs);
  };
  constexpr double kTwice = 0.2 * 0.2;
  shares(0.2, 0, 0.2, kTwice, 1 / 0.8);
  // The third SYN, after 3 s, has an answer of the server beside it again, and so on.
  shares(0, 0.2, 0.2, 0.2 * kTwice, 1 + 0.2 + 0.2 * kTwice + 0.2 * kTwice * kTwice);
  // After a second: the first SYN was lost, and the second or its answer is; or the answer of the
  // first was lost (0.16), and neither the second SYN nor the server gets one through. After three
  // it is much the same, but that the server may have been lucky between. Few send a fourth SYN.
  const double twice = 0.2 * 0.36 + 0.16 * 0.36 * 0.2;
  const double thrice = 0.2 * 0.2 + 0.2 * 0.16 * 0.2 + 0.16 * 0.36 * 0.2;
  shares(0.2, 0.2, 0.36, twice, 1 + 0.36 + thrice + 0.01);
}

// Each of the two packets of a round trip has an exponential delay of its own: their sum has a
// gamma distribution.
void check_jitter() {
  Setting setting = alone({kLive});
  setting.connects_per_s = 10;
  setting.lasts = setting.window_to = 20'000 * kSecond;
  setting.network.distance = Distance::kGiven;
  setting.network.servers[0].round_trip_ms = 100;
  setting.network.jitter = 0.2;
  const Latencies window = run(setting, with(Program::kFirstOnly, 0)).window;
  expect("the mean of round trips", window.mean(), 120.0 * kMs, 0.2 * kMs);
  // To where a bucket begins: 30 ms, three times the mean of each.
  expect("the share of late ones", window.share_above(130 * kMs), 4 * std::exp(-3.0), 0.004);
}

// Ends of parkings without jitter: 30 s, then 60, 120, 120 .. after the one before. Each is found
// out about by the next connect (10 in a second) and a probe that is silent for a second, for which
// nobody waits.
void check_parking() {
  Setting setting = alone({kSilent, kLive});
  setting.connects_per_s = 10;
  setting.lasts = setting.window_to = 3600 * kSecond;
  Rules rules = with(Program::kNextaddr, 200, Memory::kProcess);
  rules.parking = kNoJitter;
  double at = 0;
  int asked = 0;
  for (double parking = 30; at < 3600; parking = std::min(2 * parking, 120.0)) {
    ++asked;
    at += 0.1 + 1 + parking;
  }
  const Result result = run(setting, rules);
  double syns = 0;
  for (const Counts& second : result.seconds) syns += second.syns[0];
  // The first asks twice, and others may have begun before its silence was known.
  expect("connects that ask a parked address", syns, asked + 3, 4);
  const double count = static_cast<double>(result.window.count());
  expect("connects that pay for it", result.window.share_above(100 * kMs) * count, 3, 2);
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
  check_distances();
  check_probes();
  check_losses();
  check_jitter();
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
