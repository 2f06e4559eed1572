#include "failover.h"

#include <netinet/in.h>

#include <cerrno>
#include <cstdint>

#include "clock.h"
#include "config.h"
#include "engine/host_table.h"
#include "engine/outcome.h"
#include "engine/schedule.h"
#include "libc.h"
#include "log.h"
#include "process.h"
#include "signals.h"
#include "socket.h"
#include "trail.h"
#include "unfinished.h"

namespace nextaddr {
namespace {

using Step = Schedule::Step;

std::uint32_t milliseconds(const timeval& time) {
  return static_cast<std::uint32_t>(time.tv_sec * 1000 + (time.tv_usec + 999) / 1000);
}

int fail(int error) {
  errno = error;
  return -1;
}

// A signal ended a wait: would the program's own connect(2) have returned EINTR? With a timeout set
// it always does (signal(7)).
bool interrupts(const timeval& program_timeout) {
  return milliseconds(program_timeout) != 0 || !connect_would_restart();
}

// One connect() that did not succeed at its first attempt.
class Failover {
 public:
  Failover(int fd, std::uint64_t cookie, const timeval& program_timeout, UnfinishedConnect& connect)
      : fd_(fd),
        cookie_(cookie),
        program_timeout_(program_timeout),
        connect_(connect),
        current_(connect.requested.address) {}

  // `first` is what the first attempt came to: EINPROGRESS, EINTR, or its error.
  int run(int first, bool resumed);

 private:
  Step attempt(std::size_t position);
  Step wait(std::uint64_t until_ms);
  Step ended(int error);
  Step connected();
  Step interrupted();
  Step lost(int error);
  int deliver(int error);
  int finish(int error);
  [[nodiscard]] bool still_ours() const { return socket_cookie(fd_) == cookie_; }

