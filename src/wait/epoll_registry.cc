// Built for speed: each wait with events comes by.
#include "wait/epoll_registry.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <string_view>

#include "engine/text.h"
#include "os/arguments.h"
#include "os/descriptors.h"
#include "os/kernel.h"
#include "os/this_thread.h"
#include "process/process.h"

namespace nextaddr {
namespace {

constexpr std::uint32_t kSeveral = 1u << 31;

struct Entry {
  std::atomic<std::uint32_t> epoll;  // plus one, and kSeveral; 0: in no set
  std::atomic<std::uint32_t> events;
  std::atomic<std::uint64_t> data;
  std::atomic<const char*> waiter;  // of an epoll set: the thread that waits on it, or several
};

// 24 MiB of addresses, of which one page serves 170 descriptors.
constinit std::atomic<Entry*> the_entries{nullptr};

// The highest descriptor that was ever registered.
constinit std::atomic<int> highest{-1};

constinit char several_threads = 0;

std::uint32_t set_of(int epoll) { return static_cast<std::uint32_t>(epoll) + 1; }

Entry* entry_of(int fd) {
  Entry* entries = the_entries.load(std::memory_order_acquire);
  return entries != nullptr && in_tables(fd) ? &entries[fd] : nullptr;
}

__attribute__((noinline, cold)) Entry* make_entries() {
  const std::size_t size = kDescriptors * sizeof(Entry);
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  Entry* present = nullptr;
  if (!the_entries.compare_exchange_strong(present, static_cast<Entry*>(memory))) {
    munmap(memory, size);
  }
  return the_entries.load(std::memory_order_acquire);
}

Entry* make_entry_of(int fd) {
  Entry* entries = the_entries.load(std::memory_order_acquire);
  if (entries == nullptr) entries = make_entries();
  return entries != nullptr && in_tables(fd) ? &entries[fd] : nullptr;
}

// True when nobody has ever waited on this set by this number of it.
bool is_waited_on_otherwise(int epoll) {
  const Entry* entry = entry_of(epoll);
  return entry == nullptr || entry->waiter.load(std::memory_order_relaxed) == nullptr;
}

// Whether `fd` may be in `epoll` without that being known here.
bool may_be_unknown(int fd, int epoll) {
  Registration known;
  if (!registration_of(fd, known)) return true;
  return known.several || (known.epoll != epoll && is_waited_on_otherwise(known.epoll));
}

// One line of /proc/self/fdinfo/SET: "tfd:        7 events: 8000001d data:     7f0700000004".
struct TargetLine {
  std::uint64_t fd;
  std::uint64_t events;
  std::uint64_t data;

  bool read(std::string_view line) {
    return number_after(line, "tfd:", 10, fd) && number_after(line, "events:", 16, events) &&
           number_after(line, "data:", 16, data);
  }

