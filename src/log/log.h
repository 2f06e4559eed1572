// Where the log goes: the file of NEXTADDR_LOG_FILE, the system's log, or the stderr the program
// was started with, and never anything else. One write(2) a line, no stdio, no allocation,
// async-signal-safe, errno left alone. What the lines say is in log/report.h.
#pragma once

#include "engine/line.h"

namespace nextaddr {

// Keeps in mind what stderr is when the library is loaded, because programs close it, and get its
// number for a connection.
void remember_stderr();

// Ends the line and writes it.
void write_to_log(Line& line);

}  // namespace nextaddr
