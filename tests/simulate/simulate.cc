// `make simulate`: what a fleet gets from nextaddr, and whether its numbers (design 2.7 and 2.9)
// are right. Plays each case with fleet.h, prints a table, and writes results.csv and timeline.csv
// into the directory it is given. tests/simulate/README.md says what came out.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "fleet.h"

namespace simulate {
namespace {

using nextaddr::AddressHealth;

constexpr Microseconds kMs = 1000;
constexpr Microseconds kDies = 60 * kSecond;
constexpr Microseconds kRevives = 420 * kSecond;
constexpr Microseconds kEnds = 840 * kSecond;
constexpr std::uint64_t kStep = 5;  // peaks are of so many seconds

struct Case {
  std::string group;
  std::string name;
  Setting setting;
  Rules rules;
  bool timeline = false;
};

// --- what is measured ---

struct Loads {
  double fair = 0;  // connections a second, if all addresses had the same
  double dead = 0;  // the others are in multiples of it: SYNs to the first address in the window
  double survivor = 0;  // SYNs to the most loaded one of the others in the window
  double spread = 0;    // connections of the most loaded one to their mean
  double revived = 0;   // most connections of the first address within 5 s, after the window
  double back_after =
      -1;  // seconds from the end of the window until it has 90 % of what it had; -1: never
};

double mean_of(const Result& result, std::uint64_t from, std::uint64_t to, std::size_t server,
               bool connections) {
  double sum = 0;
  for (std::uint64_t s = from; s < to; ++s) {
    const Counts& counts = result.seconds[s];
    sum += connections ? counts.connections[server] : counts.syns[server];
  }
  return to > from ? sum / static_cast<double>(to - from) : 0;
}

Loads loads_of(const Case& of, const Result& result) {
  Loads loads;
  const std::size_t servers = of.setting.network.servers.size();
  const std::uint64_t from = of.setting.window_from / kSecond;
  const std::uint64_t to = of.setting.window_to / kSecond;
  const std::uint64_t end = of.setting.lasts / kSecond;
  loads.fair = of.setting.clients * of.setting.connects_per_s / static_cast<double>(servers);
  loads.dead = mean_of(result, from, to, 0, false) / loads.fair;
  double most = 0;
  double sum = 0;
  for (std::size_t i = 1; i < servers; ++i) {
    loads.survivor = std::max(loads.survivor, mean_of(result, from, to, i, false) / loads.fair);
    const double connections = mean_of(result, from, to, i, true);
    most = std::max(most, connections);
    sum += connections;
  }
  loads.spread = sum == 0 ? 0 : most * static_cast<double>(servers - 1) / sum;
  if (to >= end) return loads;
  const double before = from < kStep ? 0 : mean_of(result, kStep, from, 0, true);
  for (std::uint64_t s = to; s + kStep <= end; ++s) {
    const double now = mean_of(result, s, s + kStep, 0, true);
    loads.revived = std::max(loads.revived, now / loads.fair);
    if (loads.back_after < 0 && now >= 0.9 * before) {
      loads.back_after = static_cast<double>(s - to);
    }
  }
  return loads;
}

std::string milliseconds(Microseconds us) {
  if (us == Latencies::kFailed) return "fail";
  char text[32];
  std::snprintf(text, sizeof text, us < 10 * kMs ? "%.1f" : "%.0f", static_cast<double>(us) / 1000);
  return text;
}

class Report {
 public:
  explicit Report(const std::string& directory)
      : results_(open(directory + "/results.csv")), timeline_(open(directory + "/timeline.csv")) {
    std::fputs(
        "group,case,p50_ms,p90_ms,p99_ms,p999_ms,max_ms,failed_percent,over_1s_percent,"
        "attempts_per_connect,needless_per_1000,parked_live_per_1000,fair_per_s,dead_load,"
        "survivor_load,spread,revived_peak,back_after_s\n",
        results_);
    std::fputs("group,case,second,address,syns,connections\n", timeline_);
  }
  Report(const Report&) = delete;
  Report& operator=(const Report&) = delete;
  ~Report() {
    std::fclose(results_);
    std::fclose(timeline_);
  }

