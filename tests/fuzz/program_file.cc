// libFuzzer: the file of a program. Must never read outside of it, tell of a loader that is not in
// it, nor one of which the path goes on beyond its first zero.
#include "engine/program_file.h"

#include <cstring>
#include <vector>

#include "fuzz.h"

using namespace nextaddr;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A copy of exactly this size, so that going past its end is noticed.
  const std::vector<char> bytes(data, data + size);
  const std::string_view file(bytes.data(), bytes.size());
  const ProgramFile program(file);
  const std::string_view loader = program.loader();
  require(program.is_elf() || loader.empty());
  require(loader.find('\0') == std::string_view::npos);
  if (!loader.empty()) {
    require(loader.data() >= bytes.data());
    require(loader.data() + loader.size() <= bytes.data() + bytes.size());
  }
  require(program.is_go() == (file.find("\xff Go build") != std::string_view::npos));
  require(program.architecture().name().bytes[0] != '\0');
  return 0;
}
