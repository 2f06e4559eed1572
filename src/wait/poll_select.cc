#include "wait/poll_select.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "connect/pending_connects.h"
#include "descriptors.h"
#include "errno_kept.h"
#include "libc.h"
#include "process.h"
#include "wait/sliced_wait.h"

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
    switch (advance_after_error(fds[i].fd, static_cast<std::uint16_t>(fds[i].revents))) {
      case ProgramView::kNotOurs:
        break;
      case ProgramView::kPending:
        fds[i].revents = 0;
        --ready;
        break;
      case ProgramView::kFailed:
        fds[i].revents = with(fds[i].revents, POLLERR | (fds[i].events & kEndOfInput));
        break;
    }
  }
  return ready;
}

// The three sets of one select(2) call, as the program gave them: each slice starts from these.
class SelectSets {
  // In which the kernel reads and writes them.
  using Word = unsigned long;
  static constexpr int kBits = 8 * sizeof(Word);

 public:
  // More descriptors than FD_SETSIZE fit, as long as the program allocated its sets so.
  static constexpr int kMost = 8192;

  SelectSets(int count, fd_set* read, fd_set* write, fd_set* except)
      : count_(count),
        bytes_((static_cast<std::size_t>(count) + kBits - 1) / kBits * sizeof(Word)),
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
        if (advance_after_error(fd, static_cast<std::uint16_t>(now.revents)) ==
            ProgramView::kPending)
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

// How many bits of its sets select(2) touches when asked for `count`: some programs always ask for
// getdtablesize() descriptors, with sets that are smaller. Negative: more than can be kept here.
int used_count(int count) {
  if (count <= FD_SETSIZE) return count;
  const int size = descriptor_table_size_now();
  return size == 0 || std::min(count, size) > SelectSets::kMost ? -1 : std::min(count, size);
}

}  // namespace

int wait_poll(pollfd* fds, nfds_t count, std::int64_t limit_ns, const sigset_t* mask, Woken woken) {
  return wait_in_slices(
      limit_ns, mask,
      [&](std::int64_t ns, const sigset_t* slice_mask) {
        return libc::ppoll(fds, count, SliceTime(ns).get(), slice_mask);
      },
      [&](int ready) { return sift_poll(fds, count, ready); }, woken);
}

std::optional<int> wait_select(int count, fd_set* read, fd_set* write, fd_set* except,
                               std::int64_t limit_ns, const sigset_t* mask) {
  const int used = used_count(count);
  if (used < 0) return {};
  const SelectSets sets(used, read, write, except);
  const int ready = wait_in_slices(
      limit_ns, mask,
      [&](std::int64_t ns, const sigset_t* slice_mask) {
        sets.restore();
        return libc::pselect(used, read, write, except, SliceTime(ns).get(), slice_mask);
      },
      [&](int found) { return sets.sift(found); });
  if (ready == 0) sets.clear();
  return ready;
}

int socket_error(int fd, void* value, socklen_t* length) {
  return errno_kept_on_success([&] {
    const ProgramView view = advance(fd);
    if (view == ProgramView::kNotOurs)
      return libc::getsockopt(fd, SOL_SOCKET, SO_ERROR, value, length);
    // Another option, for the checks and the length: to read SO_ERROR would take the error of an
    // attempt that has failed since, which is not for the program.
    const int result = libc::getsockopt(fd, SOL_SOCKET, SO_TYPE, value, length);
    if (result == 0) {
      const int error = view == ProgramView::kFailed ? take_error(fd) : 0;
      std::memcpy(value, &error, std::min<socklen_t>(*length, sizeof error));
    }
    return result;
  });
}

}  // namespace nextaddr