  void add(const Case& of, const Result& result) {
    if (of.group != group_) {
      group_ = of.group;
      std::printf("\n%-35s %6s %6s %6s %6s %7s %6s %5s %5s %5s | %5s %5s %5s %5s %5s\n",
                  group_.c_str(), "p50", "p90", "p99", "p99.9", "max", "fail%", "att", "need",
                  "park", "dead", "surv", "sprd", "peak", "back");
    }
    const Latencies& window = result.window;
    const Loads loads = loads_of(of, result);
    const auto connects = static_cast<double>(std::max<std::uint64_t>(window.count(), 1));
    const double failed = 100.0 * static_cast<double>(window.failed()) / connects;
    const double attempts = static_cast<double>(result.syns_in_window) / connects;
    const double needless = 1000 * static_cast<double>(result.needless) / connects;
    const double parked = 1000 * static_cast<double>(result.parked_well) / connects;
    const std::string p50 = milliseconds(window.percentile(50));
    const std::string p90 = milliseconds(window.percentile(90));
    const std::string p99 = milliseconds(window.percentile(99));
    const std::string p999 = milliseconds(window.percentile(99.9));
    const std::string most = milliseconds(std::max(window.longest(), window.longest_failure()));
    std::printf(
        "%-35s %6s %6s %6s %6s %7s %6.2f %5.2f %5.1f %5.1f | %5.2f %5.2f %5.2f %5.2f %5.0f\n",
        of.name.c_str(), p50.c_str(), p90.c_str(), p99.c_str(), p999.c_str(), most.c_str(), failed,
        attempts, needless, parked, loads.dead, loads.survivor, loads.spread, loads.revived,
        loads.back_after);
    std::fflush(stdout);
    std::fprintf(
        results_,
        "\"%s\",\"%s\",%s,%s,%s,%s,%s,%.4f,%.4f,%.4f,%.3f,%.3f,%.1f,%.4f,%.4f,%.4f,%.4f,%.0f\n",
        of.group.c_str(), of.name.c_str(), p50.c_str(), p90.c_str(), p99.c_str(), p999.c_str(),
        most.c_str(), failed, 100 * window.share_above(kSecond), attempts, needless, parked,
        loads.fair, loads.dead, loads.survivor, loads.spread, loads.revived, loads.back_after);
    if (!of.timeline) return;
    for (std::uint64_t s = 0; s < of.setting.lasts / kSecond; ++s) {
      for (std::size_t i = 0; i < of.setting.network.servers.size(); ++i) {
        std::fprintf(timeline_, "\"%s\",\"%s\",%llu,%zu,%u,%u\n", of.group.c_str(), of.name.c_str(),
                     static_cast<unsigned long long>(s), i, result.seconds[s].syns[i],
                     result.seconds[s].connections[i]);
      }
    }
  }

 private:
  static std::FILE* open(const std::string& path) {
    std::FILE* file = std::fopen(path.c_str(), "w");
    if (file == nullptr) throw std::runtime_error("cannot write " + path);
    return file;
  }

