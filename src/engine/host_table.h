// Every host this program looked up and the addresses it got: where failover may go, and never
// further. Pure: works on memory it is given, makes no system call, allocates nothing. The memory
// is shared between a process and its forked children (lynx looks up in a child and connects in the
// parent), so nothing read from it is trusted: every offset is bounded and every walk ends,
// whatever another process wrote.
//
// Records are immutable once linked. One writer at a time holds the lock; readers take none: they
// walk what is linked and check afterwards that it was not being rewritten. Memory is two halves:
// when one is full, the hosts still in use are copied to the other (least recently used ones are
// forgotten). A writer may be killed at any moment: each of its stores leaves a table that knows at
// least what it knew before, so that the next writer goes on with it as it is.
//
// Forgetting closes the door: beside the halves is a mark for each address of a host that was
// forgotten, cut off or could not be remembered. A marked address is failed over only within the
// very set of addresses that the forgotten host had. One that a later answer of its host lacks is
// failed over only as long as this host has it again. (web had A and B, and is forgotten. Now api
// is looked up, and has A and C: a connect to A may be meant for web, so it goes nowhere else. Had
// api A and B, the same two, it would go to B.)
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "engine/address.h"
#include "engine/host_filter.h"
#include "engine/position_set.h"

namespace nextaddr {

// The addresses one connect() may use: a remembered list, minus what another host holding the
// requested address does not have (a stranger's). A handle: addresses are read through the table.
struct DestinationList {
  std::uint32_t generation{};
  std::uint32_t record{};     // 0: of no host
  std::uint16_t requested{};  // position of the requested address
  PositionSet candidates;     // positions that may be asked, the requested one included
  PositionSet ipv6;           // positions of IPv6 addresses
};

// The families a lookup asked for: a lookup for IPv4 says nothing about a host's IPv6 addresses.
struct LookupFamilies {
  bool ipv4 = true;
  bool ipv6 = true;
};

// Room for the longest host name (RFC 1035 section 2.3.4).
using NameBuffer = std::array<char, 255>;

class HostTable {
 public:
  // Zero-filled memory of this type is an empty table, valid before any constructor has run.
  struct Memory;
  static std::size_t memory_size();

  constexpr HostTable() = default;
  explicit HostTable(Memory* memory) : memory_(memory) {}
  [[nodiscard]] bool usable() const { return memory_ != nullptr; }
  [[nodiscard]] Memory* memory() const { return memory_; }

  // Notes that another process has this memory, too, or may have it. A copy that is made of it is
  // not noted so.
  void note_shared();
  [[nodiscard]] bool is_shared() const;

  // Copies all that `other` knows into this table, which is empty. The caller holds the lock of
  // `other`.
  void copy_from(const HostTable& other);
  // Closes here what is closed in `other`, because other processes may have closed more there since
  // it was copied.
  void close_what_is_closed_in(const HostTable& other);
  // From now on nothing is failed over, whatever is looked up.
  void close_all();

  // Sets what marks are hashed with, so that nobody who answers lookups can make up two sets of
  // addresses that have the same mark. Once, before the first lookup.
  void set_seed(std::uint32_t seed);

  // --- the writer's side: takes the lock first ---

  // Takes the lock, without waiting. `owner` is the id of the calling thread as the kernel knows
  // it. Also takes a lock that a dead thread has left behind: the kernel marks it (robust futexes,
  // set_robust_list(2)).
  bool try_lock(std::uint32_t owner);
  // Gives the lock back; does nothing unless `owner` holds it.
  void unlock(std::uint32_t owner);
  // The word of the lock, which the kernel is to mark when its owner dies.
  [[nodiscard]] std::uint32_t* lock_word() const;

  // Remembers the answer of one lookup, replacing what was known of the host for these families.
  // `port` (host order) is the service that was looked up with it; 0: none. False when it cannot be
  // remembered: then shut() is due. `answer` is used as scratch space.
  bool learn(std::string_view host, AddressList& answer, LookupFamilies families,
             const HostFilter& filter, std::uint16_t port = 0);

  // --- without the lock ---

  // A lookup with this answer was not remembered, nor is it held: from now on its addresses are
  // failed over only within this very set.
  void shut(const AddressList& answer) const;
  // This address of an answer had no room in the list: it is failed over no more.
  void shut(const Address& address) const;

  // --- the reader's side: no lock, async-signal-safe ---

  // The answer of a lookup: its addresses, one after the other, and what learn() is told of it
  // beside them, which is complete after the last one.
  struct Answer {
    bool (*next)(Answer& answer, Address& out);
    void* source;
    LookupFamilies families;
    std::uint16_t port = 0;
    std::size_t count = 0;  // how many addresses the host has, as knows() has found
  };
  // True when this answer is known already, so that to learn it would change nothing. Reads the
  // answer to its end, or to where it differs.
  bool knows(std::string_view host, Answer& answer) const;

  // For a lookup whose answer cannot be learnt now, because somebody else holds the lock: true when
  // the host is known to have these very addresses, in whatever order. Then nothing has to be shut,
  // and a walk of the host has ended.
  [[nodiscard]] bool holds(std::string_view host, const AddressList& answer,
                           LookupFamilies families) const;

  // True when some remembered host holds this address and others beside it. Cheap.
  [[nodiscard]] bool may_fail_over(const Address& address) const;

  // Where a connect to `requested` may go, in the order of the host most recently looked up that
  // holds it. False when nothing is known or a host holding it is left alone by `filter` on `port`
  // (host order).
  bool destinations(const Address& requested, std::uint16_t port, const HostFilter& filter,
                    DestinationList& out) const;

  // The address at a position. False when the list has been forgotten meanwhile.
  bool address_at(const DestinationList& list, std::size_t position, Address& out) const;

  // Whether `test(context, host, position)` is true of some host that has this address in its list.
  // The test may be asked twice about one host.
  using HolderTest = bool (*)(void* context, std::string_view host, std::size_t position);
  bool any_holder(const Address& address, HolderTest test, void* context) const;

  // True when some lookup of this host has named the port (host order). Of a host that was looked
  // up with many ports only the first few are known.
  [[nodiscard]] bool names_port(const DestinationList& list, std::uint16_t port) const;

  // The host's name, for the log: a view of `buffer`, empty when the list has been forgotten.
  std::string_view host_name(const DestinationList& list, NameBuffer& buffer) const;

  // --- programs that walk the list themselves (curl, Python, wget) ---

  // Every address of the list has just failed in process `pid`, which may now walk the list itself.
  // Times are milliseconds of any monotonic clock, which may wrap.
  void note_exhausted(const DestinationList& list, std::uint32_t pid, std::uint32_t now_ms);
  // True when this process walks an exhausted list: the requested address has not been asked for by
  // the program since. A new lookup of the host ends the walk.
  [[nodiscard]] bool walks_exhausted(const DestinationList& list, std::uint32_t pid,
                                     std::uint32_t now_ms) const;
  // In such a walk the program has now asked for the requested address itself.
  void note_walked(const DestinationList& list, std::uint32_t now_ms);

 private:
  class Doorway;
  class Reader;
  class Writer;
  template <typename Walk>
  bool walk_holders(const Address& address, Walk walk) const;
  Memory* memory_ = nullptr;
};

}  // namespace nextaddr
