# A name server that answers as a test has it, by UDP and TCP on loopback, and the making of messages (RFC 1035).
# It must never be asked by anything but the test that has started it, nor answer what that did not say.
import contextlib
import ipaddress
import socket
import struct
import threading

A, CNAME, AAAA = 1, 5, 28


def wire_name(text):
    return b"".join(bytes([len(label)]) + label.encode() for label in text.split(".") if label) + b"\0"


def record(owner, kind, data, of_class=1):
    """`owner` is a name, or where one begins in the message."""
    name = struct.pack("!H", 0xC000 | owner) if isinstance(owner, int) else wire_name(owner)
    return name + struct.pack("!HHIH", kind, of_class, 60, len(data)) + data


def addresses(owner, texts):
    """Records of these addresses."""
    numbers = [ipaddress.ip_address(text) for text in texts]
    return [record(owner, A if number.version == 4 else AAAA, number.packed) for number in numbers]


def answer(query, records, flags=0x8180, id=None, question=None, count=None):
    """To a query as it came; what is given in its place is a mistake."""
    if id is None:
        id = int.from_bytes(query[:2], "big")
    if question is None:
        question = query[12 : query.index(b"\0", 12) + 5]
    counts = (1, len(records) if count is None else count, 0, 0)
    return struct.pack("!HH4H", id, flags, *counts) + question + b"".join(records)


class Server:
    """`answers(QUERY)` gives the messages that are sent back; one that is a pair (SOCKET, MESSAGE) comes from there."""

    def __init__(self, answers, address="127.0.0.1", chunk=None):
        self._answers = answers
        self._chunk = chunk  # how many bytes of a stream are sent at a time
        self.queries = []
        self._stream = socket.create_server((address, 0))
        self.port = self._stream.getsockname()[1]
        self._datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._datagrams.bind((address, self.port))
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._serve, self._serve_streams)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)
        self._stream.close()
        # To itself: a thread in recvfrom(2) is not woken by a close.
        self._datagrams.sendto(b"", self._datagrams.getsockname())
        for thread in self._threads:
            thread.join()
        self._datagrams.close()

    def _serve(self):
        while True:
            query, source = self._datagrams.recvfrom(65536)
            if not query:
                return
            self.queries.append(query)
            for message in self._answers(query):
                sender, message = message if isinstance(message, tuple) else (self._datagrams, message)
                sender.sendto(message, source)

    def _serve_streams(self):
        while True:
            try:
                connection, _ = self._stream.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                self._serve_stream(connection)

    def _serve_stream(self, connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = connection.makefile("rb")
        while prefix := reader.read(2):
            query = reader.read(int.from_bytes(prefix, "big"))
            self.queries.append(query)
            for message in self._answers(query):
                data = len(message).to_bytes(2, "big") + message
                step = self._chunk or len(data)
                for at in range(0, len(data), step):
                    connection.sendall(data[at : at + step])
