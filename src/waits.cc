#include "waits.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "flights.h"
#include "libc.h"
#include "slices.h"

namespace nextaddr {
namespace {

// What a socket whose connect has failed shows to who asks for it, besides POLLERR and POLLHUP.
constexpr short kEndOfInput = POLLIN | POLLRDNORM | POLLRDHUP;

short with(short events, int more) {
  return static_cast<short>(static_cast<std::uint16_t>(events | more));
}

// Takes the events of connects still under way out of what poll(2) found.
int sift_poll(pollfd* fds, nfds_t count, int ready) {
  for (nfds_t i = 0; i < count; ++i) {
    if (fds[i].revents == 0) continue;
    if (!may_have_failed(fds[i].revents)) {
      note_connected(fds[i].fd);
      continue;
    }
    switch (look_at_failed(fds[i].fd, static_cast<std::uint16_t>(fds[i].revents))) {
      case Sight::kNotOurs:
        break;
      case Sight::kInFlight:
        fds[i].revents = 0;
        --ready;
        break;
      case Sight::kFailed:
        fds[i].revents = with(fds[i].revents, POLLERR | (fds[i].events & kEndOfInput));
        break;
    }
  }
  return ready;
}

// The three sets of one select(2) call, as the program gave them: each slice starts from these.
class SelectSets {
 public:
  // More descriptors than FD_SETSIZE fit, as long as the program allocated its sets so.
  static constexpr int kMost = 8192;

  SelectSets(int count, fd_set* read, fd_set* write, fd_set* except)
      : count_(count),
        bytes_((static_cast<std::size_t>(count) + 63) / 64 * 8),
        sets_{read, write, except} {
    for (std::size_t i = 0; i < sets_.size(); ++i) {
      if (sets_[i] != nullptr) std::memcpy(given_[i].data(), sets_[i], bytes_);
    }
  }

  void restore() const {
    for (std::size_t i = 0; i < sets_.size(); ++i) {
      if (sets_[i] != nullptr) std::memcpy(sets_[i], given_[i].data(), bytes_);
    }
  }

  // Takes out the connects still under way. select(2) does not tell an error from anything else.
  int sift(int ready) const {
    for (int fd = 0; fd < count_; ++fd) {
      if (!present(fd)) continue;
      pollfd now{fd, POLLIN | POLLRDBAND | POLLOUT | POLLWRBAND | POLLPRI, 0};
      libc::poll(&now, 1, 0);
      if (may_have_failed(now.revents)) {
        if (look_at_failed(fd, static_cast<std::uint16_t>(now.revents)) == Sight::kInFlight)
          now.revents = 0;
      } else if (now.revents != 0) {
        note_connected(fd);
      }
      for (std::size_t i = 0; i < sets_.size(); ++i) {
        if ((now.revents & kShownBy[i]) == 0) ready -= remove(sets_[i], fd) ? 1 : 0;
      }
    }
    return ready;
  }

  void clear() const {
    for (fd_set* set : sets_) {
      if (set != nullptr) std::memset(set, 0, bytes_);
    }
  }

 private:
  // What each set tells of (select(2), "Correspondence between select() and poll()").
  static constexpr std::array<short, 3> kShownBy{POLLIN | POLLRDBAND | POLLHUP | POLLERR | POLLNVAL,
                                                 POLLOUT | POLLWRBAND | POLLERR | POLLNVAL,
                                                 POLLPRI | POLLNVAL};

  using Word = unsigned long;
  static constexpr int kBits = 8 * sizeof(Word);

  static bool has(const fd_set* set, int fd) {
    const auto* words = reinterpret_cast<const Word*>(set);
    return set != nullptr && (words[fd / kBits] >> (fd % kBits) & 1) != 0;
  }
  [[nodiscard]] bool present(int fd) const {
    return has(sets_[0], fd) || has(sets_[1], fd) || has(sets_[2], fd);
  }
  static bool remove(fd_set* set, int fd) {
    if (!has(set, fd)) return false;
    reinterpret_cast<Word*>(set)[fd / kBits] &= ~(Word{1} << (fd % kBits));
    return true;
  }

