// The program's own waits by poll(2) and select(2), and its questions for SO_ERROR, while some of
// its connects are pending: as it would see them if only the working address had ever been asked.
//
// Each waits with the program's own call, mask and time, cut into slices by the next deadline of a
// pending connect. Called while there is one, and for the events of a wait during which there may
// have been (Woken); nothing else may end up here. Async-signal-safe; errno is left alone on
// success.
#pragma once

#include <poll.h>
#include <sys/select.h>
#include <sys/socket.h>

#include <array>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "wait/sliced_wait.h"

namespace nextaddr {

// Each takes the program's time (kForever: none) and the signal mask of this wait, or null for that
// of the thread.
int wait_poll(pollfd* fds, nfds_t count, std::int64_t limit_ns, const sigset_t* mask, Woken woken);

// The sets of a select(2) that has begun with nothing pending, as they were: it writes its result
// over them. Only for as many descriptors as fit.
class KeptSets {
 public:
  KeptSets(int count, const fd_set* read, const fd_set* write, const fd_set* except);
  // False: they were not kept.
  explicit operator bool() const { return kept_; }
  [[nodiscard]] const fd_set& operator[](std::size_t which) const { return sets_[which]; }

 private:
  bool kept_;
  std::array<fd_set, 3> sets_;
};

// Nothing, when the sets are too large to be kept here: a wait for the kernel alone. `woken`: the
// wait that has begun with `before` has found something.
std::optional<int> wait_select(int count, fd_set* read, fd_set* write, fd_set* except,
                               std::int64_t limit_ns, const sigset_t* mask,
                               const KeptSets* before = nullptr, Woken woken = {});

// SO_ERROR of `fd`, an int at `value`.
int socket_error(int fd, void* value, socklen_t* length);

}  // namespace nextaddr
