#include "wait/poll_select.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "connect/pending_connects.h"
#include "os/arguments.h"
#include "os/descriptors.h"
#include "os/errno_kept.h"
#include "os/libc.h"
#include "wait/epoll_waker.h"
#include "wait/sliced_wait.h"

namespace nextaddr {
namespace {

// The events that a socket whose connect has failed shows to whoever asks for them, besides POLLERR
// and POLLHUP.
constexpr short kEndOfInput = POLLIN | POLLRDNORM | POLLRDHUP;

short with(short events, int more) {
  return static_cast<short>(static_cast<std::uint16_t>(events | more));
}

// Takes the events of connects still pending out of what poll(2) found.
int sift_poll(pollfd* fds, nfds_t count, int ready, std::uint32_t changes_before) {
  for (nfds_t i = 0; i < count; ++i) {
    if (fds[i].revents == 0) continue;
    const bool failed = may_have_failed(fds[i].revents);
    const auto events = static_cast<std::uint16_t>(fds[i].revents);
    switch (failed ? advance_after_error(fds[i].fd, events, changes_before)
                   : advance_connected(fds[i].fd)) {
      case ProgramView::kNotOurs:
        if (failed || !is_only_woken(fds[i].fd)) continue;
        [[fallthrough]];
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
// Programs give one set twice (perl's IO::Socket::IP, to be written and as exceptions): the kernel
// is given copies then, because what it says of one would be lost in the other.
class SelectSets {
  // The unit in which the kernel reads and writes sets.
  using Word = unsigned long;
  static constexpr int kBits = 8 * sizeof(Word);

 public:
  // No more descriptors, because the copies are on a stack that may be small.
  static constexpr int kMost = FD_SETSIZE;

  // `before`: the sets as the program gave them, where they have the result of a wait by now.
  SelectSets(int count, fd_set* read, fd_set* write, fd_set* except, const KeptSets* before)
      : count_(count), bytes_(bytes_of(count)), program_sets_{read, write, except} {
    for (std::size_t i = 0; i < kSets; ++i) {
      if (program_sets_[i] == nullptr) continue;
      sets_[i] = reinterpret_cast<fd_set*>(found_[i].data());
      std::memcpy(found_[i].data(), program_sets_[i], bytes_);
      std::memcpy(given_[i].data(), before != nullptr ? &(*before)[i] : program_sets_[i], bytes_);
    }
  }

  static std::size_t bytes_of(int count) {
    return (static_cast<std::size_t>(count) + kBits - 1) / kBits * sizeof(Word);
  }

  int select(std::int64_t ns, const sigset_t* mask) const {
    for (std::size_t i = 0; i < kSets; ++i) {
      if (sets_[i] != nullptr) std::memcpy(sets_[i], given_[i].data(), bytes_);
    }
    return libc::pselect(count_, sets_[0], sets_[1], sets_[2], SliceTime(ns).get(), mask);
  }

  // Takes out the connects still pending. select(2) does not tell an error from anything else, but
  // of those the state of the socket does.
  int sift(int ready, std::uint32_t changes_before) const {
    for (int fd = 0; fd < count_; ++fd) {
      if (!is_found(fd)) continue;
      if (view_of(fd, changes_before) != ProgramView::kPending) continue;
      for (fd_set* set : sets_) ready -= remove(set, fd) ? 1 : 0;
    }
    return ready;
  }

  // Writes what was found to the program's sets, in the kernel's order; `none`: nothing was.
  void tell(bool none) const {
    for (std::size_t i = 0; i < kSets; ++i) {
      if (program_sets_[i] == nullptr) continue;
      if (none) std::memset(sets_[i], 0, bytes_);
      std::memcpy(program_sets_[i], sets_[i], bytes_);
    }
  }

  void for_each_given(const DescriptorVisitor& visit) const {
    for (int fd = 0; fd < count_; ++fd) {
      if (has(given_[0].data(), fd) || has(given_[1].data(), fd) || has(given_[2].data(), fd)) {
        visit(fd);
      }
    }
  }

 private:
  static constexpr std::size_t kSets = 3;
  using Memory = std::array<Word, kMost / kBits>;

  static ProgramView view_of(int fd, std::uint32_t changes_before) {
    if (!may_be_pending(fd) && pending_on_same_socket(fd) < 0) {
      return is_only_woken(fd) ? ProgramView::kPending : ProgramView::kNotOurs;
    }
    pollfd now{fd, POLLOUT, 0};
    libc::poll(&now, 1, 0);
    // Another thread has moved the connect on since.
    if (now.revents == 0) return ProgramView::kPending;
    return may_have_failed(now.revents)
               ? advance_after_error(fd, static_cast<std::uint16_t>(now.revents), changes_before)
               : advance_connected(fd);
  }

  static bool has(const Word* words, int fd) {
    return (words[fd / kBits] >> (fd % kBits) & 1) != 0;
  }
  static bool has(const fd_set* set, int fd) {
    return set != nullptr && has(reinterpret_cast<const Word*>(set), fd);
  }
  [[nodiscard]] bool is_found(int fd) const {
    return has(sets_[0], fd) || has(sets_[1], fd) || has(sets_[2], fd);
  }
  static bool remove(fd_set* set, int fd) {
    if (!has(set, fd)) return false;
    reinterpret_cast<Word*>(set)[fd / kBits] &= ~(Word{1} << (fd % kBits));
    return true;
  }

  int count_;
  std::size_t bytes_;
  std::array<fd_set*, kSets> program_sets_;
  std::array<fd_set*, kSets> sets_{};
  std::array<Memory, kSets> given_{};
  mutable std::array<Memory, kSets> found_;
};

// How many bits of its sets select(2) touches when asked for `count`: some programs always ask for
// getdtablesize() descriptors, with sets that are smaller. Negative: more than can be kept here.
int used_count(int count) {
  if (count <= FD_SETSIZE) return count;
  const int size = descriptor_table_size();
  return size == 0 || std::min(count, size) > SelectSets::kMost ? -1 : std::min(count, size);
}

}  // namespace

KeptSets::KeptSets(int count, const fd_set* read, const fd_set* write, const fd_set* except)
    : kept_(count >= 0 && count <= FD_SETSIZE) {
  if (!kept_) return;
  const std::array<const fd_set*, 3> given{read, write, except};
  for (std::size_t i = 0; i < given.size(); ++i) {
    // The kernel answers for a set that cannot be read.
    if (may_be_read(given[i])) std::memcpy(&sets_[i], given[i], SelectSets::bytes_of(count));
  }
}

int wait_poll(pollfd* fds, nfds_t count, std::int64_t limit_ns, const sigset_t* mask, Woken woken) {
  const auto call = [&](std::int64_t ns, const sigset_t* slice_mask) {
    return libc::ppoll(fds, count, SliceTime(ns).get(), slice_mask);
  };
  const auto sift = [&](int ready, std::uint32_t changes_before) {
    return sift_poll(fds, count, ready, changes_before);
  };
  const auto for_each_own = [&](const DescriptorVisitor& visit) {
    for (nfds_t i = 0; i < count; ++i) visit(fds[i].fd);
  };
  return wait_in_slices(limit_ns, mask, {call, sift, for_each_own}, woken);
}

std::optional<int> wait_select(int count, fd_set* read, fd_set* write, fd_set* except,
                               std::int64_t limit_ns, const sigset_t* mask, const KeptSets* before,
                               Woken woken) {
  const int used = used_count(count);
  if (used < 0) return {};
  const SelectSets sets(used, read, write, except, before);
  const auto call = [&](std::int64_t ns, const sigset_t* slice_mask) {
    return sets.select(ns, slice_mask);
  };
  const auto sift = [&](int found, std::uint32_t changes_before) {
    return sets.sift(found, changes_before);
  };
  const auto for_each_own = [&](const DescriptorVisitor& visit) { sets.for_each_given(visit); };
  const int ready = wait_in_slices(limit_ns, mask, {call, sift, for_each_own}, woken);
  // After an error the program's sets are as they were (select(2)).
  if (ready >= 0) sets.tell(ready == 0);
  return ready;
}

int socket_error(int fd, void* value, socklen_t* length) {
  return errno_kept_on_success([&] {
    const int pending = pending_on_same_socket(fd);
    if (pending < 0) return libc::getsockopt(fd, SOL_SOCKET, SO_ERROR, value, length);
    // Another option is asked for, for the kernel's checks and the length: SO_ERROR is asked only
    // once it is known whose error it would be.
    const socklen_t room = may_be_read(length) ? *length : 0;
    const int result = libc::getsockopt(fd, SOL_SOCKET, SO_TYPE, value, length);
    if (result != 0) return result;
    if (const std::optional<int> error = answer_for_so_error(pending)) {
      std::memcpy(value, &*error, std::min<socklen_t>(*length, sizeof *error));
      return 0;
    }
    *length = room;
    return libc::getsockopt(fd, SOL_SOCKET, SO_ERROR, value, length);
  });
}

}  // namespace nextaddr