  std::FILE* results_;
  std::FILE* timeline_;
  std::string group_;
};

// --- the cases ---

// The first `dead` of `count` addresses are in this state while the window lasts.
Setting outage(State state, std::size_t dead, std::size_t count = 4) {
  Setting setting;
  setting.network.servers.resize(count);
  for (std::size_t i = 0; i < dead; ++i) {
    setting.network.servers[i].phases = {{kDies, state}, {kRevives, State::kLive}};
  }
  setting.window_from = kDies;
  setting.window_to = kRevives;
  setting.lasts = kEnds;
  return setting;
}

// Where only the window matters: it is shorter, and nothing follows.
Setting brief(Setting setting) {
  for (Server& server : setting.network.servers) {
    if (!server.phases.empty()) server.phases.pop_back();
  }
  setting.lasts = setting.window_to = 300 * kSecond;
  return setting;
}

// How often a client connects, on which depends what its memory is worth.
Setting sparse(Setting setting) {  // 833 connects a second
  setting.clients = 50'000;
  setting.connects_per_s = 1.0 / 60;
  return setting;
}
Setting steady(Setting setting) {  // 1,000
  setting.clients = 5'000;
  setting.connects_per_s = 0.2;
  return setting;
}
Setting busy(Setting setting) {  // 1,250
  setting.clients = 250;
  setting.connects_per_s = 5;
  return setting;
}

Setting on(Distance distance, Setting setting) {
  setting.network.distance = distance;
  return setting;
}
Setting in(Order order, Setting setting) {
  setting.order = order;
  return setting;
}
Setting losing(double loss, Setting setting) {
  setting.network.loss = loss;
  return setting;
}
Setting losing_answers(double loss, Setting setting) {
  setting.network.answer_loss = loss;
  return setting;
}
// An address at each of these distances, all live, in this order.
Setting away(const std::vector<double>& round_trips_ms, double jitter = 0.05) {
  Setting setting =
      in(Order::kFixed, on(Distance::kGiven, outage(State::kLive, 0, round_trips_ms.size())));
  for (std::size_t i = 0; i < round_trips_ms.size(); ++i) {
    setting.network.servers[i].round_trip_ms = round_trips_ms[i];
  }
  setting.network.jitter = jitter;
  return setting;
}
Setting first_silent(Setting setting) {
  setting.network.servers[0].phases = {{kDies, State::kSilent}, {kRevives, State::kLive}};
  return setting;
}
// The first address is gone for half of each period.
Setting flapping(Microseconds period, Setting setting) {
  auto& phases = setting.network.servers[0].phases;
  phases.clear();
  for (Microseconds at = kDies; at < kRevives; at += period) {
    phases.push_back({at, State::kSilent});
    phases.push_back({at + period / 2, State::kLive});
  }
  return setting;
}
Setting limited(double times_fair, Setting setting) {
  const auto count = static_cast<double>(setting.network.servers.size());
  for (Server& server : setting.network.servers) {
    server.capacity = times_fair * setting.clients * setting.connects_per_s / count;
  }
  return setting;
}

Rules program(Program which, std::uint32_t delay_ms = 0) {
  Rules rules;
  rules.program = which;
  rules.delay_ms = delay_ms;
  return rules;
}
const Rules kLibrary;
const Rules kFirstOnly = program(Program::kFirstOnly);
const Rules kWalksAll = program(Program::kWalksAll);
const Rules kRace = program(Program::kRaces, 250);
const Rules kProbes = program(Program::kProbes, 250);

Rules fixed_delay(std::uint32_t delay_ms) {
  Rules rules;
  rules.delay_ms = delay_ms;
  rules.known_rtt_ms = nullptr;
  return rules;
}
Rules first_delay(std::uint32_t delay_ms) {
  Rules rules;
  rules.delay_ms = delay_ms;
  return rules;
}
// Another overdue_ms(): kPercent of the round trip, and kMargin. The machine is told of that round
// trip which makes its own rule come to this.
template <std::uint32_t kPercent, std::uint32_t kMargin>
std::uint32_t told_rtt_ms(const AddressHealth& health) {
  if (health.rtt_us == 0) return 0;
  const double wanted = rtt_ms(health) * (kPercent / 100.0) + kMargin;
  const double told = (wanted - nextaddr::kOverdueMarginMs) / 1.5;
  return static_cast<std::uint32_t>(std::clamp(std::lround(told), 1L, 10'000L));
}
Rules overdue(std::uint32_t (*known_rtt_ms)(const AddressHealth&)) {
  Rules rules;
  rules.known_rtt_ms = known_rtt_ms;
  return rules;
}
Rules first_parking(std::uint32_t seconds) {
  Rules rules;
  rules.first_parking_ms = seconds * 1000;
  return rules;
}
Rules parking(const Parking& variant) {
  Rules rules;
  rules.parking = variant;
  return rules;
}
Rules memory(Memory kind) {
  Rules rules;
  rules.memory = kind;
  return rules;
}

const std::string kRaceRow = "RFC 8305 race, 250 ms";
const std::string kBareRow = "first address only";
const std::string kLibraryRow = "nextaddr";
const std::string kFileRow = "nextaddr, processes with a file";
const std::string kColdRow = "nextaddr, memory off";  // meets every host as if for the first time

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  const auto add = [&](std::string group, std::string name, const Setting& setting,
                       const Rules& rules, bool timeline = false) {
    cases.push_back({std::move(group), std::move(name), setting, rules, timeline});
  };

  for (const State state : {State::kSilent, State::kRefuses}) {
    const std::string word = state == State::kSilent ? "silent" : "refuses";
    const Setting setting = outage(state, 1);
    add("million: 1 of 4 " + word, kBareRow, setting, kFirstOnly);
    if (state == State::kSilent) {
      add("million: 1 of 4 " + word, "walks, kernel's time", setting, kWalksAll);
    }
    add("million: 1 of 4 " + word, kRaceRow, setting, kRace, true);
    add("million: 1 of 4 " + word, kLibraryRow, setting, kLibrary, true);
  }

  const std::pair<const char*, std::function<Setting(Setting)>> tempos[] = {
      {"60 s", sparse}, {"5 s", steady}, {"0.2 s", busy}};
  for (const auto& [every, tempo] : tempos) {
    const std::string group = std::string("1 of 4 silent, one each ") + every;
    const Setting setting = tempo(outage(State::kSilent, 1));
    add(group, kBareRow, setting, kFirstOnly);
    add(group, kRaceRow, setting, kRace);
    add(group, kLibraryRow, setting, kLibrary, true);
    add(group, kFileRow, setting, memory(Memory::kFile));
    add(group, kColdRow, setting, memory(Memory::kOff));
    for (const std::uint32_t seconds : {5u, 10u, 60u}) {
      add(group, "first parking " + std::to_string(seconds) + " s", setting,
          first_parking(seconds));
    }
    add(group, "longest parking 1 min", setting, parking(kLongest1Min), true);
    add(group, "longest parking 5 min", setting, parking(kLongest5Min), true);
    add(group, "longest parking 10 min", setting, parking(kLongest10Min), true);
    add(group, "jitter 0 %", setting, parking(kNoJitter), true);
    add(group, "jitter 10 %", setting, parking(kJitter10));
    add(group, "jitter 50 %", setting, parking(kJitter50), true);
    add(group, "claim 2 s", setting, parking(kClaim2Seconds));
    add(group, "claim 30 s", setting, parking(kClaim30Seconds));
  }

  for (const auto& [word, order] :
       {std::pair("fixed", Order::kFixed), std::pair("rotated", Order::kRotated),
        std::pair("shuffled", Order::kShuffled)}) {
    const std::string group = std::string("order of lookups: ") + word;
    const Setting setting = in(order, steady(outage(State::kSilent, 1)));
    add(group, kRaceRow, setting, kRace);
    add(group, kLibraryRow, setting, kLibrary);
    add(group, "nextaddr, 1 of 8", in(order, steady(outage(State::kSilent, 1, 8))), kLibrary);
    add(group, "nextaddr, 3 of 4", in(order, steady(outage(State::kSilent, 3))), kLibrary);
  }

  const std::pair<const char*, Distance> distances[] = {{"datacentre", Distance::kDatacentre},
                                                        {"internet", Distance::kInternet},
                                                        {"150-500 ms", Distance::kFar},
                                                        {"mobile", Distance::kMobile}};
  for (const auto& [word, distance] : distances) {
    for (const bool healthy : {true, false}) {
      const std::string group = std::string(word) + (healthy ? ", all live" : ", 1 of 4 silent");
      const Setting setting = brief(on(distance, steady(outage(State::kSilent, healthy ? 0 : 1))));
      add(group, kBareRow, setting, kFirstOnly);
      add(group, kRaceRow, setting, kRace);
      add(group, "race, 50 ms", setting, program(Program::kRaces, 50));
      for (const std::uint32_t delay : {100u, 200u}) {
        add(group, "always " + std::to_string(delay) + " ms", setting, fixed_delay(delay));
      }
      add(group, kLibraryRow, setting, kLibrary);
      add(group, kFileRow, setting, memory(Memory::kFile));
      add(group, kColdRow, setting, memory(Memory::kOff));
      for (const std::uint32_t delay : {50u, 200u, 250u}) {
        add(group, "unknown: " + std::to_string(delay) + " ms", setting, first_delay(delay));
      }
      add(group, "overdue: 1 RTT + 30", setting, overdue(told_rtt_ms<100, 30>));
      add(group, "overdue: 1.5 RTT + 15", setting, overdue(told_rtt_ms<150, 15>));
      add(group, "overdue: 1.5 RTT + 60", setting, overdue(told_rtt_ms<150, 60>));
      add(group, "overdue: 2 RTT + 30", setting, overdue(told_rtt_ms<200, 30>));
      add(group, "overdue: 3 RTT + 30", setting, overdue(told_rtt_ms<300, 30>));
    }
  }

  for (const double loss : {0.01, 0.05}) {
    const std::string group = "loss of SYNs " + std::to_string(std::lround(loss * 100)) + " %";
    const Setting setting = brief(losing(loss, steady(outage(State::kSilent, 0))));
    add(group, kBareRow, setting, kFirstOnly);
    add(group, kRaceRow, setting, kRace);
    add(group, "always 200 ms", setting, fixed_delay(200));
    add(group, kLibraryRow, setting, kLibrary);
    add(group, "nextaddr, busy clients", brief(losing(loss, busy(outage(State::kSilent, 0)))),
        kLibrary);
    add(group, "nextaddr, first parking 5 s", setting, first_parking(5));
  }

  for (const bool both : {false, true}) {
    for (const double loss : {0.01, 0.05}) {
      const std::string group =
          std::string(both ? "loss of SYNs and of answers " : "loss of answers ") +
          std::to_string(std::lround(loss * 100)) + " %";
      const Setting setting =
          losing(both ? loss : 0, losing_answers(loss, brief(steady(outage(State::kSilent, 0)))));
      add(group, kBareRow, setting, kFirstOnly);
      add(group, kRaceRow, setting, kRace);
      add(group, "one socket and probes, 250 ms", setting, kProbes);
      add(group, kLibraryRow, setting, kLibrary);
      add(group, kFileRow, setting, memory(Memory::kFile));
      add(group, kColdRow, setting, memory(Memory::kOff));
    }
  }

  // Whoever has no memory meets every host as if for the first time.
  const auto add_distances = [&](const std::string& group, const Setting& where) {
    const Setting setting = brief(steady(where));
    add(group, kBareRow, setting, kFirstOnly);
    add(group, "walks, kernel's time", setting, kWalksAll);
    add(group, kRaceRow, setting, kRace);
    add(group, "one socket and probes, 250 ms", setting, kProbes);
    add(group, kLibraryRow, setting, kLibrary);
    add(group, kFileRow, setting, memory(Memory::kFile));
    add(group, kColdRow, setting, memory(Memory::kOff));
  };
  for (const auto& [first, second] :
       {std::pair(20, 200), std::pair(200, 20), std::pair(350, 200), std::pair(420, 150)}) {
    const std::string group =
        "unequal: " + std::to_string(first) + " and " + std::to_string(second) + " ms";
    add_distances(group, away({static_cast<double>(first), static_cast<double>(second)}));
  }
  const auto alike = [](std::size_t count, double ms, double jitter = 0.05) {
    return away(std::vector<double>(count, ms), jitter);
  };
  add_distances("alike: two of 1 ms", alike(2, 1));
  add_distances("alike: eight of 20 ms", alike(8, 20));
  add_distances("alike: two of 250 ms", alike(2, 250));
  add_distances("alike: two of 250 ms, jitter 33 %", alike(2, 250, 0.33));
  add_distances("alike: the same, 1 % lost",
                losing(0.01, losing_answers(0.01, alike(2, 250, 0.33))));
  add_distances("alike: six of 400 ms", alike(6, 400));
  add_distances("alike: eight of 600 ms, jitter 33 %", alike(8, 600, 0.33));
  for (const int second : {20, 200, 300}) {
    add_distances("silent, then " + std::to_string(second) + " ms",
                  first_silent(away({20, static_cast<double>(second)})));
  }
  Setting two_silent = first_silent(away({20, 20, 20}));
  two_silent.network.servers[1].phases = two_silent.network.servers[0].phases;
  add_distances("two silent, then 20 ms", two_silent);
  const Setting mixed = in(Order::kShuffled, away({20, 60, 200, 400}));
  add_distances("unequal: 20, 60, 200, 400 ms", mixed);
  add_distances("20, 60, 200, 400 ms, the first silent", first_silent(mixed));

  for (const std::uint32_t period : {10u, 60u, 180u}) {
    const std::string group = "1 of 4 flaps, period " + std::to_string(period) + " s";
    const Setting setting = flapping(period * kSecond, steady(outage(State::kSilent, 1)));
    add(group, kBareRow, setting, kFirstOnly);
    add(group, kRaceRow, setting, kRace);
    add(group, kLibraryRow, setting, kLibrary, true);
    add(group, "first parking 5 s", setting, first_parking(5));
    add(group, "first parking 60 s", setting, first_parking(60));
    add(group, "longest parking 1 min", setting, parking(kLongest1Min));
  }

  for (const State state : {State::kSilent, State::kRefuses}) {
    const std::string group =
        std::string("whole site ") + (state == State::kSilent ? "silent" : "refuses");
    const Setting setting = sparse(outage(state, 4));
    add(group, kBareRow, setting, kFirstOnly, true);
    add(group, kRaceRow, setting, kRace, true);
    add(group, kLibraryRow, setting, kLibrary, true);
  }

  // Each takes 1.5 times its share: with one dead there is room, with two there is not.
  for (const std::size_t dead : {1u, 2u}) {
    const std::string group = std::to_string(dead) + " of 4 silent, room for 1.5";
    const Setting setting = limited(1.5, steady(outage(State::kSilent, dead)));
    add(group, kBareRow, setting, kFirstOnly, true);
    add(group, kRaceRow, setting, kRace, true);
    add(group, kLibraryRow, setting, kLibrary, true);
    add(group, "nextaddr, rotated", in(Order::kRotated, setting), kLibrary);
  }
  return cases;
}

// --- what is reached ---

struct Played {
  std::string group;
  std::string name;
  Latencies window;
  double syns = 0;  // for each connect
};

class Reach {
 public:
  explicit Reach(const std::vector<Played>& played) : played_(played) {}

  // False when something is not reached.
  bool print() {
    against_race();
    with_one_silent();
    healthy_hosts();
    unequal_hosts();
    first_meetings();
    std::printf("\n%d of %d are reached\n", checked_ - failed_, checked_);
    return failed_ == 0;
  }

 private:
  [[nodiscard]] const Played* find(const std::string& group, const std::string& name) const {
    for (const Played& each : played_) {
      if (each.group == group && each.name == name) return &each;
    }
    return nullptr;
  }

  static double ms(Microseconds us) {
    return us == Latencies::kFailed ? INFINITY : static_cast<double>(us) / 1000;
  }

  // What the same percentile of as many connects may be by chance alone: three standard deviations
  // of the difference of two of them, in ranks, since that holds for any distribution; a step of
  // the buckets; and a millisecond, because the machine's clock has no less.
  static double by_chance(const Latencies& window, double percent) {
    const double share = percent / 100;
    const double ranks =
        3 * std::sqrt(2 * share * (1 - share) / static_cast<double>(window.count()));
    return ms(window.percentile(std::min(100.0, 100 * (share + ranks)))) * 65 / 64 + 1;
  }

  bool check(double got, double limit) {
    ++checked_;
    if (got <= limit) return true;
    ++failed_;
    return false;
  }

  void print_value(double got, double other, double limit) {
    std::printf("  %8.*f %8.*f%c", got < 10 ? 2 : 0, got, other < 10 ? 2 : 0, other,
                check(got, limit) ? ' ' : '!');
  }

  // True when none of p50, p99, p99.9 and SYNs for each connect is above that of the race.
  void against_race() {
    std::printf("\nNo more than the race of RFC 8305 at 250 ms (\"!\": more)\n%-38s %-8s", "", "");
    for (const char* what : {"p50", "race", "p99", "race", "p99.9", "race", "SYNs", "race"}) {
      std::printf("  %8s", what);
    }
    std::printf("\n");
    for (const Played& race : played_) {
      if (race.name != kRaceRow) continue;
      for (const auto& [name, word] : {std::pair(kLibraryRow, ""), std::pair(kFileRow, "file")}) {
        const Played* library = find(race.group, name);
        if (library == nullptr) continue;
        std::printf("%-38s %-8s", race.group.c_str(), word);
        for (const double percent : {50.0, 99.0, 99.9}) {
          print_value(ms(library->window.percentile(percent)), ms(race.window.percentile(percent)),
                      by_chance(race.window, percent));
        }
        print_value(library->syns, race.syns, race.syns * 1.01);
        std::printf("\n");
      }
    }
  }

  // One line of what has a limit of its own.
  void line(const std::string& group, const std::string& what, double got, double limit) {
    std::printf("%-38s %-52s %8.1f of %8.1f%s\n", group.c_str(), what.c_str(), got, limit,
                check(got, limit) ? "" : " !");
  }

  void with_one_silent() {
    std::printf("\nOne of four silent, a connect every 5 s\n");
    for (const Played& live : played_) {
      const std::size_t begin = live.group.find(", all live");
      if (live.name != kLibraryRow || begin == std::string::npos) continue;
      const std::string group = live.group.substr(0, begin) + ", 1 of 4 silent";
      const Played* silent = find(group, kLibraryRow);
      if (silent == nullptr) continue;
      line(group, "p99 within 1.2 of all live", ms(silent->window.percentile(99)),
           1.2 * by_chance(live.window, 99));
    }
  }

  void healthy_hosts() {
    std::printf("\nHealthy hosts whose addresses are as far as each other\n");
    for (const Played& bare : played_) {
      if (bare.name != kBareRow || bare.group.find("alike: ") != 0) continue;
      for (const std::string& name : {kLibraryRow, kColdRow}) {
        const Played* library = find(bare.group, name);
        if (library == nullptr) continue;
        line(bare.group, "median within 1.05 of bare: " + name, ms(library->window.percentile(50)),
             1.05 * by_chance(bare.window, 50));
      }
    }
  }

  void unequal_hosts() {
    std::printf("\nHealthy hosts whose addresses are not\n");
    for (const Played& bare : played_) {
      if (bare.name != kBareRow || bare.group.find("unequal: ") != 0) continue;
      const Played* cold = find(bare.group, kColdRow);
      const Played* library = find(bare.group, kLibraryRow);
      if (cold == nullptr || library == nullptr) continue;
      const double nearest = nearest_of(bare.group);
      for (const double percent : {50.0, 99.0}) {
        const std::string word = percent == 50 ? "median" : "p99";
        line(bare.group, word + ", memory off: one round trip of the nearer more",
             ms(cold->window.percentile(percent)),
             by_chance(bare.window, percent) + 1.05 * nearest);
      }
      line(bare.group, "median within 1.05 of bare: nextaddr", ms(library->window.percentile(50)),
           1.05 * by_chance(bare.window, 50));
    }
  }

  // In milliseconds, from "unequal: 420 and 150 ms".
  static double nearest_of(const std::string& group) {
    double nearest = INFINITY;
    const char* text = group.c_str();
    while (*text != '\0') {
      char* end = nullptr;
      const double number = std::strtod(text, &end);
      if (end == text) {
        ++text;
        continue;
      }
      nearest = std::min(nearest, number);
      text = end;
    }
    return nearest;
  }

  void first_meetings() {
    std::printf("\nA host that is met for the first time\n");
    const std::pair<const char*, double> limits[] = {{"silent, then 20 ms", 200},
                                                     {"two silent, then 20 ms", 300},
                                                     {"silent, then 300 ms", 1000}};
    for (const auto& [group, limit] : limits) {
      const Played* cold = find(group, kColdRow);
      if (cold != nullptr) {
        line(group, "median, memory off", ms(cold->window.percentile(50)), limit);
      }
    }
  }

  const std::vector<Played>& played_;
  int checked_ = 0;
  int failed_ = 0;
};

// `parts`: some, with a "|" between them.
bool is_part(const std::string& group, const std::string& parts) {
  for (std::size_t begin = 0; begin <= parts.size();) {
    const std::size_t end = std::min(parts.find('|', begin), parts.size());
    if (group.find(parts.substr(begin, end - begin)) != std::string::npos) return true;
    begin = end + 1;
  }
  return false;
}

bool is_of_reach(const Case& each) {
  for (const std::string& name : {kRaceRow, kBareRow, kLibraryRow, kFileRow, kColdRow}) {
    if (each.name == name) return true;
  }
  return false;
}

void play_all(const std::string& directory, const std::string& only, double share) {
  const auto began = std::chrono::steady_clock::now();
  check_simulator();
  std::printf(
      "The simulator is right in the cases computed by hand.\n\n"
      "Connects of the window (an address is dead in it, if any): p50 .. max: ms until connected; "
      "att: SYNs to each;\nneed: of 1000, left though the answer was on its way; park: of 1000, "
      "live addresses parked. Loads in fair shares:\ndead: SYNs to the first address; surv: to the "
      "most loaded other one; sprd: its connections to their mean;\npeak: most connections in 5 s "
      "of the first one after the window; back: seconds until it has 90 %% again.\n");
  Report report(directory);
  double connects = 0;
  std::size_t played = 0;
  std::vector<Played> results;
  const bool only_reach = only == "reach";
  for (Case& each : all_cases()) {
    if (only_reach ? !is_of_reach(each) : !is_part(each.group, only)) continue;
    const auto clients = static_cast<double>(each.setting.clients);
    each.setting.clients = std::max(1u, static_cast<std::uint32_t>(std::lround(clients * share)));
    for (Server& server : each.setting.network.servers) server.capacity *= share;
    const Result result = run(each.setting, each.rules);
    report.add(each, result);
    const auto count = static_cast<double>(std::max<std::uint64_t>(result.window.count(), 1));
    results.push_back(
        {each.group, each.name, result.window, static_cast<double>(result.syns_in_window) / count});
    connects += each.setting.clients * each.setting.connects_per_s *
                static_cast<double>(each.setting.lasts) / 1e6;
    ++played;
  }
  const double took =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  std::printf("\n%zu cases, %.0f million connects, %.0f s\n", played, connects / 1e6, took);
  Reach(results).print();
}

}  // namespace
}  // namespace simulate

int main(int argc, char** argv) {
  if (argc < 2 || argc > 4) {
    std::fputs(
        "usage: simulate DIRECTORY [PART OF A GROUP'S NAME | reach [SHARE OF THE CLIENTS]]\n",
        stderr);
    return 2;
  }
  try {
    simulate::play_all(argv[1], argc > 2 ? argv[2] : "", argc > 3 ? std::atof(argv[3]) : 1);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "simulate: %s\n", error.what());
    return 1;
  }
  return 0;
}
