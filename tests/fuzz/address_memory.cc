// libFuzzer: the entries of a process, a script of what it stores and of what others have found,
// against a plain model of the buckets; with writers that are killed, and others that write
// anything into it. Must never give the entry of one address for another, nor wait for anybody.
#include "engine/address_memory.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "fuzz.h"

using namespace nextaddr;

namespace {

// The memory: its flags, one byte for each bucket, then for each entry its version and the words it
// has.
constexpr std::size_t kHeadWords = 1 + kMemoryBuckets / 8;
constexpr std::size_t kEntryWords = 1 + sizeof(AddressEntry) / 8;
constexpr std::size_t kEntries = kMemoryBuckets * kBucketEntries;
constexpr std::size_t kWords = kHeadWords + kEntries * kEntryWords;

using Key = AddressKey;

// Twelve addresses of each of two buckets, so that they make room for each other.
std::vector<Key> make_keys() {
  std::vector<Key> keys;
  for (const std::size_t bucket : {std::size_t{0}, kMemoryBuckets - 1}) {
    for (std::uint32_t i = 0, found = 0; found < 12; ++i) {
      const std::uint32_t bytes = htonl(0x0a000000 + i);
      const Key key{address_from_ipv4(&bytes), static_cast<std::uint16_t>(i % 3 == 0 ? 443 : 80),
                    1 + i % 2};
      if (bucket_of(key.address, key.port) != bucket) continue;
      keys.push_back(key);
      ++found;
    }
  }
  return keys;
}

// One bucket as it must be: what is known by place, or a place that is free (or whose writer died).
class Bucket {
 public:
  using Place = std::optional<AddressEntry>;

  Place* find(const Key& key) {
    for (Place& place : places_) {
      if (place && place->key == key) return &place;
    }
    return nullptr;
  }

  void store(const AddressEntry& entry) {
    Place* place = find(entry.key);
    for (Place& other : places_) {
      if (place == nullptr || (!is_same(place, entry) && makes_room_before(other, *place)))
        place = &other;
    }
    *place = entry;
  }

  void lose(std::size_t place) { places_[place].reset(); }
  [[nodiscard]] std::size_t count() const {
    std::size_t known = 0;
    for (const Place& place : places_) known += place.has_value() ? 1 : 0;
    return known;
  }

 private:
  static bool is_same(const Place* place, const AddressEntry& entry) {
    return *place && (*place)->key == entry.key;
  }
  // Entries that do not fail make room before those that do, the longest unchanged first.
  static bool makes_room_before(const Place& one, const Place& other) {
    if (!one || !other) return !one && other;
    const bool one_fails = one->health.failures != 0;
    const bool other_fails = other->health.failures != 0;
    if (one_fails != other_fails) return !one_fails;
    return one->health.updated_ms < other->health.updated_ms;
  }

  Place places_[kBucketEntries];
};

bool same(const AddressEntry& a, const AddressEntry& b) {
  return a.key == b.key && a.health == b.health && a.host == b.host &&
         a.saved_rtt_us == b.saved_rtt_us;
}

class Play {
 public:
  Play(std::vector<std::uint64_t>& words, const std::vector<Key>& keys, Choices choices)
      : words_(words),
        keys_(keys),
        memory_(reinterpret_cast<AddressMemory::Memory*>(words.data())),
        choices_(choices) {}

  void play() {
    for (int steps = 0; steps < 200 && !choices_.ended(); ++steps) {
      step();
    }
    if (!hostile_) check_all();
  }

 private:
  void step() {
    switch (choices_.next()) {
      case 's':
        return store();
      case 'a':
        return adopt();
      case 'f':
        return find(a_key());
      case 'k':
        return kill_a_writer();
      case '!':
        return write_anything();
      default:
        return;
    }
  }

  std::size_t a_key() { return (choices_.below(256) + 14) % keys_.size(); }
  Bucket& bucket_with(std::size_t key) { return buckets_[key / 12]; }

  AddressEntry an_entry(std::size_t key) {
    AddressEntry entry;
    entry.key = keys_[key];
    entry.health.updated_ms = 1000 + choices_.below(256);
    entry.health.failures = choices_.below(3);
    entry.health.rtt_us = choices_.below(3) * 1000;
    entry.set_host_name(choices_.below(2) == 0 ? "" : "host.example");
    return entry;
  }

