#include "process/death_notice.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>

#include "process/process.h"

namespace nextaddr {

// The list belongs to libc, which keeps its robust mutexes there. We borrow its field for a mutex
// that is about to be locked (list_op_pending), at which the kernel looks in the same way.
DeathNotice::DeathNotice(std::uint32_t* word) {
  // In a sandbox the calls below may be forbidden. Nobody is told of a death there, and no lookup
  // waits longer for that.
  if (sandbox() != Sandbox::kNone) {
    owner_ = own_pid();
    return;
  }
  owner_ = static_cast<std::uint32_t>(syscall(SYS_gettid));
  std::size_t size = sizeof own_;
  if (syscall(SYS_get_robust_list, 0, &list_, &size) != 0) {
    list_ = nullptr;
    return;
  }
  if (list_ == nullptr) {
    own_.list.next = &own_.list;
    if (syscall(SYS_set_robust_list, &own_, sizeof own_) != 0) return;
    list_ = &own_;
  }
  pending_before_ = list_->list_op_pending;
  auto* entry = reinterpret_cast<char*>(word) - list_->futex_offset;
  list_->list_op_pending = reinterpret_cast<robust_list*>(entry);
  // The compiler must not move the stores: the kernel looks when this thread is killed, wherever it
  // is then.
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

DeathNotice::~DeathNotice() {
  if (list_ == nullptr) return;
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  list_->list_op_pending = pending_before_;
  if (list_ == &own_) syscall(SYS_set_robust_list, nullptr, sizeof own_);
}

}  // namespace nextaddr
