#include "engine/address_memory.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <type_traits>

namespace nextaddr {
namespace {

static_assert(std::is_trivially_copyable_v<AddressEntry> && sizeof(AddressEntry) % 8 == 0);
constexpr std::size_t kWords = sizeof(AddressEntry) / 8;

// A writer holds an entry for nanoseconds; after so many looks it must have been killed.
constexpr int kMaxLooks = 1000;

}  // namespace

struct AddressMemory::Memory {
  struct Guarded {
    std::atomic<std::uint32_t> version;
    std::atomic<std::uint64_t> words[kWords];
  };
  std::atomic<std::uint32_t> failures;
  std::atomic<std::uint32_t> rtts;
  std::atomic<std::uint8_t> used[kMemoryBuckets];
  Guarded entries[kMemoryBuckets * kBucketEntries];
};

std::string_view AddressEntry::host_name() const {
  return {host.data(), ::strnlen(host.data(), host.size())};
}

void AddressEntry::set_host_name(std::string_view name) {
  host = {};
  std::memcpy(host.data(), name.data(), std::min(name.size(), host.size() - 1));
}

void AddressEntry::catch_up(const AddressEntry& other) {
  saved_rtt_us = other.health.rtt_us;
  if (other.health.updated_ms <= health.updated_ms) return;
  const std::uint32_t rtt_us = health.rtt_us;
  health = other.health;
  // An entry without a round-trip time does not say that there is none.
  if (health.rtt_us == 0) health.rtt_us = rtt_us;
  host = other.host;
}

std::size_t bucket_of(const Address& address, std::uint16_t port) {
  return (hash_of(address) ^ port * 0x9e3779b1u >> 16) % kMemoryBuckets;
}

std::size_t place_in(const AddressBucket& bucket, const AddressKey& key) {
  std::size_t best = 0;
  for (std::size_t i = 0; i < bucket.size(); ++i) {
    if (bucket[i].key == key) return i;
    const auto worth = [](const AddressEntry& entry) {
      // Free, not failing, failing; then by age.
      const std::uint64_t kind = entry.key.port == 0 ? 0 : entry.health.failures == 0 ? 1 : 2;
      return kind << 62 | (entry.health.updated_ms & ~std::uint64_t{0} >> 2);
    };
    if (worth(bucket[i]) < worth(bucket[best])) best = i;
  }
  return best;
}

std::size_t AddressMemory::memory_size() { return sizeof(Memory); }

bool AddressMemory::may_hold_failures() const {
  return memory_ != nullptr && memory_->failures.load(std::memory_order_relaxed) != 0;
}

bool AddressMemory::may_hold_rtts() const {
  return memory_ != nullptr && memory_->rtts.load(std::memory_order_relaxed) != 0;
}

bool AddressMemory::is_used(std::size_t bucket) const {
  return memory_->used[bucket].load(std::memory_order_relaxed) != 0;
}

bool AddressMemory::read(std::size_t index, AddressEntry& out) const {
  const Memory::Guarded& guarded = memory_->entries[index];
  const std::uint32_t before = guarded.version.load(std::memory_order_acquire);
  if (before % 2 != 0) return false;
  std::array<std::uint64_t, kWords> words;
  for (std::size_t i = 0; i < kWords; ++i) {
    words[i] = guarded.words[i].load(std::memory_order_relaxed);
  }
  std::atomic_thread_fence(std::memory_order_acquire);
  if (guarded.version.load(std::memory_order_relaxed) != before) return false;
  std::memcpy(static_cast<void*>(&out), words.data(), sizeof out);
  return true;
}

bool AddressMemory::write(std::size_t index, const AddressEntry& entry) const {
  Memory::Guarded& guarded = memory_->entries[index];
  std::uint32_t before = guarded.version.load(std::memory_order_relaxed);
  for (int looks = 0; before % 2 != 0 && looks < kMaxLooks; ++looks) {
    before = guarded.version.load(std::memory_order_relaxed);
  }
  // From even to odd; or from odd to odd, when the writer was killed.
  const std::uint32_t mine = before % 2 != 0 ? before + 2 : before + 1;
  if (!guarded.version.compare_exchange_strong(before, mine, std::memory_order_acquire)) {
    return false;
  }
  std::atomic_thread_fence(std::memory_order_release);
  std::array<std::uint64_t, kWords> words;
  std::memcpy(words.data(), static_cast<const void*>(&entry), sizeof entry);
  for (std::size_t i = 0; i < kWords; ++i) {
    guarded.words[i].store(words[i], std::memory_order_relaxed);
  }
  guarded.version.store(mine + 1, std::memory_order_release);
  memory_->used[index / kBucketEntries].store(1, std::memory_order_relaxed);
  if (entry.health.failures != 0 || entry.health.silent_ms != 0) {
    memory_->failures.store(1, std::memory_order_relaxed);
  }
  if (entry.health.rtt_us != 0) memory_->rtts.store(1, std::memory_order_relaxed);
  return true;
}

void AddressMemory::read_bucket(std::size_t bucket, AddressBucket& out) const {
  for (std::size_t i = 0; i < kBucketEntries; ++i) {
    if (!read(bucket * kBucketEntries + i, out[i])) out[i] = {};
  }
}

template <typename Test>
bool AddressMemory::find(const Address& address, std::uint16_t port, AddressEntry& out,
                         Test test) const {
  if (memory_ == nullptr || port == 0) return false;
  const std::size_t first = bucket_of(address, port) * kBucketEntries;
  for (std::size_t i = 0; i < kBucketEntries; ++i) {
    if (read(first + i, out) && test(out)) return true;
  }
  return false;
}

bool AddressMemory::find(const AddressKey& key, AddressEntry& out) const {
  return find(key.address, key.port, out,
              [&](const AddressEntry& each) { return each.key == key; });
}

bool AddressMemory::knows(const Address& address, std::uint16_t port) const {
  AddressEntry entry;
  return find(address, port, entry, [&](const AddressEntry& each) {
    return each.key.port == port && each.key.address == address;
  });
}

bool AddressMemory::knows_failing(const Address& address, std::uint16_t port) const {
  AddressEntry entry;
  return find(address, port, entry, [&](const AddressEntry& each) {
    return each.key.port == port && each.key.address == address && is_bad(each.health);
  });
}

bool AddressMemory::store(const AddressEntry& entry) const {
  if (memory_ == nullptr || entry.key.port == 0) return false;
  const std::size_t bucket = bucket_of(entry.key.address, entry.key.port);
  AddressBucket entries;
  read_bucket(bucket, entries);
  return write(bucket * kBucketEntries + place_in(entries, entry.key), entry);
}

void AddressMemory::adopt(const AddressEntry& entry) const {
  AddressEntry known;
  if (!find(entry.key, known)) known = entry;
  known.catch_up(entry);
  store(known);
}

}  // namespace nextaddr
