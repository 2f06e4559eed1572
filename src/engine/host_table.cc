// Built for speed: every lookup comes by.
#include "engine/host_table.h"

#include <algorithm>

#include "engine/text.h"

namespace nextaddr {
namespace {

using Word = std::atomic<std::uint32_t>;
using Offset = std::uint32_t;  // index of a word in a half; 0 means none

// 8 MiB a half: about 60,000 hosts with two addresses each. Untouched pages cost nothing.
constexpr std::size_t kHalfWords = std::size_t{2} << 20;
constexpr std::size_t kBuckets = std::size_t{1} << 16;
// 8 MiB of marks, of which only those that were made cost memory: room for half a million
// addresses. Beyond that some are failed over less than they might be.
constexpr std::size_t kDoorways = std::size_t{1} << 17;
constexpr std::size_t kDoors = 8;  // of one doorway, a cache line
constexpr std::size_t kDoorwaysOfPage = 64;
constexpr std::size_t kDoorPages = kDoorways / kDoorwaysOfPage;

// A record: these words, then the name, the set of walked positions, and one entry for each
// address.
enum RecordWord : Offset {
  kHash,
  kShape,
  kState,
  kLastUse,  // how full the half was when the host was last looked up or connected to
  kNextHost,
  kWalkPid,
  kWalkTime,
  kPrint,  // of the set of its addresses
  kPorts,  // those that lookups of the host named, two in a word
  kRecordHeader = kPorts + 2
};
// An entry: four words of address, then these.
enum EntryWord : Offset { kScope = 4, kNextEntry, kOwner, kEntryWords };

// kState bits.
constexpr std::uint32_t kLive = 1;       // not superseded by a newer lookup
constexpr std::uint32_t kLeftAlone = 2;  // --only or --skip exclude it on every port

// A mark that no set of addresses has: whoever had this address, it is failed over no more.
constexpr std::uint32_t kShut = ~std::uint32_t{0};

// In the place of how many hosts there are: nothing that is learned counts.
constexpr std::uint32_t kAllClosed = ~std::uint32_t{0};

// What the kernel makes of a futex whose owner has died (FUTEX_OWNER_DIED).
constexpr std::uint32_t kOwnerDied = 0x4000'0000;

constexpr std::size_t kMaxPorts = std::size_t{kRecordHeader - kPorts} * 2;
using Ports = std::array<std::uint16_t, kMaxPorts>;

// Uses are told apart this finely, so that a host in steady use is written to rarely.
constexpr std::size_t kUseSteps = 256;
constexpr std::size_t kUseStep = kHalfWords / kUseSteps;

// A walk ends this long after its last connect.
constexpr std::uint32_t kWalkWindowMs = 10'000;

// Ends a walk through memory somebody else may have written into a loop.
constexpr std::uint32_t kMaxSteps = 1u << 17;
// Address comparisons one intersection may cost, about 10 ms; beyond it nothing is shared.
constexpr std::uint32_t kMaxComparisons = 8u << 20;

constexpr std::size_t kMaxName = std::tuple_size_v<NameBuffer>;

// What one question has cost so far, in as many walks as it took.
struct Effort {
  std::uint32_t steps = 0;
  std::uint32_t comparisons = 0;
};

std::uint32_t mix(std::uint32_t hash, std::uint32_t value) {
  hash = (hash ^ value) * 0x9e3779b1u;
  return hash ^ (hash >> 15);
}

std::uint32_t hash_of(std::string_view host) {
  std::uint32_t hash = 0;
  for (const char c : host) hash = mix(hash, static_cast<unsigned char>(lower_case(c)));
  return hash;
}

// Of one address; those of a set add up to its print, in whatever order they come.
std::uint32_t print_of(std::uint32_t seed, const Address& address) {
  for (const std::uint32_t word : address.words) seed = mix(seed, word);
  return mix(seed, address.scope);
}

// Neither 0, which marks nothing, nor odd: so are the marks of hosts, and kShut.
constexpr std::uint32_t as_mark(std::uint32_t sum) {
  const std::uint32_t even = sum & ~std::uint32_t{1};
  return even != 0 ? even : 2;
}

constexpr bool is_of_host(std::uint32_t mark) { return mark % 2 != 0 && mark != kShut; }

std::uint32_t mark_of_host(std::uint32_t seed, std::string_view host) {
  for (const char c : host) seed = mix(seed, static_cast<unsigned char>(lower_case(c)));
  return (seed | 1) != kShut ? seed | 1 : 1;
}

std::uint32_t print_of(std::uint32_t seed, const AddressList& addresses) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < addresses.size(); ++i) sum += print_of(seed, addresses[i]);
  return as_mark(sum);
}

