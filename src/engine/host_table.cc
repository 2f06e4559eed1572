// Built for speed: every lookup comes by.
#include "engine/host_table.h"

#include <algorithm>

#include "engine/host_table_writer.h"
#include "engine/text.h"

namespace nextaddr {
namespace {

// A name as it is remembered: the dot at its end does not count (RFC 1034).
std::string_view without_dot(std::string_view host) {
  if (host.size() > 1 && host.back() == '.') host.remove_suffix(1);
  return host;
}

}  // namespace

// Functions marked cold are built for size: a healthy connect does not come there.
std::size_t HostTable::memory_size() { return sizeof(Memory); }

[[gnu::cold]] void HostTable::note_shared() { memory_->shared.store(1); }

bool HostTable::is_shared() const { return memory_->shared.load() != 0; }

[[gnu::cold]] void HostTable::set_seed(std::uint32_t seed) {
  memory_->seed.store(seed, std::memory_order_relaxed);
}

[[gnu::cold]] void HostTable::copy_from(const HostTable& other) {
  const auto copy = [](Word& to, const Word& from) {
    const std::uint32_t value = from.load(std::memory_order_acquire);
    if (value != 0) to.store(value, std::memory_order_relaxed);
  };
  Memory& from = *other.memory_;
  copy(memory_->building, from.building);
  copy(memory_->published, from.published);
  copy(memory_->hosts, from.hosts);
  copy(memory_->seed, from.seed);
  // Connects under way may hold records of either half, at the offset where they are.
  for (std::size_t i = 0; i < std::size(from.halves); ++i) {
    Memory::Half& half = memory_->halves[i];
    const Memory::Half& old = from.halves[i];
    copy(half.used, old.used);
    const Offset used = std::min<Offset>(half.used.load(std::memory_order_relaxed), kHalfWords);
    for (Offset k = 0; k < used; ++k) copy(half.words[k], old.words[k]);
  }
  // Only buckets in use are copied: to look at the others would make memory of them.
  const Writer old(from, from.published.load(std::memory_order_relaxed));
  const Writer here(*memory_, old.generation());
  here.for_each_live([&](Offset record, Offset) {
    for (std::size_t i = 0; i < here.count(record); ++i) {
      const Address address = here.address(here.entry(record, i));
      copy(here.address_bucket(address), old.address_bucket(address));
    }
    const std::uint32_t hash = here.at(record + kHash);
    copy(here.host_bucket(hash), old.host_bucket(hash));
  });
  close_what_is_closed_in(other);
}

[[gnu::cold]] void HostTable::close_what_is_closed_in(const HostTable& other) {
  const Memory& from = *other.memory_;
  for (std::size_t page = 0; page < kDoorPages; ++page) {
    if (!from.has_marks(page)) continue;
    memory_->note_marks(page);
    for (std::size_t i = page * kDoorwaysOfPage; i < (page + 1) * kDoorwaysOfPage; ++i) {
      memory_->doorways[i].merge(from.doorways[i]);
    }
  }
}

[[gnu::cold]] void HostTable::close_all() {
  memory_->hosts.store(kAllClosed, std::memory_order_release);
}

bool HostTable::try_lock(std::uint32_t owner) {
  std::uint32_t before = memory_->lock.load(std::memory_order_relaxed);
  const bool free = before == 0 || (before & kOwnerDied) != 0;
  return free && memory_->lock.compare_exchange_strong(before, owner, std::memory_order_acquire);
}

void HostTable::unlock(std::uint32_t owner) {
  memory_->lock.compare_exchange_strong(owner, 0, std::memory_order_release);
}

std::uint32_t* HostTable::lock_word() const {
  static_assert(sizeof(Word) == sizeof(std::uint32_t));
  return reinterpret_cast<std::uint32_t*>(&memory_->lock);
}

[[gnu::cold]] void HostTable::shut(const AddressList& answer) const {
  const std::uint32_t print = print_of(memory_->seed.load(std::memory_order_relaxed), answer);
  for (std::size_t i = 0; i < answer.size(); ++i) memory_->close_door(answer[i], print);
}

[[gnu::cold]] void HostTable::shut(const Address& address) const {
  memory_->close_door(address, kShut);
}

[[gnu::cold]] bool HostTable::learn(std::string_view host, AddressList& answer,
                                    LookupFamilies families, const HostFilter& filter,
                                    std::uint16_t port) {
  host = without_dot(host);
  if (host.empty() || host.size() > kMaxName || answer.size() == 0) return false;
  const std::uint32_t hash = hash_of(host);
  Writer writer(*memory_);
  const Offset known = writer.find(host, hash);
  Ports ports{};
  if (known != 0) ports = writer.ports(known);
  if (port != 0 && std::find(ports.begin(), ports.end(), port) == ports.end()) {
    const auto free = std::find(ports.begin(), ports.end(), 0);
    if (free != ports.end()) *free = port;
  }
  if (known != 0) {
    const std::size_t before = writer.count(known);
    for (std::size_t i = 0; i < before; ++i) {
      const Address address = writer.address(writer.entry(known, i));
      const bool answered = address.is_ipv4() ? families.ipv4 : families.ipv6;
      // The door of an address that there is no room for is closed: nobody would know that it is
      // this host's.
      if (!answered && !answer.add(address)) memory_->close_door(address, kShut);
    }
    bool same = before == answer.size();
    for (std::size_t i = 0; same && i < before; ++i) {
      same = writer.address(writer.entry(known, i)) == answer[i];
    }
    // Otherwise the host is remembered anew, so that its order of addresses is the one that counts.
    if (same && writer.is_newest_holder(known)) {
      writer.set(known + kWalkPid, 0);
      writer.set_ports(known, ports);
      writer.note_use(known);
      return true;
    }
  }
  const std::uint32_t bits = kLive | (filter.leaves_alone(host, 0) ? kLeftAlone : 0);
  bool learned = writer.replace(host, hash, bits, answer, ports);
  if (!learned) {
    // The half is full: what is in use is carried over into the other one.
    const std::uint32_t next = writer.generation() + 1;
    memory_->building.store(next, std::memory_order_seq_cst);
    const Writer fresh(*memory_, next);
    fresh.clear();
    fresh.copy_live(writer);
    learned = fresh.replace(host, hash, bits, answer, ports);
    memory_->published.store(next, std::memory_order_release);
  }
  std::uint32_t none = 0;
  if (learned) memory_->hosts.compare_exchange_strong(none, 1, std::memory_order_release);
  return learned;
}

// Calls walk(reader, first, effort) for the holders of `address`, again when they changed
// meanwhile.
template <typename Walk>
bool HostTable::walk_holders(const Address& address, Walk walk) const {
  for (Effort effort; effort.steps < kMaxSteps; ++effort.steps) {
    const Reader reader(*memory_);
    const Word& bucket = reader.address_bucket(address);
    const Offset first = bucket.load(std::memory_order_acquire);
    const bool found = walk(reader, first, effort);
    if (reader.met_all(bucket, first)) return found;
  }
  return false;
}

bool HostTable::knows(std::string_view host, Answer& answer) const {
  const std::uint32_t hosts = memory_->hosts.load(std::memory_order_acquire);
  return hosts != 0 && hosts != kAllClosed && Reader(*memory_).knows(without_dot(host), answer);
}

[[gnu::cold]] bool HostTable::holds(std::string_view host, const AddressList& answer,
                                    LookupFamilies families) const {
  const std::uint32_t hosts = memory_->hosts.load(std::memory_order_acquire);
  if (hosts == 0 || hosts == kAllClosed) return false;
  return Reader(*memory_).holds(without_dot(host), answer, families);
}

bool HostTable::may_fail_over(const Address& address) const {
  // Until the first lookup has been remembered, this page is all that is touched.
  const std::uint32_t hosts = memory_->hosts.load(std::memory_order_acquire);
  if (hosts == 0 || hosts == kAllClosed) return false;
  return walk_holders(address, [&](const Reader& reader, Offset first, Effort& effort) {
    const Offset entry = reader.holder(first, address, effort.steps);
    if (entry == 0) return false;
    const Offset record = reader.at(entry + kOwner);
    if (reader.count(record) < 2 || (reader.state(record) & kLeftAlone) != 0) return false;
    reader.note_use(record);
    return reader.is_open(address, record, first, effort.steps);
  });
}

bool HostTable::destinations(const Address& requested, std::uint16_t port, const HostFilter& filter,
                             DestinationList& out) const {
  if (memory_->hosts.load(std::memory_order_relaxed) == kAllClosed) return false;
  return walk_holders(requested, [&](const Reader& reader, Offset first, Effort& effort) {
    return reader.destinations(first, requested, port, filter, effort, out);
  });
}

[[gnu::cold]] bool HostTable::any_holder(const Address& address, HolderTest test,
                                         void* context) const {
  return walk_holders(address, [&](const Reader& reader, Offset entry, Effort& effort) {
    NameBuffer buffer{};
    for (; (entry = reader.holder(entry, address, effort.steps)) != 0;
         entry = reader.follow(entry + kNextEntry)) {
      const Offset holder = reader.at(entry + kOwner);
      const std::string_view host = reader.name(holder, buffer);
      // This is any number when the record was written over meanwhile.
      const std::size_t position = (entry - reader.entry(holder, 0)) / kEntryWords;
      if (position >= reader.count(holder)) continue;
      if (reader.valid() && test(context, host, position)) return true;
    }
    return false;
  });
}

bool HostTable::address_at(const DestinationList& list, std::size_t position, Address& out) const {
  if (list.record == 0) return false;
  const Reader reader(*memory_, list.generation);
  out = reader.address(reader.entry(list.record, position));
  return reader.valid();
}

[[gnu::cold]] bool HostTable::names_port(const DestinationList& list, std::uint16_t port) const {
  if (list.record == 0 || port == 0) return false;
  const Reader reader(*memory_, list.generation);
  const Ports ports = reader.ports(list.record);
  return std::find(ports.begin(), ports.end(), port) != ports.end() && reader.valid();
}

std::string_view HostTable::host_name(const DestinationList& list, NameBuffer& buffer) const {
  if (list.record == 0) return {};
  const Reader reader(*memory_, list.generation);
  const std::string_view name = reader.name(list.record, buffer);
  return reader.valid() ? name : std::string_view{};
}

[[gnu::cold]] void HostTable::note_exhausted(const DestinationList& list, std::uint32_t pid,
                                             std::uint32_t now_ms) {
  const Reader reader(*memory_, list.generation);
  const Offset walked = reader.walked(list.record);
  const Offset words = words_for_bits(reader.count(list.record));
  if (!reader.valid()) return;
  for (Offset i = 0; i < words; ++i) reader.word(walked + i).store(0, std::memory_order_relaxed);
  reader.word(walked + list.requested / 32u)
      .store(1u << (list.requested % 32), std::memory_order_relaxed);
  reader.word(list.record + kWalkTime).store(now_ms, std::memory_order_relaxed);
  reader.word(list.record + kWalkPid).store(pid, std::memory_order_relaxed);
}

bool HostTable::walks_exhausted(const DestinationList& list, std::uint32_t pid,
                                std::uint32_t now_ms) const {
  const Reader reader(*memory_, list.generation);
  if (reader.at(list.record + kWalkPid) != pid) return false;
  if (now_ms - reader.at(list.record + kWalkTime) > kWalkWindowMs) return false;
  const std::uint32_t walked = reader.at(reader.walked(list.record) + list.requested / 32u);
  return reader.valid() && (walked >> (list.requested % 32) & 1) == 0;
}

void HostTable::note_walked(const DestinationList& list, std::uint32_t now_ms) {
  const Reader reader(*memory_, list.generation);
  Word& walked = reader.word(reader.walked(list.record) + list.requested / 32u);
  if (!reader.valid()) return;
  walked.fetch_or(1u << (list.requested % 32), std::memory_order_relaxed);
  reader.word(list.record + kWalkTime).store(now_ms, std::memory_order_relaxed);
}

}  // namespace nextaddr
