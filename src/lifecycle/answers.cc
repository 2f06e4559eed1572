#include "lifecycle/answers.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "config.h"
#include "engine/status_row.h"
#include "engine/text.h"
#include "fault/faults.h"
#include "fault/run_counters.h"
#include "memory/file.h"
#include "os/clock.h"

namespace nextaddr {
namespace {

// Standard output. This process does nothing else, so stdio may be used. The launcher replaces what
// a terminal might obey.
constexpr int kOut = STDOUT_FILENO;

// The exit status, which is none of `true`.
enum Status : int {
  kAnswered = 100,
  kBadSetting = 124,  // the answer is "NAME 'VALUE': REASON"
  kMistake = 125,     // the answer is why there is none
};

int size_of(std::string_view text) { return static_cast<int>(text.size()); }

// `only`: the setting that matters; null: all of them.
struct SettingsQuestion {
  SettingsOf where;
  const char* only;
};

// "'db=1.2.3': '1.2.3' is not an IPv4 or IPv6 address (column 4)". What is wrong from the beginning
// of the value needs no column. Of the environment the first one is enough: the launcher does
// nothing then.
void say_if_bad(void* context, const GivenValue& given) {
  const auto& question = *static_cast<const SettingsQuestion*>(context);
  const ValueError& error = given.error;
  if (error.reason == nullptr) return;
  if (question.only != nullptr && given.name != question.only) return;
  const bool in_file = question.where == SettingsOf::kMachine;
  const std::string_view value = given.value;
  const std::string_view culprit = slice(value, error.at, error.at + error.size);
  const std::size_t begin = error.in_entry ? value.rfind(';', error.at) + 1 : error.at;
  const std::size_t end = error.in_entry ? value.find(';', error.at) : error.at + error.size;
  const std::string_view part = slice(value, begin, end);
  dprintf(kOut,
          in_file ? "say %s in /etc/nextaddr.conf: '%.*s': " : "%s '%.*s': ", given.name.data(),
          size_of(part), part.data());
  if (error.in_entry) dprintf(kOut, "'%.*s' ", size_of(culprit), culprit.data());
  dprintf(kOut, error.at == 0 ? "%s\n" : "%s (column %u)\n", error.reason, error.at + 1);
  if (!in_file) _exit(kBadSetting);
}

void say_what_is_bad(SettingsOf where, const char* only = nullptr) {
  SettingsQuestion question{where, only};
  for_each_given(where, say_if_bad, &question);
}

void answer_faults() {
  const FaultSyntaxError error = load_faults();
  if (error.reason == nullptr) return;
  dprintf(kOut, "NEXTADDR_FAULTS '%s': column %zu: %s\n", config().faults.data(), error.column,
          error.reason);
  _exit(kBadSetting);
}

void check_machine() {
  if (config().file_problem != nullptr) {
    dprintf(kOut, "say ignored in /etc/nextaddr.conf: %s\n", config().file_problem);
  }
  const FaultSyntaxError error = load_faults();
  if (error.reason != nullptr && secure_getenv("NEXTADDR_FAULTS") == nullptr) {
    dprintf(kOut, "say NEXTADDR_FAULTS ignored: column %zu: %s\n", error.column, error.reason);
  }
  say_what_is_bad(SettingsOf::kMachine);
}

void check_names() {
  constexpr std::string_view kOurs = "NEXTADDR_";
  for (char** variable = environ; *variable != nullptr; ++variable) {
    std::string_view text = *variable;
    const std::string_view name = take_until(text, '=');
    if (slice(name, 0, kOurs.size()) != kOurs || is_setting(name)) continue;
    dprintf(kOut, "unknown %.*s\n", size_of(name), name.data());
  }
}

void answer_check(std::string_view program) {
  if (!config().deepbind) dprintf(kOut, "no-deepbind\n");
  check_machine();
  check_names();
  const LeftAlone why = left_alone(program);
  if (why == LeftAlone::kAsProber) dprintf(kOut, "prober\n");
  if (why == LeftAlone::kBySettings) dprintf(kOut, "settings\n");
}

// Ends the process when there is no memory file.
void find_memory(int error) {
  if (error == 0) return;
  const bool missing = error == ENOENT || error == ENOTDIR;
  dprintf(kOut,
          missing           ? "nothing is remembered in %s\n"
          : error == EINVAL ? "'%s' is no memory file of nextaddr\n"
                            : "'%s' cannot be read\n",
          config().memory_file);
  _exit(missing ? kAnswered : kMistake);
}

// Of the columns; what is said is aligned by the widest word of all rows.
struct Table {
  std::array<int, StatusRow::kColumns> widths{};
  bool is_measured = false;

  void add(std::size_t column, const char* word) {
    int& width = widths[column];
    const bool last = column + 1 == widths.size();
    if (!is_measured) {
      width = std::max(width, size_of(word));
    } else {
      dprintf(kOut, last ? "%-*s\n" : "%-*s", last ? 0 : width + 2, word);
    }
  }
  int add_all() {
    for (std::size_t i = 0; i < widths.size(); ++i) add(i, StatusRow::kHeads[i]);
    return look_at_memory_file(
        [](void* context, const AddressEntry& entry) {
          const StatusRow row(entry, wall_ms());
          for (std::size_t i = 0; i < StatusRow::kColumns; ++i) {
            static_cast<Table*>(context)->add(i, row[i]);
          }
        },
        this);
  }
};

// Looks at the file twice, because there is no room for all of it.
void answer_status() {
  Table table;
  find_memory(table.add_all());
  table.is_measured = true;
  table.add_all();
}

void answer_forget() {
  find_memory(look_at_memory_file([](void*, const AddressEntry&) {}, nullptr));
  if (unlink(config().memory_file) == 0) return;
  dprintf(kOut, "'%s' cannot be removed\n", config().memory_file);
  _exit(kMistake);
}

void answer_end() {
  load_faults();
  report_unmatched_faults();
  dprintf(kOut, "%u\n", run() != nullptr ? run()->failovers.load() : 0);
}

}  // namespace

std::string_view launchers_question() {
  const char* asked = secure_getenv("NEXTADDR_ASK");
  if (asked == nullptr || program_name() != "true") return {};
  std::string_view question = asked;
  std::uint32_t process = 0;
  const bool ours = parse_number(take_until(question, ' '), INT32_MAX, process) &&
                    static_cast<pid_t>(process) == getpid();
  return ours ? question : std::string_view{};
}

void answer_launcher(std::string_view question) {
  const std::string_view what = take_until(question, ' ');
  const bool forgets = what == "forget";
  if (forgets || what == "status") {
    say_what_is_bad(SettingsOf::kEnvironment, "NEXTADDR_MEMORY");
    if (config().memory_file == nullptr) {
      dprintf(kOut, "the memory is off\n");
      _exit(kMistake);
    }
    forgets ? answer_forget() : answer_status();
  }
  open_run();
  if (what == "settings") say_what_is_bad(SettingsOf::kEnvironment);
  if (what == "faults") answer_faults();
  if (what == "check") answer_check(question);
  if (what == "end") answer_end();
  _exit(kAnswered);
}

}  // namespace nextaddr