 private:
  static bool number_after(std::string_view line, std::string_view label, unsigned base,
                           std::uint64_t& out) {
    const std::size_t at = line.find(label);
    if (at == std::string_view::npos) return false;
    std::string_view rest = slice(line, at + label.size(), line.size());
    while (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
    out = 0;
    for (; !rest.empty(); rest.remove_prefix(1)) {
      const char c = lower_case(rest.front());
      const unsigned digit = c >= '0' && c <= '9'   ? static_cast<unsigned>(c - '0')
                             : c >= 'a' && c <= 'f' ? static_cast<unsigned>(c - 'a' + 10)
                                                    : 16;
      if (digit >= base) break;
      out = out * base + digit;
    }
    return true;
  }
};

// Calls each(line) for what the kernel knows to be in `epoll`.
template <typename Each>
void for_each_target(int epoll, Each each) {
  char path[40] = "/proc/self/fdinfo/";
  NumberText digits;
  const std::string_view number = format_number(static_cast<unsigned>(epoll), digits);
  std::memcpy(path + std::strlen(path), number.data(), number.size());
  const int info = open_unless_sandboxed(path, O_RDONLY);
  if (info < 0) return;
  char buffer[1024];
  std::size_t held = 0;
  for (ssize_t got = 0; (got = kernel::read(info, buffer + held, sizeof buffer - held)) > 0;) {
    held += static_cast<std::size_t>(got);
    std::string_view text(buffer, held);
    for (std::size_t end = 0; (end = text.find('\n')) != std::string_view::npos;) {
      TargetLine line{};
      if (line.read(slice(text, 0, end))) each(line);
      text.remove_prefix(end + 1);
    }
    std::memmove(buffer, text.data(), text.size());
    held = text.size();
  }
  kernel::close(info);
}

}  // namespace

NotedCall::NotedCall(int epoll, int operation, int fd, const epoll_event* event)
    : epoll_(epoll), operation_(operation), fd_(fd) {
  if (operation == EPOLL_CTL_DEL) return;
  Entry* entry = may_be_read(event) ? make_entry_of(fd) : nullptr;
  if (entry == nullptr) {
    fd_ = -1;
    return;
  }
  int most = highest.load(std::memory_order_relaxed);
  while (most < fd && !highest.compare_exchange_weak(most, fd, std::memory_order_relaxed)) continue;
  set_before_ = entry->epoll.load(std::memory_order_relaxed);
  events_before_ = entry->events.load(std::memory_order_relaxed);
  data_before_ = entry->data.load(std::memory_order_relaxed);
  const std::uint32_t set = set_of(epoll);
  const bool other =
      operation == EPOLL_CTL_ADD && set_before_ != 0 && (set_before_ & ~kSeveral) != set;
  entry->events.store(event->events, std::memory_order_relaxed);
  entry->data.store(event->data.u64, std::memory_order_relaxed);
  entry->epoll.store(set | (set_before_ & kSeveral) | (other ? kSeveral : 0),
                     std::memory_order_release);
}

void NotedCall::end(bool accepted) const {
  Entry* entry = accepted == (operation_ == EPOLL_CTL_DEL) ? entry_of(fd_) : nullptr;
  if (entry == nullptr) return;
  if (accepted) {
    const std::uint32_t set = entry->epoll.load(std::memory_order_relaxed) & ~kSeveral;
    if (set == set_of(epoll_)) entry->epoll.store(0, std::memory_order_relaxed);
    return;
  }
  entry->events.store(events_before_, std::memory_order_relaxed);
  entry->data.store(data_before_, std::memory_order_relaxed);
  entry->epoll.store(set_before_, std::memory_order_relaxed);
}

bool registration_of(int fd, Registration& out) {
  const Entry* entry = entry_of(fd);
  if (entry == nullptr) return false;
  const std::uint32_t epoll = entry->epoll.load(std::memory_order_acquire);
  if (epoll == 0) return false;
  out = {static_cast<int>((epoll & ~kSeveral) - 1), entry->events.load(std::memory_order_relaxed),
         entry->data.load(std::memory_order_relaxed), (epoll & kSeveral) != 0};
  return true;
}

void for_each_pending_in(int epoll, const DescriptorVisitor& visit) {
  std::size_t position = 0;
  for (int fd = next_pending(position); fd >= 0; fd = next_pending(position)) {
    Registration known;
    if (may_be_unknown(fd, epoll) || (registration_of(fd, known) && known.epoll == epoll)) {
      visit(fd);
    }
  }
}

void for_each_pending_known_to_kernel(int epoll, std::uint64_t data,
                                      const RegistrationVisitor& visit) {
  bool any = false;
  std::size_t position = 0;
  for (int fd = next_pending(position); fd >= 0 && !any; fd = next_pending(position)) {
    any = may_be_unknown(fd, epoll);
  }
  if (!any) return;
  for_each_target(epoll, [&](const TargetLine& line) {
    const int fd = static_cast<int>(line.fd);
    if (line.data != data || !may_be_pending(fd) || !may_be_unknown(fd, epoll)) return;
    // Of what EPOLLONESHOT has disabled the kernel keeps only the flags.
    Registration known;
    const bool is_known = registration_of(fd, known) && known.data == data;
    visit(fd, is_known ? known.events : static_cast<std::uint32_t>(line.events));
  });
}

int next_registered_alike(int epoll, std::uint64_t data, int after) {
  Registration known;
  const int last = highest.load(std::memory_order_relaxed);
  for (int other = after + 1; other <= last; ++other) {
    if (registration_of(other, known) && known.epoll == epoll && known.data == data) return other;
  }
  return -1;
}

void note_waiter(int epoll) {
  Entry* entry = make_entry_of(epoll);
  if (entry == nullptr) return;
  const char* known = entry->waiter.load(std::memory_order_relaxed);
  if (known == &this_thread || known == &several_threads) return;
  entry->waiter.store(known == nullptr ? &this_thread : &several_threads,
                      std::memory_order_relaxed);
}

bool others_wait_on(int epoll) {
  const Entry* entry = entry_of(epoll);
  if (entry == nullptr) return false;
  const char* waiter = entry->waiter.load(std::memory_order_relaxed);
  return waiter != nullptr ? waiter != &this_thread : has_other_threads();
}

}  // namespace nextaddr