constexpr Offset words_for_bytes(std::size_t bytes) { return static_cast<Offset>((bytes + 3) / 4); }
constexpr Offset words_for_bits(std::size_t bits) { return static_cast<Offset>((bits + 31) / 32); }

constexpr std::uint32_t shape(std::size_t count, std::size_t name_length) {
  return static_cast<std::uint32_t>(count << 16 | name_length);
}

constexpr Offset record_words(std::size_t count, std::size_t name_length) {
  return kRecordHeader + words_for_bytes(name_length) + words_for_bits(count) +
         static_cast<Offset>(count) * kEntryWords;
}

}  // namespace

// The marks of the addresses with one hash: in each door the tag of an address, and below it its
// mark. They are filled from the first on, and never emptied.
class alignas(64) HostTable::Doorway {
 public:
  // Who had this address has it no more, or is not known: `mark` is the print of the set that it
  // was in, or the mark of the host. By whoever comes, without a lock.
  void close(std::uint32_t tag, std::uint32_t mark) {
    for (Door& door : doors_) {
      std::uint64_t before = door.load(std::memory_order_relaxed);
      for (;;) {
        if (before == kAllShut) return;
        const bool mine = before >> 32 == tag;
        if (before != 0 && !mine) break;
        if (mine && (mark_of(before) == mark || mark_of(before) == kShut)) return;
        const std::uint64_t after = std::uint64_t{tag} << 32 | (mine ? kShut : mark);
        if (door.compare_exchange_weak(before, after, std::memory_order_release,
                                       std::memory_order_relaxed)) {
          return;
        }
      }
    }
    doors_[kDoors - 1].store(kAllShut, std::memory_order_release);
  }

  // What close() was told of this address; 0: nothing. kShut: of several, or there was no room.
  [[nodiscard]] std::uint32_t mark(std::uint32_t tag) const {
    if (doors_[kDoors - 1].load(std::memory_order_acquire) == kAllShut) return kShut;
    for (const Door& door : doors_) {
      const std::uint64_t here = door.load(std::memory_order_acquire);
      if (here == 0) return 0;
      if (here >> 32 == tag) return mark_of(here);
    }
    return 0;
  }

  // All that is closed there is closed here, too.
  void merge(const Doorway& other) {
    for (const Door& theirs : other.doors_) {
      const std::uint64_t door = theirs.load(std::memory_order_acquire);
      if (door == kAllShut) {
        doors_[kDoors - 1].store(kAllShut, std::memory_order_release);
      } else if (door != 0) {
        close(static_cast<std::uint32_t>(door >> 32), mark_of(door));
      }
    }
  }

 private:
  using Door = std::atomic<std::uint64_t>;
  // No tag is 0.
  static constexpr std::uint64_t kAllShut = kShut;
  static std::uint32_t mark_of(std::uint64_t door) { return static_cast<std::uint32_t>(door); }

  Door doors_[kDoors];
};

struct HostTable::Memory {
  struct Half {
    Word used;  // words taken; word 0 is never used, so that offset 0 means none
    Word address_buckets[kBuckets];
    Word host_buckets[kBuckets];
    Word words[kHalfWords];
  };
  Word lock;       // the writer's thread id
  Word building;   // generation being written; differs from `published` only during compaction
  Word published;  // generation to read
  Word hosts;      // learned so far (saturating hint: 0 means nothing was ever looked up)
  Word seed;       // of marks
  Word shared;     // 1: another process has this memory, too
  // A bit for each page of doorways that has marks: to look at the others would make memory of
  // them.
  Word door_pages[kDoorPages / 32];
  Half halves[2];
  Doorway doorways[kDoorways];

