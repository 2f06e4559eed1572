#include "lookup/dns_answers.h"

#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "config.h"
#include "engine/address.h"
#include "engine/dns_message.h"
#include "log/report.h"
#include "lookup/dns_queries.h"
#include "lookup/learn.h"
#include "os/arguments.h"
#include "os/clock.h"
#include "os/errno_kept.h"
#include "os/libc.h"
#include "os/pin.h"
#include "os/signals.h"
#include "os/socket.h"
#include "process/activity.h"
#include "process/process.h"

namespace nextaddr::dns {
namespace {

// How often a process asks in a second at most for itself: more often is for others, or about them
// (blocklists).
constexpr std::uint32_t kMostInASecond = 200;
// Connections to DNS servers that are followed at the same time.
constexpr std::size_t kStreams = 8;

constexpr std::size_t kLongestMessage = 65'535;
// How much of a query is looked at: the header and one question.
constexpr std::size_t kQueryHead = 12 + kLongestName + 4;

// ---- Whether this process learns at all ----

constinit std::atomic<bool> stopped{false};
constinit std::atomic<bool> any_socket{false};

void stop(const char* why) {
  if (stopped.exchange(true)) return;
  note_dns_sockets(false);
  report_debug("learns from no DNS answer any more: ", why);
}

// In a sandbox each system call may be one too many.
bool is_learning() {
  return !stopped.load(std::memory_order_relaxed) && active() && owns_memory() &&
         sandbox() != Sandbox::kCertain;
}

// Counts a query. False when it is one too many.
bool count_query(std::uint64_t now) {
  static constinit std::atomic<std::uint64_t> since_ms{0};
  static constinit std::atomic<std::uint32_t> count{0};
  if (now - since_ms.load(std::memory_order_relaxed) >= 1000) {
    since_ms.store(now, std::memory_order_relaxed);
    count.store(0, std::memory_order_relaxed);
  }
  if (count.fetch_add(1, std::memory_order_relaxed) < kMostInASecond) return true;
  stop("it asks as often as a name server");
  return false;
}

// The server that a socket is connected to. False when it is connected to none, or to another port.
bool read_peer(int fd, Endpoint& out) {
  sockaddr_in6 peer{};
  socklen_t length = sizeof peer;
  auto* address = reinterpret_cast<sockaddr*>(&peer);
  return libc::getpeername(fd, address, &length) == 0 && length <= sizeof peer &&
         is_server(address, length) && read_sockaddr(address, length, out);
}

// The server that a parcel goes to or comes from. False when it is none.
bool read_server(int fd, const Parcel& parcel, Endpoint& out) {
  if (parcel.address != nullptr && parcel.length != 0) {
    return is_server(parcel.address, parcel.length) &&
           read_sockaddr(parcel.address, parcel.length, out);
  }
  return read_peer(fd, out);
}

void remember(int fd, const Endpoint& server, const DnsQuestion& question) {
  const std::uint64_t cookie = socket_cookie(fd);
  if (cookie != 0 && count_query(now_ms())) remember_query(fd, cookie, server, question);
}

void learn_from(int fd, const Endpoint& server, std::string_view message) {
  DnsAnswer answer;
  if (!answer.read(message)) return;
  const std::uint64_t cookie = socket_cookie(fd);
  if (cookie == 0) return;
  switch (take_query(cookie, server, answer.question())) {
    case Match::kNone:
      return;
    case Match::kUnknown:
      return shut_addresses(answer);
    case Match::kFound:
      break;
  }
  // After an error another server that was asked the same may still answer.
  if (!answer.is_success() && !answer.denies_name()) return;
  forget_repetitions(answer.question());
  if (answer.is_success()) observe_dns_answer(answer);
}

// ---- Datagrams ----

// Calls each(bytes) for every part of the first `size` bytes of a parcel.
template <typename Each>
void for_each_part(const Parcel& parcel, std::size_t size, Each each) {
  for (std::size_t i = 0; i < parcel.count && size != 0; ++i) {
    const std::size_t part = std::min(parcel.part(i).iov_len, size);
    each(std::string_view(static_cast<const char*>(parcel.part(i).iov_base), part));
    size -= part;
  }
}

// Copies the first bytes of a parcel, which has `size`, to `out`. Returns their number.
std::size_t gather(const Parcel& parcel, std::size_t size, char* out, std::size_t room) {
  std::size_t got = 0;
  for_each_part(parcel, std::min(size, room), [&](std::string_view bytes) {
    std::memcpy(out + got, bytes.data(), bytes.size());
    got += bytes.size();
  });
  return got;
}

// False when the parcel can only be wrong: the kernel answers for that.
bool may_be_read(const Parcel& parcel) {
  if (parcel.parts != nullptr && !nextaddr::may_be_read(parcel.parts)) return false;
  for (std::size_t i = 0; i < parcel.count; ++i) {
    if (parcel.part(i).iov_len != 0 && !nextaddr::may_be_read(parcel.part(i).iov_base))
      return false;
  }
  return true;
}

// Room for an answer that comes in several parts; lent to one thread at a time.
constinit std::array<char, kLongestMessage> gathered{};
constinit std::atomic<bool> gathering{false};

void receive_datagram(int fd, const Parcel& parcel, std::size_t size) {
  Endpoint server;
  if (!any_waits_on(fd) || !read_server(fd, parcel, server)) return;
  const iovec& first = parcel.part(0);
  if (size <= first.iov_len) {
    return learn_from(fd, server, {static_cast<const char*>(first.iov_base), size});
  }
  if (gathering.exchange(true, std::memory_order_acquire)) return;
  const std::size_t got = gather(parcel, size, gathered.data(), gathered.size());
  // More than there was room for: it is cut off.
  if (got == size) learn_from(fd, server, {gathered.data(), got});
  gathering.store(false, std::memory_order_release);
}

// ---- Streams: each message has its length in two bytes before it (RFC 1035 section 4.2.2) ----

constinit DescriptorSet stream_numbers{};

// One direction of a stream, cut into messages: of each the first bytes are kept.
template <std::size_t kRoom>
class Messages {
 public:
  void clear() { prefix_ = got_ = size_ = 0; }

