// The program's waits on epoll sets while some of its connects are pending: as it would see them if
// only the working address had ever been asked. Called while there is one, and for the events of a
// wait during which there may have been (Woken). Async-signal-safe; errno is left alone on success.
#pragma once

#include <sys/epoll.h>

#include <csignal>
#include <cstdint>

#include "wait/sliced_wait.h"

namespace nextaddr {

struct EpollTime {
  std::int64_t limit_ns;  // kForever: none
  bool exact;             // to the nanosecond, as epoll_pwait2(2), which older kernels lack
};

// epoll_pwait(2), or epoll_pwait2(2), as the program is to see it: returns and errno as of it.
// `mask`: the signal mask of this wait, or null for that of the thread.
int wait_epoll(int epoll, epoll_event* events, int size, EpollTime time, const sigset_t* mask,
               Woken woken);

}  // namespace nextaddr
