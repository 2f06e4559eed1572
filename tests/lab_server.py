# The server process of a lab (see lab.py): holds the sockets of all its scenarios, and its network namespace.
#     lab_server.py              on loopback
#     lab_server.py DIRECTORY    in a namespace made by `unshare -rnm`, with files for /etc written to DIRECTORY
# Reads one question a line, as JSON: [QUESTION, ARGUMENT..]; answers {"value": ..} or {"error": TEXT}.
# It must never outlive its standard input, and never change anything outside its namespace.
import contextlib
import errno
import json
import resource
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

# ---- The namespace ----

# getaddrinfo puts an address first when it is its own source, and last when it has no route. So every address has
# the same foreign source, and the unreachable network has a route for everything but TCP.
NETWORKS = """
    link set lo up
    addr add 203.0.113.1/32 dev lo
    # Addresses of this host: live, or refusing because nothing listens there.
    route add local 198.18.0.0/16 dev lo table local src 203.0.113.1
    # Silent: the link swallows what it is given.
    link add bh0 type veth peer name bh1
    link set bh0 arp off up
    link set bh1 up
    route add 192.0.2.0/24 dev bh0 src 203.0.113.1
    addr add 2001:db8::ffff/64 dev bh0 nodad
    # Unreachable: EHOSTUNREACH.
    route add 198.51.100.0/24 dev bh0 src 203.0.113.1
    route add unreachable 198.51.100.0/24 table 100
    rule add ipproto tcp to 198.51.100.0/24 lookup 100
"""

# What names mean; each file covers the one of the machine, if it has that.
FILES = {
    "hosts": "127.0.0.1 localhost\n",
    "nsswitch.conf": "hosts: files\npasswd: files\ngroup: files\nservices: files\nprotocols: files\n",
    "host.conf": "multi on\n",
    "resolv.conf": "# no server\n",
    "gai.conf": "# as RFC 6724 has it\n",
}


def set_up_networks(commands):
    """Runs these commands of ip(8)."""
    subprocess.run(["ip", "-batch", "-"], input=commands, text=True, check=True)


def set_up_names(directory):
    for name, text in FILES.items():
        (directory / name).write_text(text)
        if Path("/etc", name).exists():
            subprocess.run(["mount", "--bind", directory / name, Path("/etc", name)], check=True)


# ---- What is said at the live addresses. Every answer has "nextaddr-live ADDRESS" in it. ----


class Stream:
    """A connection: buffered reads, plain writes, and a note of what came first."""

    def __init__(self, connection, received):
        reader = connection.makefile("rb")
        self.read, self.read_some, self.read_line = reader.read, reader.read1, reader.readline
        self.write = connection.sendall
        self.note = lambda data: received.append(data.decode(errors="replace").strip())


def serve_greeting(stream, address):
    stream.write(f"nextaddr-live {address}\n".encode())


def serve_banner(stream, address):
    serve_greeting(stream, address)
    note = stream.note
    while data := stream.read_some(65536):
        note(data)
        note = len
        stream.write(data)


def serve_http(stream, address):
    request = stream.read_line()
    stream.note(request)
    while stream.read_line().strip():
        pass
    body = f"nextaddr-live {address}\n"
    # The two files that a git client lists a plain repository from.
    if b"/info/refs" in request:
        body = f"{'1' * 40}\trefs/heads/nextaddr-live-{address}\n"
    elif b"/HEAD " in request:
        body = f"ref: refs/heads/nextaddr-live-{address}\n"
    head = f"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    stream.write(f"{head}{body}".encode())


def serve_git(stream, address):
    stream.note(stream.read(int(stream.read(4), 16) - 4))
    line = f"{'1' * 40} refs/heads/nextaddr-live-{address}\0agent=lab\n".encode()
    stream.write(b"%04x%s0000" % (len(line) + 4, line))
    stream.read(4)


def serve_ssh(stream, address):
    stream.write(f"SSH-2.0-nextaddr-live {address}\r\n".encode())
    stream.note(stream.read_line())
    # The first packet too: a close before it has been read is a reset, and ssh says so.
    stream.read(int.from_bytes(stream.read(4), "big"))


def serve_redis(stream, address):
    while line := stream.read_line():
        words = [stream.read(int(stream.read_line()[1:]) + 2) for _ in range(int(line[1:]))]
        stream.note(b"".join(words))
        answer = f"nextaddr-live {address}".encode()
        stream.write(b"$%d\r\n%s\r\n" % (len(answer), answer))


