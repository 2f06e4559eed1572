#include "os/descriptors.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdint>
#include <string_view>

#include "engine/text.h"
#include "os/kernel.h"
#include "os/sandbox.h"

namespace nextaddr {

// Not inlined: its caller would need the room for the text all the time.
[[gnu::noinline]] int descriptor_table_size() {
  char text[1024];
  const int status = open_unless_sandboxed("/proc/self/status", O_RDONLY);
  if (status < 0) return 0;
  const ssize_t length = kernel::read(status, text, sizeof text);
  kernel::close(status);
  constexpr std::string_view kLabel = "\nFDSize:\t";
  const std::string_view all(text, length > 0 ? static_cast<std::size_t>(length) : 0);
  const std::size_t at = all.find(kLabel);
  if (at == std::string_view::npos) return 0;
  std::string_view rest = slice(all, at + kLabel.size(), all.size());
  std::uint32_t size = 0;
  return parse_number(take_until(rest, '\n'), INT32_MAX, size) ? static_cast<int>(size) : 0;
}

}  // namespace nextaddr
