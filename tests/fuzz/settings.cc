// libFuzzer: the text of the configuration file, against a plain reading of it with std::string.
// Must never read or write outside the text, give a value that no line has, or lose a line.
#include "engine/settings.h"

#include <cstring>
#include <vector>

#include "fuzz.h"

using namespace nextaddr;

namespace {

std::vector<std::string> lines_of(const std::uint8_t* data, std::size_t size) {
  std::vector<std::string> lines(1);
  for (std::size_t i = 0; i < size; ++i) {
    const char c = static_cast<char>(data[i]);
    if (c == '\n' || c == '\0') {
      lines.emplace_back();
    } else {
      lines.back() += c;
    }
  }
  for (std::string& line : lines) {
    const std::size_t begin = std::min(line.find_first_not_of(" \t\r"), line.size());
    line = line.substr(begin, line.find_last_not_of(" \t\r") + 1 - begin);
  }
  return lines;
}

void take(Settings& settings, std::vector<std::string>& lines, const std::string& name) {
  const char* value = settings.take(name);
  for (std::string& line : lines) {
    if (line.compare(0, name.size() + 1, name + "=") != 0) continue;
    require(value != nullptr && line.substr(name.size() + 1) == value);
    line.clear();
    return;
  }
  require(value == nullptr);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::string> lines = lines_of(data, size);
  // A copy of exactly this size, so that going past its end is noticed.
  std::vector<char> text(size + 1, 'x');
  if (size != 0) std::memcpy(text.data(), data, size);
  Settings settings(text.data(), size);
  for (const char* name : {"A", "AB", "NEXTADDR_LOG", "A", "NEXTADDR_LOG_FILE"}) {
    take(settings, lines, name);
  }
  const auto left = std::find_if(lines.begin(), lines.end(), [](const std::string& line) {
    return !line.empty() && line.front() != '#';
  });
  const char* left_over = settings.left_over();
  require((left_over != nullptr) == (left != lines.end()));
  if (left_over != nullptr) require(*left == left_over);
  return 0;
}
