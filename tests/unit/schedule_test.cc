// The schedule of attempts against a simulated network and clock, and against a plain model of the
// contract. No sockets, no real time: every run is a function of its seed.
#include "engine/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace nextaddr {
namespace {

// How one simulated address behaves: an error or an acceptance `answers_after_ms` after it was
// asked, or nothing.
struct Host {
  bool ipv6 = false;
  int error = 0;  // 0: accepts
  std::uint64_t answers_after_ms = 0;
  bool silent = false;
  bool parked = false;
};

struct Asked {
  std::size_t position;
  std::uint64_t at_ms;
  std::uint64_t given_ms;  // how long it was waited for
  int outcome;             // 0, an error, or EINPROGRESS for silence
};

struct Played {
  std::vector<Asked> asked;
  int result = -1;  // 0 connected, else errno
  std::uint64_t took_ms = 0;
  bool left_in_flight = false;
};

// Plays one connect() as src/connect/entry.cc does, on a clock that moves only when something
// waits.
Played play(const std::vector<Host>& hosts, std::size_t requested, const Schedule::Limits& limits) {
  constexpr std::uint64_t kStart = 1'000'000;
  std::uint64_t now = kStart;
  PositionSet candidates;
  PositionSet ipv6;
  PositionSet parked;
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    candidates.add(i);
    if (hosts[i].ipv6) ipv6.add(i);
    if (hosts[i].parked) parked.add(i);
  }
  Schedule schedule(candidates, ipv6, requested, limits, now, parked);
  Played run;
  using Kind = Schedule::Step::Kind;
  // Asks the address; immediate errors come back at once, everything else is in flight.
  const auto ask = [&](std::size_t position) {
    run.asked.push_back({position, now, 0, EINPROGRESS});
    const Host& host = hosts[position];
    if (!host.silent && host.error != 0 && host.answers_after_ms == 0) {
      run.asked.back().outcome = host.error;
      return schedule.failed(host.error, now);
    }
    return schedule.in_flight(now);
  };
  Schedule::Step step = ask(schedule.position());
  for (int guard = 0; guard < 100'000; ++guard) {
    if (step.kind == Kind::kAttempt) {
      step = ask(step.position);
    } else if (step.kind == Kind::kWait) {
      Asked& asked = run.asked.back();
      const Host& host = hosts[asked.position];
      const std::uint64_t answer = asked.at_ms + host.answers_after_ms;
      if (!host.silent && answer <= step.until_ms) {
        now = std::max(now, answer);
        asked.given_ms = now - asked.at_ms;
        asked.outcome = host.error;
        if (host.error == 0) {
          run.result = 0;
          run.took_ms = now - kStart;
          return run;
        }
        step = schedule.failed(host.error, now);
      } else {
        now = std::max(now, step.until_ms);
        asked.given_ms = now - asked.at_ms;
        step = schedule.silent(now);
      }
    } else {
      run.result = step.error;
      run.left_in_flight = step.kind == Kind::kYield;
      run.took_ms = now - kStart;
      return run;
    }
  }
  ADD_FAILURE() << "the schedule never ends";
  return run;
}