  static std::size_t doorway_of(const Address& address) { return hash_of(address) % kDoorways; }
  [[nodiscard]] bool has_marks(std::size_t page) const {
    return (door_pages[page / 32].load(std::memory_order_acquire) >> page % 32 & 1) != 0;
  }
  void note_marks(std::size_t page) {
    door_pages[page / 32].fetch_or(1u << page % 32, std::memory_order_acq_rel);
  }
  // Noted on both sides, because a copy may be put in the place of all this in between (sharing.h).
  void close_door(const Address& address, std::uint32_t mark) {
    const std::size_t doorway = doorway_of(address);
    note_marks(doorway / kDoorwaysOfPage);
    doorways[doorway].close(tag(address), mark);
    note_marks(doorway / kDoorwaysOfPage);
  }
  [[nodiscard]] std::uint32_t mark(const Address& address) const {
    const std::size_t doorway = doorway_of(address);
    return has_marks(doorway / kDoorwaysOfPage) ? doorways[doorway].mark(tag(address)) : 0;
  }
  [[nodiscard]] std::uint32_t tag(const Address& address) const {
    return as_mark(print_of(seed.load(std::memory_order_relaxed), address));
  }
};

// Bounded access to one half. Nothing read through it is assumed to be consistent.
class HostTable::Reader {
 public:
  Reader(Memory& memory, std::uint32_t generation)
      : memory_(memory), half_(memory.halves[generation & 1]), generation_(generation) {}

  explicit Reader(Memory& memory)
      : Reader(memory, memory.published.load(std::memory_order_acquire)) {}

  // What was read so far is what had been written: the half has not been reused meanwhile.
  [[nodiscard]] bool valid() const {
    std::atomic_thread_fence(std::memory_order_acquire);
    const std::uint32_t building = memory_.building.load(std::memory_order_relaxed);
    return building - generation_ <= 1;
  }

  [[nodiscard]] std::uint32_t generation() const { return generation_; }

  // The walk that began at `first` of this bucket has met all holders. Otherwise a host may have
  // been remembered anew in front of it, and then forgotten behind it.
  [[nodiscard]] bool met_all(const Word& bucket, Offset first) const {
    std::atomic_thread_fence(std::memory_order_acquire);
    return bucket.load(std::memory_order_relaxed) == first &&
           memory_.published.load(std::memory_order_relaxed) == generation_;
  }

  Word& word(Offset offset) const { return half_.words[offset % kHalfWords]; }
  [[nodiscard]] std::uint32_t at(Offset offset) const {
    return word(offset).load(std::memory_order_relaxed);
  }
  [[nodiscard]] Offset follow(Offset offset) const {
    return word(offset).load(std::memory_order_acquire);
  }

  [[nodiscard]] std::size_t count(Offset record) const {
    return std::min<std::size_t>(at(record + kShape) >> 16, kMaxAddresses);
  }
  [[nodiscard]] std::size_t name_length(Offset record) const {
    return std::min<std::size_t>(at(record + kShape) & 0xffff, kMaxName);
  }
  [[nodiscard]] std::uint32_t state(Offset record) const { return at(record + kState); }
  [[nodiscard]] Offset walked(Offset record) const {
    return record + kRecordHeader + words_for_bytes(name_length(record));
  }
  [[nodiscard]] Offset entry(Offset record, std::size_t position) const {
    return walked(record) + words_for_bits(count(record)) +
           static_cast<Offset>(position) * kEntryWords;
  }
  [[nodiscard]] Address address(Offset entry) const {
    return {{at(entry), at(entry + 1), at(entry + 2), at(entry + 3)}, at(entry + kScope)};
  }
  std::string_view name(Offset record, NameBuffer& buffer) const {
    const std::size_t length = name_length(record);
    for (std::size_t i = 0; i < length; ++i) {
      const std::uint32_t four = at(record + kRecordHeader + static_cast<Offset>(i / 4));
      buffer[i] = static_cast<char>(four >> (i % 4 * 8));
    }
    return {buffer.data(), length};
  }

  Word& address_bucket(const Address& address) const {
    return half_.address_buckets[hash_of(address) % kBuckets];
  }
  Word& host_bucket(std::uint32_t hash) const { return half_.host_buckets[hash % kBuckets]; }

  // The first entry at or after `entry` of its chain that holds `address` for a live host, or 0.
  Offset holder(Offset entry, const Address& wanted, std::uint32_t& steps) const {
    while (entry != 0 && steps++ < kMaxSteps) {
      if (address(entry) == wanted && (state(at(entry + kOwner)) & kLive) != 0) return entry;
      entry = follow(entry + kNextEntry);
    }
    return 0;
  }

  // All who ever had this address are known and have it, but for such as had the same addresses as
  // the host of this record, or as are among the holders that a walk from `first` meets.
  [[nodiscard]] bool is_open(const Address& address, Offset record, Offset first,
                             std::uint32_t& steps) const {
    const std::uint32_t mark = memory_.mark(address);
    if (mark == 0 || mark == at(record + kPrint)) return true;
    return is_of_host(mark) && is_met(mark, address, first, steps);
  }

