// What the launcher is told about settings that are wrong.
#pragma once

#include "config.h"

namespace nextaddr {

// The settings of the environment, without the rules of faults: ends the process with the first bad
// one, because the launcher does nothing then. `only`: the one that matters; null: all of them.
void answer_settings(const char* only = nullptr);

// The same of the rules of faults.
void answer_faults();

// On standard error, line by line: what is wrong in the file for the machine, and which variables
// begin with NEXTADDR_ and mean nothing.
void say_what_is_ignored();

}  // namespace nextaddr
