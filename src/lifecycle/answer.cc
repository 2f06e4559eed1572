#include "lifecycle/answer.h"

#include <unistd.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>

namespace nextaddr::answer {

void end(Status status, const char* format, ...) {
  std::va_list arguments;
  va_start(arguments, format);
  vdprintf(STDOUT_FILENO, format, arguments);
  va_end(arguments);
  _exit(status);
}

void Text::add(const char* format, ...) {
  std::va_list arguments;
  va_start(arguments, format);
  const int size = std::vsnprintf(&bytes_[size_], bytes_.size() - size_, format, arguments);
  va_end(arguments);
  const std::size_t added = size > 0 ? static_cast<std::size_t>(size) : 0;
  for (const std::size_t end = std::min(size_ + added, bytes_.size() - 1); size_ < end; ++size_) {
    const auto byte = static_cast<unsigned char>(bytes_[size_]);
    if ((byte < 0x20 && byte != '\n') || byte == 0x7f) bytes_[size_] = '?';
  }
}

}  // namespace nextaddr::answer
