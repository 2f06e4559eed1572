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

// What stands between the quotes of a file's name.
using QuotedPath = std::array<char, 8192>;

void show_json(const QuotedPath& memory) {
  std::printf("{\"memory\":\"%s\",\"addresses\":[", memory.data());
  const char* separator = "\n";
  for_each_remembered([&](const AddressEntry& entry) {
    const StatusValues values(entry, wall_ms());
    const std::uint32_t rtt_us = entry.health.rtt_us;
    // The number of a network is a text, because it may have more digits than a JSON parser keeps.
    std::printf(
        "%s{\"host\":\"%s\",\"address\":\"%s\",\"port\":%u,\"network\":\"%llu\",\"state\":\"%s\","
        "\"parked_ms\":%llu,\"failures\":%u,\"rtt_ms\":",
        separator, values.host.data(), values.address.data(), unsigned{entry.key.port},
        static_cast<unsigned long long>(entry.key.network), values.state,
        static_cast<unsigned long long>(values.parked_ms), entry.health.failures);
    std::printf(rtt_us == 0 ? "null}" : "%u.%03u}", rtt_us / 1000, rtt_us % 1000);
    separator = ",\n";
  });
  std::puts("\n]}");
}

// One metric: what stands before its samples, the name of these, and of an entry its value in
// millionths, or kNothing. Looks at all of the file, because the samples of a metric stand
// together.
constexpr std::uint64_t kOne = 1'000'000;
constexpr std::uint64_t kNothing = ~std::uint64_t{0};

void show_metric(const QuotedPath& memory, const char* head, const char* name,
                 std::uint64_t (*millionths)(const AddressEntry& entry)) {
  std::printf("%s", head);
  for_each_remembered([&](const AddressEntry& entry) {
    const std::uint64_t value = millionths(entry);
    if (value == kNothing) return;
    const StatusValues values(entry, wall_ms());
    // Another user, or another network, may know the same address, and no two samples may have the
    // same labels.
    std::printf(
        "nextaddr_address_%s{host=\"%s\",address=\"%s\",port=\"%u\",network=\"%llu\",memory=\"%s\"}"
        " "
        "%llu.%06llu\n",
        name, values.host.data(), values.address.data(), unsigned{entry.key.port},
        static_cast<unsigned long long>(entry.key.network), memory.data(),
        static_cast<unsigned long long>(value / kOne),
        static_cast<unsigned long long>(value % kOne));
  });
}

void show_openmetrics(const QuotedPath& memory) {
  show_metric(memory,
              "# TYPE nextaddr_address_parked gauge\n"
              "# HELP nextaddr_address_parked Whether it has failed and is asked last for now.\n",
              "parked", [](const AddressEntry& entry) {
                return StatusValues(entry, wall_ms()).parked_ms != 0 ? kOne : 0;
              });
  show_metric(memory,
              "# TYPE nextaddr_address_failures counter\n"
              "# HELP nextaddr_address_failures How often it has failed since it last answered.\n",
              "failures_total",
              [](const AddressEntry& entry) { return entry.health.failures * kOne; });
  show_metric(memory,
              "# TYPE nextaddr_address_round_trip_seconds gauge\n"
              "# UNIT nextaddr_address_round_trip_seconds seconds\n"
              "# HELP nextaddr_address_round_trip_seconds The time of a handshake, if known.\n",
              "round_trip_seconds", [](const AddressEntry& entry) {
                return entry.health.rtt_us != 0 ? std::uint64_t{entry.health.rtt_us} : kNothing;
              });
  std::puts("# EOF");
}

}  // namespace

void answer_status(std::string_view format) {
  QuotedPath memory;
  write_quoted(config().memory_file, memory.data(), memory.size());
  if (format == "text") {
    show_table();
  } else if (format == "json") {
    show_json(memory);
  } else if (format == "openmetrics") {
    show_openmetrics(memory);
  } else {
    end(kMistake, "--format '%.*s': must be text, json or openmetrics\n", size_of(format),
        format.data());
  }
  std::fflush(stdout);
  _exit(kAnswered);
}

void answer_forget() {
  if (!for_each_remembered([](const AddressEntry&) {})) say_that_there_is_none();
  if (unlink(config().memory_file) == 0) _exit(kAnswered);
  end(kMistake, "'%s' cannot be removed\n", config().memory_file);
}

}  // namespace nextaddr
