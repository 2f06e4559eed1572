#include "engine/loaded_object.h"

#include <cstring>

#include "engine/text.h"

namespace nextaddr {

using Address = LoadedObject::Address;
using Segment = LoadedObject::Segment;
using Entry = LoadedObject::Entry;

namespace {

const Entry* find_dynamic(Address base, const Segment* headers, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    if (headers[i].p_type == PT_DYNAMIC) {
      return thing_at<const Entry>(base + headers[i].p_vaddr);
    }
  }
  return nullptr;
}

}  // namespace

LoadedObject::LoadedObject(Address base, const Segment* headers, std::size_t count)
    : LoadedObject(base, find_dynamic(base, headers, count)) {
  headers_ = headers;
  count_ = count;
}

LoadedObject::LoadedObject(Address base, const Entry* dynamic) : base_(base), dynamic_(dynamic) {
  if (dynamic_ == nullptr) return;
  symbols_ = thing_at<const Symbol>(pointer(DT_SYMTAB));
  strings_ = thing_at<const char>(pointer(DT_STRTAB));
  hash_ = thing_at<const HashTable>(pointer(DT_GNU_HASH));
  if (symbols_ == nullptr || strings_ == nullptr) dynamic_ = nullptr;
}

bool LoadedObject::is_in_segment(Address address, std::uint32_t flags) const {
  for (std::size_t i = 0; i < count_; ++i) {
    const auto& header = headers_[i];
    if (header.p_type == PT_LOAD && (header.p_flags & flags) == flags &&
        address - (base_ + header.p_vaddr) < header.p_memsz) {
      return true;
    }
  }
  return false;
}

LoadedObject::Range LoadedObject::sealed(Address page_size) const {
  for (std::size_t i = 0; i < count_; ++i) {
    if (headers_[i].p_type != PT_GNU_RELRO) continue;
    const Address begin = base_ + headers_[i].p_vaddr;
    // The loader leaves the last page as it is, unless it is full.
    return {begin & -page_size, (begin + headers_[i].p_memsz) & -page_size};
  }
  return {};
}

const LoadedObject::Entry* LoadedObject::find(Tag tag) const {
  if (dynamic_ == nullptr) return nullptr;
  for (const Entry* each = dynamic_; each->d_tag != DT_NULL; ++each) {
    if (each->d_tag == tag) return each;
  }
  return nullptr;
}

Address LoadedObject::number(Tag tag) const {
  const Entry* found = find(tag);
  return found != nullptr ? found->d_un.d_val : 0;
}

// glibc adds where the object is to what the file has; not where that may not be written, nor does
// musl.
Address LoadedObject::pointer(Tag tag) const {
  const Address found = number(tag);
  return found != 0 && found < base_ ? base_ + found : found;
}

bool LoadedObject::needs(const LoadedObject& other, const char* path) const {
  const char* file = name_of_file(path);
  const Address own = other.number(DT_SONAME);
  for (const Entry* each = dynamic_; each->d_tag != DT_NULL; ++each) {
    if (each->d_tag != DT_NEEDED) continue;
    const char* needed = strings_ + each->d_un.d_val;
    if (std::strcmp(needed, file) == 0 || std::strcmp(needed, path) == 0 ||
        (own != 0 && std::strcmp(needed, other.strings_ + own) == 0)) {
      return true;
    }
  }
  return false;
}

const std::uint32_t* LoadedObject::buckets() const {
  const auto* filter = reinterpret_cast<const Address*>(hash_ + 1);
  return reinterpret_cast<const std::uint32_t*>(filter + hash_->filter_size);
}

// Those of a bucket follow each other, and the lowest bit is set of the last one.
std::size_t LoadedObject::export_count() const {
  if (hash_ == nullptr) return 0;
  const std::uint32_t* chains = buckets() + hash_->bucket_count;
  std::size_t count = 0;
  for (std::uint32_t i = 0; i < hash_->bucket_count; ++i) {
    const std::uint32_t first = buckets()[i];
    if (first == 0) continue;
    std::size_t last = first - hash_->first_symbol;
    while ((chains[last] & 1) == 0) ++last;
    if (last + 1 > count) count = last + 1;
  }
  return count;
}

const LoadedObject::Symbol& LoadedObject::exported(std::size_t number) const {
  return symbols_[hash_->first_symbol + number];
}

std::size_t LoadedObject::find_export(const char* name) const {
  if (hash_ == nullptr) return 0;
  std::uint32_t hash = 5381;
  for (const char* each = name; *each != '\0'; ++each) {
    hash = hash * 33 + static_cast<unsigned char>(*each);
  }
  const std::uint32_t* chains = buckets() + hash_->bucket_count;
  const std::uint32_t first = buckets()[hash % hash_->bucket_count];
  if (first == 0) return export_count();
  for (std::size_t i = first - hash_->first_symbol;; ++i) {
    if ((chains[i] | 1) == (hash | 1) && std::strcmp(name_of(exported(i)), name) == 0) return i;
    if ((chains[i] & 1) != 0) return export_count();
  }
}

void LoadedObject::visit_slots(void (*visit)(void* data, const Slot& slot), void* data) const {
  // Entries of both kinds begin alike.
  using Short = ElfW(Rel);
  using Long = ElfW(Rela);
  struct Table {
    int begin;
    int size;
    int own;  // how many of the first ones are about its own addresses
    bool is_long;
  };
  const Table tables[] = {{DT_RELA, DT_RELASZ, DT_RELACOUNT, true},
                          {DT_REL, DT_RELSZ, DT_RELCOUNT, false},
                          {DT_JMPREL, DT_PLTRELSZ, DT_NULL, number(DT_PLTREL) == DT_RELA}};
  for (const Table& table : tables) {
    const std::size_t size = table.is_long ? sizeof(Long) : sizeof(Short);
    const Address begin = pointer(table.begin);
    const Address end = begin + (begin != 0 ? number(table.size) : 0);
    for (Address each = begin + number(table.own) * size; each < end; each += size) {
      const auto& entry = *thing_at<const Short>(each);
      const std::size_t symbol = entry.r_info >> (sizeof(Address) == 8 ? 32 : 8);
      visit(data, {thing_at<Address>(base_ + entry.r_offset),
                   symbol == 0 ? nullptr : symbols_ + symbol, table.begin == DT_JMPREL});
    }
  }
}

}  // namespace nextaddr
