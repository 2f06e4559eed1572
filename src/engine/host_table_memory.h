// How the host table lies in memory that processes share. Whatever is written there, no index made
// of it may lead out of it. Only for host_table.cc.
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

}  // namespace nextaddr
