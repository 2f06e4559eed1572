// A fleet of clients, the addresses of one host, the network between them and a clock that moves
// only when something happens. The clients of the library drive the machine that decides in it,
// engine/connect_attempts.h, with engine/parking.h; what is written here once more is only what
// src/connect/connect_operation.cc and probes.cc do because the machine says so, and what
// src/memory/memory.cc remembers.
//
// Must never decide anything for the library, nor depend on anything but its arguments and the
// seed: no real time, no random_device, no distribution of the standard library (these differ
// between its versions).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/connect_attempts.h"
#include "engine/parking.h"
#include "tuned_parking.h"

namespace simulate {

using Microseconds = std::uint64_t;
inline constexpr Microseconds kSecond = 1'000'000;
inline constexpr std::size_t kMaxServers = 8;
inline constexpr std::uint32_t kKernelMs = 127'000;

enum class State : std::uint8_t { kLive, kRefuses, kSilent };

// The state of the address from this moment on.
struct Phase {
  Microseconds from;
  State state;
};

struct Server {
  std::vector<Phase> phases;  // by time; live before the first
  double capacity = 0;        // SYNs a second, the others are dropped; 0: all it is asked for
  double round_trip_ms = 20;  // of kExact and kGiven
};

// How far the addresses are: a fixed distance for each client and address, and what comes on top of
// it for each packet, so that each of the two of a round trip has half of what is said here.
enum class Distance : std::uint8_t {
  kExact,       // Server::round_trip_ms, always: for the checks
  kGiven,       // the same, and an exponential Network::jitter of it more
  kDatacentre,  // half a millisecond; 0.1 % take 5 to 50 ms more (a busy accept queue)
  kInternet,    // log-normal around 20 ms, up to 250; 5 % more or so; 0.5 % take 20 to 200 ms more
  kFar,         // 150 to 500 ms
  kMobile,      // 40 to 80 ms and an exponential 60 ms more; 2 % take up to a second more
};

struct Network {
  std::vector<Server> servers;
  Distance distance = Distance::kInternet;
  double jitter = 0.05;    // of kGiven
  double loss = 0;         // of a SYN
  double answer_loss = 0;  // of what it is answered
};

// The order in which a lookup gives the addresses.
enum class Order : std::uint8_t { kFixed, kRotated, kShuffled };

enum class Program : std::uint8_t {
  kFirstOnly,  // the first address, as long as the kernel tries it
  kWalksAll,   // address after address, each as long as the kernel tries it
  kRaces,  // RFC 8305: another one joins after each delay, the first to answer is taken; no memory
  // What one socket can make of the race: the others are asked by probes, and it moves to the first
  // that answers, once, which makes that handshake twice. No memory.
  kProbes,
  kNextaddr,  // kFirstOnly with the library
};

// What the clients have of a memory: that of one program; that of many short ones of a user, which
// share the file and end once they are connected, with whatever lingers; or none.
enum class Memory : std::uint8_t { kProcess, kFile, kOff };

// As in src/memory/memory.cc.
inline std::uint32_t rtt_ms(const nextaddr::AddressHealth& health) {
  return (health.rtt_us + 999) / 1000;
}

struct Rules {
  Program program = Program::kNextaddr;
  Memory memory = Memory::kProcess;
  std::uint32_t delay_ms = nextaddr::kDefaultAttemptDelayMs;
  // The round trip that the machine is told of, by what is known of the address; none: nothing.
  std::uint32_t (*known_rtt_ms)(const nextaddr::AddressHealth&) = rtt_ms;
  std::uint32_t first_parking_ms = nextaddr::kFirstParkingMs;
  Parking parking = kParking;
  bool asks_beside() const { return program == Program::kRaces || program == Program::kProbes; }
  bool asks_all() const { return asks_beside() || program == Program::kWalksAll; }
};

struct Setting {
  Network network;
  Order order = Order::kShuffled;
  std::uint32_t clients = 1'000'000;
  double connects_per_s = 1.0 / 60;  // of each client, by a Poisson process
  Microseconds lasts = 900 * kSecond;
  Microseconds window_from = 0;  // what begins in this time is measured
  Microseconds window_to = 900 * kSecond;
  std::uint64_t seed = 1;
};

// Latencies by their logarithm, to about one percent.
class Latencies {
 public:
  void add(Microseconds took);
  void add_failed(Microseconds took);
  // The time within which so many of a hundred were connected; kFailed when they were not at all.
  static constexpr Microseconds kFailed = ~Microseconds{0};
  Microseconds percentile(double percent) const;
  double share_above(Microseconds took) const;
  std::uint64_t count() const { return connected_ + failed_; }
  std::uint64_t failed() const { return failed_; }
  Microseconds longest() const { return longest_; }
  Microseconds longest_failure() const { return longest_failure_; }
  double mean() const { return connected_ == 0 ? 0 : sum_ / static_cast<double>(connected_); }

 private:
  static constexpr std::size_t kSteps = 64;  // to the next power of two
  std::array<std::uint32_t, 40 * kSteps> buckets_{};
  std::uint64_t connected_ = 0;
  std::uint64_t failed_ = 0;
  double sum_ = 0;
  Microseconds longest_ = 0;
  Microseconds longest_failure_ = 0;
};

struct Counts {
  std::array<std::uint32_t, kMaxServers> syns{};         // that went out to each address
  std::array<std::uint32_t, kMaxServers> connections{};  // that it was taken for
};

struct Result {
  Latencies window;
  std::vector<Counts> seconds;
  std::uint64_t syns_in_window = 0;  // of connects that began in the window
  std::uint64_t needless = 0;     // attempts in it that were left though the answer was on its way
  std::uint64_t parked_well = 0;  // addresses parked in it though they were live
  std::size_t bytes_a_client = 0;
};

Result run(const Setting& setting, const Rules& rules);

// Throws when the simulator itself is wrong: results against what can be computed by hand.
void check_simulator();

}  // namespace simulate
