# What the library costs, and what it is worth, where the addresses of a host are far away, unequal or silent: the time
# that a blocking connect takes from the lookup on, in the network of tests/distant_lab.py. And how many connections the
# applications of servers see that no program made, when an answer comes in the moment in which its attempt is left.
# It must never compare what did not meet the same: of each pair both have a host of their own, whose packets are
# delayed and lost in the same way, and they run one after the other, because each needs the processor.
import contextlib
import dataclasses
import random
import sys
import time

import lab_server
from calls import number_in
from distant_lab import PORT, DistantLab, Place, live, silent
from network import Runs
from samples import Row, not_measured, say

SECTION = "distance"
HEATS = ["cold", "warm"]  # the first program, which knows nothing, and the second one


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    places: tuple[Place, ...]

    @property
    def for_bare(self):
        """A bare program hangs at a silent address: it is given what comes after those alone."""
        return tuple(place for place in self.places if not place.silent)

    @property
    def note(self):
        return "bare would hang, and has the live address alone" if self.for_bare != self.places else ""


CASES = [
    Case("two at 1 ms", (live(1),) * 2),
    Case("two at 20 ms", (live(20),) * 2),
    Case("two at 250 ms", (live(250),) * 2),
    Case("six at 400 ms", (live(400),) * 6),
    Case("IPv6 and IPv4 at 300 ms", (live(300, family=6), live(300))),
    Case("two at 250 ms, jitter of a third", (live(250, jitter=1 / 3),) * 2),
    Case("two at 300 ms, 1 % loss", (live(300, loss=0.01),) * 2),
    Case("350 and 200 ms", (live(350), live(200))),
    Case("420 and 150 ms", (live(420), live(150))),
    Case("250 and 20 ms", (live(250), live(20))),
    Case("silent, then 20 ms", (silent(), live(20))),
    Case("two silent, then 20 ms", (silent(), silent(), live(20))),
    Case("silent, then 300 ms", (silent(), live(300))),
]


class Network(Runs, DistantLab):
    def only_names_to_come(self):
        """libc reads all names in every lookup."""
        (self.directory / "hosts").write_text(lab_server.FILES["hosts"])


@contextlib.contextmanager
def network_of_its_own():
    """None where there can be none."""
    if DistantLab.obstacle():
        yield None
        return
    with Network() as network:
        yield network


def all_rows(bench):
    yield from times(bench)
    yield from ghosts(bench)


# ---- How long a connect takes ----


def times(bench):
    cases = [CASES[0], CASES[-3]] if bench.quick else CASES
    values = {(case, heat): {subject.name: [] for subject in bench.subjects} for case in cases for heat in HEATS}
    with network_of_its_own() as network:
        for turn in range(bench.pairs if network else 0):
            say(f"distance: {turn + 1} of {bench.pairs}")
            network.only_names_to_come()
            first = turn % len(bench.subjects)
            for case in cases:
                measure(bench, network, case, bench.subjects[first:] + bench.subjects[:first], turn, values)
    for case, heat in values:
        name = f"{case.name}, {heat}"
        if DistantLab.obstacle():
            yield not_measured(SECTION, name, DistantLab.obstacle())
        else:
            yield Row(SECTION, name, "ms", values[case, heat], note=case.note)


def measure(bench, network, case, subjects, turn, values):
    network.forget()
    with contextlib.ExitStack() as stack:
        hosts = []
        for subject in subjects:
            places = case.places if subject.library else case.for_bare
            hosts.append(stack.enter_context(network.distant(*places, protocol="greeting", seed=turn)))
        for heat in HEATS:
            for subject, host in zip(subjects, hosts):
                words = [bench.program("calls"), "what=first", f"host={host.host}", f"port={PORT}"]
                values[case, heat][subject.name].append(number_in(network.run(words, subject.env), "ms"))


# ---- Connections that nobody made ----

# Connects to all of these hosts at once, without blocking, and says where it came to.
CONNECTS = """
import select, socket, sys
port, hosts = int(sys.argv[1]), sys.argv[2:]
found = [socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0] for host in hosts]
sockets, waiting = {}, select.poll()
for family, kind, protocol, _, address in found:
    one = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
    one.connect_ex(address)
    sockets[one.fileno()] = one
    waiting.register(one, select.POLLOUT)
kept = list(sockets.values())
while sockets:
    for fd, _ in waiting.poll():
        waiting.unregister(fd)
        error = sockets.pop(fd).getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        assert error == 0, error
print(*(one.getpeername()[0] for one in kept))
"""
NEXT_MS = 20
USUAL_MS = 100 + 2 * NEXT_MS  # when an address is left of which nothing is known
AT_ONCE = 40  # a program has at most 64 probes
# An answer that comes so close to when its attempt is left is in the worst moment.
WORST_MS = 1


@dataclasses.dataclass
class Leavings:
    tries: int = 0
    left: int = 0  # that many moved to the next address
    close: int = 0  # of these, in the worst moment
    ghosts: int = 0


def ghosts(bench):
    """The first address of each host answers just when the program's socket gives it up: aimed at when that was the last
    time."""
    at_once, rounds, batches = (10, 1, 1) if bench.quick else (AT_ONCE, 10, 25)
    for subject in bench.libraries:
        name = f"connections that no program made ({subject.name})"
        found = Leavings()
        with network_of_its_own() as network:
            for batch in range(batches if network else 0):
                say(f"distance: {found.tries} of {at_once * rounds * batches} answers while being left")
                network.only_names_to_come()
                leave_while_answered(network, subject, at_once, rounds, batch, found)
        if DistantLab.obstacle():
            yield not_measured(SECTION, name, DistantLab.obstacle())
            continue
        note = f"of {found.tries}: {found.left} left an address, {found.close} within {WORST_MS} ms of its answer"
        yield Row(SECTION, name, "", {subject.name: [found.ghosts]}, note=note)


def leave_while_answered(network, subject, at_once, rounds, seed, found):
    chance = random.Random(seed)
    words = [sys.executable, "-c", CONNECTS, PORT]
    env = {**subject.env, "NEXTADDR_MEMORY": "off"}  # none knows how far the addresses are
    with contextlib.ExitStack() as stack:
        hosts = [
            stack.enter_context(network.distant(silent(), live(NEXT_MS), protocol="greeting")) for _ in range(at_once)
        ]
        words += [host.host for host in hosts]
        begin = time.monotonic()
        network.run(words, env)
        left_after = [left_after_ms(host, begin) or USUAL_MS for host in hosts]
        for _ in range(rounds):
            answers = [ms + chance.uniform(-WORST_MS, WORST_MS) for ms in left_after]
            for host, ms in zip(hosts, answers):
                host.change(0, rtt=ms, silent=False)
            begin = time.monotonic()
            network.run(words, env)
            for number, host in enumerate(hosts):
                after = left_after_ms(host, begin)
                found.tries += 1
                if after is not None:
                    found.left += 1
                    found.close += abs(after - answers[number]) < WORST_MS
                    left_after[number] = after
        found.ghosts += sum(len(host.accepted()) for host in hosts) - at_once * (1 + rounds)


def left_after_ms(host, begin):
    """So many milliseconds after its first SYN the program's socket went to the second address, which a probe had asked
    before; or None."""
    asked, elsewhere = (
        [packet.at for packet in host.packets(place) if packet.what == "syn" and packet.at >= begin] for place in (0, 1)
    )
    return (elsewhere[-1] - asked[0]) * 1000 if len(elsewhere) > 1 else None
