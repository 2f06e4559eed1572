// The health of all addresses this process knows of, by address, port and network: what cannot be
// reached from one network namespace may be reached from another. Pure: works on memory it is
// given, which a process shares with its forked children; makes no system call, allocates nothing.
//
// Each entry is copied out and in as a whole, guarded by a version that is odd while it is written.
// Nobody waits: an entry that is being written is unknown to readers, and one whose writer was
// killed is taken over by the next. Bounded: the entry that was changed longest ago makes room.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "engine/address.h"
#include "engine/parking.h"

namespace nextaddr {

// What an entry is about.
struct AddressKey {
  Address address{};
  std::uint16_t port = 0;     // host order
  std::uint64_t network = 0;  // stands for a network namespace
  friend bool operator==(const AddressKey&, const AddressKey&) = default;
};

// Aligned for copies in pieces of 64 bits, also where these need less alignment.
struct alignas(8) AddressEntry {
  AddressKey key;               // port 0: the entry is free
  std::array<char, 64> host{};  // the name it was last asked for by, cut to what fits
  AddressHealth health{};
  // The following is of this process only, and not in the memory file:
  std::uint32_t saved_rtt_us = 0;  // the RTT that the file has

  [[nodiscard]] std::string_view host_name() const;
  void set_host_name(std::string_view name);
  // Takes over what another process knows of the same address, where that is newer.
  void catch_up(const AddressEntry& other);
};

// Entries live in buckets; the memory file has the same buckets (src/memory/file.h).
inline constexpr std::size_t kMemoryBuckets = 128;
inline constexpr std::size_t kBucketEntries = 8;
using AddressBucket = std::array<AddressEntry, kBucketEntries>;

// The bucket of an address and port, the same for all networks.
std::size_t bucket_of(const Address& address, std::uint16_t port);

// The entry of a bucket that has this key, or the one to make room: a free one, else the one
// changed longest ago, those that are not failing first.
std::size_t place_in(const AddressBucket& bucket, const AddressKey& key);

class AddressMemory {
 public:
  // Zero-filled memory of this type is an empty one, valid before any constructor has run.
  struct Memory;
  static std::size_t memory_size();

  constexpr AddressMemory() = default;
  explicit AddressMemory(Memory* memory) : memory_(memory) {}
  [[nodiscard]] bool usable() const { return memory_ != nullptr; }
  [[nodiscard]] Memory* memory() const { return memory_; }

  // One atomic load: false as long as no failing or silent entry has ever been stored.
  [[nodiscard]] bool may_hold_failures() const;

  // One atomic load: false as long as no entry with a round-trip time has ever been stored.
  [[nodiscard]] bool may_hold_rtts() const;

  // True when something is known of this address and port in some network: only then is it worth
  // the system call that tells in which one the program is.
  [[nodiscard]] bool knows(const Address& address, std::uint16_t port) const;
  // The same, if it is known to fail or to have been silent.
  [[nodiscard]] bool knows_failing(const Address& address, std::uint16_t port) const;
  // Copies the entry of this key. False when there is none, or it is being written.
  bool find(const AddressKey& key, AddressEntry& out) const;
  // Writes the entry in its place. False when another writer is at that right now.
  bool store(const AddressEntry& entry) const;
  // Stores what another process knew, unless what is known here is newer.
  void adopt(const AddressEntry& entry) const;
  // Calls each(entry) for all. Touches no page that nothing was stored in.
  template <typename Each>
  void for_each(Each each) const {
    AddressEntry entry;
    for (std::size_t bucket = 0; bucket < kMemoryBuckets; ++bucket) {
      for (std::size_t i = 0; i < kBucketEntries && is_used(bucket); ++i) {
        if (read(bucket * kBucketEntries + i, entry) && entry.key.port != 0) each(entry);
      }
    }
  }

 private:
  template <typename Test>
  bool find(const Address& address, std::uint16_t port, AddressEntry& out, Test test) const;
  [[nodiscard]] bool is_used(std::size_t bucket) const;
  bool read(std::size_t index, AddressEntry& out) const;
  bool write(std::size_t index, const AddressEntry& entry) const;
  void read_bucket(std::size_t bucket, AddressBucket& out) const;

  Memory* memory_ = nullptr;
};

}  // namespace nextaddr
