// What is read of an object in memory: one made here, and those that this program consists of.
#include "engine/loaded_object.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

namespace nextaddr {
namespace {

using Address = LoadedObject::Address;

// An object of two segments, the second of which may be written. All its addresses are what a file
// has, beginning with 0, or, as glibc leaves them, where they are.
class Image {
 public:
  explicit Image(bool relocated) {
    const Address added = relocated ? base() : 0;
    strcpy(memory_.strings, "-libone.so.1-two.so-own.so-connect-poll");
    memory_.symbols[1].st_name =
        static_cast<ElfW(Word)>(strstr(memory_.strings, "connect") - memory_.strings);
    memory_.symbols[2].st_name = memory_.symbols[1].st_name + 8;
    memory_.symbols[2].st_shndx = 7;
    for (char& each : memory_.strings) {
      if (each == '-') each = '\0';
    }
    constexpr auto info = [](unsigned symbol) {
      return static_cast<Address>(symbol) << (sizeof(Address) == 8 ? 32 : 8) | 7;
    };
    memory_.rela[0] = {offset(&memory_.slots[0]), info(0), 0};  // its own
    memory_.rela[1] = {offset(&memory_.slots[1]), info(1), 0};
    memory_.rela[2] = {offset(&memory_.slots[2]), info(2), 0};
    memory_.lazy[0] = {offset(&memory_.slots[3]), info(1)};
    const ElfW(Dyn) entries[] = {
        {DT_NEEDED, {1}},
        {DT_NEEDED, {13}},
        {DT_SONAME, {20}},
        {DT_STRTAB, {added + offset(memory_.strings)}},
        {DT_SYMTAB, {added + offset(memory_.symbols)}},
        {DT_RELA, {added + offset(memory_.rela)}},
        {DT_RELASZ, {sizeof memory_.rela}},
        {DT_RELACOUNT, {1}},
        {DT_JMPREL, {added + offset(memory_.lazy)}},
        {DT_PLTREL, {DT_REL}},
        {DT_PLTRELSZ, {sizeof memory_.lazy}},
        {DT_NULL, {0}},
    };
    std::copy(std::begin(entries), std::end(entries), memory_.dynamic);
    memory_.headers[0] = header(PT_LOAD, PF_R | PF_X, 0, offset(memory_.slots));
    memory_.headers[1] = header(PT_LOAD, PF_R | PF_W, offset(memory_.slots), sizeof memory_.slots);
    memory_.headers[2] = header(PT_DYNAMIC, PF_R, offset(memory_.dynamic), sizeof memory_.dynamic);
    memory_.headers[3] = header(PT_GNU_RELRO, PF_R, offset(memory_.slots), sizeof(Address) * 2);
  }

  [[nodiscard]] Address base() const { return reinterpret_cast<Address>(&memory_); }
  [[nodiscard]] LoadedObject object() const { return {base(), memory_.headers, 4}; }
  [[nodiscard]] const Address* slot(int i) const { return &memory_.slots[i]; }
  [[nodiscard]] const LoadedObject::Symbol* symbol(int i) const { return &memory_.symbols[i]; }

 private:
  static ElfW(Phdr) header(unsigned type, unsigned flags, Address begin, Address size) {
    ElfW(Phdr) made{};
    made.p_type = type;
    made.p_flags = flags;
    made.p_vaddr = begin;
    made.p_memsz = size;
    return made;
  }
  [[nodiscard]] Address offset(const void* place) const {
    return reinterpret_cast<Address>(place) - base();
  }

