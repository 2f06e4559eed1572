#include "connect/probes.h"

#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "config.h"
#include "connect/pending_connects.h"
#include "engine/outcome.h"
#include "engine/schedule.h"
#include "memory/memory.h"
#include "os/clock.h"
#include "os/deafness.h"
#include "os/errno_kept.h"
#include "os/kernel.h"
#include "os/libc.h"
#include "os/pin.h"
#include "os/signals.h"
#include "os/socket.h"
#include "process/process.h"

namespace nextaddr::probes {
namespace {

constexpr std::uint64_t kNever = ~std::uint64_t{0};
constexpr std::size_t kMost = 64;
// For how long what a probe has found out spares the next one; a refusal for less, because the
// server may be about to come up, and a program may be waiting for that.
constexpr std::uint64_t kFreshMs = 2000;
constexpr std::uint64_t kRefusedMs = 200;

// The way by which an address is asked, besides its own family.
struct Way {
  std::uint64_t netns;
  int device;
  int mark;
  int service;  // IP_TOS or IPV6_TCLASS
  int priority;
  sockaddr_in6 source;  // all zero: the kernel's choice

  friend bool operator==(const Way& a, const Way& b) {
    return a.netns == b.netns && a.device == b.device && a.mark == b.mark &&
           a.service == b.service && a.priority == b.priority &&
           std::memcmp(&a.source, &b.source, sizeof a.source) == 0;
  }
};

struct Probe {
  Address address;
  in_port_t port;
  Way way;
  std::uint64_t began_ms;
  std::uint64_t looked_ms;
  std::uint64_t cookie;
  std::uint32_t serial;
  int fd;  // -1: closed
  int users;
  bool used;
  bool lingers;
  bool counted;  // among those that are open
  bool by_ttl;   // it is deaf by its TTL: a refusal looks like an answer
  Findings found;
};

// The process that holds the table, for some system calls that do not wait; 0: nobody. A forked
// child that finds it held takes it over: the thread that held it is not there.
constinit std::atomic<std::uint32_t> holder{0};
constinit std::uint32_t table_pid = 0;
constexpr std::uint32_t kNoProcess = ~std::uint32_t{0};
constinit std::uint32_t last_serial = 0;
constinit std::array<Probe, kMost> table{};
// How many probes have a socket that is to be looked after.
constinit std::atomic<int> open_probes{0};

bool is_own(const Probe& probe) { return probe.fd >= 0 && socket_cookie(probe.fd) == probe.cookie; }

void end(Probe& probe) {
  if (probe.fd < 0) return;
  // The program may have closed what it does not know, and have the number itself by now.
  if (is_own(probe)) kernel::close(probe.fd);
  probe.fd = -1;
  if (!probe.counted) return;
  probe.counted = false;
  open_probes.fetch_sub(1, std::memory_order_relaxed);
  note_errand(false);
}

void forget(Probe& probe) {
  end(probe);
  probe.lingers = probe.used = false;
  probe.users = 0;
}

class TableLock {
 public:
  TableLock() {
    const std::uint32_t pid = own_pid();
    for (;;) {
      std::uint32_t other = 0;
      if (holder.compare_exchange_weak(other, pid, std::memory_order_acquire)) break;
      if (other != 0 && other != pid) {
        if (holder.compare_exchange_strong(other, pid, std::memory_order_acquire)) break;
      }
      sched_yield();
    }
    if (table_pid == pid) return;
    // In a forked child all probes are those of its parent.
    for (Probe& probe : table) {
      probe.counted = false;
      if (probe.used) end(probe);
      probe.lingers = probe.used = false;
    }
    open_probes.store(0, std::memory_order_relaxed);
    table_pid = pid;
  }
  ~TableLock() { holder.store(0, std::memory_order_release); }
  TableLock(const TableLock&) = delete;
  TableLock& operator=(const TableLock&) = delete;
};

template <typename Value>
bool get(int socket, int level, int name, Value& out) {
  socklen_t length = sizeof out;
  return libc::getsockopt(socket, level, name, &out, &length) == 0;
}

bool set(int socket, int level, int name, int value) {
  return libc::setsockopt(socket, level, name, &value, sizeof value) == 0;
}

// The way of the program's socket. False when a probe would go another one.
bool way_of(int socket, const Address& address, const ProgramSettings& settings, bool has_device,
            Way& out) {
  std::memset(&out, 0, sizeof out);
  if (settings.has_own_port) return false;
  const bool ipv4 = address.is_ipv4();
  if (option_value(socket, IPPROTO_IP, IP_TRANSPARENT) != 0 ||
      option_value(socket, IPPROTO_IPV6, IPV6_TRANSPARENT) != 0) {
    return false;
  }
  out.netns = network_of(socket);
  out.mark = option_value(socket, SOL_SOCKET, SO_MARK);
  out.priority = option_value(socket, SOL_SOCKET, SO_PRIORITY);
  if (!ipv4 || !get(socket, IPPROTO_IP, IP_TOS, out.service)) {
    get(socket, IPPROTO_IPV6, IPV6_TCLASS, out.service);
  }
  if (has_device) out.device = bound_device(socket);
  if (settings.bound.sin6_family == 0) return true;
  // Bound to one address: of the same family, or the socket could not go there either.
  Endpoint source;
  const auto* bound = reinterpret_cast<const sockaddr*>(&settings.bound);
  if (!read_sockaddr(bound, settings.bound_length, source)) return false;
  if (is_unspecified(source.address)) return true;
  if (source.address.is_ipv4() != ipv4) return false;
  source.family = ipv4 ? AF_INET : AF_INET6;
  source.port = 0;
  sockaddr_storage storage{};
  write_sockaddr(source.address, source, storage);
  std::memcpy(&out.source, &storage, sizeof out.source);
  return true;
}

// Makes a probe's socket go that way. False when it cannot.
bool take_way(int socket, const Address& address, const Way& way) {
  if (network_of(socket) != way.netns) return false;
  if (way.device != 0 && !set(socket, SOL_SOCKET, SO_BINDTOIFINDEX, way.device)) return false;
  if (way.mark != 0 && !set(socket, SOL_SOCKET, SO_MARK, way.mark)) return false;
  if (way.service != 0) {
    const bool ipv4 = address.is_ipv4();
    set(socket, ipv4 ? IPPROTO_IP : IPPROTO_IPV6, ipv4 ? IP_TOS : IPV6_TCLASS, way.service);
  }
  if (way.priority != 0) set(socket, SOL_SOCKET, SO_PRIORITY, way.priority);
  if (way.source.sin6_family == 0) return true;
  // The port is for connect(2) to choose, or two probes from one address could not be.
  set(socket, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
  return libc::bind(socket, reinterpret_cast<const sockaddr*>(&way.source),
                    address.is_ipv4() ? sizeof(sockaddr_in) : sizeof(sockaddr_in6)) == 0;
}

// Sends the SYN. False when no probe can be made, which says nothing of the address.
bool begin(Probe& probe, const Endpoint& like) {
  const bool ipv4 = probe.address.is_ipv4();
  constexpr int kType = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
  probe.fd = move_high(kernel::socket(ipv4 ? AF_INET : AF_INET6, kType, IPPROTO_TCP));
  if (probe.fd < 0) return false;
  probe.cookie = socket_cookie(probe.fd);
  Deafness deafness;
  if (!take_way(probe.fd, probe.address, probe.way) || !deafness.begin(probe.fd)) {
    end(probe);
    return false;
  }
  probe.by_ttl = !deafness.hears_refusals();
  // Should nobody come back to it, the kernel ends it.
  set(probe.fd, IPPROTO_TCP, TCP_SYNCNT, 1);
  set(probe.fd, IPPROTO_TCP, TCP_USER_TIMEOUT, kProbeMs);
  Endpoint to = like;
  to.address = probe.address;
  to.family = ipv4 ? AF_INET : AF_INET6;
  sockaddr_storage destination{};
  const socklen_t length = write_sockaddr(probe.address, to, destination);
  const int result =
      kernel::connect(probe.fd, reinterpret_cast<const sockaddr*>(&destination), length);
  if (result != 0 && errno == EINPROGRESS) {
    probe.counted = note_errand(true);
    if (probe.counted) open_probes.fetch_add(1, std::memory_order_relaxed);
    return true;
  }
  const int error = result == 0 ? 0 : errno;
  end(probe);
  if (!moves_on(error)) return false;
  probe.found = {State::kFailed, error, 0, true, false, error == EHOSTUNREACH};
  return true;
}

// Notes in `found` what has become of a probe by now.
void observe(Probe& probe) {
  if (probe.found.state != State::kAsking) return;
  const std::uint64_t now = now_ms();
  const std::uint64_t looked = probe.looked_ms;
  probe.looked_ms = now;
  probe.found.ms = static_cast<std::uint32_t>(now - probe.began_ms);
  const bool too_late = now - probe.began_ms >= kProbeMs;
  if (!is_own(probe)) {
    probe.found.state = State::kOver;
    return;
  }
  std::array<std::uint32_t, SK_MEMINFO_VARS> memory{};
  if (get(probe.fd, SOL_SOCKET, SO_MEMINFO, memory) && memory[SK_MEMINFO_DROPS] != 0) {
    probe.found.state = State::kAnswered;
    probe.found.unsure = probe.by_ttl;
    probe.found.exact = (now - looked) * 4 <= now - probe.began_ms || now - looked <= 10;
  } else if (probe.by_ttl && socket_phase(probe.fd) == SocketPhase::kConnected) {
    // The server's packets arrive with a TTL of 255, which no IP_MINTTL drops.
    probe.found.state = State::kAnswered;
  } else if (const int error = pending_error(probe.fd); error != 0 && error != ETIMEDOUT) {
    probe.found.state = State::kFailed;
    probe.found.error = error;
  } else if (error == ETIMEDOUT || too_late) {
    probe.found.state = State::kOver;
  } else {
    return;
  }
  // A lingering probe has yet to teach, for which its socket is needed.
  if (!probe.lingers) end(probe);
}

bool is_same(const Probe& probe, const Address& address, in_port_t port, const Way& way) {
  return probe.used && probe.port == port && probe.address == address && probe.way == way;
}

Probe* find(Handle handle) {
  Probe& probe = table[handle.place % kMost];
  const bool same = handle.process == table_pid && probe.serial == handle.serial;
  return probe.used && handle.serial != 0 && same ? &probe : nullptr;
}

Handle handle_of(const Probe& probe) {
  return {static_cast<std::uint16_t>(&probe - table.data()), probe.serial, table_pid};
}

// A place for one more probe: a free one, else that of the oldest probe that nobody waits for any
// more, else that of the oldest which is only to teach the memory.
Probe* take_place(std::uint64_t now) {
  Probe* oldest = nullptr;
  Probe* oldest_lingering = nullptr;
  for (Probe& probe : table) {
    if (!probe.used) return &probe;
    observe(probe);
    const bool unused = probe.users == 0 && !probe.lingers;
    // The end of its connect was never told: the thread was ended, or jumped away.
    const bool left = now - probe.began_ms > 4 * std::uint64_t{kProbeMs};
    if ((unused || left) && (oldest == nullptr || probe.began_ms < oldest->began_ms)) {
      oldest = &probe;
    }
    if (probe.users == 0 && probe.lingers &&
        (oldest_lingering == nullptr || probe.began_ms < oldest_lingering->began_ms)) {
      oldest_lingering = &probe;
    }
  }
  if (oldest == nullptr) oldest = oldest_lingering;
  if (oldest != nullptr) forget(*oldest);
  return oldest;
}

// Tells the memory what a lingering probe has found out.
void teach(const Probe& probe) {
  switch (probe.found.state) {
    case State::kAnswered:
      note_success(probe.fd, probe.address, probe.port);
      if (probe.found.exact)
        note_rtt(probe.fd, probe.address, probe.port, std::uint64_t{1000} * probe.found.ms);
      break;
    case State::kFailed:
      if (parks(probe.found.error)) note_failure(probe.fd, probe.address, probe.port, true, {});
      break;
    default:
      if (probe.found.ms >= kSilentMs) note_failure(probe.fd, probe.address, probe.port, false, {});
      break;
  }
}

// When a lingering probe is looked at next, in milliseconds.
std::uint64_t next_look(const Probe& probe, std::uint64_t now) {
  const std::uint64_t age = now - probe.began_ms;
  return std::min(now + std::clamp<std::uint64_t>(age / 8, 5, 100), probe.began_ms + kSilentMs);
}

}  // namespace

bool can_be_made() {
  return config().probes && libc::connect_is_plain.load(std::memory_order_relaxed) &&
         sandbox() == Sandbox::kNone;
}

Handle ask(int socket, const Address& address, const Endpoint& like,
           const ProgramSettings& settings, bool has_device) {
  const ErrnoKept errno_kept;
  const Uncancelled uncancelled;
  Way way;
  if (!can_be_made() || !owns_memory() || !way_of(socket, address, settings, has_device, way))
    return {};
  const TableLock lock;
  const std::uint64_t now = now_ms();
  for (Probe& probe : table) {
    if (!is_same(probe, address, like.port, way)) continue;
    observe(probe);
    const std::uint64_t age = now - probe.began_ms;
    const bool failed = probe.found.state == State::kFailed;
    const bool fresh =
        probe.found.state == State::kAsking || age < (failed ? kRefusedMs : kFreshMs);
    if (!fresh) continue;
    ++probe.users;
    return handle_of(probe);
  }
  Probe* probe = take_place(now);
  if (probe == nullptr) return {};
  *probe = {};
  probe->address = address;
  probe->port = like.port;
  probe->way = way;
  probe->began_ms = probe->looked_ms = now;
  probe->fd = -1;
  probe->found.state = State::kAsking;
  if (!begin(*probe, like)) return {};
  probe->serial = ++last_serial != 0 ? last_serial : ++last_serial;
  probe->users = 1;
  probe->used = true;
  return handle_of(*probe);
}

bool is_here(Handle handle) { return handle.process == own_pid(); }

Findings look(Handle handle) {
  if (sandbox() != Sandbox::kNone) return {};
  const ErrnoKept errno_kept;
  const TableLock lock;
  Probe* probe = find(handle);
  if (probe == nullptr) return {};
  observe(*probe);
  return probe->found;
}

void release(Handle& handle) {
  if (handle.serial == 0 || sandbox() != Sandbox::kNone) return;
  const ErrnoKept errno_kept;
  const TableLock lock;
  Probe* probe = find(handle);
  handle = {};
  if (probe == nullptr) return;
  probe->users = std::max(probe->users - 1, 0);
  // A probe that has ended stays in the table for a moment: the next connect may join it.
  if (probe->users == 0 && !probe->lingers && probe->found.state == State::kAsking) forget(*probe);
}

void let_linger(Handle handle) {
  const TableLock lock;
  Probe* probe = find(handle);
  // What one that has ended found out is told to the connects that have joined it.
  if (probe != nullptr && probe->found.state == State::kAsking) probe->lingers = true;
}

void forget_those_of_parent() {
  if (table_pid == 0) return;
  const ErrnoKept errno_kept;
  const Uninterrupted uninterrupted;
  // By its number alone the first process of a new pid namespace cannot be told from its parent.
  holder.store(0, std::memory_order_relaxed);
  table_pid = kNoProcess;
  const TableLock lock;
}

void end_all() {
  if (table_pid == 0 || !owns_memory()) return;
  const ErrnoKept errno_kept;
  const Uninterrupted uninterrupted;
  const TableLock lock;
  for (Probe& probe : table) {
    if (probe.used) forget(probe);
  }
}

std::uint64_t look_after() {
  // A vfork child has descriptors of its own: to close one there would leave ours open.
  if (open_probes.load(std::memory_order_relaxed) == 0 || sandbox() != Sandbox::kNone ||
      !owns_memory()) {
    return kNever;
  }
  const ErrnoKept errno_kept;
  const Uninterrupted uninterrupted;
  const TableLock lock;
  std::uint64_t next = kNever;
  for (Probe& probe : table) {
    if (!probe.used || probe.fd < 0) continue;
    observe(probe);
    const std::uint64_t now = now_ms();
    const bool is_over = probe.found.state != State::kAsking;
    if (probe.lingers && (is_over || now - probe.began_ms >= kSilentMs)) {
      if (is_own(probe) && !probe.found.is_local) teach(probe);
      probe.lingers = false;
    }
    if (is_over) {
      end(probe);
    } else if (!probe.lingers && probe.users == 0) {
      forget(probe);
    } else {
      next = std::min(next, probe.lingers ? next_look(probe, now) : probe.began_ms + kProbeMs);
    }
  }
  return next;
}

}  // namespace nextaddr::probes