  [[gnu::cold, gnu::noinline]] bool is_met(std::uint32_t mark, const Address& address, Offset first,
                                           std::uint32_t& steps) const {
    const std::uint32_t seed = memory_.seed.load(std::memory_order_relaxed);
    NameBuffer buffer{};
    for (Offset entry = first; (entry = holder(entry, address, steps)) != 0;
         entry = follow(entry + kNextEntry)) {
      if (mark_of_host(seed, name(at(entry + kOwner), buffer)) == mark) return true;
    }
    return false;
  }

  [[nodiscard]] Ports ports(Offset record) const {
    Ports ports{};
    for (std::size_t i = 0; i < kMaxPorts; ++i) {
      const std::uint32_t two = at(record + kPorts + static_cast<Offset>(i / 2));
      ports[i] = static_cast<std::uint16_t>(two >> (i % 2 * 16));
    }
    return ports;
  }

  void note_use(Offset record) const {
    const Offset used = half_.used.load(std::memory_order_relaxed);
    if (used - at(record + kLastUse) < kUseStep || !valid()) return;
    word(record + kLastUse).store(used, std::memory_order_relaxed);
  }

  [[nodiscard]] std::size_t position_of(Offset record, const Address& wanted) const {
    const std::size_t addresses = count(record);
    for (std::size_t i = 0; i < addresses; ++i) {
      if (address(entry(record, i)) == wanted) return i;
    }
    return PositionSet::kNone;
  }

  // Removes from `candidates`, positions of `record`, every address that `other` lacks.
  bool keep_common(Offset record, Offset other, PositionSet& candidates,
                   std::uint32_t& cost) const {
    for (std::size_t i = candidates.next(0); i != PositionSet::kNone; i = candidates.next(i + 1)) {
      const Address wanted = address(entry(record, i));
      if (++cost > kMaxComparisons) return false;
      // Names of one service mostly share one list: look at the same position first.
      if (i < count(other) && address(entry(other, i)) == wanted) continue;
      cost += static_cast<std::uint32_t>(count(other));
      if (position_of(other, wanted) == PositionSet::kNone) candidates.remove(i);
    }
    return true;
  }

  // HostTable::destinations(), for a walk that begins at `first`.
  bool destinations(Offset first, const Address& requested, std::uint16_t port,
                    const HostFilter& filter, Effort& effort, DestinationList& out) const {
    Offset record = 0;
    NameBuffer buffer{};
    for (Offset entry = first; (entry = holder(entry, requested, effort.steps)) != 0;
         entry = follow(entry + kNextEntry)) {
      const Offset other = at(entry + kOwner);
      if ((state(other) & kLeftAlone) != 0 || filter.leaves_alone(name(other, buffer), port)) {
        return false;
      }
      note_use(other);
      if (record == 0) {
        record = other;
        const std::size_t addresses = count(record);
        out = {};
        for (std::size_t i = 0; i < addresses; ++i) {
          const Address each = address(this->entry(record, i));
          out.candidates.add(i);
          if (!each.is_ipv4()) out.ipv6.add(i);
          if (each == requested) out.requested = static_cast<std::uint16_t>(i);
        }
      } else if (!keep_common(record, other, out.candidates, effort.comparisons)) {
        return false;
      }
    }
    if (record == 0 || effort.steps >= kMaxSteps || !out.candidates.has(out.requested) ||
        !is_open(requested, record, first, effort.steps)) {
      return false;
    }
    out.generation = generation_;
    out.record = record;
    return true;
  }

 protected:
  Memory& memory_;
  Memory::Half& half_;
  std::uint32_t generation_;
};

// The lock holder's view. Every store leaves the structure walkable, and what was known before
// known: a record is written, then counted, then linked, and only then the one that it replaces is
// unlinked. Whoever is killed in between leaves a host known twice at worst.
class HostTable::Writer : public HostTable::Reader {
 public:
  using Reader::Reader;

  void set(Offset offset, std::uint32_t value) const {
    word(offset).store(value, std::memory_order_relaxed);
  }
  static void link(Word& place, Offset target) { place.store(target, std::memory_order_release); }

