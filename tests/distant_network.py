# The network of a distant lab (see distant_lab.py): two network namespaces, and between them this process, which every
# packet goes through and takes its time in. The programs run in its own namespace; that of the servers is the other
# one's, distant_server.py or a program like it, which it starts.
#     unshare -rnm distant_network.py DIRECTORY SERVER      with files for /etc written to DIRECTORY
# Reads one question a line, as JSON: [QUESTION, ARGUMENT..]; answers {"value": ..} or {"error": TEXT}. What is not for
# it is passed on to the server, which answers in its place.
# It must never outlive its standard input, never change anything outside its namespaces, and never work for long at a
# time: what it does meanwhile, all packets are late by.
import dataclasses
import fcntl
import heapq
import ipaddress
import itertools
import json
import os
import random
import select
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import lab_server

# As in lab_server.py all addresses have the same foreign source, so that getaddrinfo leaves their order as it is.
NETWORKS = """
    link set lo up
    link set far up
    addr add 203.0.113.1/32 dev lo
    addr add 2001:db8:ffff::1/128 dev lo nodad
    route add 198.18.0.0/16 dev far src 203.0.113.1
    route add 2001:db8::/64 dev far src 2001:db8:ffff::1
"""


def open_device(name):
    """The packets of a new network device of this name, one in each read or write. It goes when this is closed."""
    ask_for_it, packets_alone = 0x400454CA, 0x1001  # TUNSETIFF, IFF_TUN | IFF_NO_PI
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(device, ask_for_it, struct.pack("16sH22x", name.encode(), packets_alone))
    return device


# ---- Packets ----


class Packet:
    """The parts of a packet of IPv4 or IPv6; extension headers are not looked behind."""

    def __init__(self, data):
        self.data = data
        if data[0] >> 4 == 4:
            self.source, self.destination, self._protocol = data[12:16], data[16:20], data[9]
            self._start = (data[0] & 15) * 4
        else:
            self.source, self.destination, self._protocol = data[8:24], data[24:40], data[6]
            self._start = 40

    def segment(self):
        """Ports, sequence number and a word for what it does; None of what is not TCP."""
        if self._protocol != socket.IPPROTO_TCP:
            return None
        source, destination, sequence, _, offset, flags = struct.unpack_from("!HHIIBB", self.data, self._start)
        fin, syn, rst, ack = (flags & bit for bit in (1, 2, 4, 16))
        if rst:
            what = "rst"
        elif syn:
            what = "syn-ack" if ack else "syn"
        elif fin:
            what = "fin"
        else:
            what = "data" if len(self.data) > self._start + (offset >> 4) * 4 else "ack"
        return source, destination, sequence, what


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", total ^ 0xFFFF)


def unreachable(packet):
    """What a router near the host says of a packet that it cannot deliver. It says so with the address of the host."""
    source, destination = packet.destination, packet.source
    if len(source) == 4:
        message = b"\3\1\0\0" + bytes(4) + packet.data[:28]
        message = message[:2] + checksum(message) + message[4:]
        header = struct.pack("!BxHIBB2x4s4s", 0x45, 20 + len(message), 0, 64, socket.IPPROTO_ICMP, source, destination)
        return header[:10] + checksum(header) + header[12:] + message
    message = b"\1\3\0\0" + bytes(4) + packet.data[:1232]
    pseudo_header = source + destination + struct.pack("!II", len(message), socket.IPPROTO_ICMPV6)
    message = message[:2] + checksum(pseudo_header + message) + message[4:]
    return struct.pack("!IHBB16s16s", 6 << 28, len(message), socket.IPPROTO_ICMPV6, 64, source, destination) + message


# ---- The way to one address ----