constexpr Schedule::Limits kDefaults{200, 127'000, 0};
Host live(std::uint64_t after_ms = 0) { return {false, 0, after_ms, false}; }
Host refused(bool ipv6 = false) { return {ipv6, ECONNREFUSED, 0, false}; }
Host silent(bool ipv6 = false) { return {ipv6, 0, 0, true}; }

std::vector<std::size_t> order(const Played& run) {
  std::vector<std::size_t> positions;
  for (const Asked& asked : run.asked) positions.push_back(asked.position);
  return positions;
}

TEST(KernelPatience, DoublesFromOneSecond) {
  EXPECT_EQ(kernel_patience_ms(1), 3'000u);
  EXPECT_EQ(kernel_patience_ms(6), 127'000u);
  EXPECT_EQ(kernel_patience_ms(0), 3'000u);
  EXPECT_EQ(kernel_patience_ms(7), 247'000u) << "no wait is longer than TCP_RTO_MAX";
  EXPECT_EQ(kernel_patience_ms(10), 607'000u);
  EXPECT_EQ(kernel_patience_ms(200), kernel_patience_ms(127));
}

TEST(Schedule, RefusedMovesOnAtOnce) {
  const Played run = play({refused(), refused(), live()}, 0, kDefaults);
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(run.took_ms, 0u);
  EXPECT_EQ(order(run), (std::vector<std::size_t>{0, 1, 2}));
}

TEST(Schedule, SilenceCostsTheAttemptDelay) {
  const Played run = play({silent(), silent(), live()}, 0, kDefaults);
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(run.took_ms, 400u);
}

TEST(Schedule, RequestedAddressFirstThenTheResolversOrder) {
  const Played run = play({refused(), refused(), refused(), refused()}, 2, kDefaults);
  EXPECT_EQ(order(run), (std::vector<std::size_t>{2, 0, 1, 3}));
  EXPECT_EQ(run.result, ECONNREFUSED);
}

TEST(Schedule, FamiliesAlternate) {
  std::vector<Host> hosts;
  for (const bool ipv6 : {false, true, true, true, false}) hosts.push_back(refused(ipv6));
  EXPECT_EQ(order(play(hosts, 1, kDefaults)), (std::vector<std::size_t>{1, 0, 2, 4, 3}));
}

TEST(Schedule, SlowServerIsReachedInALaterPass) {
  const Played run = play({live(700), silent()}, 0, kDefaults);
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(order(run), (std::vector<std::size_t>{0, 1, 0}));
  EXPECT_EQ(run.took_ms, 200u + 200u + 700u);
}

TEST(Schedule, PatienceGrows) {
  const Played run = play({silent(), silent()}, 0, kDefaults);
  std::vector<std::uint64_t> given;
  for (const Asked& asked : run.asked) given.push_back(asked.given_ms);
  ASSERT_GE(given.size(), 8u);
  given.resize(8);
  EXPECT_EQ(given, (std::vector<std::uint64_t>{200, 200, 1000, 1000, 3000, 3000, 9000, 9000}));
  EXPECT_EQ(run.result, ETIMEDOUT);
  EXPECT_EQ(run.took_ms, 127'000u);
}

TEST(Schedule, LastOneStandingGetsAllTheTime) {
  const Played run = play({silent(), refused()}, 0, kDefaults);
  EXPECT_EQ(order(run), (std::vector<std::size_t>{0, 1, 0}));
  EXPECT_EQ(run.took_ms, 127'000u);
  EXPECT_EQ(run.result, ETIMEDOUT);
}

Host parked(Host host) {
  host.parked = true;
  return host;
}

TEST(Schedule, ParkedAreAskedLast) {
  const std::vector<Host> hosts{parked(live()), refused(), parked(refused()), refused(), live()};
  EXPECT_EQ(order(play(hosts, 0, kDefaults)), (std::vector<std::size_t>{1, 3, 4}));
  EXPECT_EQ(order(play(hosts, 3, kDefaults)), (std::vector<std::size_t>{3, 1, 4}));
}

TEST(Schedule, ParkedAreNeverDropped) {
  const std::vector<Host> hosts{parked(refused()), refused(), parked(live())};
  const Played run = play(hosts, 0, kDefaults);
  EXPECT_EQ(run.result, 0);
  EXPECT_EQ(order(run), (std::vector<std::size_t>{1, 0, 2}));
}

TEST(Schedule, WhenAllAreParkedTheOrderIsTheUsualOne) {
  const std::vector<Host> hosts{parked(refused()), parked(refused()), parked(refused())};
  const Played run = play(hosts, 1, kDefaults);
  EXPECT_EQ(order(run), (std::vector<std::size_t>{1, 0, 2}));
  EXPECT_EQ(run.result, ECONNREFUSED);
}

TEST(Schedule, FamiliesAlternateAfterAParkedRequestedAddressToo) {
  std::vector<Host> hosts{parked(refused()), refused(true), parked(refused()),
                          parked(refused(true))};
  EXPECT_EQ(order(play(hosts, 0, kDefaults)), (std::vector<std::size_t>{1, 0, 3, 2}));
}

TEST(Schedule, AnAddressMayHaveAnAttemptDelayOfItsOwn) {
  PositionSet both;
  both.add(0);
  both.add(1);
  Schedule schedule(both, {}, 0, kDefaults, 1000);
  EXPECT_EQ(schedule.in_flight(1000, 25).until_ms, 1025u);
  EXPECT_EQ(schedule.silent(1025).position, 1);
  EXPECT_EQ(schedule.in_flight(1025, 1500).until_ms, 2525u);
  EXPECT_EQ(schedule.silent(2525).position, 0);
  EXPECT_EQ(schedule.in_flight(2525, 25).until_ms, 3525u) << "later passes wait longer";
}

TEST(Schedule, ErrorIsTheRequestedAddresss) {
  std::vector<Host> hosts{refused(), refused(), refused()};
  hosts[1].error = EHOSTUNREACH;
  EXPECT_EQ(play(hosts, 1, kDefaults).result, EHOSTUNREACH);
  EXPECT_EQ(play(hosts, 0, kDefaults).result, ECONNREFUSED);
}

TEST(Schedule, ErrorsOfTheCallAreDeliveredAtOnce) {
  for (const int error :
       {EBADF, ENOTSOCK, EFAULT, EISCONN, EALREADY, EAFNOSUPPORT, EAGAIN, ENOBUFS, ENOMEM}) {
    std::vector<Host> hosts{refused(), live()};
    hosts[0].error = error;
    const Played run = play(hosts, 0, kDefaults);
    EXPECT_EQ(run.result, error);
    EXPECT_EQ(run.asked.size(), 1u);
  }
}

TEST(Schedule, ProgramsOwnTimeIsSharedAndKept) {
  Schedule::Limits limits = kDefaults;
  limits.program_ms = 100;
  const Played reached = play({silent(), silent(), live()}, 0, limits);
  EXPECT_EQ(reached.result, 0);
  EXPECT_LT(reached.took_ms, 100u);
  const Played none = play({silent(), silent()}, 0, limits);
  EXPECT_EQ(none.result, EINPROGRESS);
  EXPECT_TRUE(none.left_in_flight);
  EXPECT_EQ(none.took_ms, 100u);
}

TEST(Schedule, ThousandSilentAddressesAreAllAskedInTheKernelsTime) {
  std::vector<Host> hosts(1000, silent());
  hosts.push_back(live());
  const Played run = play(hosts, 0, kDefaults);
  EXPECT_EQ(run.result, 0);
  EXPECT_LT(run.took_ms, 127'000u);
}

TEST(Schedule, ResumedKeepsItsPatienceAndItsPlace) {
  PositionSet both;
  both.add(0);
  both.add(1);
  Schedule schedule(both, {}, 0, kDefaults, 1000);
  EXPECT_EQ(schedule.in_flight(1000).until_ms, 1200u);
  // Interrupted every 20 ms, the attempt still ends at 1200.
  for (std::uint64_t now = 1020; now < 1200; now += 20) {
    const Schedule::Step step = schedule.resumed(now, 0);
    EXPECT_EQ(step.kind, Schedule::Step::Kind::kWait);
    EXPECT_EQ(step.until_ms, 1200u);
  }
  const Schedule::Step step = schedule.silent(1200);
  EXPECT_EQ(step.kind, Schedule::Step::Kind::kAttempt);
  EXPECT_EQ(step.position, 1);
}

TEST(Schedule, ResumedGoesOnWithTheOnlyOneLeft) {
  PositionSet one;
  one.add(0);
  Schedule schedule(one, {}, 0, {200, 60'000, 300}, 1000);
  EXPECT_EQ(schedule.in_flight(1000).until_ms, 1300u);
  EXPECT_EQ(schedule.silent(1300).kind, Schedule::Step::Kind::kYield);
  EXPECT_EQ(schedule.resumed(1310, 300).until_ms, 1610u);
  EXPECT_EQ(schedule.silent(1610).kind, Schedule::Step::Kind::kYield);
  EXPECT_EQ(schedule.resumed(1620, 0).until_ms, 61'000u);
}

// The contract (design 2.5 to 2.7 and 2.11) said once more, as checks on what was asked.
void check_contract(const std::vector<Host>& hosts, std::size_t requested,
                    const Schedule::Limits& limits, const Played& run) {
  const std::uint64_t whole =
      limits.program_ms != 0 ? std::min(limits.kernel_ms, limits.program_ms) : limits.kernel_ms;
  ASSERT_FALSE(run.asked.empty());
  const bool all_parked =
      std::all_of(hosts.begin(), hosts.end(), [](const Host& host) { return host.parked; });
  if (!hosts[requested].parked || all_parked) {
    EXPECT_EQ(run.asked.front().position, requested) << "the requested address is asked first";
  }
  std::size_t first_pass = 0;
  for (bool parked_before = false; first_pass < std::min(hosts.size(), run.asked.size());) {
    const bool is_parked = hosts[run.asked[first_pass++].position].parked;
    EXPECT_FALSE(parked_before && !is_parked) << "a parked address was asked before another";
    parked_before |= is_parked;
  }
  std::map<std::size_t, int> errors;
  std::map<std::size_t, int> times;
  std::map<std::size_t, std::uint64_t> longest;
  int lowest_pass = 0;
  for (const Asked& asked : run.asked) {
    EXPECT_FALSE(errors.contains(asked.position)) << "answered with an error, asked again";
    if (asked.outcome != 0 && asked.outcome != EINPROGRESS) errors[asked.position] = asked.outcome;
    EXPECT_GE(asked.given_ms, longest[asked.position]) << "patience shrank";
    if (times[asked.position] > 0 && asked.outcome == EINPROGRESS && run.took_ms < whole) {
      longest[asked.position] = asked.given_ms;
    }
    ++times[asked.position];
    // Nobody is asked a second time before everybody still standing was asked a first time, and so
    // on.
    int fewest = times[asked.position];
    for (std::size_t i = 0; i < hosts.size(); ++i) {
      if (!errors.contains(i)) fewest = std::min(fewest, times[i]);
    }
    EXPECT_LE(times[asked.position], fewest + 1) << "an address was passed over";
    lowest_pass = std::max(lowest_pass, fewest);
  }
  EXPECT_LE(run.took_ms, whole) << "longer than the kernel gives one address";
  if (run.result == 0) return;
  bool anyone_accepts_quickly = false;
  for (const Host& host : hosts) {
    const bool deadly = host.error != 0 && !host.silent && host.error == ENOBUFS;
    if (deadly) return;  // ends the connect whatever the others do
    anyone_accepts_quickly |= !host.silent && host.error == 0 &&
                              host.answers_after_ms < kMinPatienceMs &&
                              whole >= hosts.size() * kMinPatienceMs * 4;
  }
  EXPECT_FALSE(anyone_accepts_quickly) << "failed although a live address was there";
  if (run.left_in_flight) {
    EXPECT_EQ(run.result, EINPROGRESS);
    EXPECT_EQ(run.took_ms, limits.program_ms);
  } else if (errors.contains(requested)) {
    EXPECT_EQ(run.result, errors[requested]) << "not the requested address's error";
  } else {
    EXPECT_EQ(run.result, ETIMEDOUT);
  }
}

TEST(Schedule, TenThousandRandomNetworksKeepTheContract) {
  for (unsigned seed = 0; seed < 10'000; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random()) % n; };
    std::vector<Host> hosts(1 + below(seed % 10 == 0 ? 40 : 6));
    for (Host& host : hosts) {
      host.ipv6 = below(2) == 0;
      host.answers_after_ms = below(3) == 0 ? 0 : below(below(2) == 0 ? 100 : 5000);
      host.silent = below(3) == 0;
      host.parked = seed % 2 == 0 && below(3) == 0;
      constexpr int kErrors[] = {ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH,  ECONNRESET,
                                 ENETUNREACH,  ENETDOWN,  EADDRNOTAVAIL, EACCES,
                                 EPERM,        EINVAL,    EHOSTDOWN,     ENOBUFS};
      host.error = below(2) == 0 ? 0 : kErrors[below(12)];
    }
    const Schedule::Limits limits{10 + below(2000),
                                  kernel_patience_ms(static_cast<int>(1 + below(6))),
                                  below(3) == 0 ? 1 + below(3000) : 0};
    const std::size_t requested = below(static_cast<std::uint32_t>(hosts.size()));
    SCOPED_TRACE("seed " + std::to_string(seed));
    check_contract(hosts, requested, limits, play(hosts, requested, limits));
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace nextaddr
