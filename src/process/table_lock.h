// The writer's lock of the host table, shared with forked processes.
#pragma once

#include "engine/host_table.h"
#include "os/signals.h"
#include "process/death_notice.h"

namespace nextaddr {

// Whether to wait for another process that is writing down what it looked up: an answer that is
// not remembered is failed over less. kYes: some milliseconds, as a lookup may take anyway.
// kNo: where an event loop would stand still.
enum class MayWait : bool { kNo, kYes };

// Neither a handler that jumps out, nor a fork in one, nor a cancellation may leave it behind. Only
// a SIGKILL can, and of that the kernel tells whoever comes next. Async-signal-safe.
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
