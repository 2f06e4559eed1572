// What a reader without the lock makes of the host table. It must come to an end and stay within
// bounds, whatever is written there. Only for host_table.cc.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "engine/host_table_memory.h"

namespace nextaddr {

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

  // HostTable::holds().
  [[nodiscard]] bool holds(std::string_view host, const AddressList& answer,
                           LookupFamilies families) const {
    const Offset record = find(host, hash_of(host));
    if (record == 0) return false;
    const std::size_t known = count(record);
    std::size_t found = 0;
    for (std::size_t i = 0; i < known; ++i) {
      const Address each = address(entry(record, i));
      if (answer.contains(each)) {
        ++found;
      } else if (each.is_ipv4() ? families.ipv4 : families.ipv6) {
        return false;
      }
    }
    if (found != answer.size() || !valid()) return false;
    word(record + kWalkPid).store(0, std::memory_order_relaxed);
    return true;
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
