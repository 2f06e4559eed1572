# The servers of a distant lab (see distant_lab.py), and the namespace that they are in, at the far end of the network.
#     unshare -n distant_server.py SOCKET      gives the packets of its network device away on this socket
# Answers questions as lab_server.py does.
# It must never outlive its standard input, never change anything outside its namespace, and never take a connection
# without noting it.
import contextlib
import json
import os
import select
import socket
import struct
import sys
import threading
import time

import lab_server
from distant_network import open_device

# Every address is one of this host; without a listener it refuses.
NETWORKS = """
    link set lo up
    link set far up
    route add local 198.18.0.0/16 dev lo table local
    route add local 2001:db8::/64 dev lo table local
    route add 203.0.113.1/32 dev far
    route add 2001:db8:ffff::1/128 dev far
"""


class Servers:
    """Those of all hosts. One thread accepts all connections, and each has one that talks to its client."""

    def __init__(self):
        self._lock = threading.Lock()
        self._listening = select.epoll()
        self._listeners = {}  # address and socket, by descriptor
        self._serves = {}  # what is said at an address
        self._connections = {}  # at each address, in the order in which they were accepted
        threading.Thread(target=self._accept, daemon=True).start()

    def answer(self, question, *arguments):
        questions = {
            "listen": self._listen,
            "refuse": self._refuse,
            "connections": self._connections_at,
            "close": self._close,
            "process id of the servers": os.getpid,
        }
        return questions[question](*arguments)

    def _listen(self, protocol, port, *addresses):
        for address in addresses:
            listener = lab_server.new_socket(address)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if listener.family == socket.AF_INET6:
                ipv6_freebind = 78  # an address of a network of ours, but of no device
                listener.setsockopt(socket.IPPROTO_IPV6, ipv6_freebind, 1)
            listener.setblocking(False)
            listener.bind((address, port))
            listener.listen(128)
            with self._lock:
                self._serves[address] = lab_server.PROTOCOLS[protocol]
                self._connections.setdefault(address, [])
                self._listeners[listener.fileno()] = address, listener
            self._listening.register(listener, select.EPOLLIN)

    def _refuse(self, *addresses):
        with self._lock:
            for number, (address, listener) in list(self._listeners.items()):
                if address in addresses:
                    del self._listeners[number]
                    listener.close()

    def _connections_at(self, *addresses):
        while True:
            with self._lock:
                # The thread that accepts them waits for the lock when there is one more.
                if not self._listening.poll(0):
                    return {each: self._connections[each] for each in addresses if each in self._connections}
            time.sleep(0.001)

    def _close(self, *addresses):
        self._refuse(*addresses)
        with self._lock:
            for each in addresses:
                self._connections.pop(each, None)

    def _accept(self):
        readable = select.poll()
        readable.register(self._listening, select.POLLIN)
        while True:
            readable.poll()
            with self._lock:
                for number, _ in self._listening.poll(0):
                    if number in self._listeners:
                        self._take(*self._listeners[number])

    def _take(self, address, listener):
        with contextlib.suppress(OSError):  # gone again
            connection, (_, port, *_) = listener.accept()
            said = []
            self._connections[address].append({"at": time.monotonic(), "port": port, "said": said})
            words = connection, said, self._serves[address], address
            threading.Thread(target=self._converse, args=words, daemon=True).start()

    def _converse(self, connection, said, serve, address):
        connection.settimeout(60)  # no test leaves one idle for so long
        # Clients may leave in the middle of anything.
        with connection, contextlib.suppress(OSError, ValueError, struct.error):
            serve(lab_server.Stream(connection, said), address)


def join_network(descriptor):
    """Makes the network device of this namespace, and gives its packets away on this socket."""
    with socket.socket(fileno=descriptor) as receiver:
        device = open_device("far")
        lab_server.set_up_networks(NETWORKS)
        socket.send_fds(receiver, [b"."], [device])
    os.close(device)


def main():
    lab_server.have_many_descriptors()
    join_network(int(sys.argv[1]))
    servers = Servers()
    for line in sys.stdin:
        lab_server.say_answer(servers.answer, json.loads(line))


if __name__ == "__main__":
    main()
