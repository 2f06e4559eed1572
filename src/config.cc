#include "config.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "engine/setting_values.h"
#include "engine/settings.h"
#include "engine/text.h"
#include "os/kernel.h"

namespace nextaddr {
namespace {

constinit Config the_config{};

enum class Where : std::uint8_t { kAnywhere, kProcess, kLauncher };

// What config.inc has of one setting, in place: an address in this table would have to be written
// when the library is loaded.
struct Row {
  ShortText<23> name;
  Where where;
};
constexpr Row kRows[] = {
#define NEXTADDR_SETTING(name, option, usual, where, parser, help) \
  {{"NEXTADDR_" #name}, Where::where},
#include "config.inc"
#undef NEXTADDR_SETTING
};
constexpr std::size_t kSettings = sizeof kRows / sizeof kRows[0];

enum Setting : std::uint8_t {
#define NEXTADDR_SETTING(name, option, usual, where, parser, help) k_##name,
#include "config.inc"
#undef NEXTADDR_SETTING
};

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
  const char* value(const Row& row) {
    const char* in_file = this->in_file(row);
    const char* value = row.where != Where::kLauncher ? secure_getenv(row.name.bytes) : nullptr;
    if (value == nullptr) value = in_file;
    return value == nullptr || *value == '\0' ? nullptr : value;
  }

  const char* in_file(const Row& row) {
    return row.where == Where::kAnywhere ? file_.take(row.name.view()) : nullptr;
  }

  [[nodiscard]] bool is_unusable() const { return file_problem_ != nullptr; }
  // After all variables have been asked for.
  const char* file_problem() {
    return file_problem_ != nullptr ? file_problem_ : file_.left_over();
  }

 private:
  Settings file_;
  const char* file_problem_;
};

// The settings on their way to be a Config.
struct Reading {
  Config config;
  std::string_view only;
  std::string_view skip;
  std::string_view only_programs;
  std::string_view skip_programs;
  bool no_failover = false;
  std::uint8_t log_level = 0;
  std::string_view file;  // the one that the setting of last names
};

ValueError check_nothing(std::string_view /*text*/) { return {}; }

// A text that is kept as it is, and what is wrong with it.
ValueError take(std::string_view text, std::string_view& out,
                ValueError (*check)(std::string_view)) {
  out = text;
  return check(text);
}

// The name of a file, which must end with a zero; `none`: the word for no file.
ValueError take_file(std::string_view text, const char*& out, std::string_view none, Reading& to) {
  out = text == none ? nullptr : text.data();
  if (out != nullptr) to.file = text;
  return {};
}

ValueError take_log_file(std::string_view text, Reading& to) {
  to.config.log_to_syslog = text == "syslog";
  return to.config.log_to_syslog ? ValueError{} : take_file(text, to.config.log_file, "", to);
}

ValueError parse(std::size_t setting, std::string_view text, Reading& to) {
  switch (static_cast<Setting>(setting)) {
#define NEXTADDR_SETTING(name, option, usual, where, parser, help) \
  case k_##name:                                                   \
    return parser;
#include "config.inc"
#undef NEXTADDR_SETTING
  }
  return {};
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

// What only a look at the file system tells of a file that is to be written.
const char* what_is_wrong_with_file(std::string_view path) {
  static constinit PathBuffer directory{};
  const std::size_t size = path.rfind('/') + 1;  // 0: there is no slash
  constexpr const char* kNoDirectory = "must be a file in a directory that exists";
  if (size >= directory.size()) return kNoDirectory;
  std::memcpy(directory.data(), path.data(), size);
  directory[size] = '\0';
  const char* parent = size == 0 ? "." : directory.data();
  const auto may_write = [](const char* name) {
    return faccessat(AT_FDCWD, name, W_OK, AT_EACCESS) == 0;
  };
  struct stat status {};
  if (kernel::stat(path.data(), status) == 0) {
    if (S_ISDIR(status.st_mode)) return "must be a file, this is a directory";
    return may_write(path.data()) ? nullptr : "must be a file that can be written";
  }
  // The name of the directory ends with a slash, so that no file is taken for one.
  if (may_write(parent)) return nullptr;
  return errno == ENOENT || errno == ENOTDIR ? kNoDirectory : "must be a file that can be created";
}

}  // namespace

const Config& config() { return the_config; }

std::string_view program_name() {
  const char* name = program_invocation_short_name;
  return name != nullptr ? std::string_view(name) : "?";
}

LeftAlone left_alone(std::string_view program) {
  const bool by_settings = config().switched_off || config().programs.leaves_alone(program, 0);
  // Only who is named is helped although it is a prober.
  const bool as_prober = (by_settings || !config().names_programs) &&
                         HostFilter({}, kProbers).leaves_alone(program, 0);
  return as_prober ? LeftAlone::kAsProber : by_settings ? LeftAlone::kBySettings : LeftAlone::kNo;
}

void read_config(bool for_launcher) {
  // Whatever is wrong with the file, this is the way around it.
  the_config.off = is_on(secure_getenv("NEXTADDR_OFF"));
  if (the_config.off && !for_launcher) return;
  FileBuffer file_buffer;
  Source source(file_buffer);
  std::array<const char*, kSettings> values;
  for (std::size_t i = 0; i < kSettings; ++i) values[i] = source.value(kRows[i]);
  PathBuffer usual_memory{};
  // What faults have taught must reach no other program, nor what was known before hide a fault.
  if (values[k_MEMORY] == nullptr && values[k_FAULTS] == nullptr) {
    values[k_MEMORY] = usual_memory_file(usual_memory);
  }
  const char* file_problem = source.file_problem();
  std::size_t size = size_of(file_problem);
  for (const char* value : values) size += size_of(value);
  TextStore store(size);
  Reading read;
  for (std::size_t i = 0; i < kSettings; ++i) {
    const char* value = store.keep(values[i]);
    if (value == nullptr) continue;
    const ValueError error = parse(i, value, read);
    if (error.reason != nullptr && !error.taken) read.config.problem = kRows[i].name.bytes;
  }
  read.config.file_problem = store.keep(file_problem);
  read.config.log_level = static_cast<LogLevel>(read.log_level);
  read.config.filter = HostFilter(read.only, read.no_failover ? "*" : read.skip);
  read.config.programs = HostFilter(read.only_programs, read.skip_programs);
  read.config.names_programs = !read.only_programs.empty();
  the_config = read.config;
  the_config.off = !for_launcher && left_alone(program_name()) != LeftAlone::kNo;
}

void for_each_given(SettingsOf where, void (*each)(void* context, const GivenValue& given),
                    void* context) {
  FileBuffer file_buffer;
  Source source(file_buffer);
  if (where == SettingsOf::kMachine && source.is_unusable()) return;
  Reading read;
  for (std::size_t i = 0; i < kSettings; ++i) {
    const Row& row = kRows[i];
    const bool in_file = where == SettingsOf::kMachine;
    const char* value = in_file ? source.in_file(row) : secure_getenv(row.name.bytes);
    if (value == nullptr || *value == '\0' || row.where != Where::kAnywhere) continue;
    read.file = {};
    ValueError error = parse(i, value, read);
    if (const char* reason = read.file.empty() ? nullptr : what_is_wrong_with_file(read.file)) {
      error = {reason, 0, static_cast<std::uint32_t>(view(value).size())};
    }
    each(context, {row.name.view(), value, error});
  }
}

bool is_setting(std::string_view name) {
  for (const Row& row : kRows) {
    if (row.name.view() == name) return true;
  }
  return false;
}

}  // namespace nextaddr