  int fd_;
  std::uint64_t cookie_;
  timeval program_timeout_;
  UnfinishedConnect& connect_;
  Address current_;  // the address of the attempt under way
  Trail trail_;
  bool in_use_ = true;  // the descriptor is still the program's socket and may be touched
  bool succeeded_ = false;
};

int Failover::run(int first, bool resumed) {
  const std::uint64_t now = now_ms();
  Schedule& schedule = connect_.schedule;
  if (resumed) host_table().address_at(connect_.list, schedule.position(), current_);
  trail_.begin(schedule.position(), now);
  Step step;
  if (first != EINPROGRESS && first != EINTR) {
    step = ended(first);
  } else {
    step =
        resumed ? schedule.resumed(now, milliseconds(program_timeout_)) : schedule.in_flight(now);
    if (first == EINTR && interrupts(program_timeout_)) step = interrupted();
  }
  for (;;) {
    switch (step.kind) {
      case Step::Kind::kWait:
        step = wait(step.until_ms);
        break;
      case Step::Kind::kAttempt:
        step = attempt(step.position);
        break;
      case Step::Kind::kYield:
        keep_unfinished(cookie_, connect_);
        // What connect(2) answers when it is asked again about an attempt in flight.
        return fail(resumed && step.error == EINPROGRESS ? EALREADY : step.error);
      case Step::Kind::kDeliver:
        return succeeded_ ? finish(0) : deliver(step.error);
    }
  }
}

Step Failover::connected() {
  succeeded_ = true;
  return {Step::Kind::kDeliver, 0, 0, 0};
}

Step Failover::interrupted() {
  return {Step::Kind::kYield, connect_.schedule.position(), EINTR, 0};
}

// The program closed the socket, or shut it down, while we waited: no attempt may follow.
Step Failover::lost(int error) {
  in_use_ = false;
  return {Step::Kind::kDeliver, 0, error, 0};
}

Step Failover::ended(int error) {
  const std::uint64_t now = now_ms();
  trail_.end(error, now);
  return error == EINPROGRESS ? connect_.schedule.silent(now)
                              : connect_.schedule.failed(error, now);
}

Step Failover::attempt(std::size_t position) {
  if (!still_ours()) return lost(EBADF);
  Address next;
  sockaddr_storage destination;
  if (!host_table().address_at(connect_.list, position, next)) return lost(ETIMEDOUT);
  const socklen_t length = write_sockaddr(next, connect_.requested, destination);
  const bool on_ipv6_socket = connect_.requested.family == AF_INET6;
  take_back(fd_, on_ipv6_socket && current_.is_ipv4() && !next.is_ipv4());
  current_ = next;
  trail_.begin(position, now_ms());
  const int result = briefly_connect(fd_, reinterpret_cast<const sockaddr*>(&destination), length,
                                     program_timeout_);
  if (result == 0) return connected();
  const int error = errno;
  if (error == EINTR && interrupts(program_timeout_)) return interrupted();
  if (error == EINPROGRESS || error == EINTR) return connect_.schedule.in_flight(now_ms());
  return ended(error);
}

Step Failover::wait(std::uint64_t until_ms) {
  for (;;) {
    const std::uint64_t now = now_ms();
    pollfd waiting{fd_, POLLOUT, 0};
    const int ready =
        libc::poll(&waiting, 1, until_ms > now ? static_cast<int>(until_ms - now) : 0);
    if (ready == 0) return ended(EINPROGRESS);
    if (ready < 0) {
      if (errno != EINTR) return lost(errno);
      if (interrupts(program_timeout_)) return interrupted();
      continue;
    }
    if (!still_ours()) return lost(EBADF);
    if ((waiting.revents & (POLLERR | POLLHUP)) == 0) {
      // Asking again is how connect(2) itself learns the result; the socket is then marked
      // connected.
      sockaddr_storage destination;
      const socklen_t length = write_sockaddr(current_, connect_.requested, destination);
      if (libc::connect(fd_, reinterpret_cast<const sockaddr*>(&destination), length) == 0) {
        return connected();
      }
      return ended(errno);
    }
    const int error = pending_error(fd_);
    // Hung up without an error: shutdown(2) by another thread, which ends connect(2) with this.
    if (error == 0) return lost(ECONNABORTED);
    return ended(error);
  }
}

int Failover::finish(int error) {
  if (error == 0) trail_.end(0, now_ms());
  if (trail_.attempts() > 1 && logs_failovers()) {
    trail_.log(host_table(), connect_.list, ntohs(connect_.requested.port), error);
  }
  return error == 0 ? 0 : fail(error);
}

int Failover::deliver(int error) {
  if (!in_use_) return fail(error);
  take_back(fd_, false);
  if (trail_.attempts() > 1) {
    host_table().note_exhausted(connect_.list, own_pid(), static_cast<std::uint32_t>(now_ms()));
  }
  return finish(error);
}

// The addresses this socket may be sent to. False when it is left to the kernel.
bool find_destinations(int fd, const Endpoint& requested, DestinationList& list) {
  HostTable& table = host_table();
  if (!table.destinations(requested.address, ntohs(requested.port), config().filter, list)) {
    return false;
  }
  if (requested.family == AF_INET) {
    list.candidates.drop(list.ipv6);
  } else if (is_ipv6_only(fd)) {
    list.candidates.keep(list.ipv6);
  }
  if (!list.candidates.has(list.requested) || list.candidates.count() < 2) return false;
  return !table.walks_exhausted(list, own_pid(), static_cast<std::uint32_t>(now_ms()));
}

// The first attempt did not succeed at once: `first` is EINPROGRESS, or its error.
__attribute__((noinline, cold)) int after_first_attempt(int fd, const sockaddr* address,
                                                        socklen_t length, const Endpoint& requested,
                                                        const timeval& program_timeout, int first) {
  const bool in_flight = first == EINPROGRESS || first == EALREADY || first == EINTR;
  if ((!in_flight && !moves_on(first)) || is_non_blocking(fd)) return fail(first);
  const std::uint64_t cookie = socket_cookie(fd);
  if (cookie != 0 && owns_memory() && is_tcp(fd)) {
    UnfinishedConnect connect;
    const bool resumed = take_unfinished(cookie, connect) && connect.requested == requested;
    bool applies = resumed;
    // An attempt in flight that we did not start may be going anywhere: only the kernel knows.
    if (!resumed && first != EALREADY && find_destinations(fd, requested, connect.list)) {
      connect.requested = requested;
      connect.schedule = Schedule(
          connect.list.candidates, connect.list.ipv6, connect.list.requested,
          {config().attempt_delay_ms, kernel_patience_of(fd), milliseconds(program_timeout)},
          now_ms());
      applies = true;
    }
    if (applies) {
      return Failover(fd, cookie, program_timeout, connect)
          .run(first == EALREADY ? EINPROGRESS : first, resumed);
    }
  }
  if (!in_flight) return fail(first);
  if (first == EINTR && interrupts(program_timeout)) return fail(EINTR);
  // The kernel waits on for the attempt in flight, as it would have.
  const int result = libc::connect(fd, address, length);
  if (result != 0 && errno == EALREADY && first == EINPROGRESS) errno = EINPROGRESS;
  return result;
}

}  // namespace

bool wants_failover(const sockaddr* address, socklen_t length, Endpoint& requested) {
  // connect(2) answers EFAULT to these; reading them would crash.
  constexpr std::uintptr_t kErrorPointers = static_cast<std::uintptr_t>(-4095);
  const auto pointer = reinterpret_cast<std::uintptr_t>(address);
  if (pointer == 0 || pointer >= kErrorPointers) return false;
  return read_sockaddr(address, length, requested) && active() &&
         host_table().may_fail_over(requested.address);
}

int connect_with_failover(int fd, const sockaddr* address, socklen_t length,
                          const Endpoint& requested) {
  const std::optional<timeval> program_timeout = send_timeout(fd);
  if (!program_timeout) return libc::connect(fd, address, length);
  if (briefly_connect(fd, address, length, *program_timeout) == 0) return 0;
  return after_first_attempt(fd, address, length, requested, *program_timeout, errno);
}

}  // namespace nextaddr
