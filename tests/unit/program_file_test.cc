// What is read of a program's file.
#include "engine/program_file.h"

#include <elf.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

namespace nextaddr {
namespace {

constexpr const char* kLoader = "/lib64/ld-linux-x86-64.so.2";

template <typename Thing>
void put(std::string& file, std::size_t at, const Thing& thing) {
  std::memcpy(file.data() + at, &thing, sizeof thing);
}

// A program in this machine's byte order: header, one PT_LOAD, one PT_INTERP, the loader's path.
template <typename Header, typename Segment>
std::string made(std::uint8_t word_size, std::uint16_t machine) {
  std::string file(512, '\0');
  Header header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = word_size;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_machine = machine;
  header.e_phoff = sizeof header;
  header.e_phnum = 2;
  put(file, 0, header);
  Segment segment{};
  segment.p_type = PT_LOAD;
  put(file, sizeof header, segment);
  segment.p_type = PT_INTERP;
  segment.p_offset = 400;
  segment.p_filesz = static_cast<decltype(segment.p_filesz)>(std::strlen(kLoader) + 1);
  put(file, sizeof header + sizeof segment, segment);
  std::memcpy(file.data() + 400, kLoader, std::strlen(kLoader));
  return file;
}

std::string made_64() { return made<Elf64_Ehdr, Elf64_Phdr>(ELFCLASS64, EM_X86_64); }
std::string made_32() { return made<Elf32_Ehdr, Elf32_Phdr>(ELFCLASS32, EM_386); }

TEST(ProgramFile, OfEitherWordSize) {
  for (const std::string& file : {made_64(), made_32()}) {
    const ProgramFile program(file);
    EXPECT_TRUE(program.is_elf());
    EXPECT_EQ(program.loader(), kLoader);
    EXPECT_FALSE(program.is_go());
  }
  EXPECT_STREQ(ProgramFile(made_64()).architecture().name().bytes, "x86-64");
  EXPECT_STREQ(ProgramFile(made_32()).architecture().name().bytes, "i386");
}

TEST(ProgramFile, ReadsWhatIsRunHere) {
  std::ifstream stream("/proc/self/exe", std::ios::binary);
  const std::string file{std::istreambuf_iterator<char>(stream), {}};
  const ProgramFile program(file);
  EXPECT_NE(program.loader().find("/ld"), std::string_view::npos);
}

TEST(ProgramFile, NamesOfArchitectures) {
  const auto name = [](std::uint8_t word_size, std::uint16_t machine) {
    return std::string(Architecture{word_size, ELFDATA2LSB, machine}.name().bytes);
  };
  EXPECT_EQ(name(ELFCLASS32, EM_X86_64), "x32");
  EXPECT_EQ(name(ELFCLASS64, EM_AARCH64), "aarch64");
  EXPECT_EQ(name(ELFCLASS64, 999), "machine 999");
  EXPECT_EQ(name(ELFCLASS64, 65535), "machine 65535");
}

TEST(ProgramFile, OtherFiles) {
  for (const std::string file : {"", "#!/bin/sh\n",
                                 "\x7f"
                                 "ELF"}) {
    EXPECT_FALSE(ProgramFile(file).is_elf());
    EXPECT_EQ(ProgramFile(file).loader(), "");
  }
}

TEST(ProgramFile, IsGoWhereItsLinkerHasLeftItsMark) {
  EXPECT_TRUE(ProgramFile(made_64() + "\xff Go buildinf:").is_go());
}

TEST(ProgramFile, HasNoLoaderWhereItsHeadersLeadOutOfTheFile) {
  for (const std::uint64_t number :
       {std::uint64_t{1} << 40, ~std::uint64_t{0}, ~std::uint64_t{255}}) {
    for (const std::size_t at :
         {offsetof(Elf64_Ehdr, e_phoff), sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr) + 8,
          sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr) + 32}) {
      std::string file = made_64();
      put(file, at, number);
      EXPECT_EQ(ProgramFile(file).loader(), "") << number << " at " << at;
    }
  }
}

}  // namespace
}  // namespace nextaddr