  // Calls `each` for every message that these bytes complete: with its first bytes and its size.
  template <typename Each>
  void take(std::string_view bytes, Each each) {
    while (!bytes.empty()) {
      if (prefix_ < 2) {
        size_ = (size_ << 8 | static_cast<unsigned char>(bytes.front())) & 0xffff;
        ++prefix_;
        bytes.remove_prefix(1);
        if (prefix_ < 2 || size_ != 0) continue;
      }
      const std::size_t part = std::min<std::size_t>(bytes.size(), size_ - got_);
      if (got_ < kRoom)
        std::memcpy(kept_.data() + got_, bytes.data(), std::min(part, kRoom - got_));
      got_ += static_cast<std::uint32_t>(part);
      bytes.remove_prefix(part);
      if (got_ < size_) return;
      each(std::string_view(kept_.data(), std::min<std::size_t>(size_, kRoom)));
      clear();
    }
  }

 private:
  std::uint32_t prefix_;
  std::uint32_t size_;
  std::uint32_t got_;
  std::array<char, kRoom> kept_;
};

struct Stream {
  std::atomic<std::uint64_t> cookie;  // 0: free
  std::atomic<std::uint64_t> used_ms;
  std::atomic<bool> held;
  // Some bytes were not seen: where messages begin is not known any more.
  std::atomic<bool> lost;
  Messages<kQueryHead> sent;
  Messages<kLongestMessage> received;
};
constinit std::array<Stream, kStreams> streams{};

Stream* stream_of(std::uint64_t cookie) {
  for (Stream& stream : streams) {
    if (stream.cookie.load(std::memory_order_acquire) == cookie) return &stream;
  }
  return nullptr;
}

// Begins to follow a stream. The one that has been silent for longest makes room.
void begin_stream(std::uint64_t cookie) {
  Stream* stream = stream_of(cookie);
  for (Stream& each : streams) {
    if (stream == nullptr) stream = &each;
    if (stream->cookie.load(std::memory_order_relaxed) == cookie) break;
    if (each.used_ms.load(std::memory_order_relaxed) <
        stream->used_ms.load(std::memory_order_relaxed)) {
      stream = &each;
    }
  }
  if (stream->held.exchange(true, std::memory_order_acquire)) return;
  stream->sent.clear();
  stream->received.clear();
  stream->lost.store(false, std::memory_order_relaxed);
  stream->used_ms.store(now_ms(), std::memory_order_relaxed);
  stream->cookie.store(cookie, std::memory_order_release);
  stream->held.store(false, std::memory_order_release);
}

// Calls `with(stream, server)` while nobody else has the stream in hand.
template <typename With>
void with_stream(int fd, With with) {
  Endpoint server;
  const std::uint64_t cookie = socket_cookie(fd);
  Stream* stream = cookie != 0 ? stream_of(cookie) : nullptr;
  if (stream == nullptr) return note_closed(fd);
  if (stream->held.exchange(true, std::memory_order_acquire)) {
    return stream->lost.store(true, std::memory_order_relaxed);
  }
  stream->used_ms.store(now_ms(), std::memory_order_relaxed);
  if (stream->cookie.load(std::memory_order_relaxed) == cookie &&
      !stream->lost.load(std::memory_order_relaxed) && read_peer(fd, server)) {
    with(*stream, server);
  }
  stream->held.store(false, std::memory_order_release);
}

void note_socket(int fd) {
  sockets::numbers.add(fd);
  if (any_socket.exchange(true, std::memory_order_relaxed)) return;
  note_dns_sockets(true);
}

}  // namespace

[[gnu::cold]] bool is_server(const sockaddr* address, socklen_t length) {
  if (!nextaddr::may_be_read(address) || length < sizeof(sockaddr_in)) return false;
  if (address->sa_family != AF_INET && address->sa_family != AF_INET6) return false;
  static_assert(offsetof(sockaddr_in, sin_port) == offsetof(sockaddr_in6, sin6_port));
  in_port_t port = 0;
  std::memcpy(&port, reinterpret_cast<const char*>(address) + offsetof(sockaddr_in, sin_port),
              sizeof port);
  return config().dns_ports.has(ntohs(port));
}

void note_connect(int fd) {
  if (!is_learning()) return;
  const ErrnoKept errno_kept;
  const Uninterrupted uninterrupted;
  if (option_value(fd, SOL_SOCKET, SO_TYPE) == SOCK_STREAM) {
    const std::uint64_t cookie = socket_cookie(fd);
    if (cookie == 0) return;
    begin_stream(cookie);
    stream_numbers.add(fd);
  } else {
    stream_numbers.remove(fd);
  }
  note_socket(fd);
}

void note_datagram(int fd) {
  if (!is_learning()) return;
  stream_numbers.remove(fd);
  note_socket(fd);
}

void note_sending(int fd, const Parcel& parcel) {
  if (stream_numbers.has(fd) || !may_be_read(parcel) || !is_learning()) return;
  const ErrnoKept errno_kept;
  const Uninterrupted uninterrupted;
  Endpoint server;
  if (!read_server(fd, parcel, server)) {
    // The number may be another socket's by now.
    if (parcel.address == nullptr) note_closed(fd);
    return;
  }
  std::array<char, kQueryHead> head;
  DnsQuestion question;
  const std::size_t size = gather(parcel, head.size(), head.data(), head.size());
  if (read_query({head.data(), size}, question)) remember(fd, server, question);
}

void note_sent(int fd, const Parcel& parcel, std::size_t sent) {
  if (!stream_numbers.has(fd) || !is_learning()) return;
  const ErrnoKept errno_kept;
  const Uninterrupted uninterrupted;
  with_stream(fd, [&](Stream& stream, const Endpoint& server) {
    for_each_part(parcel, sent, [&](std::string_view bytes) {
      stream.sent.take(bytes, [&](std::string_view message) {
        DnsQuestion question;
        if (read_query(message, question)) remember(fd, server, question);
      });
    });
  });
}

void note_received(int fd, const Parcel& parcel, std::size_t received, int flags) {
  // These bytes stay where they are, are not in order, or are what the program has sent itself.
  if ((flags & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE)) != 0 || !is_learning()) return;
  const bool is_stream = stream_numbers.has(fd);
  if (!is_stream && !any_waits_on(fd)) return;
  const ErrnoKept errno_kept;
  const Uninterrupted uninterrupted;
  if (!is_stream) return receive_datagram(fd, parcel, received);
  with_stream(fd, [&](Stream& stream, const Endpoint& server) {
    // The bytes were thrown away by the kernel (tcp(7)).
    if ((flags & MSG_TRUNC) != 0) return stream.lost.store(true, std::memory_order_relaxed);
    for_each_part(parcel, received, [&](std::string_view bytes) {
      stream.received.take(bytes,
                           [&](std::string_view message) { learn_from(fd, server, message); });
    });
  });
}

