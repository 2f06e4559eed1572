// The connections that this process has, and the first port it connected to at an address. They
// tell whether a port is one that the program learnt from a server, and so that server's alone
// (FTP's passive mode, a portmapper, SIP ..). The kernel is asked, and only when it matters: as
// long as no connect is about to move on a connect costs a load here.
//
// Must never take an unknown connection for none: where the kernel cannot be asked, there may be
// any. Async-signal-safe.
#pragma once

#include <cstdint>

#include "engine/address.h"

namespace nextaddr {

// A connect to this address and port is about to be made, or has gone there in the end. Port in
// network order, as in a sockaddr.
void note_connect_to(const Address& address, in_port_t port);

// True when this was the first port of the address that was connected to. False also when too many
// addresses were connected to for that to be known.
bool is_first_port(const Address& address, in_port_t port);

struct OwnConnection {
  int fd;
  Endpoint peer;
};

// Whether `test(context, connection)` is true of some open TCP connection of this process that it
// has not accepted from a peer, or not all of them can be looked at in a few milliseconds. Datagram
// sockets may be asked about, too.
using ConnectionTest = bool (*)(void* context, const OwnConnection& connection);
bool may_have_connection(ConnectionTest test, void* context);

}  // namespace nextaddr
