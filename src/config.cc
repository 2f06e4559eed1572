#include "config.h"

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>

#include "engine/given_names.h"
#include "engine/text.h"
#include "kernel.h"

namespace nextaddr {
namespace {

constinit Config the_config{};

constexpr std::uint32_t kShortestDelayMs = 10;  // RFC 8305 section 5: MUST NOT be less
constexpr std::uint32_t kLongestDelayMs = 10'000;

// Copies of the texts, in one place that lives as long as the process.
class TextStore {
 public:
  explicit TextStore(std::size_t size) {
    // Mostly there is but the name of the usual memory file.
    static constinit std::array<char, 256> a_little{};
    if (size <= a_little.size()) {
      free_ = a_little.data();
      return;
    }
    void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory != MAP_FAILED) free_ = static_cast<char*>(memory);
  }

  const char* keep(const char* text) {
    if (text == nullptr || free_ == nullptr) return nullptr;
    char* copy = free_;
    const std::size_t size = std::strlen(text) + 1;
    std::memcpy(copy, text, size);
    free_ += size;
    return copy;
  }

 private:
  char* free_ = nullptr;
};

std::size_t size_of(const char* text) { return text == nullptr ? 0 : std::strlen(text) + 1; }
std::string_view view(const char* text) { return text == nullptr ? std::string_view{} : text; }

// A variable that is unset and one that is empty mean the same.
const char* variable(const char* name) {
  const char* value = secure_getenv(name);
  return value == nullptr || *value == '\0' ? nullptr : value;
}

bool is_set(const char* name) {
  const char* value = variable(name);
  return value != nullptr && view(value) != "0";
}

bool parse_level(std::string_view text, LogLevel& out) {
  constexpr std::string_view kNames[] = {"off", "error", "info", "debug"};
  for (std::uint8_t i = 0; i < 4; ++i) {
    if (text == kNames[i]) {
      out = static_cast<LogLevel>(i);
      return true;
    }
  }
  return false;
}

using PathBuffer = std::array<char, 4096>;

// The memory file of a user who has not named one: null when its path would be too long.
const char* usual_memory_file(PathBuffer& buffer) {
  // "The directory MUST be owned by the user" (XDG Base Directory Specification), which it is not
  // for root with the environment of another.
  const char* runtime = variable("XDG_RUNTIME_DIR");
  struct stat status {};
  const bool own = runtime != nullptr && *runtime == '/' && kernel::stat(runtime, status) == 0 &&
                   status.st_uid == geteuid();
  NumberText digits;
  const std::string_view parts[] = {own ? view(runtime) : "/dev/shm", "/nextaddr-memory",
                                    own ? "" : "-", own ? "" : format_number(geteuid(), digits)};
  std::size_t length = 0;
  for (const std::string_view part : parts) {
    if (part.size() >= buffer.size() - length) return nullptr;
    std::memcpy(buffer.data() + length, part.data(), part.size());
    length += part.size();
  }
  return buffer.data();
}

}  // namespace

const Config& config() { return the_config; }

void read_config() {
  Config read;
  read.off = is_set("NEXTADDR_OFF");
  if (const char* level = variable("NEXTADDR_LOG")) {
    if (!parse_level(level, read.log_level)) read.problem = "NEXTADDR_LOG";
  }
  if (const char* delay = variable("NEXTADDR_DELAY"); delay != nullptr && view(delay) != "auto") {
    std::uint32_t value = 0;
    if (parse_number(delay, kLongestDelayMs, value) && value >= kShortestDelayMs) {
      read.attempt_delay_ms = value;
      read.fixed_attempt_delay = true;
    } else {
      read.problem = "NEXTADDR_DELAY";
    }
  }
  if (const char* parking = variable("NEXTADDR_PARKING")) {
    if (!parse_number(parking, kLongestParkingMs, read.first_parking_ms)) {
      read.problem = "NEXTADDR_PARKING";
    }
  }
  if (const char* format = variable("NEXTADDR_LOG_FORMAT")) {
    read.log_json = view(format) == "json";
    if (!read.log_json && view(format) != "text") read.problem = "NEXTADDR_LOG_FORMAT";
  }
  if (const char* seed = variable("NEXTADDR_SEED")) {
    read.has_seed = parse_number(seed, UINT32_MAX, read.seed);
    if (!read.has_seed) read.problem = "NEXTADDR_SEED";
  }
  const char* faults = variable("NEXTADDR_FAULTS");
  const char* memory = variable("NEXTADDR_MEMORY");
  PathBuffer usual_memory{};
  // What faults have taught must reach no other program, nor what was known before hide a fault.
  if (memory == nullptr && faults == nullptr) memory = usual_memory_file(usual_memory);
  const char* resolve = variable("NEXTADDR_RESOLVE");
  const char* log_file = variable("NEXTADDR_LOG_FILE");
  const char* only = variable("NEXTADDR_ONLY");
  const char* skip = variable("NEXTADDR_SKIP");
  if (is_set("NEXTADDR_NO_FAILOVER")) skip = "*";
  const char* run_file = variable("NEXTADDR_RUN");
  TextStore store(size_of(resolve) + size_of(log_file) + size_of(only) + size_of(skip) +
                  size_of(memory) + size_of(faults) + size_of(run_file));
  read.resolve = view(store.keep(resolve));
  if (!given_names_valid(read.resolve)) read.problem = "NEXTADDR_RESOLVE";
  read.log_file = store.keep(log_file);
  if (view(memory) != "off") read.memory_file = store.keep(memory);
  const std::string_view kept_only = view(store.keep(only));
  read.filter = HostFilter(kept_only, view(store.keep(skip)));
  read.faults = view(store.keep(faults));
  read.run_file = store.keep(run_file);
  read.ends_run = is_set("NEXTADDR_RUN_ENDS");
  the_config = read;
}

}  // namespace nextaddr
