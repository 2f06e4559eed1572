# The addresses of the soak: each is live, refuses, is silent or slow, and changes between these as a schedule says;
# when it was what is kept, so that a result can be judged by it. They are in this process, or in one of their own at
# the far end of a network with distances:
#     unshare -n flapping.py SOCKET      see tests/distant_server.py
# It must never lose a connection by a change: who was let in is answered, and who is not is dropped or refused before.
# So nothing that goes wrong with a connection is excused by the time at which it was made.
import bisect
import ctypes
import heapq
import json
import random
import select
import socket
import struct
import sys
import threading
import time
from pathlib import Path

SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
ANSWER_SECONDS = 20  # that a client may hold a connection after its answer
LOOK_SECONDS = 0.03  # between two looks at who is on the way in

# Programs of socket(7) filters: a listener drops first packets (SYN without ACK) and hears all others, so a handshake
# that has begun is completed. `slow` lets one of three through: that is then answered when it is sent again.
_FIRST_PACKET = [(0x30, 0, 0, 13), (0x54, 0, 0, 0x12)]  # the TCP flags SYN and ACK, to compare
_DROP, _HEAR = (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF)
_RANDOM = (0x20, 0, 0, 0xFFFFF000 + 56)
FILTERS = {
    "silent": [*_FIRST_PACKET, (0x15, 0, 1, 0x02), _DROP, _HEAR],
    "slow": [*_FIRST_PACKET, (0x15, 0, 2, 0x02), _RANDOM, (0x35, 1, 0, 0x55555555), _HEAR, _DROP],
}


def set_filter(listener, name):
    if name is None:
        listener.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        return
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in FILTERS[name])
    memory = ctypes.create_string_buffer(code)
    program = struct.pack("HL", len(FILTERS[name]), ctypes.addressof(memory))
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


class History:
    """What an address was from when on. All times are those of time.monotonic(), and of where the address is."""

    def __init__(self, times, states):
        self.all_times, self.all_states = times, states

    def between(self, begin, end):
        """(TIME, STATE) of all that it was between these times."""
        first = max(bisect.bisect_right(self.all_times, begin) - 1, 0)
        last = bisect.bisect_right(self.all_times, end)
        return list(zip(self.all_times[first:last], self.all_states[first:last]))

    def states(self, begin, end):
        return {state for _, state in self.between(begin, end)}


class Address(History):
    """One address and its socket."""

    def __init__(self, text, port, handshake):
        super().__init__([time.monotonic()], ["refused"])
        self.text = text
        self.handshake = handshake  # seconds that one may take from the first packet on
        self.closes = None  # when it refuses at the latest, if it is about to
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Bound to the end, whether it listens or not: nobody else can take it.
        self.socket.bind((text, port))
        self.socket.setblocking(False)
        self.listens = self.filtered = False

    @property
    def state(self):
        return self.all_states[-1]

    def note(self, state):
        self.all_states.append(state)
        self.all_times.append(time.monotonic())


def in_handshakes():
    """The addresses of this network namespace that have let somebody in who is not there yet."""
    lines = Path("/proc/self/net/tcp").read_text().splitlines()[1:]
    words = [line.split()[1:4] for line in lines]
    found = {local.partition(":")[0] for local, _, state in words if state == "03"}  # SYN_RECV
    return {socket.inet_ntoa(int(each, 16).to_bytes(4, sys.byteorder)) for each in found}