  struct {
    ElfW(Phdr) headers[4];
    ElfW(Dyn) dynamic[16];
    LoadedObject::Symbol symbols[3];
    ElfW(Rela) rela[3];
    ElfW(Rel) lazy[1];
    char strings[64];
    Address slots[4];
  } memory_{};
};

TEST(LoadedObject, TellsWhichSlotsAreOfOthers) {
  for (const bool relocated : {false, true}) {
    const Image image(relocated);
    std::vector<LoadedObject::Slot> slots;
    image.object().for_each_slot([&](const LoadedObject::Slot& slot) { slots.push_back(slot); });
    ASSERT_EQ(slots.size(), 3U);
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(slots[i].place, image.slot(i + 1));
      EXPECT_EQ(slots[i].symbol, image.symbol(i == 1 ? 2 : 1));
      EXPECT_EQ(slots[i].lazy, i == 2);
    }
    EXPECT_STREQ(image.object().name_of(*slots[0].symbol), "connect");
    EXPECT_STREQ(image.object().name_of(*slots[1].symbol), "poll");
  }
}

TEST(LoadedObject, TellsWhatIsInItAndWhatOfItMayBeWritten) {
  const Image image(true);
  const LoadedObject object = image.object();
  const auto first = reinterpret_cast<Address>(image.slot(0));
  EXPECT_TRUE(object.contains(image.base()) && !object.is_writable(image.base()));
  EXPECT_TRUE(object.contains(first) && object.is_writable(first));
  EXPECT_FALSE(object.contains(image.base() - 1));
  EXPECT_FALSE(object.contains(reinterpret_cast<Address>(image.slot(4))));
  const LoadedObject::Range sealed = object.sealed(sizeof(Address));
  EXPECT_TRUE(sealed.contains(first) && sealed.contains(first + 2 * sizeof(Address) - 1));
  EXPECT_FALSE(sealed.contains(first - 1) || sealed.contains(first + 2 * sizeof(Address)));
  // As much of a page as it has is a page before it, and none after it.
  EXPECT_LE(object.sealed(4096).begin, first);
  EXPECT_LE(object.sealed(4096).end, first + 2 * sizeof(Address));
}

TEST(LoadedObject, NeedsAnotherByItsNameOrThatOfItsFile) {
  const Image image(false);
  const LoadedObject object = image.object();
  const LoadedObject nameless(0, static_cast<const ElfW(Dyn)*>(nullptr));
  EXPECT_TRUE(object.needs(nameless, "/usr/lib/libone.so.1"));
  EXPECT_TRUE(object.needs(nameless, "two.so"));
  EXPECT_FALSE(object.needs(nameless, "/usr/lib/libone.so"));
  EXPECT_FALSE(object.needs(nameless, "/two.so/three.so"));
  EXPECT_FALSE(object.needs(object, "/usr/lib/other.so")) << "its name is own.so";
  EXPECT_FALSE(nameless.is_known());
  EXPECT_EQ(nameless.export_count(), 0U);
}

TEST(LoadedObject, FindsWhatLibcExports) {
  LoadedObject libc;
  Dl_info info{};
  ASSERT_NE(dladdr(reinterpret_cast<const void*>(&getenv), &info), 0);
  dl_iterate_phdr(
      [](dl_phdr_info* each, std::size_t, void* data) {
        const LoadedObject object(each->dlpi_addr, each->dlpi_phdr, each->dlpi_phnum);
        if (object.contains(reinterpret_cast<Address>(&getenv))) {
          *static_cast<LoadedObject*>(data) = object;
        }
        return 0;
      },
      &libc);
  ASSERT_TRUE(libc.is_known());
  const std::size_t count = libc.export_count();
  EXPECT_GT(count, 1000U);
  std::size_t found = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const char* name = libc.name_of(libc.exported(i));
    const std::size_t number = libc.find_export(name);
    ASSERT_LT(number, count) << name;
    // One of its versions.
    EXPECT_STREQ(libc.name_of(libc.exported(number)), name);
    found += number == i ? 1 : 0;
  }
  EXPECT_GT(found, count / 2);
  EXPECT_EQ(libc.find_export("no_such_function"), count);
  // In libc itself: TSan has a connect of its own before it.
  void* const handle = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
  ASSERT_NE(handle, nullptr);
  EXPECT_EQ(libc.address_of(libc.exported(libc.find_export("connect"))),
            reinterpret_cast<Address>(dlsym(handle, "connect")));
  dlclose(handle);
}

}  // namespace
}  // namespace nextaddr
