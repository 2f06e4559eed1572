// A program as it lies in a file (elf(5)), of whatever word size and byte order: which architecture
// it is for, and which loader it asks for. Pure: reads the bytes it is given, of which none can be
// trusted, and no others.
#pragma once

#include <cstdint>
#include <string_view>

#include "engine/text.h"

namespace nextaddr {

using ArchitectureName = ShortText<14>;

// What a program must have in common with a library that is to be loaded into it.
struct Architecture {
  std::uint8_t word_size = 0;   // ELFCLASS32, ELFCLASS64
  std::uint8_t byte_order = 0;  // ELFDATA2LSB, ELFDATA2MSB
  std::uint16_t machine = 0;    // EM_X86_64 ..
  friend bool operator==(const Architecture&, const Architecture&) = default;

  // "x86-64", or "machine 4711" when it is a rare one.
  [[nodiscard]] ArchitectureName name() const;
};

class ProgramFile {
 public:
  // `bytes`: the whole file, or only its beginning.
  explicit ProgramFile(std::string_view bytes);

  [[nodiscard]] bool is_elf() const { return is_elf_; }
  [[nodiscard]] Architecture architecture() const { return architecture_; }
  // The path of the loader; "" when the program is linked statically.
  [[nodiscard]] std::string_view loader() const;
  // Whether Go's linker has made it. Reads all of the file.
  [[nodiscard]] bool is_go() const;

 private:
  // Where the numbers are that are looked for; they are words but for the count and the type.
  struct Layout;
  [[nodiscard]] const Layout& layout() const;
  // 0 where the file has ended.
  [[nodiscard]] std::uint64_t number(std::uint64_t at, std::size_t size) const;

  std::string_view bytes_;
  Architecture architecture_;
  bool is_elf_ = false;
};

}  // namespace nextaddr
