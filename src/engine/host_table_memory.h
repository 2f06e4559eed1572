// How the host table lies in memory that processes share, and how a reader without the lock walks
// it. Whoever reads must come to an end and stay within bounds, whatever is written there. Only for
// host_table.cc.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <tuple>

#include "engine/host_table.h"
#include "engine/text.h"

namespace nextaddr {

namespace host_table {

using Word = std::atomic<std::uint32_t>;
using Offset = std::uint32_t;  // index of a word in a half; 0 means none

// 8 MiB a half: about 60,000 hosts with two addresses each. Untouched pages cost nothing.
inline constexpr std::size_t kHalfWords = std::size_t{2} << 20;
inline constexpr std::size_t kBuckets = std::size_t{1} << 16;
// 8 MiB of marks, of which only pages with marks cost memory: room for half a million addresses.
// Beyond that some are failed over less than they might be.
inline constexpr std::size_t kDoorways = std::size_t{1} << 17;
inline constexpr std::size_t kDoors = 8;  // of one doorway, a cache line
inline constexpr std::size_t kDoorwaysOfPage = 64;
inline constexpr std::size_t kDoorPages = kDoorways / kDoorwaysOfPage;

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
inline constexpr std::uint32_t kLive = 1;       // not superseded by a newer lookup
inline constexpr std::uint32_t kLeftAlone = 2;  // --only or --skip exclude it on every port

// A mark that no set of addresses has: whoever had this address, it is failed over no more.
inline constexpr std::uint32_t kShut = ~std::uint32_t{0};

// A value of Memory::hosts: nothing that is learned counts (HostTable::close_all()).
inline constexpr std::uint32_t kAllClosed = ~std::uint32_t{0};

// The bit that the kernel sets in a futex whose owner has died (FUTEX_OWNER_DIED).
inline constexpr std::uint32_t kOwnerDied = 0x4000'0000;

inline constexpr std::size_t kMaxPorts = std::size_t{kRecordHeader - kPorts} * 2;
using Ports = std::array<std::uint16_t, kMaxPorts>;

// Uses are told apart this finely, so that a host in steady use is written to rarely.
inline constexpr std::size_t kUseSteps = 256;
inline constexpr std::size_t kUseStep = kHalfWords / kUseSteps;

// A walk ends this long after its last connect.
inline constexpr std::uint32_t kWalkWindowMs = 10'000;

// Ends a walk through memory somebody else may have written into a loop.
inline constexpr std::uint32_t kMaxSteps = 1u << 17;
// Address comparisons one intersection may cost, about 10 ms; beyond it nothing is shared.
inline constexpr std::uint32_t kMaxComparisons = 8u << 20;

inline constexpr std::size_t kMaxName = std::tuple_size_v<NameBuffer>;

// What one question has cost so far, in as many walks as it took.
struct Effort {
  std::uint32_t steps = 0;
  std::uint32_t comparisons = 0;
};

inline std::uint32_t mix(std::uint32_t hash, std::uint32_t value) {
  hash = (hash ^ value) * 0x9e3779b1u;
  return hash ^ (hash >> 15);
}

inline std::uint32_t hash_of(std::string_view host) {
  std::uint32_t hash = 0;
  for (const char c : host) hash = mix(hash, static_cast<unsigned char>(lower_case(c)));
  return hash;
}

// The print of one address. That of a set is the sum over its addresses, in whatever order they
// come.
inline std::uint32_t print_of(std::uint32_t seed, const Address& address) {
  for (const std::uint32_t word : address.words) seed = mix(seed, word);
  return mix(seed, address.scope);
}

// Makes the mark of a set of addresses from the sum of their prints: even and not 0. 0 marks
// nothing; odd are the marks of hosts, and kShut.
constexpr std::uint32_t as_mark(std::uint32_t sum) {
  const std::uint32_t even = sum & ~std::uint32_t{1};
  return even != 0 ? even : 2;
}

constexpr bool is_of_host(std::uint32_t mark) { return mark % 2 != 0 && mark != kShut; }

// The mark of a host: odd and not kShut.
inline std::uint32_t mark_of_host(std::uint32_t seed, std::string_view host) {
  for (const char c : host) seed = mix(seed, static_cast<unsigned char>(lower_case(c)));
  return (seed | 1) != kShut ? seed | 1 : 1;
}

// The print of a set of addresses, which is also its mark.
inline std::uint32_t print_of(std::uint32_t seed, const AddressList& addresses) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < addresses.size(); ++i) sum += print_of(seed, addresses[i]);
  return as_mark(sum);
}

constexpr Offset words_for_bytes(std::size_t bytes) { return static_cast<Offset>((bytes + 3) / 4); }
constexpr Offset words_for_bits(std::size_t bits) { return static_cast<Offset>((bits + 31) / 32); }

// Four letters of a name from `first` on, as a record has them: the first is lowest, and behind the
// end there are zeros.
inline std::uint32_t four_of(std::string_view name, std::size_t first) {
  std::uint32_t four = 0;
  const std::size_t end = std::min(first + 4, name.size());
  for (std::size_t i = first; i < end; ++i) {
    four |= static_cast<std::uint32_t>(static_cast<unsigned char>(name[i])) << (i % 4 * 8);
  }
  return four;
}

constexpr std::uint32_t shape(std::size_t count, std::size_t name_length) {
  return static_cast<std::uint32_t>(count << 16 | name_length);
}

