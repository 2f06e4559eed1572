#include "lookup/dns_queries.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <string_view>

#include "os/clock.h"

namespace nextaddr::dns {
namespace {

// How many queries may wait for an answer: more than a program has that is no name server.
constexpr std::size_t kQueries = 128;
// After so long nobody waits for an answer any more: resolvers ask again after 5 s at most, and say
// so after 30 s.
constexpr std::uint64_t kLifetimeMs = 30'000;

enum State : std::uint32_t { kFree, kHeld, kWaiting };

// What a query is found by. Keys lie beside each other, so that it is quick to look through all.
struct Key {
  std::atomic<std::uint32_t> state;
  std::atomic<std::int32_t> fd;
  std::atomic<std::uint32_t> tag;  // the id and the type
  std::atomic<std::uint64_t> cookie;
  std::atomic<std::uint64_t> asked_ms;
};

// The rest of a query, which only who holds its key may look at.
struct Query {
  Address server;
  in_port_t port;
  std::uint8_t name_size;
  char name[kLongestName];

  [[nodiscard]] std::string_view name_view() const { return {name, name_size}; }
};

constinit std::array<Key, kQueries> keys{};
constinit std::array<Query, kQueries> queries{};
// When a query that still waited had to make room, in milliseconds; 0: never. Its answer cannot be
// told from a stranger's.
constinit std::atomic<std::uint64_t> lost_ms{0};

std::uint32_t tag_of(const DnsQuestion& question) {
  return std::uint32_t{question.id} << 16 | static_cast<std::uint16_t>(question.type);
}

bool hold(Key& key, std::uint32_t state) {
  return key.state.compare_exchange_strong(state, kHeld, std::memory_order_acquire);
}

void let_go(Key& key, State state) { key.state.store(state, std::memory_order_release); }

bool waits(const Key& key) { return key.state.load(std::memory_order_acquire) == kWaiting; }

bool is_same(const Query& query, const Endpoint& server, const DnsQuestion& question) {
  return query.server == server.address && query.port == server.port &&
         query.name_view() == question.name;
}

// A place for a query: that of the same one, when it is asked again, else a free one, else that of
// the oldest. It is held; -1: others are faster. Several queries of a socket may have one id: other
// names, or the same one at another server.
int place_for(std::uint64_t cookie, const Endpoint& server, const DnsQuestion& question,
              std::uint64_t now) {
  const std::uint32_t tag = tag_of(question);
  std::size_t oldest = 0;
  std::uint64_t oldest_ms = ~std::uint64_t{0};
  for (std::size_t i = 0; i < kQueries; ++i) {
    Key& key = keys[i];
    const std::uint32_t state = key.state.load(std::memory_order_relaxed);
    const bool may_be_same = key.cookie.load(std::memory_order_relaxed) == cookie &&
                             key.tag.load(std::memory_order_relaxed) == tag;
    if (state == kWaiting && may_be_same && hold(key, kWaiting)) {
      if (is_same(queries[i], server, question)) return static_cast<int>(i);
      let_go(key, kWaiting);
    }
    const std::uint64_t since = state == kFree ? 0 : key.asked_ms.load(std::memory_order_relaxed);
    if (state != kHeld && since < oldest_ms) {
      oldest = i;
      oldest_ms = since;
    }
  }
  Key& key = keys[oldest];
  if (hold(key, kFree)) return static_cast<int>(oldest);
  if (!hold(key, kWaiting)) return -1;
  if (now - oldest_ms < kLifetimeMs) lost_ms.store(now, std::memory_order_relaxed);
  return static_cast<int>(oldest);
}

}  // namespace

bool any_waits_on(int fd) {
  return std::any_of(keys.begin(), keys.end(), [fd](const Key& key) {
    return key.fd.load(std::memory_order_relaxed) == fd && waits(key);
  });
}

void remember_query(int fd, std::uint64_t cookie, const Endpoint& server,
                    const DnsQuestion& question) {
  const std::uint64_t now = now_ms();
  const int place = place_for(cookie, server, question, now);
  if (place < 0) return lost_ms.store(now, std::memory_order_relaxed);
  Key& key = keys[static_cast<std::size_t>(place)];
  Query& query = queries[static_cast<std::size_t>(place)];
  query.server = server.address;
  query.port = server.port;
  query.name_size = static_cast<std::uint8_t>(question.name.size());
  std::memcpy(query.name, question.name.data(), question.name.size());
  key.fd.store(fd, std::memory_order_relaxed);
  key.tag.store(tag_of(question), std::memory_order_relaxed);
  key.cookie.store(cookie, std::memory_order_relaxed);
  key.asked_ms.store(now, std::memory_order_relaxed);
  let_go(key, kWaiting);
}

Match take_query(std::uint64_t cookie, const Endpoint& server, const DnsQuestion& question) {
  const std::uint32_t tag = tag_of(question);
  const std::uint64_t now = now_ms();
  Match match = Match::kNone;
  for (std::size_t i = 0; i < kQueries && match != Match::kFound; ++i) {
    Key& key = keys[i];
    if (key.tag.load(std::memory_order_relaxed) != tag ||
        key.cookie.load(std::memory_order_relaxed) != cookie ||
        key.state.load(std::memory_order_acquire) == kFree) {
      continue;
    }
    if (!hold(key, kWaiting)) {
      match = Match::kUnknown;
      continue;
    }
    const bool found = is_same(queries[i], server, question);
    const bool in_time = now - key.asked_ms.load(std::memory_order_relaxed) < kLifetimeMs;
    let_go(key, found || !in_time ? kFree : kWaiting);
    if (found && in_time) match = Match::kFound;
  }
  const std::uint64_t lost = lost_ms.load(std::memory_order_relaxed);
  const bool may_be_lost = lost != 0 && now - lost < kLifetimeMs;
  return match == Match::kNone && may_be_lost ? Match::kUnknown : match;
}

void forget_repetitions(const DnsQuestion& question) {
  for (std::size_t i = 0; i < kQueries; ++i) {
    Key& key = keys[i];
    if (key.tag.load(std::memory_order_relaxed) != tag_of(question) || !hold(key, kWaiting)) {
      continue;
    }
    let_go(key, queries[i].name_view() == question.name ? kFree : kWaiting);
  }
}

void forget_queries() {
  for (Key& key : keys) key.state.store(kFree, std::memory_order_relaxed);
}

}  // namespace nextaddr::dns