@dataclasses.dataclass
class Way:
    """See distant_lab.py for what its properties mean."""

    rtt: float
    jitter: float
    loss: float
    lost: list[str]
    silent: bool
    unreachable: bool
    noted: bool
    seed: str

    def __post_init__(self):
        # Each direction has its own, so that the first SYN is not treated in another way for what came back before it.
        self._chance = {outward: random.Random(f"{self.seed} {outward}") for outward in (True, False)}
        self._seen = Counter()
        self.notes = []
        self.in_flight = 0

    def change(self, properties):
        for name, value in properties.items():
            setattr(self, name, value)

    def take(self, packet, outward, now):
        """Notes the packet. When it has to be delivered; None when it is lost."""
        chance = self._chance[outward]
        lost = chance.random() < self.loss or self.silent
        due = now + self.rtt / 2000 * (1 + self.jitter * chance.random())
        segment = packet.segment()
        if segment:
            source, destination, sequence, what = segment
            self._seen[what] += 1
            lost = lost or f"{what} {self._seen[what]}" in self.lost
            port = source if outward else destination
            if self.noted:
                self.notes.append(
                    {"at": now, "outward": outward, "what": what, "port": port, "sequence": sequence, "lost": lost}
                )
        return None if lost else due


# ---- All of it ----


class Network:
    def __init__(self, directory, server):
        lab_server.set_up_names(directory)
        self._near = open_device("far")
        lab_server.set_up_networks(NETWORKS)
        self._server, self._far = start_server(server)
        self._ways = {}  # by the address, in bytes
        self._due = []  # a heap of (when, number, device, packet, way)
        self._numbers = itertools.count()

    def run(self):
        questions = b""
        while True:
            self._deliver()
            next_due = max(0, self._due[0][0] - time.monotonic()) if self._due else None
            ready, _, _ = select.select([self._near, self._far, 0], [], [], next_due)
            for device in (self._near, self._far):
                if device in ready:
                    self._receive(device)
            if 0 in ready:
                read = os.read(0, 65536)
                if not read:
                    break
                *lines, questions = (questions + read).split(b"\n")
                for line in lines:
                    self._answer(line)
        self._server.stdin.close()
        self._server.wait()

    def _receive(self, device):
        now = time.monotonic()
        while True:
            try:
                packet = Packet(os.read(device, 65536))
            except BlockingIOError:
                return
            outward = device == self._near
            way = self._ways.get(packet.destination if outward else packet.source)
            if way is None:
                continue  # what devices say by themselves: neighbour discovery, multicast
            due = way.take(packet, outward, now)
            if due is None:
                continue
            if outward and way.unreachable:
                self._send(due + way.rtt / 2000, self._near, unreachable(packet), way)
            else:
                self._send(due, self._far if outward else self._near, packet.data, way)

    def _send(self, due, device, data, way):
        way.in_flight += 1
        heapq.heappush(self._due, (due, next(self._numbers), device, data, way))

    def _deliver(self):
        while self._due and self._due[0][0] <= time.monotonic():
            _, _, device, data, way = heapq.heappop(self._due)
            way.in_flight -= 1
            os.write(device, data)

    def _answer(self, line):
        question = json.loads(line)
        mine = {
            "ready": lambda: None,
            "look up": lab_server.look_up,
            "ways": self._set_ways,
            "change": lambda address, properties: self._way(address).change(properties),
            "packets": lambda address: self._way(address).notes,
            "in flight": lambda *addresses: sum(self._way(each).in_flight for each in addresses),
            "forget": lambda *addresses: [self._ways.pop(packed(each), None) for each in addresses] and None,
        }
        if question[0] in mine:
            lab_server.say_answer(mine[question[0]], question[1:])
        else:
            self._server.stdin.write(line + b"\n")
            self._server.stdin.flush()

    def _set_ways(self, ways):
        for address, properties in ways.items():
            self._ways[packed(address)] = Way(**properties)

    def _way(self, address):
        return self._ways[packed(address)]


def packed(address):
    return ipaddress.ip_address(address).packed


def start_server(program):
    """The process, which answers in our place, and the packets of the device in its namespace."""
    ours, its = socket.socketpair()
    with ours:
        with its:
            words = ["unshare", "-n", sys.executable, program, str(its.fileno())]
            server = subprocess.Popen(words, stdin=subprocess.PIPE, pass_fds=[its.fileno()])
        # It ends without a word when there is something wrong, and has said so on standard error.
        _, devices, _, _ = socket.recv_fds(ours, 1, 1)
    return server, devices[0]


def main():
    directory = Path(sys.argv[1])
    try:
        Network(directory, sys.argv[2]).run()
    finally:
        # Whoever has made it may have been killed.
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
