// What programs with a resolver of their own (c-ares, nginx, Squid, dnspython ..) learn from a DNS
// server: their queries are noted as they leave through libc's calls, and an answer teaches the
// host table when it is one to a query of this process, that came to the socket which asked, from
// the server that was asked, with the question as it was asked letter by letter. The first such
// answer counts and no other; all else teaches nothing.
//
// A DNS socket is one that was connected, or has sent something, to a port of NEXTADDR_DNS_PORTS.
// As long as there is none the hooks ask nothing but a bit of the word that they look at anyway
// (any_watched()), and when there are some, other descriptors cost a look at another bit.
//
// No lock is waited for, and no memory allocated: the tables are small and of this process alone.
// What there is no room for is not remembered, and the addresses of its answer are failed over no
// more. All keep errno, and are async-signal-safe.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstddef>

#include "os/descriptors.h"

namespace nextaddr::dns {

namespace sockets {
// Numbers of DNS sockets. One may have been closed unseen and become another's: the cookie tells.
inline constinit DescriptorSet numbers{};
}  // namespace sockets

// True when the descriptor may be a DNS socket.
inline bool may_be_socket(int fd) { return sockets::numbers.has(fd); }

// What a call sends, or has room for.
struct Parcel {
  // Null: `only` is all.
  const iovec* parts = nullptr;
  std::size_t count = 1;
  iovec only{};
  // The address that it goes to or comes from, as the program gives it; null: it does not.
  const sockaddr* address = nullptr;
  socklen_t length = 0;

  [[nodiscard]] const iovec& part(std::size_t i) const {
    return parts != nullptr ? parts[i] : only;
  }
};

// True when the address is that of a DNS server, as far as its port tells. Reads no more of it than
// `length`.
bool is_server(const sockaddr* address, socklen_t length);

// This socket is about to be connected to a DNS server (connect(2), or TCP Fast Open), or to send
// it a datagram.
void note_connect(int fd);
void note_datagram(int fd);

// A DNS socket is about to send this: a datagram. Before the call, because its answer may come to
// another thread before that returns.
void note_sending(int fd, const Parcel& parcel);
// A DNS socket has sent the first `sent` bytes of this, in a stream.
void note_sent(int fd, const Parcel& parcel, std::size_t sent);

// A DNS socket has received `received` bytes into this, by a call with these flags of recv(2).
void note_received(int fd, const Parcel& parcel, std::size_t received, int flags);

// libresolv has asked for the program, and has answered with `length` bytes in a buffer of `room`.
void note_resolved(const void* answer, int length, int room);

// The process serves at this address: when it is a DNS server, it learns nothing more. It would ask
// for others, and be slowed down.
void note_bound(const sockaddr* address, socklen_t length);

// The descriptor is about to be closed, and its number to be another's.
void note_closed(int fd);

// In the child of a fork: it has the sockets, but none of the queries.
void forget_queries_of_parent();

}  // namespace nextaddr::dns
