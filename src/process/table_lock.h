// The writer's lock of the host table, which forked processes share. Must never be waited for
// without a limit: a writer may have been stopped.
#pragma once

#include "engine/host_table.h"
#include "os/signals.h"
#include "process/death_notice.h"

namespace nextaddr {

// Whether to wait for another thread or process that is writing down what it looked up, because an
// answer that is not remembered is failed over less. kYes: some milliseconds, as a lookup may take
// anyway (0.2 s for a thread of this process). kNo: where an event loop would stand still.
enum class MayWait : bool { kNo, kYes };

// Holds the lock as long as it lives, if held(). Neither a handler that jumps out, nor a fork in
// one, nor a cancellation can leave it behind: signals are blocked meanwhile. Only a SIGKILL can,
// and of that the kernel tells whoever comes next. Async-signal-safe.
class TableLock {
 public:
  TableLock(HostTable& table, MayWait may_wait);
  ~TableLock() {
    if (held_) table_.unlock(notice_.owner());
  }
  TableLock(const TableLock&) = delete;
  TableLock& operator=(const TableLock&) = delete;
  [[nodiscard]] bool held() const { return held_; }

 private:
  const Uninterrupted uninterrupted_;
  HostTable& table_;
  const DeathNotice notice_;
  bool held_ = false;
};

}  // namespace nextaddr
