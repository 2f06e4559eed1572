#include "memory/memory.h"

#include <arpa/inet.h>

#include <algorithm>
#include <atomic>

#include "config.h"
#include "memory/file.h"
#include "os/clock.h"
#include "os/socket.h"
#include "process/process.h"

namespace nextaddr {
namespace {

constinit std::atomic<std::uint32_t> connects{0};
// The first connect of a process is measured, and then each of so many.
constexpr std::uint32_t kConnectsPerRtt = 16;

// The entry that is known, or a new one.
AddressEntry entry_of(const AddressKey& key) {
  AddressEntry entry;
  if (address_memory().find(key, entry)) return entry;
  entry = {};
  entry.key = key;
  return entry;
}

// False where the socket's network is not known: nothing is remembered of it.
bool make_key(int fd, const Address& address, in_port_t port, AddressKey& out) {
  if (!address_memory().usable()) return false;
  out = {address, ntohs(port), network_of(fd)};
  return out.network != 0;
}

bool find_failing(int fd, const Address& address, in_port_t port, AddressEntry& out) {
  AddressKey key;
  return address_memory().may_hold_failures() &&
         address_memory().knows_failing(address, ntohs(port)) && make_key(fd, address, port, key) &&
         address_memory().find(key, out) && is_bad(out.health);
}

bool find_entry(int fd, const Address& address, in_port_t port, AddressEntry& out) {
  AddressKey key;
  return address_memory().knows(address, ntohs(port)) && make_key(fd, address, port, key) &&
         address_memory().find(key, out);
}

// True when a round-trip time differs enough from what the file has to be worth writing once more.
bool is_news(std::uint32_t rtt_us, std::uint32_t saved_us) {
  return rtt_us != 0 && (rtt_us / 2 > saved_us || rtt_us < saved_us / 2);
}

}  // namespace

void save_rtts() {
  // No system call is made in a sandbox, which may permit nothing but to end by now.
  if (sandbox() != Sandbox::kNone || !address_memory().may_hold_rtts() || !owns_memory()) return;
  address_memory().for_each([](AddressEntry& entry) {
    const std::uint32_t rtt_us = entry.health.rtt_us;
    if (!is_news(rtt_us, entry.saved_rtt_us)) return;
    const MemoryFile file(entry);
    entry.health.rtt_us = entry.saved_rtt_us = rtt_us;
    file.write(entry);
    address_memory().store(entry);
  });
}

void refresh_memory() {
  // Programs that look up for each connect do so thousands of times a second.
  constexpr std::uint64_t kFreshMs = 100;
  static constinit std::atomic<std::uint64_t> refreshed_ms{0};
  if (!address_memory().usable()) return;
  const std::uint64_t now = us_of(CLOCK_MONOTONIC_COARSE) / 1000;
  if (now - refreshed_ms.load(std::memory_order_relaxed) < kFreshMs || !owns_memory()) return;
  refreshed_ms.store(now, std::memory_order_relaxed);
  read_memory_file(address_memory());
}

Standing standing_of(int fd, const Address& address, in_port_t port, bool probes) {
  AddressEntry entry;
  if (!find_failing(fd, address, port, entry)) return Standing::kWell;
  const std::uint64_t now = wall_ms();
  const Standing silent = was_silent(entry.health, now) ? Standing::kAskedLast : Standing::kWell;
  const auto wants_claim = [&](AskOrder order) {
    return order == AskOrder::kClaim || order == AskOrder::kClaimInPlace;
  };
  AskOrder order = ask_order_of(entry.health, now);
  if (!wants_claim(order)) return order == AskOrder::kLast ? Standing::kAskedLast : silent;
  if (!owns_memory()) return Standing::kWell;
  const MemoryFile file(entry);
  order = ask_order_of(entry.health, now);
  const bool ours = wants_claim(order) && !file.is_busy();
  if (ours) {
    claim(entry.health, now);
    file.write(entry);
  }
  address_memory().store(entry);
  if (!ours) return order == AskOrder::kUsual ? silent : Standing::kAskedLast;
  return probes && order == AskOrder::kClaim ? Standing::kToBeProbed : Standing::kWell;
}

void find_bad_ones(int fd, const HostTable& table, const DestinationList& list, in_port_t port,
                   Destinations& out, PositionSet& lately_silent) {
  AddressKey key;
  if (!address_memory().may_hold_failures() || !make_key(fd, {}, port, key)) return;
  const std::uint64_t now = wall_ms();
  for (std::size_t i = list.candidates.next(0); i != PositionSet::kNone;
       i = list.candidates.next(i + 1)) {
    AddressEntry entry;
    if (!table.address_at(list, i, key.address) || !address_memory().find(key, entry)) continue;
    const bool silent = was_silent(entry.health, now);
    if (silent) lately_silent.add(i);
    if (i == list.requested) continue;
    if (silent || ask_order_of(entry.health, now) != AskOrder::kUsual) out.parked.add(i);
    if (is_silent(entry.health, now)) out.silent.add(i);
  }
}

void note_failure(int fd, const Address& address, in_port_t port, bool was_heard,
                  std::string_view host) {
  AddressKey key;
  if (!make_key(fd, address, port, key)) return;
  AddressEntry entry = entry_of(key);
  const std::uint64_t now = wall_ms();
  // One failure counts for each parking, so that a program that tries again and again does not make
  // it longer.
  const auto is_parked_already = [&] {
    return entry.health.failures != 0 && now < entry.health.until_ms;
  };
  if (is_parked_already() && !(was_heard && entry.health.silent_ms != 0)) return;
  const MemoryFile file(entry);
  if (was_heard) hear(entry.health);
  if (!is_parked_already()) {
    if (!host.empty()) entry.set_host_name(host);
    const auto chance =
        static_cast<std::uint32_t>(now_us() ^ std::uint64_t{own_pid()} * 0x9e3779b1u);
    fail(entry.health, now, config().first_parking_ms, chance);
  }
  file.write(entry);
  address_memory().store(entry);
}

void note_silence(int fd, const Address& address, in_port_t port, std::uint32_t silent_ms,
                  std::string_view host) {
  AddressKey key;
  if (!make_key(fd, address, port, key)) return;
  AddressEntry entry = entry_of(key);
  const std::uint64_t now = wall_ms();
  AddressHealth known = entry.health;
  if (!nextaddr::note_silence(known, silent_ms, now)) return;
  const MemoryFile file(entry);
  if (!host.empty()) entry.set_host_name(host);
  nextaddr::note_silence(entry.health, silent_ms, now);
  file.write(entry);
  address_memory().store(entry);
}

bool is_failing(int fd, const Address& address, in_port_t port) {
  AddressEntry entry;
  return find_failing(fd, address, port, entry);
}

void note_success(int fd, const Address& address, in_port_t port) {
  AddressEntry entry;
  if (!find_failing(fd, address, port, entry) || is_steered_to(fd, address)) return;
  const MemoryFile file(entry);
  succeed(entry.health, wall_ms());
  file.write(entry);
  address_memory().store(entry);
}

ConnectAttempts::Distance distance_of(int fd, const Address& address, in_port_t port) {
  AddressEntry entry;
  if (config().fixed_attempt_delay || !find_entry(fd, address, port, entry)) return {};
  return {(entry.health.rtt_us + 999) / 1000, entry.health.silent_ms, entry.health.failures != 0};
}

std::uint32_t shortest_attempt_delay() {
  const bool adapts = !config().fixed_attempt_delay && address_memory().may_hold_rtts();
  return adapts ? std::min(overdue_ms(1), config().attempt_delay_ms) : config().attempt_delay_ms;
}

bool wants_rtt() {
  return address_memory().usable() &&
         connects.fetch_add(1, std::memory_order_relaxed) % kConnectsPerRtt == 0;
}

void note_rtt(int fd, const Address& address, in_port_t port, std::uint64_t took_us) {
  AddressKey key;
  if (took_us == 0 || !make_key(fd, address, port, key)) return;
  AddressEntry entry = entry_of(key);
  const auto rtt = static_cast<std::uint32_t>(std::min<std::uint64_t>(took_us, UINT32_MAX));
  if (!note_rtt(entry.health, rtt, wall_ms())) return;
  address_memory().store(entry);
}

}  // namespace nextaddr
