// What the launcher shows of the memory, or removes: each of these is the whole answer.
#pragma once

namespace nextaddr {

// All addresses and ports that are remembered, as a table.
[[noreturn]] void answer_status();

[[noreturn]] void answer_forget();

}  // namespace nextaddr
