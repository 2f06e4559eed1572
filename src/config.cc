#include "config.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "engine/settings.h"
#include "engine/static_hosts.h"
#include "engine/text.h"
#include "os/kernel.h"

namespace nextaddr {
namespace {

constinit Config the_config{};

constexpr std::uint32_t kLongestSetDelayMs = 10'000;

// Programs that tell about one address, and for which to move on to another would be to tell what
// is not so. They are left alone, unless NEXTADDR_ONLY_PROGRAMS says which are not. On it are
// scanners, the plugins of Nagios and its kin (of which all names begin so), and watchers that act
// on what they find: of each it is known that it asks one address, and reports or switches by the
// answer. What also serves others than its own question (haproxy, nginx) is not.
constexpr std::string_view kProbers =
    "nmap,nping,masscan,zmap,unicornscan,hping3,tcping,tcptraceroute,"
    "check_*,keepalived,monit,ldirectord,blackbox_exporter";

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

bool is_on(const char* value) { return value != nullptr && *value != '\0' && view(value) != "0"; }

using FileBuffer = std::array<char, 4096 + 1>;

// Null when there is no file or its settings count, else why they do not. O_NONBLOCK: a FIFO in its
// place must not stop the program, nor may a link lead to whatever does.
const char* read_file(FileBuffer& buffer, Settings& out) {
  const int fd =
      open("/etc/nextaddr.conf", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) {
    if (errno == ENOENT) return nullptr;
    return errno == ELOOP ? "it is a symbolic link" : "it cannot be opened";
  }
  struct stat status {};
  const bool trusted = kernel::fstat(fd, status) == 0 && S_ISREG(status.st_mode) &&
                       status.st_uid == 0 && (status.st_mode & 022) == 0;
  const ssize_t got = trusted ? kernel::read(fd, buffer.data(), buffer.size()) : -1;
  kernel::close(fd);
  if (got < 0) return "it is not a regular file of root that nobody else may write";
  const auto size = static_cast<std::size_t>(got);
  if (size == buffer.size()) return "it has more than 4096 bytes";
  out = Settings(buffer.data(), size);
  return nullptr;
}

// Where the variables come from.
class Source {
 public:
  explicit Source(FileBuffer& buffer) : file_problem_(read_file(buffer, file_)) {}

  // What is in the environment counts, be it empty; an empty value means the same as none.
  const char* value(const char* name) {
    const char* in_file = file_.take(name);
    const char* value = secure_getenv(name);
    if (value == nullptr) value = in_file;
    return value == nullptr || *value == '\0' ? nullptr : value;
  }

  // After all variables have been asked for.
  const char* file_problem() {
    return file_problem_ != nullptr ? file_problem_ : file_.left_over();
  }

 private:
  Settings file_;
  const char* file_problem_;
};

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
  const char* runtime = secure_getenv("XDG_RUNTIME_DIR");
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

std::string_view program_name() {
  const char* name = program_invocation_short_name;
  return name != nullptr ? std::string_view(name) : "?";
}

void read_config() {
  // Whatever is wrong with the file, this is the way around it.
  the_config.off = is_on(secure_getenv("NEXTADDR_OFF"));
  if (the_config.off) return;
  FileBuffer file_buffer;
  Source source(file_buffer);
  const char* only_programs = source.value("NEXTADDR_ONLY_PROGRAMS");
  const char* skip_programs = source.value("NEXTADDR_SKIP_PROGRAMS");
  // A name of a program is matched as one of a host is.
  const HostFilter programs(view(only_programs), view(skip_programs));
  const HostFilter probers({}, only_programs == nullptr ? kProbers : std::string_view{});
  the_config.off = is_on(source.value("NEXTADDR_OFF")) ||
                   programs.leaves_alone(program_name(), 0) ||
                   probers.leaves_alone(program_name(), 0);
  if (the_config.off) return;
  Config read;
  if (const char* level = source.value("NEXTADDR_LOG")) {
    if (!parse_level(level, read.log_level)) read.problem = "NEXTADDR_LOG";
  }
  if (const char* delay = source.value("NEXTADDR_DELAY");
      delay != nullptr && view(delay) != "auto") {
    std::uint32_t value = 0;
    if (parse_number(delay, kLongestSetDelayMs, value) && value >= kShortestDelayMs) {
      read.attempt_delay_ms = value;
      read.fixed_attempt_delay = true;
    } else {
      read.problem = "NEXTADDR_DELAY";
    }
  }
  const auto read_switch = [&](const char* name, bool& out) {
    const char* value = source.value(name);
    if (value == nullptr) return;
    out = view(value) != "0";
    if (out && view(value) != "1") read.problem = name;
  };
  read_switch("NEXTADDR_PROBES", read.probes);
  read_switch("NEXTADDR_DEEPBIND", read.deepbind);
  if (const char* ports = source.value("NEXTADDR_DNS_PORTS")) {
    if (!PortList::parse(ports, read.dns_ports)) read.problem = "NEXTADDR_DNS_PORTS";
  }
  if (const char* parking = source.value("NEXTADDR_PARKING")) {
    if (!parse_number(parking, kLongestParkingMs, read.first_parking_ms)) {
      read.problem = "NEXTADDR_PARKING";
    }
  }
  if (const char* format = source.value("NEXTADDR_LOG_FORMAT")) {
    read.log_json = view(format) == "json";
    if (!read.log_json && view(format) != "text") read.problem = "NEXTADDR_LOG_FORMAT";
  }
  if (const char* seed = source.value("NEXTADDR_SEED")) {
    read.has_seed = parse_number(seed, UINT32_MAX, read.seed);
    if (!read.has_seed) read.problem = "NEXTADDR_SEED";
  }
  const char* faults = source.value("NEXTADDR_FAULTS");
  const char* memory = source.value("NEXTADDR_MEMORY");
  PathBuffer usual_memory{};
  // What faults have taught must reach no other program, nor what was known before hide a fault.
  if (memory == nullptr && faults == nullptr) memory = usual_memory_file(usual_memory);
  const char* resolve = source.value("NEXTADDR_RESOLVE");
  const char* log_file = source.value("NEXTADDR_LOG_FILE");
  const char* only = source.value("NEXTADDR_ONLY");
  const char* skip = source.value("NEXTADDR_SKIP");
  if (is_on(source.value("NEXTADDR_NO_FAILOVER"))) skip = "*";
  const char* run_file = secure_getenv("NEXTADDR_RUN");
  const char* file_problem = source.file_problem();
  TextStore store(size_of(resolve) + size_of(log_file) + size_of(only) + size_of(skip) +
                  size_of(memory) + size_of(faults) + size_of(run_file) + size_of(file_problem));
  read.resolve = view(store.keep(resolve));
  if (!given_names_valid(read.resolve)) read.problem = "NEXTADDR_RESOLVE";
  read.log_file = store.keep(log_file);
  if (view(memory) != "off") read.memory_file = store.keep(memory);
  const std::string_view kept_only = view(store.keep(only));
  read.filter = HostFilter(kept_only, view(store.keep(skip)));
  read.faults = view(store.keep(faults));
  read.run_file = store.keep(run_file);
  read.file_problem = store.keep(file_problem);
  read.ends_run = is_on(secure_getenv("NEXTADDR_RUN_ENDS"));
  the_config = read;
}

}  // namespace nextaddr
