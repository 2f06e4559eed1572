#include "os/sandbox.h"

#include <fcntl.h>

#include "os/errno_kept.h"
#include "os/kernel.h"
#include "os/libc.h"

namespace nextaddr {

int open_unless_sandboxed(const char* path, int flags, mode_t mode) {
  return sandbox() == Sandbox::kCertain ? -1 : open(path, flags | O_CLOEXEC, mode);
}

bool has_other_threads() {
  if (libc::single_threaded_flag.load(std::memory_order_relaxed) != nullptr) {
    return !libc::is_single_threaded();
  }
  if (sandbox() != Sandbox::kNone) return true;
  // A directory for each thread, besides two links of its own (proc(5)).
  const ErrnoKept errno_kept;
  struct stat tasks {};
  return kernel::stat("/proc/self/task", tasks) != 0 || tasks.st_nlink > 3;
}

}  // namespace nextaddr
