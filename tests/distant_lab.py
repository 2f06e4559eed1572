# A network with distances for the tests: host names whose addresses are so many milliseconds away, with jitter, loss,
# silence and refusals, all of which can change while a program runs. Every packet is seen, and every connection that a
# server has accepted, so that a test knows what a program did without asking it.
# It must never use an address outside the two network namespaces that it makes, and never leave a process, a device or
# a file behind: all of it ends with the processes of the lab, and they end when their standard input does.
import contextlib
import dataclasses
import os
import sys
import time

import lab as labs

NETWORK = labs.ROOT / "tests" / "distant_network.py"
PORT = 4000
TUN = "/dev/net/tun"


@dataclasses.dataclass(frozen=True)
class Place:
    """An address, and what packets meet on the way to it and back."""

    rtt: float  # the round trip time, in milliseconds
    kind: str = "live"  # or "refused": nothing listens; or "unreachable": a router says so
    silent: bool = False  # all packets are lost
    jitter: float = 0  # each packet takes up to this share of its time longer; one may overtake another
    loss: float = 0  # the probability that a packet is lost
    lost: tuple[str, ...] = ()  # those that are, in any case: "syn 1" is the first SYN to this address
    family: int = 4
    noted: bool = True  # whether its packets can be looked at; they take memory

    def properties(self, seed):
        """Of its way, as the network has them."""
        return {
            "rtt": self.rtt,
            "jitter": self.jitter,
            "loss": self.loss,
            "lost": list(self.lost),
            "silent": self.silent,
            "unreachable": self.kind == "unreachable",
            "noted": self.noted,
            "seed": seed,
        }


def live(rtt, **more):
    return Place(rtt, **more)


def silent(rtt=20, **more):
    return Place(rtt, silent=True, **more)


def refused(rtt, **more):
    return Place(rtt, kind="refused", **more)


def unreachable(rtt, **more):
    return Place(rtt, kind="unreachable", **more)


@dataclasses.dataclass(frozen=True)
class Packet:
    """One that the network was given, at its end of the way; times are those of time.monotonic()."""

    at: float
    outward: bool  # from the program to the server
    what: str  # syn, syn-ack, rst, fin, data, or ack of nothing else
    port: int  # that of the program
    sequence: int
    lost: bool  # it was not delivered


@dataclasses.dataclass(frozen=True)
class Connection:
    """One that a server's application has accepted."""

    address: str
    at: float
    port: int  # that of the program
    said: list[str]  # what it has said first, if anything


@dataclasses.dataclass(frozen=True)
class Course:
    """When a program's first SYN to a host was sent, if it was; how many milliseconds later the handshake of the
    connection that it used was complete; and how many later it did the first thing with it: it said something, or,
    where the server speaks first, left. None when that was never."""

    began: float | None
    connected: float | None
    acted: float | None


class Host(labs.Scenario):
    """One host name, all of whose addresses have the same port."""

    def __init__(self, lab, number, host, places, addresses, protocol):
        kinds = ["silent" if place.silent else place.kind for place in places]
        super().__init__(lab, number, host, PORT, kinds, addresses)
        self.places = places
        self.protocol = protocol

    # ---- What changes while programs run; `place` counts from 0 ----

    def change(self, place, **properties):
        """rtt, jitter, loss, lost or silent of the way; packets that are under way are not concerned."""
        self.lab.ask("change", self.addresses[place], properties)

    def listen(self, place):
        """The address becomes live."""
        self.lab.ask("listen", self.protocol, PORT, self.addresses[place])

    def refuse(self, place):
        self.lab.ask("refuse", self.addresses[place])

    # ---- What has happened ----

    def settle(self):
        """Waits until no packet is under way any more."""
        while self.lab.ask("in flight", *self.addresses):
            time.sleep(0.01)

    def packets(self, place):
        return [Packet(**note) for note in self.lab.ask("packets", self.addresses[place])]

    def count(self, place, what):
        """How many such packets there were, again sent ones included."""
        return sum(packet.what == what for packet in self.packets(place))

    def distinct(self, place, what):
        """How many of them were sent for the first time."""
        return len({(packet.port, packet.sequence) for packet in self.packets(place) if packet.what == what})

    def accepted(self):
        """Every connection that the server's applications have seen, ghosts included."""
        self.settle()
        found = self.lab.ask("connections", *self.addresses)
        return [
            Connection(address, **{**each, "said": [text for text in each["said"] if text]})
            for address in found
            for each in found[address]
        ]

    def connections(self, address):
        return sum(each.address == address for each in self.accepted())

    def received(self, address):
        return [text for each in self.accepted() if each.address == address for text in each.said]

    def course(self, since=0):
        """Of the connect that a program has begun after this time. Seen where the program is."""
        packets = [
            (address, packet)
            for place, address in enumerate(self.addresses)
            for packet in self.packets(place)
            if packet.outward and packet.at >= since
        ]
        began = min((packet.at for _, packet in packets if packet.what == "syn"), default=None)
        acts = [(packet.at, address, packet.port) for address, packet in packets if packet.what in ("data", "fin")]
        if not acts:
            return Course(began, None, None)
        acted, *used = min(acts)
        answered = [packet.at for address, packet in packets if packet.what != "syn" and [address, packet.port] == used]
        return Course(began, (min(answered) - began) * 1000, (acted - began) * 1000)


class DistantLab(labs.Namespace):
    """Both namespaces, and all that is in them."""

    servers = labs.ROOT / "tests" / "distant_server.py"

    def __init__(self):
        self._free = {
            4: (f"198.18.{n >> 8}.{n & 255}" for n in range(1, 65535)),
            6: (f"2001:db8::{n:x}" for n in range(1, 65535)),
        }
        labs.Lab.__init__(self)
        # Where that is allowed it takes precedence: what the network is late by, all packets are.
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, self._server.pid, -20)

    @staticmethod
    def obstacle():
        obstacle = labs.Namespace.obstacle()
        if obstacle:
            return obstacle
        try:
            os.close(os.open(TUN, os.O_RDWR))
        except OSError as error:
            return f"no network devices of our own: {TUN}: {error.strerror}"
        return None

    def process_ids(self):
        """Those of the network and of the servers."""
        return [self._server.pid, self.ask("process id of the servers")]

    @contextlib.contextmanager
    def distant(self, *places, protocol="http", seed=0):
        """A host with these addresses, in this order. Two hosts with the same seed lose and delay their packets in the
        same way, as far as the packets of each address come in the same order."""
        number = next(self._numbers)
        name = f"distant-{number}.nextaddr.test"
        addresses = [next(self._free[place.family]) for place in places]
        ways = {each: place.properties(f"{seed} {i}") for i, (each, place) in enumerate(zip(addresses, places))}
        self.ask("ways", ways)
        try:
            self.ask("listen", protocol, PORT, *(a for a, place in zip(addresses, places) if place.kind == "live"))
            self._give_name(name, PORT, addresses)
            yield Host(self, number, name, places, addresses, protocol)
        finally:
            self.ask("close", *addresses)
            self.ask("forget", *addresses)

    def _server_words(self):
        return ["unshare", "-rnm", sys.executable, str(NETWORK), str(self.directory), str(self.servers)]
