// How an answer to the launcher is given, in a process that does nothing else: so stdio may be
// used, and room on the stack.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace nextaddr::answer {

// The exit status of the process, which is none that `true` has, nor a shell that cannot run it.
enum Status : int {
  kAnswered = 100,
  kNotHelped = 101,   // the answer ends with why the command cannot be helped
  kCannotRun = 122,   // the command, and the answer says why
  kNotFound = 123,    // the same
  kBadSetting = 124,  // the answer is "NAME 'VALUE': REASON"
  kMistake = 125,     // the answer is why there is none
};

inline int size_of(std::string_view text) { return static_cast<int>(text.size()); }

// What is said on standard output, and the end of the process. The launcher replaces in it what a
// terminal might obey, but not in the answer to `check`.
[[noreturn, gnu::format(printf, 2, 3)]] void end(Status status, const char* format, ...);

// A text under construction, of lines in which nothing is that a terminal might obey. What does not
// fit is cut.
class Text {
 public:
  [[gnu::format(printf, 2, 3)]] void add(const char* format, ...);
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] const char* get() const { return bytes_.data(); }

 private:
  std::array<char, 16384> bytes_{};
  std::size_t size_ = 0;
};

}  // namespace nextaddr::answer