void note_resolved(const void* answer, int length, int room) {
  DnsAnswer read;
  // Longer than there was room for: it is cut off, and the program asks again.
  if (length <= 0 || length > room || !is_learning()) return;
  const std::string_view message(static_cast<const char*>(answer),
                                 static_cast<std::size_t>(length));
  if (!read.read(message) || !count_query(now_ms()) || !read.is_success()) return;
  const Uninterrupted uninterrupted;
  observe_dns_answer(read);
}

void note_bound(const sockaddr* address, socklen_t length) {
  if (!stopped.load(std::memory_order_relaxed) && is_server(address, length) && is_learning()) {
    stop("it is a name server");
  }
}

void note_closed(int fd) {
  if (!may_be_socket(fd) || !active() || !owns_memory()) return;
  sockets::numbers.remove(fd);
  stream_numbers.remove(fd);
}

void forget_queries_of_parent() {
  if (!any_socket.load(std::memory_order_relaxed)) return;
  forget_queries();
  for (Stream& stream : streams) {
    stream.held.store(false, std::memory_order_relaxed);
    stream.cookie.store(0, std::memory_order_relaxed);
    stream.used_ms.store(0, std::memory_order_relaxed);
  }
  gathering.store(false, std::memory_order_relaxed);
  if (!stopped.load(std::memory_order_relaxed)) note_dns_sockets(true);
}

}  // namespace nextaddr::dns
