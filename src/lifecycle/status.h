// What the launcher shows of the memory, or removes: each of these is the whole answer.
#pragma once

#include <string_view>

namespace nextaddr {

// All addresses and ports that are remembered. `format`: "text", a table for people; "json" and
// "openmetrics", for programs. These are whole also when there is no file.
[[noreturn]] void answer_status(std::string_view format);

[[noreturn]] void answer_forget();

}  // namespace nextaddr
