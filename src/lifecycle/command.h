// A command that the launcher is to run: which file that is, which program will interpret it, and
// whether the library gets into that program. Looks at files only, and runs nothing of the command.
#pragma once

namespace nextaddr {

// Says nothing when the command can be helped or nothing is known about it, else the warning.
[[noreturn]] void answer_run(const char* command);

// Says all that is known of the command, line by line, and last whether it can be helped. What is
// wrong with the settings of the machine goes to standard error.
[[noreturn]] void answer_check(const char* command);

}  // namespace nextaddr
