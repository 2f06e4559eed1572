// Questions that the launcher (scripts/nextaddr) puts to the library, so that nothing which the
// library knows has to be known by the script as well. It starts the program `true` with the
// library and with NEXTADDR_ASK, "PROCESS QUESTION":
//
//   settings       nothing when the variables are good, else what is wrong: "NAME 'VALUE': REASON"
//   faults         the same of NEXTADDR_FAULTS, which no other question looks at
//   run COMMAND    the same as settings, and then a warning when the command cannot be helped
//   check COMMAND  the same as settings, and then what is known of the command (command.h)
//   status FORMAT  the memory as "text", "json" or "openmetrics"
//   forget         the memory is removed; nothing is said
//   end            the run has ended: the log tells what never matched, the answer how many
//                  connects have moved on
//
// The answer is on standard output, and the exit status tells the launcher what it is (answer.h).
//
// Must never answer in a program that somebody wants to run. Only the process whose id is PROCESS
// answers, and its id is in no environment that it has inherited; only what was started as `true`,
// which does nothing of its own; and nothing where the loader has marked the process as privileged.
#pragma once

#include <string_view>

namespace nextaddr {

// The question that is put to this process; mostly "": none.
std::string_view launchers_question();

// Says the answer and ends the process. Once, from the library's start, when all but the faults and
// the run are ready.
[[noreturn]] void answer_launcher(std::string_view question);

}  // namespace nextaddr
