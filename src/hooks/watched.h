// The hooks of calls that send or receive while something is watched: a connect that is pending, of
// which this call may be the first use, or the talk with a DNS server. They are functions of their
// own, so that calls without anything watched need no frame.
#pragma once

#include "connect/pending_connects.h"
#include "hooks/first_use.h"
#include "lookup/dns_answers.h"
#include "os/arguments.h"

namespace nextaddr {

// UIO_MAXIOV of the kernel, which looks at no more messages of one sendmmsg(2) or recvmmsg(2).
inline constexpr unsigned kMostMessages = 1024;

// What a call hands over, by the arguments that follow its descriptor.
inline dns::Parcel parcel_of(const void* data, size_t size) {
  return {nullptr, 1, {const_cast<void*>(data), size}};
}
inline dns::Parcel parcel_of(const void* data, size_t size, int) { return parcel_of(data, size); }
inline dns::Parcel parcel_of(const void* data, size_t size, int, const sockaddr* address,
                             socklen_t length) {
  return {nullptr, 1, {const_cast<void*>(data), size}, address, length};
}
inline dns::Parcel parcel_of(const void* data, size_t size, int, sockaddr* address,
                             const socklen_t* length) {
  const bool known = address != nullptr && may_be_read(length);
  return {nullptr, 1, {const_cast<void*>(data), size}, address, known ? *length : 0};
}
inline dns::Parcel parcel_of(const iovec* parts, int count) {
  return {parts, count > 0 ? static_cast<size_t>(count) : 0};
}
inline dns::Parcel parcel_of(const msghdr* message, int) {
  if (!may_be_read(message)) return {nullptr, 0};
  return {message->msg_iov,
          message->msg_iovlen,
          {},
          static_cast<const sockaddr*>(message->msg_name),
          message->msg_namelen};
}

// A call that sends, which `call` makes, on a socket that may be one of DNS.
template <typename Call, typename... Arguments>
auto send_to_server(Call call, int fd, Arguments... arguments) {
  if (!dns::may_be_socket(fd)) return call(fd, arguments...);
  const dns::Parcel parcel = parcel_of(arguments...);
  dns::note_sending(fd, parcel);
  const auto sent = call(fd, arguments...);
  if (sent > 0) dns::note_sent(fd, parcel, static_cast<size_t>(sent));
  return sent;
}

template <typename Result, typename... Arguments>
__attribute__((noinline, cold)) Result watched_send(Waiting waiting,
                                                    Result (*call)(int, Arguments...), int fd,
                                                    Arguments... arguments) {
  const auto first = [&](int socket, Arguments... same) {
    return first_use(waiting, call, socket, same...);
  };
  return send_to_server(first, fd, arguments...);
}

// `flags` of recv(2).
template <typename Result, typename... Arguments>
__attribute__((noinline, cold)) Result watched_receive(int flags, Result (*call)(int, Arguments...),
                                                       int fd, Arguments... arguments) {
  if (!dns::may_be_socket(fd)) return first_use(to_receive(flags), call, fd, arguments...);
  // The parcel is made before the call, which writes the length of an address over that of the room
  // for it: of an address that did not fit no more is read.
  const dns::Parcel parcel = parcel_of(arguments...);
  const Result got = first_use(to_receive(flags), call, fd, arguments...);
  if (got > 0) dns::note_received(fd, parcel, static_cast<size_t>(got), flags);
  return got;
}

}  // namespace nextaddr