def serve_postgres(stream, address):
    def send(kind, body):
        stream.write(kind + struct.pack("!I", len(body) + 4) + body)

    while True:
        size, code = struct.unpack("!II", stream.read(8))
        parameters = stream.read(size - 8)
        if code not in (80877103, 80877104):  # requests of TLS and GSSAPI encryption
            break
        stream.write(b"N")
    stream.note(parameters)
    send(b"R", struct.pack("!I", 0))
    # Without it pgbouncer has nothing to tell its own clients.
    send(b"S", b"server_version\x0015.0\0")
    send(b"K", struct.pack("!II", 1, 1))
    send(b"Z", b"I")
    while stream.read(1) == b"Q":
        stream.read(struct.unpack("!I", stream.read(4))[0] - 4)
        answer = f"nextaddr-live {address}".encode()
        send(b"T", struct.pack("!H", 1) + b"answer\0" + struct.pack("!IHIhih", 0, 0, 25, -1, -1, 0))
        send(b"D", struct.pack("!HI", 1, len(answer)) + answer)
        send(b"C", b"SELECT 1\0")
        send(b"Z", b"I")


def serve_mysql(stream, address):
    def send(number, body):
        stream.write(len(body).to_bytes(3, "little") + bytes([number]) + body)

    # Protocol 4.1 with a password that is hashed, and the method's name.
    capabilities = 0x88201
    send(0, b"\x0anextaddr-live %s\0" % address.encode() + struct.pack(
        "<I9sHBHHB10s13s22s", 1, b"saltsalt\0", capabilities & 0xFFFF, 33, 2, capabilities >> 16, 21, b"",
        b"saltsaltsalt\0", b"mysql_native_password\0"))
    stream.note(stream.read(int.from_bytes(stream.read(4)[:3], "little")))
    send(2, b"\0\0\0" + struct.pack("<HH", 2, 0))
    stream.read(5)  # that it leaves


def serve_rsync(stream, address):
    stream.write(b"@RSYNCD: 31.0\n")
    stream.read_line()
    stream.note(stream.read_line())
    stream.write(f"nextaddr-live {address}\n@RSYNCD: EXIT\n".encode())


def serve_memcached(stream, address):
    answer = f"nextaddr-live {address}".encode()
    while line := stream.read_line():
        stream.note(line)
        command, *words = line.split()
        if command == b"get":
            stream.write(b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (words[0], len(answer), answer))
        elif command == b"stats":
            stream.write(b"STAT answer %s\r\nEND\r\n" % answer.replace(b" ", b"-"))
        elif command == b"version":
            stream.write(b"VERSION 1.6.18\r\n")
        else:
            return


def serve_mqtt(stream, address):
    connect, subscribe, disconnect = 1, 8, 14
    while head := stream.read(2):
        kind, body = head[0] >> 4, stream.read(head[1])
        stream.note(body)
        if kind == connect:
            stream.write(b"\x20\x02\x00\x00")
        elif kind == subscribe:
            message = b"\x00\x03lab" + f"nextaddr-live {address}".encode()
            stream.write(b"\x90\x03%s\x00\x30%c%s" % (body[:2], len(message), message))
        elif kind == disconnect:
            return


def serve_smtp(stream, address):
    stream.write(f"220 nextaddr-live {address}\r\n".encode())
    while line := stream.read_line():
        stream.note(line)
        verb = line[:4].upper()
        answer = {b"DATA": "354 go on", b"QUIT": "221 bye"}.get(verb, "250 ok")
        stream.write(f"{answer}\r\n".encode())
        if verb == b"DATA":
            while stream.read_line() not in (b".\r\n", b""):
                pass
            stream.write(f"250 taken by nextaddr-live {address}\r\n".encode())
        elif verb == b"QUIT":
            return


def serve_http2(stream, address):
    # The server's preface (RFC 9113 section 3.4), by which a client knows that it is one, and an answer to its own.
    stream.write(b"\0\0\0\4\0\0\0\0\0" b"\0\0\0\4\1\0\0\0\0")
    stream.note(stream.read(24))
    while stream.read_some(65536):
        pass


PROTOCOLS = {
    "greeting": serve_greeting,  # a line, then the end
    "banner": serve_banner,  # a line, then an echo
    "http": serve_http,
    "http2": serve_http2,
    "git": serve_git,
    "smtp": serve_smtp,
    "ssh": serve_ssh,  # the exchange of versions, then the end
    "redis": serve_redis,
    "postgres": serve_postgres,
    "mysql": serve_mysql,  # the version says who answers
    "rsync": serve_rsync,  # the list of modules
    "memcached": serve_memcached,
    "mqtt": serve_mqtt,
}


# ---- The addresses of one scenario ----


