#include "lifecycle/answers.h"

#include <sys/auxv.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>

#include "config.h"
#include "engine/text.h"
#include "fault/faults.h"
#include "fault/run_counters.h"
#include "lifecycle/answer.h"
#include "lifecycle/command.h"
#include "lifecycle/settings_answers.h"
#include "lifecycle/status.h"

namespace nextaddr {
namespace {

using namespace answer;

void find_memory() {
  answer_settings("NEXTADDR_MEMORY");
  if (config().memory_file == nullptr) end(kMistake, "the memory is off\n");
}

[[noreturn]] void answer_end() {
  load_faults();
  report_unmatched_faults();
  end(kAnswered, "%u\n", run() != nullptr ? run()->failovers.load() : 0);
}

// Was the program started as `true`? Where coreutils is one program for all commands, `true` is a
// script (#!/usr/bin/coreutils --coreutils-prog-shebang=true) and the program's own name is that of
// its interpreter, so the kernel is asked.
bool is_true() {
  const unsigned long started = getauxval(AT_EXECFN);
  const auto* path = reinterpret_cast<const char*>(started);  // NOLINT(performance-no-int-to-ptr)
  return path != nullptr && std::string_view(name_of_file(path)) == "true";
}

}  // namespace

std::string_view launchers_question() {
  const char* asked = secure_getenv("NEXTADDR_ASK");
  if (asked == nullptr || !is_true()) return {};
  std::string_view question = asked;
  std::uint32_t process = 0;
  const bool ours = parse_number(take_until(question, ' '), INT32_MAX, process) &&
                    static_cast<pid_t>(process) == getpid();
  return ours ? question : std::string_view{};
}

void answer_launcher(std::string_view question) {
  const std::string_view what = take_until(question, ' ');
  if (what == "status" || what == "forget") {
    find_memory();
    what == "status" ? answer_status(question) : answer_forget();
  }
  open_run();
  if (what == "end") {
    answer_end();
  } else if (what == "faults") {
    answer_faults();
  } else {
    answer_settings();
    if (what == "run") answer_run(question.data());
    if (what == "check") answer_check(question.data());
  }
  _exit(kAnswered);
}

}  // namespace nextaddr
