// What the holder of the host table's lock writes there. Must never leave it, at any store, in a
// state that a reader cannot walk, or that knows less than before. Only for host_table.cc.
#pragma once

#include "engine/host_table_reader.h"

namespace nextaddr {

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

  // The offset of free room for `words`, or 0. take() makes it used once what belongs there has
  // been written.
  [[nodiscard]] Offset room_for(Offset words) const {
    const Offset used = std::max<Offset>(half_.used.load(std::memory_order_relaxed), 1);
    return words > kHalfWords - std::min<std::size_t>(used, kHalfWords) ? 0 : used;
  }
  void take(Offset room, Offset words) const {
    half_.used.store(room + words, std::memory_order_release);
  }

  // Remembers the host, and forgets what was known of it before. False when there is no room.
  bool replace(std::string_view host, std::uint32_t hash, std::uint32_t state_bits,
               const AddressList& addresses, const Ports& ports) const {
    const Offset record = append(host, hash, state_bits, addresses, ports);
    // More than one record of a host is known only when a writer was killed in here.
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

  // Writes and links a new record. Its offset, or 0: there is no room.
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
      set(record + kRecordHeader + static_cast<Offset>(i / 4), four_of(host, i));
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

  // Unlinks a record.
  void forget(Offset record) const {
    // Whoever sees that this record is not live sees what was linked before, too (met_all()).
    word(record + kState).store(state(record) & ~kLive, std::memory_order_release);
    for (std::size_t i = 0; i < count(record); ++i) {
      const Offset e = entry(record, i);
      unlink(address_bucket(address(e)), e, kNextEntry);
    }
    unlink(host_bucket(at(record + kHash)), record, kNextHost);
  }

  // Takes a node out of the chain that begins at `head`. Readers standing on it still find their
  // way on: its own link stays.
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
    // Of those that were used one step longer ago than oldest_kept, as many as there is room for.
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
      // The last use is scaled down in proportion, so that the order of uses stays what it was.
      const std::uint64_t use = from.at(record + kLastUse);
      set(copy + kLastUse,
          static_cast<std::uint32_t>(use * kept / std::max<Offset>(from.end(), 1)));
      for (std::size_t i = 0; i < count(copy); ++i) set(entry(copy, i) + kOwner, copy);
      take(copy, words);
      link_record(copy);
    });
  }

  // Closes the doors of the addresses that the host of `record` has no more. A program may go on
  // with what it was answered before, so they are no other host's from now on.
  void close_former(Offset record, std::uint32_t mark, const AddressList& now) const {
    for (std::size_t i = 0; i < count(record); ++i) {
      const Address former = address(entry(record, i));
      if (!now.contains(former)) memory_.close_door(former, mark);
    }
  }

  // Closes the doors of all addresses of a record that is forgotten.
  void close_doors(Offset record) const {
    const std::uint32_t print = as_mark(at(record + kPrint));
    for (std::size_t i = 0; i < count(record); ++i) {
      memory_.close_door(address(entry(record, i)), print);
    }
  }

  // Where the used words of this half end.
  [[nodiscard]] Offset end() const {
    return std::min<Offset>(half_.used.load(std::memory_order_relaxed), kHalfWords);
  }
};

}  // namespace nextaddr