class Scenario:
    def __init__(self, protocol, kinds, addresses, in_namespace):
        self._serve = PROTOCOLS[protocol]
        self._lock = threading.Lock()
        self._waiting = select.poll()  # for connections to accept
        self._connections = {}
        self._received = {}
        self._sockets = []
        try:
            self.port = self._open(kinds, addresses, in_namespace)
            self._check(kinds, addresses)
        except Exception:
            self.close()
            raise

    def close(self):
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for it
            each.close()

    def connections(self):
        while True:
            with self._lock:
                if not self._waiting.poll(0):
                    return self._connections
            time.sleep(0.001)

    def received(self):
        return self._received

    def _open(self, kinds, addresses, in_namespace):
        """Returns the port."""
        # A refusing address is taken as well, so that nobody else listens there.
        taken = {"live", "refused"} if in_namespace else {"live", "refused", "silent", "silent6"}
        pairs = [(kind, address) for kind, address in zip(kinds, addresses) if kind in taken]
        listeners = self._bind([address for _, address in pairs])
        for (kind, address), listener in zip(pairs, listeners):
            if kind == "live":
                self._connections[address] = 0
                self._received[address] = []
                listener.listen(1024)
                self._waiting.register(listener, select.POLLIN)
                threading.Thread(target=self._accept, args=(listener, address), daemon=True).start()
            elif kind != "refused":
                self._silence(listener)
        return listeners[0].getsockname()[1]

    def _bind(self, addresses):
        """A socket at each of them, all with the same port."""
        while True:
            bound = []
            port = 0
            try:
                for address in addresses:
                    bound.append(new_socket(address))
                    bound[-1].bind((address, port))
                    port = bound[-1].getsockname()[1]
            except OSError as error:
                for each in bound:
                    each.close()
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                self._sockets += bound
                return bound

    def _silence(self, listener):
        # With a full queue of connections to accept, the kernel drops every further SYN.
        listener.listen(0)
        for _ in range(2):
            self._sockets.append(begin_connect(*listener.getsockname()[:2]))

    def _check(self, kinds, addresses):
        """Does every address that must not answer do what its kind says?"""
        silent = select.poll()
        probes = []
        for kind, address in zip(kinds, addresses):
            if kind.startswith("silent"):
                probes.append(begin_connect(address, self.port))
                silent.register(probes[-1], select.POLLOUT)
            elif kind != "live":
                with new_socket(address) as probe:
                    probe.settimeout(2)
                    error = errno.errorcode.get(probe.connect_ex((address, self.port)))
                expected = {"refused": ["ECONNREFUSED"], "unreachable": ["ENETUNREACH", "EHOSTUNREACH"]}[kind]
                assert error in expected, f"{address} must be {kind}, not {error}"
        answered = probes and silent.poll(50)
        for each in probes:
            each.close()
        assert not answered, f"{len(answered)} of {addresses} must be silent, but answered"

    def _accept(self, listener, address):
        readable = select.poll()
        readable.register(listener, select.POLLIN)
        while True:
            readable.poll()
            with self._lock:
                try:
                    connection = listener.accept()[0]
                except OSError:
                    return
                self._connections[address] += 1
            threading.Thread(target=self._converse, args=(connection, address), daemon=True).start()

    def _converse(self, connection, address):
        connection.settimeout(60)  # no test leaves one idle for so long
        # Clients may leave in the middle of anything.
        with connection, contextlib.suppress(OSError, ValueError, struct.error):
            self._serve(Stream(connection, self._received[address]), address)


def new_socket(address):
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)


def begin_connect(address, port):
    connecting = new_socket(address)
    connecting.setblocking(False)
    connecting.connect_ex((address, port))
    return connecting


def look_up(host, port):
    return [entry[4][0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


# ---- Questions and answers ----


class Answers:
    def __init__(self, directory):
        self._in_namespace = directory is not None
        self._scenarios = {}
        if directory is not None:
            set_up_networks(NETWORKS)
            set_up_names(directory)

    def answer(self, question, *arguments):
        if question == "ready":
            return None
        if question == "look up":
            return look_up(*arguments)
        number, *rest = arguments
        if question == "open":
            self._scenarios[number] = Scenario(*rest, self._in_namespace)
            return self._scenarios[number].port
        if question == "close":
            scenario = self._scenarios.pop(number, None)
            return scenario and scenario.close()
        if question == "connections":
            return self._scenarios[number].connections()
        if question == "received":
            return self._scenarios[number].received()
        raise ValueError("unknown question")


def say_answer(answer, question):
    """Writes what the function says to this question, or what is wrong with it."""
    try:
        reply = {"value": answer(*question)}
    except Exception as error:
        reply = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(reply), flush=True)


def have_many_descriptors():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main():
    have_many_descriptors()
    answers = Answers(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    for line in sys.stdin:
        say_answer(answers.answer, json.loads(line))


if __name__ == "__main__":
    main()
