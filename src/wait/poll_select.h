// The program's own waits while some of its connects are under way: poll(2), select(2),
// epoll_wait(2) and SO_ERROR as it would see them if only the working address had ever been asked.
//
// Each waits with the program's own call, mask and time, cut into slices by the next deadline of a
// connect under way. Called while there is one, and for the events of a wait during which there may
// have been (Woken); nothing else may end up here. Async-signal-safe; errno is left alone on
// success.
#pragma once

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include <csignal>
#include <cstdint>
#include <ctime>
#include <optional>

namespace nextaddr {

// A wait that began with nothing under way and has found something now that there is: what it
// found, and since when it had been waiting (CLOCK_MONOTONIC_COARSE). `found` 0: the wait is only
// to begin.
struct Woken {
  int found = 0;
  timespec since{};
};

// Each takes the program's time (sliced_wait.h; kForever: none) and the signal mask of this wait,
// or null for that of the thread.
int wait_poll(pollfd* fds, nfds_t count, std::int64_t limit_ns, const sigset_t* mask, Woken woken);

// Nothing, when the sets are too large to be kept here: a wait for the kernel alone.
std::optional<int> wait_select(int count, fd_set* read, fd_set* write, fd_set* except,
                               std::int64_t limit_ns, const sigset_t* mask);

struct EpollTime {
  std::int64_t limit_ns;
  bool exact;  // to the nanosecond, as epoll_pwait2(2), which older kernels lack
};
int wait_epoll(int epoll, epoll_event* events, int size, EpollTime time, const sigset_t* mask,
               Woken woken);

// SO_ERROR of `fd`, an int at `value`.
int socket_error(int fd, void* value, socklen_t* length);

}  // namespace nextaddr
