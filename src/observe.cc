#include "observe.h"

#include <cerrno>
#include <csignal>

#include "borrowed_list.h"
#include "clock.h"
#include "config.h"
#include "engine/address.h"
#include "engine/host_table.h"
#include "errno_kept.h"
#include "memory/memory.h"
#include "process.h"
#include "report.h"
#include "signals.h"

namespace nextaddr {
namespace {

// The table is written for microseconds at a time (a compaction: some milliseconds), but the writer
// may lose its processor meanwhile.
constexpr std::uint64_t kLockPatienceMs = 200;

// The writer's lock of the host table, shared with forked processes. Neither a handler that jumps
// out, nor a fork in one, nor a cancellation may leave it behind. Only a SIGKILL can, and then it
// is taken over.
class WriteLock {
 public:
  explicit WriteLock(HostTable& table) : table_(table) {
    const std::uint64_t start = now_ms();
    while (!(held_ = table_.try_lock(own_pid()))) {
      if (now_ms() - start >= kLockPatienceMs) {
        const std::uint32_t owner = table_.lock_owner();
        const bool dead = owner != 0 && kill(static_cast<pid_t>(owner), 0) != 0 && errno == ESRCH;
        held_ = dead && table_.take_over(owner, own_pid());
        break;
      }
      sleep_briefly();
    }
  }
  ~WriteLock() {
    if (held_) table_.unlock();
  }
  WriteLock(const WriteLock&) = delete;
  WriteLock& operator=(const WriteLock&) = delete;
  [[nodiscard]] bool held() const { return held_; }

 private:
  const Uninterrupted uninterrupted_;
  HostTable& table_;
  bool held_ = false;
};

void learn(const char* host, AddressList& addresses, LookupFamilies families) {
  if (!owns_memory()) return;
  bool learned = false;
  {
    const WriteLock lock(host_table());
    learned = lock.held() && host_table().learn(host, addresses, families, config().filter);
  }
  if (learned && addresses.size() > 1) refresh_memory();
  report_debug(learned ? "remembers the addresses of " : "cannot remember the addresses of ", host);
}

}  // namespace

void observe_addrinfo(const char* node, int family, const addrinfo* result) {
  if (node == nullptr || !active()) return;
  const ErrnoKept kept;
  const BorrowedList addresses;
  if (addresses.get() == nullptr) return;
  LookupFamilies families{family != AF_INET6, family != AF_INET};
  for (const addrinfo* entry = result; entry != nullptr; entry = entry->ai_next) {
    Endpoint endpoint;
    if (entry->ai_addr == nullptr || !read_sockaddr(entry->ai_addr, entry->ai_addrlen, endpoint)) {
      continue;
    }
    // An AF_INET6 lookup with AI_V4MAPPED tells of IPv4 as well, when it answers with it.
    if (endpoint.address.is_ipv4()) families.ipv4 = true;
    if (!addresses.get()->add(endpoint.address)) break;
  }
  learn(node, *addresses.get(), families);
}

void observe_request(const gaicb* request) {
  const addrinfo* hints = request->ar_request;
  observe_addrinfo(request->ar_name, hints != nullptr ? hints->ai_family : AF_UNSPEC,
                   request->ar_result);
}

void observe_hostent(const char* name, const hostent* entry) {
  if (name == nullptr || entry == nullptr || !active()) return;
  const ErrnoKept kept;
  const BorrowedList addresses;
  if (addresses.get() == nullptr) return;
  for (char* const* bytes = entry->h_addr_list; bytes != nullptr && *bytes != nullptr; ++bytes) {
    const Address address =
        entry->h_addrtype == AF_INET ? address_from_ipv4(*bytes) : address_from_ipv6(*bytes, 0);
    if (!addresses.get()->add(address)) break;
  }
  learn(name, *addresses.get(), {entry->h_addrtype == AF_INET, entry->h_addrtype == AF_INET6});
}

}  // namespace nextaddr