  // The record of this host that was linked last, or 0; of others than `except`.
  [[nodiscard]] Offset find(std::string_view host, std::uint32_t hash, Offset except = 0) const {
    NameBuffer buffer{};
    std::uint32_t steps = 0;
    for (Offset record = host_bucket(hash).load(std::memory_order_relaxed);
         record != 0 && steps++ < kMaxSteps; record = at(record + kNextHost)) {
      if (record != except && at(record + kHash) == hash && same_host(name(record, buffer), host)) {
        return record;
      }
    }
    return 0;
  }

  // No other host has been looked up since that has one of its addresses too.
  [[nodiscard]] bool is_newest_holder(Offset record) const {
    std::uint32_t steps = 0;
    for (std::size_t i = 0; i < count(record); ++i) {
      const Offset own = entry(record, i);
      const Address wanted = address(own);
      const Offset first = address_bucket(wanted).load(std::memory_order_relaxed);
      if (holder(first, wanted, steps) != own) return false;
    }
    return true;
  }

  // Room for `words`, or 0. It is taken by take() when what belongs there has been written.
  [[nodiscard]] Offset room_for(Offset words) const {
    const Offset used = std::max<Offset>(half_.used.load(std::memory_order_relaxed), 1);
    return words > kHalfWords - std::min<std::size_t>(used, kHalfWords) ? 0 : used;
  }
  void take(Offset room, Offset words) const {
    half_.used.store(room + words, std::memory_order_release);
  }

  // Remembers the host instead of what was known of it. False when there is no room.
  bool replace(std::string_view host, std::uint32_t hash, std::uint32_t state_bits,
               const AddressList& addresses, const Ports& ports) const {
    const Offset record = append(host, hash, state_bits, addresses, ports);
    // More than one only when a writer was killed at this.
    constexpr int kMostKnown = 4;
    for (int i = 0; record != 0 && i < kMostKnown; ++i) {
      const Offset known = find(host, hash, record);
      if (known == 0) break;
      close_former(known, mark_of_host(memory_.seed.load(std::memory_order_relaxed), host),
                   addresses);
      forget(known);
    }
    return record != 0;
  }

  // The new record, or 0.
  [[nodiscard]] Offset append(std::string_view host, std::uint32_t hash, std::uint32_t state_bits,
                              const AddressList& addresses, const Ports& ports) const {
    const std::size_t count = addresses.size();
    const Offset words = record_words(count, host.size());
    const Offset record = room_for(words);
    if (record == 0) return 0;
    set(record + kHash, hash);
    set(record + kShape, shape(count, host.size()));
    set(record + kState, state_bits);
    set(record + kLastUse, record);
    set(record + kWalkPid, 0);
    set(record + kPrint, print_of(memory_.seed.load(std::memory_order_relaxed), addresses));
    set_ports(record, ports);
    for (std::size_t i = 0; i < host.size(); i += 4) {
      std::uint32_t four = 0;
      for (std::size_t k = i; k < std::min(i + 4, host.size()); ++k) {
        four |= static_cast<std::uint32_t>(static_cast<unsigned char>(host[k])) << (k % 4 * 8);
      }
      set(record + kRecordHeader + static_cast<Offset>(i / 4), four);
    }
    for (std::size_t i = 0; i < count; ++i) {
      const Offset e = entry(record, i);
      const Address& address = addresses[i];
      for (Offset k = 0; k < 4; ++k) set(e + k, address.words[k]);
      set(e + kScope, address.scope);
      set(e + kOwner, record);
    }
    take(record, words);
    link_record(record);
    return record;
  }

  void set_ports(Offset record, const Ports& ports) const {
    for (std::size_t i = 0; i < kMaxPorts; i += 2) {
      const std::uint32_t two = ports[i] | std::uint32_t{ports[i + 1]} << 16;
      set(record + kPorts + static_cast<Offset>(i / 2), two);
    }
  }

  void link_record(Offset record) const {
    for (std::size_t i = 0; i < count(record); ++i) {
      const Offset e = entry(record, i);
      Word& bucket = address_bucket(address(e));
      set(e + kNextEntry, bucket.load(std::memory_order_relaxed));
      link(bucket, e);
    }
    Word& bucket = host_bucket(at(record + kHash));
    set(record + kNextHost, bucket.load(std::memory_order_relaxed));
    link(bucket, record);
  }

  void forget(Offset record) const {
    // Who sees this sees what was linked before, too (met_all()).
    word(record + kState).store(state(record) & ~kLive, std::memory_order_release);
    for (std::size_t i = 0; i < count(record); ++i) {
      const Offset e = entry(record, i);
      unlink(address_bucket(address(e)), e, kNextEntry);
    }
    unlink(host_bucket(at(record + kHash)), record, kNextHost);
  }