  void store() {
    const std::size_t key = a_key();
    AddressEntry entry = an_entry(key);
    entry.health.silent_ms = choices_.below(2);
    entry.saved_rtt_us = choices_.below(2) * 1000;
    require(memory_.store(entry));
    note_flags(entry);
    bucket_with(key).store(entry);
    AddressEntry found;
    require(memory_.find(entry.key, found) && same(found, entry));
  }

  // What the memory file says, where that is newer.
  void adopt() {
    const std::size_t key = a_key();
    const AddressEntry read = an_entry(key);
    memory_.adopt(read);
    AddressEntry expected = read;
    expected.saved_rtt_us = read.health.rtt_us;
    if (const Bucket::Place* place = bucket_with(key).find(keys_[key])) {
      const AddressEntry& known = **place;
      const bool newer = read.health.updated_ms > known.health.updated_ms;
      expected = newer ? read : known;
      if (expected.health.rtt_us == 0) expected.health.rtt_us = known.health.rtt_us;
      expected.saved_rtt_us = read.health.rtt_us;
    }
    bucket_with(key).store(expected);
    note_flags(expected);
    if (!hostile_) find(key);
  }

  void find(std::size_t key) {
    AddressEntry found;
    const bool known = memory_.find(keys_[key], found);
    if (known) require(found.key == keys_[key]);
    if (known) require(found.host_name().size() <= found.host.size());
    if (hostile_) return;
    const Bucket::Place* place = bucket_with(key).find(keys_[key]);
    require(known == (place != nullptr));
    require(!known || memory_.knows(keys_[key].address, keys_[key].port));
    if (known) require(same(found, **place));
  }

  // A writer that was killed while it wrote: nobody may read the entry, and the next writer may
  // have its place.
  void kill_a_writer() {
    const std::size_t of = choices_.below(2);
    const std::size_t place = choices_.below(kBucketEntries);
    const std::size_t bucket = of == 0 ? 0 : kMemoryBuckets - 1;
    words_[kHeadWords + (bucket * kBucketEntries + place) * kEntryWords] |= 1;
    buckets_[of].lose(place);
  }

  void write_anything() {
    hostile_ = true;
    const std::uint64_t place = choices_.word();
    std::uint64_t& word =
        words_[choices_.next() == 'b' ? place % (kHeadWords + kBucketEntries * kEntryWords)
                                      : place % kWords];
    word = choices_.next() == '^' ? word ^ std::uint64_t{1} << choices_.below(64)
                                  : std::uint64_t{choices_.word()} << 32 | choices_.word();
  }

  void note_flags(const AddressEntry& entry) {
    failures_ = failures_ || entry.health.failures != 0 || entry.health.silent_ms != 0;
    rtts_ = rtts_ || entry.health.rtt_us != 0;
    if (hostile_) return;
    require(memory_.may_hold_failures() == failures_ && memory_.may_hold_rtts() == rtts_);
  }

  void check_all() {
    for (std::size_t key = 0; key < keys_.size(); ++key) find(key);
    std::size_t known = 0;
    memory_.for_each([&](const AddressEntry& entry) {
      ++known;
      const std::size_t of = bucket_of(entry.key.address, entry.key.port) == 0 ? 0 : 1;
      const Bucket::Place* place = buckets_[of].find(entry.key);
      require(place != nullptr && same(**place, entry));
    });
    require(known == buckets_[0].count() + buckets_[1].count());
  }

  std::vector<std::uint64_t>& words_;
  const std::vector<Key>& keys_;
  AddressMemory memory_;
  Choices choices_;
  Bucket buckets_[2];
  bool failures_ = false;
  bool rtts_ = false;
  bool hostile_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<Key> keys = make_keys();
  // The memory has exactly this size, so that a step outside is noticed.
  static std::vector<std::uint64_t> words(kWords);
  require(AddressMemory::memory_size() == kWords * 8);
  std::fill(words.begin(), words.end(), 0);
  Play(words, keys, Choices(data, size)).play();
  return 0;
}
