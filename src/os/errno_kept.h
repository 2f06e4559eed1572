// errno belongs to the program: what we do beside its call must not disturb it, nor may a call that
// succeeds. (POSIX lets a successful call change errno, but programs rely on more.)
#pragma once

#include <cerrno>

namespace nextaddr {

// Puts errno back at the end of its scope.
class ErrnoKept {
 public:
  ErrnoKept() : saved_(errno) {}
  ~ErrnoKept() { errno = saved_; }
  ErrnoKept(const ErrnoKept&) = delete;
  ErrnoKept& operator=(const ErrnoKept&) = delete;

 private:
  int saved_;
};

// Fails with this error: the hook returns the result.
inline int fail_with(int error) {
  errno = error;
  return -1;
}

// Calls `call`, which fails with a negative result, and puts errno back unless it does.
template <typename Call>
auto errno_kept_on_success(Call call) {
  const int saved = errno;
  const auto result = call();
  if (result >= 0) errno = saved;
  return result;
}

}  // namespace nextaddr