  // Readers standing on the unlinked node still find their way on: its own link stays.
  void unlink(Word& head, Offset node, Offset link_word) const {
    Word* place = &head;
    for (std::uint32_t steps = 0; steps < kMaxSteps; ++steps) {
      const Offset here = place->load(std::memory_order_relaxed);
      if (here == 0) return;
      if (here == node) {
        link(*place, at(node + link_word));
        return;
      }
      place = &word(here + link_word);
    }
  }

  void clear() const {
    half_.used.store(0, std::memory_order_relaxed);
    for (Word& bucket : half_.address_buckets) bucket.store(0, std::memory_order_relaxed);
    for (Word& bucket : half_.host_buckets) bucket.store(0, std::memory_order_relaxed);
  }

  // Calls each(record, words) for the live records, oldest first.
  template <typename Each>
  void for_each_live(Each each) const {
    const Offset last = end();
    for (Offset record = 1; record < last;) {
      const Offset words = record_words(count(record), name_length(record));
      if ((state(record) & kLive) != 0) each(record, words);
      record += words;
    }
  }

  // Copies the live records of `from`, the most recently used ones when not all fit: the doors of
  // the others are closed. Half of this half stays free, or the next compaction would come at once.
  void copy_live(const Writer& from) const {
    std::array<std::size_t, kUseSteps> words_by_use{};
    const auto step = [&from](Offset record) {
      return std::min<std::size_t>(from.at(record + kLastUse) / kUseStep, kUseSteps - 1);
    };
    from.for_each_live([&](Offset record, Offset words) { words_by_use[step(record)] += words; });
    std::size_t oldest_kept = kUseSteps;
    std::size_t kept = 0;
    while (oldest_kept > 0 && kept + words_by_use[oldest_kept - 1] <= kHalfWords / 2) {
      kept += words_by_use[--oldest_kept];
    }
    // Of those that were used a little longer ago as many as there is room for.
    std::size_t room = kHalfWords / 2 - kept;
    from.for_each_live([&](Offset record, Offset words) {
      bool keep = step(record) >= oldest_kept;
      if (step(record) + 1 == oldest_kept && words <= room) {
        room -= words;
        keep = true;
      }
      const Offset copy = keep ? room_for(words) : 0;
      if (copy == 0) return from.close_doors(record);
      for (Offset i = 0; i < words; ++i) set(copy + i, from.at(record + i));
      // In proportion, so that the order of uses stays what it was.
      const std::uint64_t use = from.at(record + kLastUse);
      set(copy + kLastUse,
          static_cast<std::uint32_t>(use * kept / std::max<Offset>(from.end(), 1)));
      for (std::size_t i = 0; i < count(copy); ++i) set(entry(copy, i) + kOwner, copy);
      take(copy, words);
      link_record(copy);
    });
  }

  // Addresses that the host has no more. A program may go on with what it was answered before, so
  // they are no other host's from now on.
  void close_former(Offset record, std::uint32_t mark, const AddressList& now) const {
    for (std::size_t i = 0; i < count(record); ++i) {
      const Address former = address(entry(record, i));
      if (!now.contains(former)) memory_.close_door(former, mark);
    }
  }

  void close_doors(Offset record) const {
    const std::uint32_t print = as_mark(at(record + kPrint));
    for (std::size_t i = 0; i < count(record); ++i) {
      memory_.close_door(address(entry(record, i)), print);
    }
  }

  [[nodiscard]] Offset end() const {
    return std::min<Offset>(half_.used.load(std::memory_order_relaxed), kHalfWords);
  }
};

// What is marked cold is built for size: a healthy connect does not come there.
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
  // To look at buckets that nobody has used would make memory of them.
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
  if (host.size() > 1 && host.back() == '.') host.remove_suffix(1);
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
      // What is cut off would be forgotten to be this host's.
      if (!answered && !answer.add(address)) memory_->close_door(address, kShut);
    }
    bool same = before == answer.size();
    for (std::size_t i = 0; same && i < before; ++i) {
      same = writer.address(writer.entry(known, i)) == answer[i];
    }
    // Otherwise it is remembered anew, so that its order is the one that counts.
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
    // Full: carry what is in use over into the other half.
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

bool HostTable::may_fail_over(const Address& address) const {
  // One page is touched until the first lookup has been remembered.
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
      // Of a record that was written over, any number.
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
