#include "engine/program_file.h"

#include <elf.h>

#include <cstddef>
#include <cstdio>
#include <cstring>

namespace nextaddr {
namespace {

struct Name {
  std::uint16_t machine;
  std::uint8_t word_size;  // ELFCLASSNONE: either
  ArchitectureName name;
};
// The names of i386 and aarch64 are also those of directories (see link_platforms in the Makefile).
constexpr Name kNames[] = {
    {EM_386, ELFCLASSNONE, {"i386"}},      {EM_MIPS, ELFCLASSNONE, {"mips"}},
    {EM_PPC64, ELFCLASSNONE, {"ppc64"}},   {EM_S390, ELFCLASSNONE, {"s390x"}},
    {EM_ARM, ELFCLASSNONE, {"arm"}},       {EM_X86_64, ELFCLASS32, {"x32"}},
    {EM_X86_64, ELFCLASSNONE, {"x86-64"}}, {EM_AARCH64, ELFCLASSNONE, {"aarch64"}},
    {EM_RISCV, ELFCLASSNONE, {"riscv"}},   {258, ELFCLASSNONE, {"loongarch"}},
};

// No path of a loader is longer, and the kernel does not run such a file.
constexpr std::uint64_t kLongestPath = 4096;

}  // namespace

ArchitectureName Architecture::name() const {
  for (const Name& each : kNames) {
    const bool fits = each.word_size == ELFCLASSNONE || each.word_size == word_size;
    if (each.machine == machine && fits) return each.name;
  }
  ArchitectureName rare;
  std::snprintf(rare.bytes, sizeof rare.bytes, "machine %u", unsigned{machine});
  return rare;
}

struct ProgramFile::Layout {
  std::uint8_t word;
  std::uint8_t table, count, header_size;  // the program headers
  std::uint8_t offset, size;               // in one of them: where its bytes are
};

const ProgramFile::Layout& ProgramFile::layout() const {
  static constexpr Layout k32{4,
                              offsetof(Elf32_Ehdr, e_phoff),
                              offsetof(Elf32_Ehdr, e_phnum),
                              sizeof(Elf32_Phdr),
                              offsetof(Elf32_Phdr, p_offset),
                              offsetof(Elf32_Phdr, p_filesz)};
  static constexpr Layout k64{8,
                              offsetof(Elf64_Ehdr, e_phoff),
                              offsetof(Elf64_Ehdr, e_phnum),
                              sizeof(Elf64_Phdr),
                              offsetof(Elf64_Phdr, p_offset),
                              offsetof(Elf64_Phdr, p_filesz)};
  return architecture_.word_size == ELFCLASS64 ? k64 : k32;
}

std::uint64_t ProgramFile::number(std::uint64_t at, std::size_t size) const {
  if (at > bytes_.size() || size > bytes_.size() - at) return 0;
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < size; ++i) {
    const std::size_t next = architecture_.byte_order == ELFDATA2LSB ? size - 1 - i : i;
    value = value << 8 | static_cast<unsigned char>(bytes_[at + next]);
  }
  return value;
}

ProgramFile::ProgramFile(std::string_view bytes) : bytes_(bytes) {
  if (bytes.size() < sizeof(Elf64_Ehdr) || slice(bytes, 0, SELFMAG) != ELFMAG) return;
  is_elf_ = true;
  architecture_.word_size = static_cast<std::uint8_t>(bytes[EI_CLASS]);
  architecture_.byte_order = static_cast<std::uint8_t>(bytes[EI_DATA]);
  architecture_.machine =
      static_cast<std::uint16_t>(number(offsetof(Elf64_Ehdr, e_machine), sizeof(Elf64_Half)));
}

std::string_view ProgramFile::loader() const {
  if (!is_elf()) return {};
  const Layout& at = layout();
  const std::uint64_t count = number(at.count, sizeof(Elf64_Half));
  std::uint64_t header = number(at.table, at.word);
  for (std::uint64_t i = 0; i < count && header < bytes_.size(); ++i, header += at.header_size) {
    if (number(header, sizeof(Elf64_Word)) != PT_INTERP) continue;
    const std::uint64_t begin = number(header + at.offset, at.word);
    const std::uint64_t size = number(header + at.size, at.word);
    if (begin > bytes_.size() || size > kLongestPath) return {};
    std::string_view path = slice(bytes_, begin, begin + size);
    return take_until(path, '\0');
  }
  return {};
}

bool ProgramFile::is_go() const { return bytes_.find("\xff Go build") != std::string_view::npos; }

}  // namespace nextaddr