  int count_;
  std::size_t bytes_;
  std::array<fd_set*, 3> sets_;
  std::array<std::array<char, kMost / 8>, 3> given_;
};

template <typename Wait>
int wait_with_sets(int count, fd_set* read, fd_set* write, fd_set* except, std::int64_t limit_ns,
                   Wait wait) {
  const SelectSets sets(count, read, write, except);
  const int ready = wait_in_slices(
      limit_ns,
      [&](std::int64_t ns) {
        sets.restore();
        return wait(ns);
      },
      [&](int found) { return sets.sift(found); });
  if (ready == 0) sets.clear();
  return ready;
}

}  // namespace

int wait_poll(pollfd* fds, nfds_t count, int timeout_ms, Woken woken) {
  return wait_in_slices(
      limit_of(timeout_ms), [&](std::int64_t ns) { return libc::poll(fds, count, slice_ms(ns)); },
      [&](int ready) { return sift_poll(fds, count, ready); }, woken);
}

int wait_ppoll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask,
               Woken woken) {
  if (!is_valid(timeout)) return libc::ppoll(fds, count, timeout, mask);
  return wait_in_slices(
      limit_of(timeout),
      [&](std::int64_t ns) {
        const timespec slice = slice_timespec(ns);
        return libc::ppoll(fds, count, ns == kForever ? nullptr : &slice, mask);
      },
      [&](int ready) { return sift_poll(fds, count, ready); }, woken);
}

int wait_select(int count, fd_set* read, fd_set* write, fd_set* except, timeval* timeout) {
  // The kernel's own complaint about a bad time comes without changing the sets.
  if (count < 0 || count > SelectSets::kMost ||
      (timeout != nullptr && (timeout->tv_sec < 0 || timeout->tv_usec < 0))) {
    return libc::select(count, read, write, except, timeout);
  }
  timespec same{};
  if (timeout != nullptr) same = {timeout->tv_sec, timeout->tv_usec * 1000};
  const std::int64_t limit = limit_of(timeout != nullptr ? &same : nullptr);
  const Patience patience(limit);
  const int ready = wait_with_sets(count, read, write, except, limit, [&](std::int64_t ns) {
    timeval slice{static_cast<time_t>(ns / kNanoseconds),
                  static_cast<suseconds_t>(ns % kNanoseconds / 1000)};
    return libc::select(count, read, write, except, ns == kForever ? nullptr : &slice);
  });
  if (limit != kForever) {
    // Linux leaves the time not slept (select(2)).
    const std::int64_t left = patience.left_ns();
    *timeout = {static_cast<time_t>(left / kNanoseconds),
                static_cast<suseconds_t>(left % kNanoseconds / 1000)};
  }
  return ready;
}

int wait_pselect(int count, fd_set* read, fd_set* write, fd_set* except, const timespec* timeout,
                 const sigset_t* mask) {
  if (count < 0 || count > SelectSets::kMost || !is_valid(timeout)) {
    return libc::pselect(count, read, write, except, timeout, mask);
  }
  return wait_with_sets(count, read, write, except, limit_of(timeout), [&](std::int64_t ns) {
    const timespec slice = slice_timespec(ns);
    return libc::pselect(count, read, write, except, ns == kForever ? nullptr : &slice, mask);
  });
}

int socket_error(int fd, void* value, socklen_t* length) {
  const Sight sight = look_at(fd);
  if (sight == Sight::kNotOurs) return libc::getsockopt(fd, SOL_SOCKET, SO_ERROR, value, length);
  // Another option, for the checks and the length: to read SO_ERROR would take the error of an
  // attempt that has failed since, which is not for the program.
  const int result = libc::getsockopt(fd, SOL_SOCKET, SO_TYPE, value, length);
  if (result == 0) {
    const int error = sight == Sight::kFailed ? take_error(fd) : 0;
    std::memcpy(value, &error, std::min<socklen_t>(*length, sizeof error));
  }
  return result;
}

}  // namespace nextaddr
