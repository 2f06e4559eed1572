// A shared object as the loader has put it into memory: what it is called and needs, what it
// exports, and the slots that hold what it has been given of other objects. Only reads, and only
// what its own program headers and dynamic section name: nobody may unload it meanwhile. Of an
// object that the loader is not yet done with, the slots must not be asked for.
#pragma once

#include <elf.h>
#include <link.h>

#include <cstddef>
#include <cstdint>

namespace nextaddr {

// An address as the loader tells it: a number.
template <typename Thing>
Thing* thing_at(std::uintptr_t address) {
  return reinterpret_cast<Thing*>(address);  // NOLINT(performance-no-int-to-ptr)
}

class LoadedObject {
 public:
  using Address = std::uintptr_t;
  using Symbol = ElfW(Sym);
  using Segment = ElfW(Phdr);
  using Entry = ElfW(Dyn);
  using Tag = std::int64_t;

  // A place that the loader writes an address to.
  struct Slot {
    Address* place;
    const Symbol* symbol;  // of which it is the address; null: of none
    bool lazy;             // perhaps not yet: when it is called first
  };

  LoadedObject() = default;
  // As dl_iterate_phdr(3) tells of it.
  LoadedObject(Address base, const Segment* headers, std::size_t count);
  // As its entry in the loader's list does: it contains nothing then.
  LoadedObject(Address base, const Entry* dynamic);

  // Whether it can be asked anything.
  [[nodiscard]] bool is_known() const { return dynamic_ != nullptr; }
  [[nodiscard]] bool has(Tag tag) const { return find(tag) != nullptr; }
  // Whether the address is in what has been loaded of it.
  [[nodiscard]] bool contains(Address address) const { return is_in_segment(address, 0); }
  [[nodiscard]] bool is_writable(Address address) const { return is_in_segment(address, PF_W); }

  // What the loader makes read-only once it is done (PT_GNU_RELRO), in whole pages.
  struct Range {
    Address begin = 0;
    Address end = 0;
    [[nodiscard]] bool contains(Address address) const { return begin <= address && address < end; }
  };
  [[nodiscard]] Range sealed(Address page_size) const;

  // Whether it names `other`, which was loaded from `path`, as one that it needs. As the loader
  // does: by the other's own name, or by that of its file.
  [[nodiscard]] bool needs(const LoadedObject& other, const char* path) const;

  [[nodiscard]] const char* name_of(const Symbol& symbol) const {
    return strings_ + symbol.st_name;
  }
  [[nodiscard]] Address address_of(const Symbol& symbol) const { return base_ + symbol.st_value; }

  // What it exports has a number, from 0.
  [[nodiscard]] std::size_t export_count() const;
  [[nodiscard]] const Symbol& exported(std::size_t number) const;
  // The number, or export_count(): it exports no such name.
  [[nodiscard]] std::size_t find_export(const char* name) const;

  // Calls `visit` with each slot that may hold the address of something of another object.
  template <typename Visit>
  void for_each_slot(Visit visit) const {
    visit_slots([](void* data, const Slot& slot) { (*static_cast<Visit*>(data))(slot); }, &visit);
  }

 private:
  // DT_GNU_HASH; what its words are is in no header of libc.
  struct HashTable {
    std::uint32_t bucket_count;
    std::uint32_t first_symbol;
    std::uint32_t filter_size;
    std::uint32_t filter_shift;
  };

  [[nodiscard]] bool is_in_segment(Address address, std::uint32_t flags) const;
  [[nodiscard]] const Entry* find(Tag tag) const;
  // 0: there is no such entry.
  [[nodiscard]] Address number(Tag tag) const;
  [[nodiscard]] Address pointer(Tag tag) const;
  [[nodiscard]] const std::uint32_t* buckets() const;

  void visit_slots(void (*visit)(void* data, const Slot& slot), void* data) const;

  Address base_ = 0;
  const Segment* headers_ = nullptr;
  std::size_t count_ = 0;
  const Entry* dynamic_ = nullptr;
  const Symbol* symbols_ = nullptr;
  const char* strings_ = nullptr;
  const HashTable* hash_ = nullptr;
};

}  // namespace nextaddr
