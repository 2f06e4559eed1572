#include "lifecycle/status.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>

#include "config.h"
#include "engine/status_row.h"
#include "engine/text.h"
#include "lifecycle/answer.h"
#include "memory/file.h"
#include "os/clock.h"

namespace nextaddr {
namespace {

using namespace answer;

// Calls each(entry) for all that is remembered. True when there is a memory file; ends the process
// when it cannot be read.
template <typename Each>
bool for_each_remembered(Each each) {
  const auto call = [](void* context, const AddressEntry& entry) {
    (*static_cast<Each*>(context))(entry);
  };
  const int error = look_at_memory_file(call, &each);
  if (error == 0) return true;
  if (error == ENOENT || error == ENOTDIR) return false;
  end(kMistake, error == EINVAL ? "'%s' is no memory file of nextaddr\n" : "'%s' cannot be read\n",
      config().memory_file);
}

[[noreturn]] void say_that_there_is_none() {
  end(kAnswered, "nothing is remembered in %s\n", config().memory_file);
}

// Looks at the file twice, because there is no room for all of it: the first time for the width of
// each column, which the widest word of all rows has.
void show_table() {
  std::array<int, StatusRow::kColumns> widths{};
  for (std::size_t i = 0; i < widths.size(); ++i) widths[i] = size_of(StatusRow::kHeads[i]);
  const bool exists = for_each_remembered([&](const AddressEntry& entry) {
    const StatusRow row(entry, wall_ms());
    for (std::size_t i = 0; i < widths.size(); ++i)
      widths[i] = std::max(widths[i], size_of(row[i]));
  });
  if (!exists) say_that_there_is_none();
  const auto show = [&](const auto& word) {
    for (std::size_t i = 0; i + 1 < widths.size(); ++i) std::printf("%-*s", widths[i] + 2, word(i));
    std::printf("%s\n", word(widths.size() - 1));
  };
  show([](std::size_t i) { return StatusRow::kHeads[i]; });
  for_each_remembered([&](const AddressEntry& entry) {
    const StatusRow row(entry, wall_ms());
    show([&](std::size_t i) { return row[i]; });
  });
}

}  // namespace

void answer_status() {
  show_table();
  std::fflush(stdout);
  _exit(kAnswered);
}

void answer_forget() {
  if (!for_each_remembered([](const AddressEntry&) {})) say_that_there_is_none();
  if (unlink(config().memory_file) == 0) _exit(kAnswered);
  end(kMistake, "'%s' cannot be removed\n", config().memory_file);
}

}  // namespace nextaddr
