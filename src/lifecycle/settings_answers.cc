#include "lifecycle/settings_answers.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "engine/text.h"
#include "fault/faults.h"
#include "lifecycle/answer.h"

namespace nextaddr {
namespace {

using namespace answer;

// "'db=1.2.3': '1.2.3' is not an IPv4 or IPv6 address (column 4)". What is wrong from the beginning
// of the value needs no column.
void describe(Text& text, const GivenValue& given) {
  const ValueError& error = given.error;
  const std::string_view value = given.value;
  const std::string_view culprit = slice(value, error.at, error.at + error.size);
  std::string_view part = culprit;
  if (error.in_entry) {
    part = slice(value, value.rfind(';', error.at) + 1, value.find(';', error.at));
  }
  text.add("'%.*s': ", size_of(part), part.data());
  if (error.in_entry) text.add("'%.*s' ", size_of(culprit), culprit.data());
  text.add(error.at == 0 ? "%s\n" : "%s (column %u)\n", error.reason, error.at + 1);
}

void judge_in_environment(void* only, const GivenValue& given) {
  if (given.error.reason == nullptr) return;
  if (only != nullptr && given.name != static_cast<const char*>(only)) return;
  Text text;
  describe(text, given);
  end(kBadSetting, "%s %s", given.name.data(), text.get());
}

void judge_in_file(void* said, const GivenValue& given) {
  if (given.error.reason == nullptr) return;
  auto& text = *static_cast<Text*>(said);
  text.add("nextaddr: %s in /etc/nextaddr.conf: ", given.name.data());
  describe(text, given);
}

}  // namespace

void answer_settings(const char* only) {
  for_each_given(SettingsOf::kEnvironment, judge_in_environment, const_cast<char*>(only));
}

void answer_faults() {
  const FaultSyntaxError error = load_faults();
  if (error.reason == nullptr) return;
  end(kBadSetting, "NEXTADDR_FAULTS '%s': column %zu: %s\n", config().faults.data(), error.column,
      error.reason);
}

void say_what_is_ignored() {
  Text said;
  if (config().file_problem != nullptr) {
    said.add("nextaddr: ignored in /etc/nextaddr.conf: %s\n", config().file_problem);
  }
  const FaultSyntaxError error = load_faults();
  if (error.reason != nullptr && secure_getenv("NEXTADDR_FAULTS") == nullptr) {
    said.add("nextaddr: NEXTADDR_FAULTS ignored: column %zu: %s\n", error.column, error.reason);
  }
  for_each_given(SettingsOf::kMachine, judge_in_file, &said);
  constexpr std::string_view kOurs = "NEXTADDR_";
  for (char** variable = environ; *variable != nullptr; ++variable) {
    std::string_view text = *variable;
    const std::string_view name = take_until(text, '=');
    if (slice(name, 0, kOurs.size()) != kOurs || is_setting(name)) continue;
    said.add("nextaddr: %.*s is not a variable of nextaddr, and is ignored\n", size_of(name),
             name.data());
  }
  dprintf(STDERR_FILENO, "%s", said.get());
}

}  // namespace nextaddr
