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

// ppoll(2) as the program is to see it: returns and errno as of it. `limit_ns`: the program's time
// (kForever: none); `mask`: the signal mask of this wait, or null for that of the thread.
int wait_poll(pollfd* fds, nfds_t count, std::int64_t limit_ns, const sigset_t* mask, Woken woken);

// The sets of a select(2) that begins with nothing pending, as the program gave them: select(2)
// writes its result over them. Only for as many descriptors as fit.
class KeptSets {
 public:
  KeptSets(int count, const fd_set* read, const fd_set* write, const fd_set* except);
  // False when there are too many descriptors for the sets to be kept.
  explicit operator bool() const { return kept_; }
  [[nodiscard]] const fd_set& operator[](std::size_t which) const { return sets_[which]; }

 private:
  bool kept_;
  std::array<fd_set, 3> sets_;
};

// pselect(2) likewise. No result when the sets are too large to be kept here: the kernel alone must
// do then. `before` and `woken`: the wait has begun with these sets, and has found something.
std::optional<int> wait_select(int count, fd_set* read, fd_set* write, fd_set* except,
                               std::int64_t limit_ns, const sigset_t* mask,
                               const KeptSets* before = nullptr, Woken woken = {});

// getsockopt(2) of SO_ERROR, an int at `value`: returns and errno as of it.
int socket_error(int fd, void* value, socklen_t* length);

}  // namespace nextaddr