class Network(threading.Thread):
    """Serves all addresses and changes them: one thread, that ends when it is told to. `handshakes` has how many seconds
    one takes at most, by address; without it they are on loopback."""

    def __init__(self, texts, handshakes=None):
        super().__init__(name="network")
        with socket.socket() as first:
            first.bind((texts[0], 0))
            self.port = first.getsockname()[1]
        self.addresses = {text: Address(text, self.port, (handshakes or {}).get(text, 0.003)) for text in texts}
        self.accepted = 0
        self._epoll = select.epoll()
        self._listening = {}
        self._connections = {}  # by descriptor: connection, when it may be closed
        self._changes = []
        self._lock = threading.Lock()
        self._ended = False

    def set(self, text, state):
        """Before it is started, or in its own thread."""
        address = self.addresses[text]
        if state == "closed":
            self._close_when_all_are_in(address)
            return
        if state == address.state or (state == "refused" and address.closes):
            return
        address.closes = None
        if address.state != "changing":
            address.note("changing")
        if state in FILTERS or address.listens:
            set_filter(address.socket, state if state in FILTERS else "silent")
            address.filtered = True
        if state == "refused" and address.listens:
            # Whoever was let in before is in the queue now, or will be when the handshake is complete.
            address.closes = time.monotonic() + address.handshake
            self.plan([(time.monotonic() + min(address.handshake, LOOK_SECONDS), text, "closed")])
            return
        if state == "live" and address.filtered:
            set_filter(address.socket, None)
            address.filtered = False
        if state != "refused" and not address.listens:
            address.socket.listen(4096)
            self._listening[address.socket.fileno()] = address
            self._epoll.register(address.socket, select.EPOLLIN)
            address.listens = True
        address.note(state)

    def _close_when_all_are_in(self, address):
        if address.closes is None:
            return  # it is something else by now
        if time.monotonic() < address.closes and address.text in in_handshakes():
            self.plan([(time.monotonic() + LOOK_SECONDS, address.text, "closed")])
            return
        self._accept(address)
        del self._listening[address.socket.fileno()]
        self._epoll.unregister(address.socket)
        address.socket.shutdown(socket.SHUT_RDWR)
        address.listens = False
        address.closes = None
        address.note("refused")

    def plan(self, changes):
        """Changes as (TIME, ADDRESS, STATE)."""
        with self._lock:
            for change in changes:
                heapq.heappush(self._changes, tuple(change))

    def close(self):
        self._ended = True
        self.join()
        for connection, _ in self._connections.values():
            connection.close()
        for address in self.addresses.values():
            address.socket.close()
        self._epoll.close()

    def run(self):
        while not self._ended:
            for fd, _ in self._epoll.poll(min(max(self._make_changes(), 0), 0.05)):
                if fd in self._listening:
                    self._accept(self._listening[fd])
                elif fd in self._connections:
                    self._drain(fd)
            now = time.monotonic()
            # In the order in which they have come.
            while self._connections and next(iter(self._connections.values()))[1] < now:
                self._drop(next(iter(self._connections)))

    def _make_changes(self):
        """Returns how long there is nothing to change."""
        while True:
            with self._lock:
                if not self._changes:
                    return 1
                due = self._changes[0][0] - time.monotonic()
                if due > 0:
                    return due
                _, text, state = heapq.heappop(self._changes)
            self.set(text, state)

    def _accept(self, address):
        while True:
            try:
                connection = address.socket.accept()[0]
            except BlockingIOError:
                return
            self.accepted += 1
            # Greeted at once, and in words that a program which has asked by HTTP takes for an answer as well.
            said = f"nextaddr-live {address.text}"
            head = f"Content-Type: text/plain\r\nContent-Length: {len(said) + 1}\r\nConnection: close"
            connection.setblocking(False)
            try:
                connection.sendall(f"HTTP/1.0 200 {said}\r\n{head}\r\n\r\n{said}\n".encode())
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                connection.close()
                continue
            self._connections[connection.fileno()] = connection, time.monotonic() + ANSWER_SECONDS
            self._epoll.register(connection, select.EPOLLIN)

    def _drain(self, fd):
        try:
            if self._connections[fd][0].recv(65536):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._drop(fd)

    def _drop(self, fd):
        connection = self._connections.pop(fd)[0]
        self._epoll.unregister(connection)
        connection.close()


# ---- What is to change when ----


def random_times(choice, begin, end, shortest, longest):
    while begin < end:
        until = begin + choice.uniform(shortest, longest)
        yield begin, min(until, end)
        begin = until


def schedule(seed, groups, seconds):
    """Changes of all addresses of the groups for so long, as (SECONDS, ADDRESS, STATE). Of each group mostly one, now
    and then none is live for a while, whatever else it would be; the next one is so half a second before that ends."""
    choice = random.Random(seed)
    held = {}
    for group in groups:
        # Some for longer than any connect may take: who hangs then has no excuse.
        for begin, end in random_times(choice, 0, seconds, 1, choice.choice([4, 14])):
            if choice.random() < 0.85:
                held.setdefault(choice.choice(group), []).append((begin - 0.5, end))
    changes = []
    for text in dict.fromkeys(text for group in groups for text in group):
        flaps = [
            (begin, choice.choices(["live", "refused", "silent", "slow"], [25, 35, 30, 10])[0])
            for begin, _ in random_times(choice, 0, seconds, 0.05, choice.choice([0.6, 2, 6]))
        ]
        holds = held.get(text, [])
        for moment in sorted({begin for begin, _ in flaps} | {max(edge, 0) for hold in holds for edge in hold}):
            state = [state for begin, state in flaps if begin <= moment][-1]
            if any(begin <= moment < end for begin, end in holds):
                state = "live"
            changes.append((moment, text, state))
    return changes


# ---- At the far end of a network ----


class Elsewhere:
    """A Network in the process that serves a lab; `addresses` are their histories once it is closed."""

    def __init__(self, lab, texts, handshakes):
        self._lab = lab
        self.port = lab.ask("open", texts, handshakes)
        self.addresses = dict.fromkeys(texts)
        self.accepted = 0

    def set(self, text, state):
        self._lab.ask("set", text, state)

    def plan(self, changes):
        self._lab.ask("plan", list(changes))

    def start(self):
        self._lab.ask("start")

    def close(self):
        self.accepted, histories = self._lab.ask("close")
        self.addresses = {text: History(*history) for text, history in histories.items()}


class Answers:
    def __init__(self):
        self._network = None

    def answer(self, question, *arguments):
        if question == "open":
            self._network = Network(*arguments)
            return self._network.port
        if question == "close":
            self._network.close()
            histories = {text: [each.all_times, each.all_states] for text, each in self._network.addresses.items()}
            return self._network.accepted, histories
        getattr(self._network, question)(*arguments)
        return None


def main():
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    import distant_server
    import lab_server

    lab_server.have_many_descriptors()
    distant_server.join_network(int(sys.argv[1]))
    answers = Answers()
    for line in sys.stdin:
        lab_server.say_answer(answers.answer, json.loads(line))


if __name__ == "__main__":
    main()
