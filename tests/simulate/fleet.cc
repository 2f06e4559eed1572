#include "fleet.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>
#include <deque>
#include <memory>
#include <stdexcept>
#include <utility>

#include "engine/connect_attempts.h"

namespace simulate {
namespace {

using nextaddr::AddressHealth;
using nextaddr::AskOrder;
using nextaddr::ConnectAttempts;
using nextaddr::Destinations;
using nextaddr::kProbeMs;
using nextaddr::kSilentMs;
using nextaddr::PositionSet;
using nextaddr::SocketPhase;
using Action = ConnectAttempts::Action;
using Lesson = ConnectAttempts::Lesson;

constexpr Microseconds kNever = ~Microseconds{0};
// A clock that starts at 0 would hide mistakes with times before anything happened.
constexpr std::uint64_t kEpochMs = 1'700'000'000'000;
// When the kernel sends a SYN again (tcp(7), tcp_syn_retries 6), and gives up. A server sends its
// answer again after the same times, but for the last (tcp_synack_retries 5).
constexpr Microseconds kResends[] = {1 * kSecond,  3 * kSecond,  7 * kSecond,
                                     15 * kSecond, 31 * kSecond, 63 * kSecond};
constexpr std::size_t kAnswerResends = 5;
constexpr Microseconds kGivesUp = Microseconds{kKernelMs} * 1000;
// As in src/memory/memory.cc. A round trip of less than a tick does not leave connect(2), where it
// is measured in one of so many only.
constexpr std::uint32_t kConnectsPerRtt = 16;
constexpr Microseconds kTick = 4000;
// As in src/connect/probes.cc. So long a second probe of an address is the first, and so many SYNs
// the kernel sends for one.
constexpr std::uint64_t kFreshMs = 2000;
constexpr std::uint8_t kSynsOfProbe = 2;

// As in src/memory/memory.h.
enum class Standing : std::uint8_t { kWell, kAskedLast, kToBeProbed };

std::uint64_t mixed(std::uint64_t x) {
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

// splitmix64
class Chance {
 public:
  explicit Chance(std::uint64_t seed) : state_(mixed(seed)) {}
  std::uint64_t bits() { return mixed(state_ += 0x9e3779b97f4a7c15u); }
  double unit() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
  std::uint32_t below(std::uint32_t end) {
    return static_cast<std::uint32_t>((bits() >> 32) * end >> 32);
  }
  bool happens(double chance) { return chance > 0 && unit() < chance; }
  double exponential(double mean) { return -mean * std::log(1 - unit()); }
  double between(double from, double to) { return from + (to - from) * unit(); }

 private:
  std::uint64_t state_;
};

// The distances of kInternet: quantiles of a log-normal distribution (by Box and Muller).
std::vector<float> internet_distances() {
  Chance chance(7);
  std::vector<float> distances(4096);
  for (float& ms : distances) {
    const double normal = std::sqrt(chance.exponential(2)) * std::cos(2 * M_PI * chance.unit());
    ms = static_cast<float>(std::clamp(20 * std::exp(0.8 * normal), 1.0, 250.0));
  }
  return distances;
}

// The attempt of one socket: what its packets that are on their way, or will be, come to.
struct Attempt {
  Microseconds began = 0;
  Microseconds answer_at = kNever;    // it comes, unless the attempt is left before
  Microseconds answer_from = kNever;  // it, or the SYN that it answers at once, is on its way
  std::int16_t error = 0;             // what the answer is
  std::uint8_t server = 0;
  std::uint8_t syns = 0;
  bool heard = false;  // the server has heard a SYN
  bool deaf = false;   // a probe's: an answer raises no event, and is met by who looks
  bool over = false;
};

// When this SYN goes out; behind the last of them: when the kernel gives up.
Microseconds syn_at(const Attempt& attempt, std::uint8_t number) {
  if (number == 0) return attempt.began;
  return attempt.began + (number <= std::size(kResends) ? kResends[number - 1] : kGivesUp);
}

Microseconds due(const Attempt& attempt) {
  if (attempt.deaf) {
    return attempt.syns < kSynsOfProbe ? syn_at(attempt, attempt.syns) : kNever;
  }
  return std::min(attempt.answer_at, syn_at(attempt, attempt.syns));
}

// What src/connect/probes.cc knows of a probe, and the connect of its address; the packets are
// those of an Attempt.
struct Probe {
  enum class Found : std::uint8_t { kNothing, kAsking, kAnswered, kFailed, kOver };
  std::uint64_t began_ms = 0;
  std::uint64_t looked_ms = 0;
  std::uint32_t ms = 0;  // how long it took, or takes
  Found found = Found::kNothing;
  bool exact = false;         // the answer was met soon enough to tell the distance
  bool asked = false;         // the machine waits to be told
  bool silence_told = false;  // and has been told so much
  bool lingers = false;
};

// One connect() of a client. These are used again and again; FlightState is what begins anew.
struct FlightState {
  Microseconds began = 0;
  Microseconds timer = kNever;  // the program's next decision, or the machine wants to look
  std::uint32_t client = 0;
  std::uint8_t addresses_asked = 0;  // addresses asked, of a program that walks or races
  bool in_window = false;
  bool is_parked = false;     // the requested address: another one was asked first
  bool lingers_only = false;  // no connect, but a probe that has outlived one
  int first_error = 0;
  std::uint8_t begun = 0;  // of `attempts`
  std::array<std::uint8_t, kMaxServers> order{};
};

struct Flight : FlightState {
  // The program's socket, then the probes: of the library one for each position, of others, and in
  // a race, one after the other.
  std::array<Attempt, kMaxServers + 1> attempts;
  std::array<Probe, kMaxServers> probes;  // of the library, by position
  // The machine of a connect with the library, once it needs an event; none: the kernel has the
  // connect.
  std::unique_ptr<ConnectAttempts> machine;
};

struct Event {
  Microseconds at = 0;
  std::uint64_t number = 0;  // those of one moment in the order they were made
  std::uint32_t flight = 0;
  bool operator>(const Event& other) const {
    return std::pair(at, number) > std::pair(other.at, other.number);
  }
};

// What is still to happen, by time: a wheel of slices of a millisecond or so, and a heap of those
// of the present one, because a heap of millions of events would take most of the time.
class Events {
 public:
  [[nodiscard]] bool any() const { return waiting_ != 0; }

  // `at` is not more than kGivesUp from the event taken last.
  void add(Microseconds at, std::uint32_t flight) {
    const Event event{at, ++made_, flight};
    ++waiting_;
    if (at / kSlice > slice_) {
      wheel_[at / kSlice % kSlices].push_back(event);
    } else {
      present_.push_back(event);
      std::push_heap(present_.begin(), present_.end(), std::greater<>());
    }
  }

  // Takes the next event. False when there is none before `end`, which must not be earlier than
  // that of the call before.
  bool take_before(Microseconds end, Event& out) {
    if (waiting_ == 0) {
      if (end != kNever) slice_ = std::max(slice_, end / kSlice);
      return false;
    }
    while (present_.empty() && slice_ < end / kSlice) {
      present_.swap(wheel_[++slice_ % kSlices]);
      std::make_heap(present_.begin(), present_.end(), std::greater<>());
    }
    if (present_.empty() || present_.front().at >= end) return false;
    std::pop_heap(present_.begin(), present_.end(), std::greater<>());
    out = present_.back();
    present_.pop_back();
    --waiting_;
    return true;
  }

 private:
  static constexpr Microseconds kSlice = 1024;
  static constexpr std::size_t kSlices = std::size_t{1} << 17;
  static_assert(kSlice * kSlices > kGivesUp + kSecond);

  std::vector<std::vector<Event>> wheel_{kSlices};
  std::vector<Event> present_;
  std::uint64_t slice_ = 0;
  std::uint64_t made_ = 0;
  std::size_t waiting_ = 0;
};

class Fleet {
 public:
  Fleet(const Setting& setting, const Rules& rules)
      : setting_(setting),
        rules_(rules),
        servers_(setting.network.servers.size()),
        chance_(setting.seed),
        distances_(internet_distances()),
        cursors_(servers_) {
    result_.seconds.resize(setting.lasts / kSecond + kKernelMs / 1000 * kMaxServers + 2);
    if (rules.program == Program::kNextaddr && rules.memory != Memory::kOff) {
      healths_.resize(setting.clients * servers_);
      connects_.resize(setting.clients);
    }
    result_.bytes_a_client =
        setting.clients == 0
            ? 0
            : (healths_.size() * sizeof(AddressHealth) + connects_.size()) / setting.clients;
  }

  Result play() {
    const double mean = 1e6 / (setting_.connects_per_s * setting_.clients);
    double arrival = chance_.exponential(mean);
    const auto lasts = static_cast<double>(setting_.lasts);
    while (arrival < lasts || events_.any()) {
      const Microseconds next = arrival < lasts ? static_cast<Microseconds>(arrival) : kNever;
      Event event;
      if (events_.take_before(next, event)) {
        now_ = event.at;
        go_on(event.flight);
      } else {
        now_ = next;
        arrival += chance_.exponential(mean);
        start(chance_.below(setting_.clients));
      }
    }
    return std::move(result_);
  }

 private:
  [[nodiscard]] std::uint64_t now_ms() const { return kEpochMs + now_ / 1000; }
  [[nodiscard]] bool remembers() const { return !healths_.empty(); }

  // --- the network ---

  // `when` is not in the past.
  State state_at(std::size_t server, Microseconds when) {
    const auto& phases = setting_.network.servers[server].phases;
    std::size_t& cursor = cursors_[server];  // of phases that have begun
    while (cursor < phases.size() && phases[cursor].from <= now_) ++cursor;
    std::size_t begun = cursor;
    while (begun < phases.size() && phases[begun].from <= when) ++begun;
    return begun == 0 ? State::kLive : phases[begun - 1].state;
  }

  // How long one packet takes, there or back: half of the distance, and what it meets itself.
  Microseconds one_way(std::uint32_t client, std::size_t server) {
    const Network& network = setting_.network;
    const std::uint64_t place = mixed(client * kMaxServers + server + 1);
    double ms = network.servers[server].round_trip_ms / 2;
    switch (network.distance) {
      case Distance::kExact:
        break;
      case Distance::kGiven:
        ms += chance_.exponential(ms * network.jitter);
        break;
      case Distance::kDatacentre:
        ms = 0.25 + chance_.exponential(0.1);
        if (chance_.happens(0.0005)) ms += chance_.between(5, 50);
        break;
      case Distance::kInternet:
        ms = distances_[place % distances_.size()] / 2;
        ms += chance_.exponential(0.25 + ms * 0.05);
        if (chance_.happens(0.0025)) ms += chance_.between(20, 200);
        break;
      case Distance::kFar:
        ms = (150 + static_cast<double>(place % 351)) / 2;
        ms += chance_.exponential(ms * 0.05);
        break;
      case Distance::kMobile:
        ms = (40 + static_cast<double>(place % 41)) / 2 + chance_.exponential(30);
        if (chance_.happens(0.01)) ms += chance_.between(100, 1000);
        break;
    }
    return static_cast<Microseconds>(ms * 1000);
  }

  // A probe that is deaf never takes a place among those that wait to be accepted.
  bool has_room(std::size_t server, bool deaf) {
    const double capacity = setting_.network.servers[server].capacity;
    if (capacity == 0) return true;
    // Load is counted in slices of a tenth of a second, as the accept queue evens it out.
    const std::uint64_t slice = now_ / (kSecond / 10);
    if (slice != slice_[server]) {
      slice_[server] = slice;
      taken_[server] = 0;
    }
    if (deaf) return taken_[server] + 1 <= capacity / 10;
    return ++taken_[server] <= capacity / 10;
  }

  // A SYN of this attempt goes out now.
  void send(const Flight& flight, Attempt& attempt) {
    ++result_.seconds[now_ / kSecond].syns[attempt.server];
    if (flight.in_window) ++result_.syns_in_window;
    ++attempt.syns;
    if (chance_.happens(setting_.network.loss)) return;
    const Microseconds arrives = now_ + one_way(flight.client, attempt.server);
    const State state = state_at(attempt.server, arrives);
    if (state == State::kSilent) return;
    if (state == State::kRefuses) {
      answer(flight, attempt, ECONNREFUSED, now_, arrives);
      return;
    }
    const bool is_new = !attempt.heard;
    if (is_new && !has_room(attempt.server, attempt.deaf)) return;
    attempt.heard = true;
    if (answer(flight, attempt, 0, now_, arrives) || !is_new) return;
    // Nobody has told the server that it was heard: it answers again, of its own accord.
    for (std::size_t i = 0; i < kAnswerResends; ++i) {
      const Microseconds again = arrives + kResends[i];
      const bool lives = state_at(attempt.server, again) == State::kLive;
      if (lives && answer(flight, attempt, 0, again, again)) return;
    }
  }

  // The server's answer goes out at `leaves`; the first to come counts. False when it is lost.
  bool answer(const Flight& flight, Attempt& attempt, int error, Microseconds from,
              Microseconds leaves) {
    if (chance_.happens(setting_.network.answer_loss)) return false;
    const Microseconds at = leaves + one_way(flight.client, attempt.server);
    if (at < attempt.answer_at) {
      attempt.answer_at = at;
      attempt.answer_from = from;
      attempt.error = static_cast<std::int16_t>(error);
    }
    return true;
  }

  void begin(Flight& flight, std::uint8_t place, std::uint8_t server, bool deaf = false) {
    flight.begun = std::max<std::uint8_t>(flight.begun, place + 1);
    Attempt& attempt = flight.attempts[place];
    attempt = {};
    attempt.began = now_;
    attempt.server = server;
    attempt.deaf = deaf;
    send(flight, attempt);
  }

  // Has what is due of an attempt happen. True when it has ended, with its error.
  bool ends(const Flight& flight, Attempt& attempt) {
    if (attempt.deaf || attempt.answer_at > now_) {
      if (attempt.syns <= std::size(kResends)) {
        send(flight, attempt);
        return false;
      }
      attempt.error = ETIMEDOUT;
    }
    attempt.over = true;
    return true;
  }

  // --- connects ---

  void start(std::uint32_t client) {
    const std::uint32_t number = free_flight();
    Flight& flight = flights_[number];
    static_cast<FlightState&>(flight) = {};
    flight.client = client;
    flight.began = now_;
    flight.in_window = now_ >= setting_.window_from && now_ < setting_.window_to;
    make_order(flight);
    if (rules_.program != Program::kNextaddr) {
      ask_next(flight, 0);
    } else if (start_with_library(flight)) {
      free_.push_back(number);
      return;
    }
    await(number);
  }

  std::uint32_t free_flight() {
    if (free_.empty()) {
      flights_.emplace_back();
      return static_cast<std::uint32_t>(flights_.size() - 1);
    }
    const std::uint32_t number = free_.back();
    free_.pop_back();
    return number;
  }

  void make_order(Flight& flight) {
    const auto count = static_cast<std::uint32_t>(servers_);
    const std::uint32_t first = setting_.order == Order::kRotated ? chance_.below(count) : 0;
    for (std::uint32_t i = 0; i < count; ++i) {
      flight.order[i] = static_cast<std::uint8_t>((first + i) % count);
    }
    if (setting_.order != Order::kShuffled) return;
    for (std::uint32_t i = count; i > 1; --i) {
      std::swap(flight.order[i - 1], flight.order[chance_.below(i)]);
    }
  }

  // The next thing that happens to this connect.
  void await(std::uint32_t number) {
    const Flight& flight = flights_[number];
    Microseconds next = flight.timer;
    for (std::size_t i = 0; i < flight.begun; ++i) {
      if (!flight.attempts[i].over) next = std::min(next, due(flight.attempts[i]));
    }
    events_.add(std::max(next, now_), number);
  }

  void go_on(std::uint32_t number) {
    Flight& flight = flights_[number];
    const bool over = [&] {
      // An answer that comes at the very moment the patience ends is heard; no SYN is sent again
      // then.
      const bool leaves = flight.timer <= now_;
      for (std::size_t i = 0; i < flight.begun; ++i) {
        Attempt& attempt = flight.attempts[i];
        if (attempt.over || due(attempt) > now_ || (leaves && attempt.answer_at > now_)) continue;
        if (ends(flight, attempt) && ended(flight, i)) return true;
      }
      return flight.timer <= now_ && time_is_up(flight);
    }();
    if (over) {
      if (!flight.lingers_only) let_go(flight);
      flight.machine.reset();
      free_.push_back(number);
    } else {
      await(number);
    }
  }

  // An attempt has ended. True when with it the connect has.
  bool ended(Flight& flight, std::size_t place) {
    const Attempt& attempt = flight.attempts[place];
    if (flight.machine) {
      if (ended_with_library(flight)) return true;
      if (flight.machine) return false;
    }
    const bool own = place == 0 && rules_.program != Program::kRaces;
    if (attempt.error == 0) {
      if (own || rules_.program == Program::kRaces) return conclude(flight, 0, attempt.server);
      move(flight, attempt.server);
      return false;
    }
    if (flight.first_error == 0) flight.first_error = attempt.error;
    if (rules_.asks_all() && flight.addresses_asked < servers_) {
      ask_next(flight, own ? 0 : flight.begun);
      return false;
    }
    const auto runs = [](const Attempt& each) { return !each.over; };
    const auto end = flight.attempts.begin() + flight.begun;
    if (std::any_of(flight.attempts.begin(), end, runs)) return false;
    return conclude(flight, flight.first_error, 0);
  }

  bool time_is_up(Flight& flight) {
    if (flight.lingers_only) return look_after_lingering(flight);
    if (flight.machine) return look(flight, SocketPhase::kConnecting);
    ask_next(flight, flight.begun);
    return false;
  }

  void ask_next(Flight& flight, std::uint8_t place) {
    begin(flight, place, flight.order[flight.addresses_asked++]);
    const bool more = rules_.asks_beside() && flight.addresses_asked < servers_;
    flight.timer = more ? now_ + Microseconds{rules_.delay_ms} * 1000 : kNever;
  }

  // The first probe that was answered, as long as the program's own attempt was not: its socket
  // asks there, and nobody else is asked any more.
  void move(Flight& flight, std::uint8_t server) {
    flight.begun = 1;
    flight.addresses_asked = static_cast<std::uint8_t>(servers_);
    flight.timer = kNever;
    begin(flight, 0, server);
  }

  bool conclude(const Flight& flight, int error, std::size_t server) {
    const Microseconds took = now_ - flight.began;
    if (error == 0) ++result_.seconds[now_ / kSecond].connections[server];
    if (!flight.in_window) return true;
    if (error == 0) {
      result_.window.add(took);
    } else {
      result_.window.add_failed(took);
    }
    return true;
  }

  // --- what src/memory/memory.cc does ---

  AddressHealth& health(const Flight& flight, std::size_t server) {
    return healths_[flight.client * servers_ + server];
  }

  // How the requested address stands.
  Standing standing_of(const Flight& flight, std::size_t server) {
    if (!remembers()) return Standing::kWell;
    AddressHealth& known = health(flight, server);
    const AskOrder order = rules_.parking.ask_order_of(known, now_ms());
    if (order == AskOrder::kLast) return Standing::kAskedLast;
    if (order == AskOrder::kUsual) {
      return nextaddr::was_silent(known, now_ms()) ? Standing::kAskedLast : Standing::kWell;
    }
    nextaddr::claim(known, now_ms());
    return order == AskOrder::kClaim ? Standing::kToBeProbed : Standing::kWell;
  }

  void find_bad_ones(const Flight& flight, Destinations& out) {
    if (!remembers()) return;
    for (std::size_t i = 1; i < servers_; ++i) {
      const AddressHealth& known = health(flight, flight.order[i]);
      const AskOrder order = rules_.parking.ask_order_of(known, now_ms());
      const bool silent = nextaddr::was_silent(known, now_ms());
      if (order != AskOrder::kUsual || silent) out.parked.add(i);
      if (nextaddr::is_silent(known, now_ms())) out.silent.add(i);
    }
  }

  void note_failure(const Flight& flight, std::size_t server, bool was_heard) {
    if (!remembers()) return;
    AddressHealth& known = health(flight, server);
    if (was_heard) nextaddr::hear(known);
    if (known.failures != 0 && now_ms() < known.until_ms) return;
    if (flight.in_window && state_at(server, now_) == State::kLive) ++result_.parked_well;
    rules_.parking.fail(known, now_ms(), rules_.first_parking_ms,
                        static_cast<std::uint32_t>(chance_.bits() >> 32));
  }

  void note_silence(const Flight& flight, std::size_t server, std::uint32_t silent_ms) {
    if (remembers()) nextaddr::note_silence(health(flight, server), silent_ms, now_ms());
  }

  bool is_failing(const Flight& flight, std::size_t server) {
    if (!remembers()) return false;
    const AddressHealth& known = health(flight, server);
    return known.failures != 0 || known.silent_ms != 0;
  }

  void note_success(const Flight& flight, std::size_t server) {
    if (is_failing(flight, server)) nextaddr::succeed(health(flight, server), now_ms());
  }

  void note_rtt(const Flight& flight, std::size_t server, Microseconds took) {
    if (!remembers()) return;
    AddressHealth& known = health(flight, server);
    const std::uint32_t saved = known.rtt_us;
    nextaddr::note_rtt(known, static_cast<std::uint32_t>(took), now_ms());
    // A process saves what it has learnt when it ends, if that is news.
    const bool is_news = known.rtt_us / 2 > saved || known.rtt_us < saved / 2;
    if (rules_.memory == Memory::kFile && !is_news) known.rtt_us = saved;
  }

  void note_connected(const Flight& flight, std::size_t server, Microseconds took) {
    note_success(flight, server);
    if (!remembers()) return;
    if (took >= kTick || connects_[flight.client]++ % kConnectsPerRtt == 0) {
      note_rtt(flight, server, took);
    }
  }

  ConnectAttempts::Distance distance_of(const Flight& flight, std::size_t server) {
    if (!remembers() || rules_.known_rtt_ms == nullptr) return {};
    const AddressHealth& known = health(flight, server);
    return {rules_.known_rtt_ms(known), known.silent_ms, known.failures != 0};
  }

  // --- what src/connect/probes.cc does ---

  // A SYN from another socket. It is deaf: the server's application never sees it, and nothing of
  // its handshake serves the program's socket, which has to make its own.
  void probe(Flight& flight, std::size_t position) {
    Probe& probe = flight.probes[position];
    observe(flight, position);
    // What another probe has found out a moment ago counts.
    const bool fresh = probe.found == Probe::Found::kAsking ||
                       (probe.found != Probe::Found::kNothing &&
                        probe.found != Probe::Found::kOver && now_ms() - probe.began_ms < kFreshMs);
    if (!fresh) {
      probe = {now_ms(), now_ms(), 0, Probe::Found::kAsking, false, false, false, false};
      begin(flight, static_cast<std::uint8_t>(1 + position), flight.order[position], true);
    }
  }

  // What has become of the probe by now.
  void observe(Flight& flight, std::size_t position) {
    Probe& probe = flight.probes[position];
    if (probe.found != Probe::Found::kAsking || probe.looked_ms == now_ms()) return;
    Attempt& attempt = flight.attempts[1 + position];
    const std::uint64_t since = now_ms() - probe.looked_ms;
    probe.looked_ms = now_ms();
    probe.ms = static_cast<std::uint32_t>(now_ms() - probe.began_ms);
    if (attempt.answer_at <= now_) {
      probe.found = attempt.error == 0 ? Probe::Found::kAnswered : Probe::Found::kFailed;
      probe.exact = since * 4 <= probe.ms || since <= 10;
    } else if (probe.ms >= kProbeMs) {
      probe.found = Probe::Found::kOver;
    } else {
      return;
    }
    attempt.over = true;
  }

  // True when no probe lingers any more.
  bool look_after_lingering(Flight& flight) {
    bool any = false;
    for (std::size_t i = 0; i < servers_; ++i) {
      Probe& probe = flight.probes[i];
      if (!probe.lingers) continue;
      observe(flight, i);
      const std::uint64_t age = now_ms() - probe.began_ms;
      if (probe.found == Probe::Found::kAsking && age < kSilentMs) {
        any = true;
        if (!flight.lingers_only) continue;
        const std::uint64_t next =
            std::min(age + std::clamp<std::uint64_t>(age / 8, 5, 100), std::uint64_t{kSilentMs});
        flight.timer = flight.attempts[1 + i].began + next * 1000;
        continue;
      }
      probe.lingers = false;
      if (probe.found == Probe::Found::kAnswered) {
        note_success(flight, flight.order[i]);
        if (probe.exact) note_rtt(flight, flight.order[i], Microseconds{probe.ms} * 1000);
      } else {
        note_failure(flight, flight.order[i], probe.found == Probe::Found::kFailed);
      }
    }
    return !any;
  }

  // The connect has ended, and with it its probes, but for those that linger.
  void let_go(Flight& flight) {
    if (rules_.program != Program::kNextaddr || !flight.machine) return;
    // Probes end with their process.
    if (look_after_lingering(flight) || rules_.memory == Memory::kFile) return;
    for (std::size_t i = 0; i < servers_; ++i) {
      if (!flight.probes[i].lingers) continue;
      const std::uint32_t number = free_flight();
      Flight& own = flights_[number];
      static_cast<FlightState&>(own) = flight;
      clear_probes(own);
      own.lingers_only = true;
      own.attempts[0].over = true;
      own.probes[i] = flight.probes[i];
      own.attempts[1 + i] = flight.attempts[1 + i];
      own.timer = now_;
      await(number);
    }
  }

  void clear_probes(Flight& flight) const {
    for (std::size_t i = 0; i < servers_; ++i) {
      flight.probes[i] = {};
      flight.attempts[1 + i].over = true;
    }
    flight.begun = static_cast<std::uint8_t>(1 + servers_);
  }

  // --- what src/connect/connect_operation.cc does: what the machine says ---

  // True when the connect is over.
  bool start_with_library(Flight& flight) {
    const std::uint8_t requested = flight.order[0];
    ConnectAttempts& machine = starting_;
    machine.begin(false, now_ms(), first_look_ms());
    const Standing standing = standing_of(flight, requested);
    if (standing != Standing::kWell) {
      clear_probes(flight);
      flight.is_parked = true;
      carry_out(flight, machine, machine.elsewhere(SocketPhase::kClosed));
      if (machine.state() != ConnectAttempts::State::kLeft) {
        if (standing == Standing::kToBeProbed) {
          probe(flight, 0);
          flight.probes[0].lingers = true;
        }
        return keep(flight, machine);
      }
      flight.is_parked = false;
      machine.begin(false, now_ms(), first_look_ms());
    }
    begin(flight, 0, requested);
    carry_out(flight, machine,
              machine.started({EINPROGRESS, machine.began_ms(), {}, {}}, now_ms()));
    // Most connects need no event of their own: the answer comes before the machine wants to look
    // at the socket, so that it would hear of nothing but a connected one, and has nothing to
    // decide. Its round trip is known by so much earlier; a failing address is found well no sooner
    // than it has answered.
    const Attempt& attempt = flight.attempts[0];
    if (attempt.answer_at >= std::min(flight.timer, syn_at(attempt, 1)) || attempt.error != 0 ||
        is_failing(flight, requested)) {
      clear_probes(flight);
      return keep(flight, machine);
    }
    const Microseconds took = attempt.answer_at - now_;
    note_connected(flight, requested, took);
    ++result_.seconds[attempt.answer_at / kSecond].connections[requested];
    if (flight.in_window) result_.window.add(took);
    return true;
  }

  // As shortest_attempt_delay() in src/memory/memory.cc: that of the nearest address there could
  // be.
  [[nodiscard]] std::uint32_t first_look_ms() const {
    if (!remembers() || rules_.known_rtt_ms == nullptr) return rules_.delay_ms;
    return std::min(rules_.delay_ms, nextaddr::overdue_ms(1));
  }

  // A machine takes a kilobyte, so only those that will be asked again are kept.
  static bool keep(Flight& flight, const ConnectAttempts& machine) {
    flight.machine = std::make_unique<ConnectAttempts>(machine);
    return false;
  }

  bool look(Flight& flight, SocketPhase phase) {
    look_at_probes(flight, *flight.machine);
    look_after_lingering(flight);
    return carry_out(flight, *flight.machine, flight.machine->seen(phase, now_ms()));
  }

  bool ended_with_library(Flight& flight) {
    const int error = flight.attempts[0].error;
    return look(flight, error == 0           ? SocketPhase::kConnected
                        : error == ETIMEDOUT ? SocketPhase::kGivenUp
                                             : SocketPhase::kClosed);
  }

  // True when the connect is over.
  bool carry_out(Flight& flight, ConnectAttempts& machine, Action action) {
    using Kind = Action::Kind;
    for (;;) {
      remember(flight, machine, action);
      switch (action.kind) {
        case Kind::kPlan:
          action = plan(flight, machine);
          break;
        case Kind::kReadError:
          action = machine.error_read(flight.attempts[0].error, now_ms());
          break;
        case Kind::kConnect: {
          const std::uint8_t server = flight.order[action.position];
          // What the probe of this address had to tell has been told.
          flight.probes[action.position].asked = false;
          begin(flight, 0, server);
          action =
              machine.started({EINPROGRESS, now_ms(), distance_of(flight, server), {}}, now_ms());
          break;
        }
        case Kind::kProbe:
          ask(flight, machine, action.position, distance_of(flight, flight.order[action.position]));
          look_at_probes(flight, machine);
          action = machine.seen(SocketPhase::kConnecting, now_ms());
          break;
        case Kind::kWait:
          // The time counts from whole milliseconds of the connect's begin, so that these are not
          // lost by rounding.
          flight.timer = machine.until_ms() == ConnectAttempts::kNever
                             ? kNever
                             : (machine.until_ms() - kEpochMs) * 1000 + flight.began % 1000;
          return false;
        case Kind::kConnected:
          if (now_ - flight.attempts[0].began < Microseconds{kSilentMs} * 1000) {
            note_connected(flight, flight.attempts[0].server, now_ - flight.attempts[0].began);
          } else {
            note_success(flight, flight.attempts[0].server);
          }
          note_asked_in_vain(flight, now_ms() - flight.attempts[0].began / 1000 - kEpochMs);
          return conclude(flight, 0, flight.attempts[0].server);
        case Kind::kDeliver:
          return conclude(flight, machine.error(), 0);
        case Kind::kLeave:
        case Kind::kTold:
          flight.timer = kNever;
          flight.begun = 1;  // the probes are gone
          let_go(flight);
          flight.machine.reset();
          return false;
        default:
          throw std::logic_error("no connect has a fault or a time limit");
      }
    }
  }

  Action plan(const Flight& flight, ConnectAttempts& machine) {
    Destinations destinations;
    for (std::size_t i = 0; i < servers_; ++i) destinations.candidates.add(i);
    find_bad_ones(flight, destinations);
    if (flight.is_parked) destinations.parked.add(0);
    return machine.planned(destinations, {rules_.delay_ms, 0, true, kKernelMs},
                           distance_of(flight, flight.order[0]), now_ms());
  }

  void ask(Flight& flight, ConnectAttempts& machine, std::size_t position,
           ConnectAttempts::Distance distance) {
    probe(flight, position);
    flight.probes[position].asked = true;
    flight.probes[position].silence_told = false;
    machine.probing(position, distance, now_ms());
  }

  void look_at_probes(Flight& flight, ConnectAttempts& machine) {
    using Told = ConnectAttempts::Probe;
    for (std::size_t i = servers_; i-- > 0;) {
      Probe& probe = flight.probes[i];
      if (!probe.asked) continue;
      observe(flight, i);
      const auto tell = [&](Told what) {
        remember(flight, machine,
                 machine.probed(i, what, flight.attempts[1 + i].error, probe.ms, now_ms()));
      };
      probe.asked = probe.found == Probe::Found::kAsking;
      switch (probe.found) {
        case Probe::Found::kAnswered:
          if (probe.exact) note_rtt(flight, flight.order[i], Microseconds{probe.ms} * 1000);
          tell(Told::kAnswered);
          break;
        case Probe::Found::kFailed:
          tell(Told::kFailed);
          break;
        case Probe::Found::kOver:
          tell(Told::kOver);
          break;
        default:
          if (probe.ms < kSilentMs || probe.silence_told) break;
          probe.silence_told = true;
          tell(Told::kSilent);
          break;
      }
    }
  }

  void note_asked_in_vain(Flight& flight, std::uint64_t rtt_ms) {
    const std::uint32_t in_vain =
        nextaddr::in_vain_ms(rules_.delay_ms, static_cast<std::uint32_t>(rtt_ms));
    for (std::size_t i = 0; i < servers_; ++i) {
      Probe& probe = flight.probes[i];
      if (!probe.asked || now_ms() - probe.began_ms < in_vain) continue;
      observe(flight, i);
      if (probe.found == Probe::Found::kAsking) note_silence(flight, flight.order[i], probe.ms);
    }
  }

  // Remembers what the machine has learnt: before a move, of the attempt that is left by it.
  void remember(Flight& flight, ConnectAttempts& machine, const Action& action) {
    if (action.lesson == Lesson::kNothing) return;
    const std::uint8_t server = flight.order[action.about];
    if (action.lesson == Lesson::kFailed) {
      return note_failure(flight, server, action.silent_ms == 0);
    }
    note_silence(flight, server, action.silent_ms);
    if (action.lesson != Lesson::kLeft) return;
    const Attempt& attempt = flight.attempts[0];
    if (flight.in_window && attempt.error == 0 && attempt.answer_from <= now_) ++result_.needless;
    ask(flight, machine, action.about, {});
    flight.probes[action.about].lingers = true;
  }

  const Setting& setting_;
  const Rules& rules_;
  const std::size_t servers_;
  Chance chance_;
  std::vector<float> distances_;
  std::vector<std::size_t> cursors_;
  std::array<std::uint64_t, kMaxServers> slice_{};
  std::array<double, kMaxServers> taken_{};
  std::vector<AddressHealth> healths_;  // by client and server
  std::vector<std::uint8_t> connects_;  // by client
  std::deque<Flight> flights_;          // a reference to one stays good
  ConnectAttempts starting_;            // of the connect that begins now
  std::vector<std::uint32_t> free_;
  Events events_;
  Microseconds now_ = 0;
  Result result_;
};

}  // namespace

void Latencies::add(Microseconds took) {
  const std::uint64_t value = std::max<Microseconds>(took, 1);
  const int power = std::bit_width(value) - 1;
  const double fraction = static_cast<double>(value) / std::exp2(power) - 1;
  ++buckets_[static_cast<std::size_t>(power) * kSteps +
             static_cast<std::size_t>(fraction * kSteps)];
  ++connected_;
  sum_ += static_cast<double>(took);
  longest_ = std::max(longest_, took);
}

void Latencies::add_failed(Microseconds took) {
  ++failed_;
  longest_failure_ = std::max(longest_failure_, took);
}

Microseconds Latencies::percentile(double percent) const {
  const double wanted = std::max(1.0, static_cast<double>(count()) * percent / 100);
  double seen = 0;
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    seen += buckets_[i];
    if (seen < wanted) continue;
    const double begin = std::exp2(static_cast<double>(i / kSteps));
    return std::min(longest_, static_cast<Microseconds>(
                                  begin * (1 + (static_cast<double>(i % kSteps) + 0.5) / kSteps)));
  }
  return kFailed;
}

double Latencies::share_above(Microseconds took) const {
  std::uint64_t above = failed_;
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    const double begin =
        std::exp2(static_cast<double>(i / kSteps)) * (1 + static_cast<double>(i % kSteps) / kSteps);
    if (begin >= static_cast<double>(took)) above += buckets_[i];
  }
  return count() == 0 ? 0 : static_cast<double>(above) / static_cast<double>(count());
}

Result run(const Setting& setting, const Rules& rules) { return Fleet(setting, rules).play(); }

}  // namespace simulate