constexpr Offset record_words(std::size_t count, std::size_t name_length) {
  return kRecordHeader + words_for_bytes(name_length) + words_for_bits(count) +
         static_cast<Offset>(count) * kEntryWords;
}

}  // namespace host_table

using namespace host_table;

// The marks of the addresses with one hash: each door has the tag of an address in its upper 32
// bits, and the mark of that address in its lower ones. Doors are filled from the first on, and
// never emptied.
class alignas(64) HostTable::Doorway {
 public:
  // Closes the door of an address, because the host that had it has it no more, or is not known.
  // `mark` is the print of the set that it was in, or the mark of the host; a second mark makes it
  // kShut. Takes no lock.
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

  // The mark that close() was given for this address; 0: none. kShut: several marks, or there was
  // no room.
  [[nodiscard]] std::uint32_t mark(std::uint32_t tag) const {
    if (doors_[kDoors - 1].load(std::memory_order_acquire) == kAllShut) return kShut;
    for (const Door& door : doors_) {
      const std::uint64_t here = door.load(std::memory_order_acquire);
      if (here == 0) return 0;
      if (here >> 32 == tag) return mark_of(here);
    }
    return 0;
  }

  // Closes here all that is closed in `other`.
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
  // In the last door: all addresses with this hash are shut. It is no door of an address, because
  // no tag is 0.
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
  // A bit for each page of doorways that has marks. The other pages are never read, which would
  // make memory of them.
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
  // Closes the door of an address. Its page is noted before and after, because a copy may be put in
  // the place of this memory in between (lifecycle/sharing.h).
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

  // True when all that was read so far is what had been written there: the half has not been reused
  // meanwhile.
  [[nodiscard]] bool valid() const {
    std::atomic_thread_fence(std::memory_order_acquire);
    const std::uint32_t building = memory_.building.load(std::memory_order_relaxed);
    return building - generation_ <= 1;
  }

  [[nodiscard]] std::uint32_t generation() const { return generation_; }

  // True when a walk that began at `first` of this bucket has met all holders. Otherwise a host may
  // have been remembered anew in front of `first`, and its former record unlinked behind it.
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

  // True when this record's name is `host`, which has no dot at its end, in any case.
  [[nodiscard]] bool is_named(Offset record, std::string_view host) const {
    if (name_length(record) != host.size()) return false;
    for (std::size_t i = 0; i < host.size(); i += 4) {
      const std::uint32_t known = at(record + kRecordHeader + static_cast<Offset>(i / 4));
      const std::uint32_t asked = four_of(host, i);
      if (known == asked) continue;
      for (int shift = 0; shift < 32; shift += 8) {
        if (lower_case(static_cast<char>(known >> shift)) !=
            lower_case(static_cast<char>(asked >> shift))) {
          return false;
        }
      }
    }
    return true;
  }

  // The record of this host that was linked last, or 0. `except`: a record that is not meant.
  [[nodiscard]] Offset find(std::string_view host, std::uint32_t hash, Offset except = 0) const {
    std::uint32_t steps = 0;
    for (Offset record = host_bucket(hash).load(std::memory_order_acquire);
         record != 0 && steps++ < kMaxSteps; record = follow(record + kNextHost)) {
      if (record != except && at(record + kHash) == hash && is_named(record, host)) return record;
    }
    return 0;
  }

  // True when no other host that has one of this record's addresses, too, has been looked up since.
  [[nodiscard]] bool is_newest_holder(Offset record) const {
    std::uint32_t steps = 0;
    for (std::size_t i = 0; i < count(record); ++i) {
      const Offset own = entry(record, i);
      const Address wanted = address(own);
      const Offset first = address_bucket(wanted).load(std::memory_order_acquire);
      if (holder(first, wanted, steps) != own) return false;
    }
    return true;
  }

  // HostTable::knows().
  [[nodiscard]] bool knows(std::string_view host, Answer& answer) const {
    const Offset record = find(host, hash_of(host));
    if (record == 0 || at(record + kWalkPid) != 0) return false;
    const std::size_t known = count(record);
    std::size_t i = 0;
    Address before;
    for (Address each; answer.next(answer, each); before = each) {
      // getaddrinfo(3) answers with an address once for each kind of socket.
      if (i != 0 && each == before) continue;
      if (i == known || address(entry(record, i)) != each) return false;
      ++i;
    }
    if (i == 0) return false;
    for (; i < known; ++i) {
      const bool is_ipv4 = address(entry(record, i)).is_ipv4();
      if (is_ipv4 ? answer.families.ipv4 : answer.families.ipv6) return false;
    }
    const Ports named = ports(record);
    const bool has_port =
        answer.port == 0 || std::find(named.begin(), named.end(), answer.port) != named.end();
    if (!has_port || !is_newest_holder(record)) return false;
    note_use(record);
    answer.count = known;
    return valid();
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

  // True when all hosts that ever had this address are known and have it now, except for those that
  // had the same set of addresses as the host of this record, or that hold it again among what a
  // walk from `first` meets.
  [[nodiscard]] bool is_open(const Address& address, Offset record, Offset first,
                             std::uint32_t& steps) const {
    const std::uint32_t mark = memory_.mark(address);
    if (mark == 0 || mark == at(record + kPrint)) return true;
    return is_of_host(mark) && is_met(mark, address, first, steps);
  }

  // True when the host with this mark is among the holders that a walk from `first` meets.
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

  // Notes that the host of this record is in use now.
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

  // Removes from `candidates`, positions of `record`, every address that `other` lacks. False when
  // that takes too long.
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

}  // namespace nextaddr
