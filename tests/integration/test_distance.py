# Hosts whose addresses are far away: programs of every kind, bare and with the library at the same time, because what
# is right is what the bare one does. First the lab itself is tested, by programs without the library.
# What is asserted of the library is its contract: an address is left only for one that has answered. What it does not
# keep yet is an expected failure, with what was measured.
# No time may be expected that is tighter than what a program would notice, and nothing be counted before the last
# packet has arrived.
import concurrent.futures
import contextlib
import dataclasses
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import lab as labs
from clients import CLIENTS, url
from distant_lab import Course, DistantLab, Host, live, refused, silent, unreachable
from programs.harness import NATIVE

# What a healthy connect may take longer than bare, as a share of the round trip.
SHARE = 0.05
# Milliseconds that packets may be late on a machine with something else to do, and that programs may. Of the times of
# packets the medians are compared; of those of programs, which wait for each other's processor, the quickest.
LATE = 25
SLOW = 120
# Seconds that a refusal may come later than bare, because a silent address may answer after all.
LAST_WAIT = 1.5 + SLOW / 1000
# Seconds after which a program is ended: longer than anything here may take.
TOO_LONG = 10
# The same where nothing answers.
NO_ANSWER = 3.2


@pytest.fixture(scope="session")
def lab():
    obstacle = DistantLab.obstacle()
    if obstacle:
        pytest.skip(obstacle)
    with DistantLab() as lab:
        yield lab


@pytest.fixture
def distant(lab):
    """distant(*places) gives a new host these addresses until the test ends."""
    with contextlib.ExitStack() as stack:
        yield lambda *places, **options: stack.enter_context(lab.distant(*places, **options))


# ---- The lab itself ----

# Connects to the first address of each host, one after the other, says its name, and reads the answer if there is one.
# A line for each: milliseconds, and the error or 0.
PLAIN = """
import socket, sys, time
for host in sys.argv[1:]:
    family, kind, protocol, _, address = socket.getaddrinfo(host, 4000, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as connection:
        connection.settimeout(2)
        began = time.monotonic()
        try:
            error = connection.connect_ex(address)
        except TimeoutError:
            error = "timeout"
        print((time.monotonic() - began) * 1000, error)
        if error == 0:
            connection.sendall(host.encode() + b"\\n\\n")
            connection.recv(1000)
"""


def run_plain(lab, text, *arguments):
    """What this program says in the network of the lab."""
    words = [sys.executable, "-c", text, *arguments]
    process = lab.spawn(words, stdout=subprocess.PIPE, env=lab.environment())
    output, _, timed_out = labs.communicate(process, 20)
    assert process.returncode == 0 and not timed_out
    return output


def plain_connects(*hosts, names=None):
    """Milliseconds and error of a connect to each of these, all by one program."""
    output = run_plain(hosts[0].lab, PLAIN, *(names or [host.host for host in hosts]))
    return [(float(ms), error) for ms, error in (line.split() for line in output.splitlines())]


CONNECTED, REFUSED, UNREACHABLE, TIMED_OUT = "0", "111", "113", "11"


@contextlib.contextmanager
def once_asked(hosts, change):
    """Calls the function once the first address of each of these hosts has been asked."""
    ended = threading.Event()

    def wait():
        while not all(host.count(0, "syn") for host in hosts):
            if ended.wait(0.02):
                return
        change()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("rtt", [1, 20, 250])
def test_lab_round_trips(distant, rtt, family):
    count = 5 if rtt < 100 else 3
    hosts = [distant(live(rtt, family=family)) for _ in range(count)]
    found = plain_connects(*hosts)
    assert [error for _, error in found] == [CONNECTED] * count
    # As the program has it, and as the packets say.
    assert rtt <= min(ms for ms, _ in found) <= rtt + LATE, found
    times = [host.course().connected for host in hosts]
    assert rtt <= min(times) and statistics.median(times) <= rtt + LATE, times
    for host in hosts:
        assert len(host.accepted()) == 1
        assert host.received(host.addresses[0]) == [host.host]
        assert [host.count(0, what) for what in ("syn", "syn-ack", "rst")] == [1, 1, 0]


def test_lab_each_address_has_its_own(distant):
    host = distant(live(90, family=6), live(30), live(60))
    found = plain_connects(host, names=host.addresses * 3)
    for number, place in enumerate(host.places):
        times = [ms for ms, _ in found[number :: len(host.places)]]
        assert place.rtt <= min(times) <= place.rtt + LATE, found
    assert {error for _, error in found} == {CONNECTED}


@pytest.mark.parametrize("family", [4, 6])
def test_lab_refuses_after_the_distance(distant, family):
    hosts = [distant(place(70, family=family)) for place in (refused, unreachable) * 3]
    found = plain_connects(*hosts)
    for number, expected in enumerate((REFUSED, UNREACHABLE)):
        times = [ms for ms, _ in found[number::2]]
        assert {error for _, error in found[number::2]} == {expected}
        assert 70 <= min(times) <= 70 + LATE, times
    assert [host.count(0, "rst") for host in hosts] == [1, 0] * 3
    assert not any(host.accepted() for host in hosts)


def test_lab_silence_and_lost_packets(distant):
    hosts = [distant(silent()), distant(live(30, lost=("syn 1",))), distant(live(30, lost=("syn-ack 1",)))]
    (_, error), syn, syn_ack = plain_connects(*hosts)
    assert error == TIMED_OUT
    assert hosts[0].count(0, "syn-ack") == hosts[0].count(0, "rst") == 0
    for ms, error in (syn, syn_ack):
        # The kernel asks again after a second.
        assert error == CONNECTED and 1000 <= ms <= 1300, (ms, error)
    for host in hosts:
        assert host.count(0, "syn") >= 2 and host.distinct(0, "syn") == 1
    assert [packet.lost for packet in hosts[1].packets(0) if packet.what == "syn"] == [True, False]
    assert hosts[1].count(0, "syn-ack") == 1
    assert [packet.lost for packet in hosts[2].packets(0) if packet.what == "syn-ack"][:2] == [True, False]


def times_of_flight(distant, seed, **properties):
    """How long each of the answers to some connects was under way, in milliseconds; None when one of its packets was
    lost. By the wire alone, with a socket that is closed at once."""
    # All are sent before the first answer comes, so that their order is the same each time.
    host = distant(live(300, **properties), seed=seed)
    text = """
import socket, sys
address = socket.getaddrinfo(sys.argv[1], 4000, type=socket.SOCK_STREAM)[0][4]
for i in range(60):
    with socket.socket() as connection:
        connection.setblocking(False)
        connection.connect_ex(address)
"""
    run_plain(host.lab, text, host.host)
    host.settle()
    packets = host.packets(0)
    answered = {packet.port: packet.at for packet in packets if packet.what == "syn-ack"}
    return [
        None if packet.port not in answered else (answered[packet.port] - packet.at) * 1000
        for packet in packets
        if packet.what == "syn"
    ]


def distance(some, others):
    return statistics.median(abs(one - other) for one, other in zip(some, others))


def test_lab_jitter(distant):
    def as_drawn(steady, jittery, again, other):
        return (
            (150 <= min(steady) and statistics.median(steady) <= 150 + LATE)
            # One way takes 150 to 225 ms, all of them as likely.
            and (150 <= min(jittery) <= 165 + LATE and 210 <= max(jittery))
            and 170 <= statistics.median(jittery) <= 205 + LATE
            # The same seed, the same times.
            and distance(jittery, again) <= LATE / 2 < distance(jittery, other)
        )

    # Others on this machine may hold all packets up at once.
    tries = []
    while not tries or (not as_drawn(*tries[-1]) and len(tries) < 6):
        tries.append(
            [times_of_flight(distant, seed, jitter=share) for seed, share in ((1, 0), (1, 0.5), (1, 0.5), (2, 0.5))]
        )
    assert as_drawn(*tries[-1]), tries


def test_lab_loss(distant):
    lost = [[ms is None for ms in times_of_flight(distant, seed, loss=0.3)] for seed in (1, 1, 2)]
    assert all(8 <= sum(each) <= 32 for each in lost), lost
    assert lost[0] == lost[1] != lost[2]


def test_lab_changes_while_a_program_waits(distant):
    hosts = [distant(silent(20)), distant(refused(20)), distant(live(20)), distant(live(20))]
    returning, starting, ending, moving = hosts
    with once_asked([returning], lambda: returning.change(0, silent=False)):
        ((ms, error),) = plain_connects(returning)
    # The kernel has asked again.
    assert error == CONNECTED and 1000 <= ms <= 1300, (ms, error)
    starting.listen(0)
    ending.refuse(0)
    moving.change(0, rtt=120)
    (_, first), (_, second), (third, _) = plain_connects(starting, ending, moving)
    assert (first, second) == (CONNECTED, REFUSED)
    assert 120 <= third <= 120 + SLOW
    assert len(starting.accepted()) == 1 and ending.accepted() == []


def test_lab_sees_connections_that_say_nothing(distant):
    host = distant(live(20), live(20))
    text = """
import socket, sys
for entry in socket.getaddrinfo(sys.argv[1], 4000, type=socket.SOCK_STREAM):
    socket.create_connection(entry[4]).close()
"""
    run_plain(host.lab, text, host.host)
    assert [(each.address, each.said) for each in host.accepted()] == [(address, []) for address in host.addresses]


def test_lab_ends_with_whoever_made_it(lab):
    text = f"""
import sys, time
sys.path.insert(0, {str(labs.ROOT / "tests")!r})
from distant_lab import DistantLab
lab = DistantLab()
print(lab.process_ids(), lab.directory, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True) as maker:
        *ids, directory = re.findall(r"\d+(?=[,\]])|/\S+", maker.stdout.readline())
        assert len(ids) == 2
        assert all(Path("/proc", each).exists() for each in ids) and Path(directory).exists()
        maker.send_signal(signal.SIGKILL)
    ends = time.monotonic() + 5
    while any(path.exists() for path in (*(Path("/proc", each) for each in ids), Path(directory))):
        assert time.monotonic() < ends
        time.sleep(0.01)


# ---- Programs ----


@dataclasses.dataclass(frozen=True)
class Program:
    name: str
    protocol: str
    words: Callable[[str, int], list[str]]
    installed: Callable[[], bool] = lambda: True


def small(label, name, **arguments):
    """Of tests/programs."""

    def words(host, port):
        return [*NATIVE.words(name), *(f"{k}={v}" for k, v in {"host": host, "port": port, **arguments}.items())]

    return Program(label, "banner", words)


def real(name):
    """Of tests/clients."""
    client = next(client for client in CLIENTS if client.name == name)
    return Program(name, client.protocol, client.words, lambda: client.installed)


# One of each way to wait.
SMALL = [
    small("a blocking connect", "connect_first", transfer=1),
    small("poll", "events_poll", how="poll"),
    small("select", "events_poll", how="select"),
    small("epoll", "events_epoll"),
    small("a thread asleep in epoll", "events_epoll", waiter="thread"),
]
REAL = [real(name) for name in ("curl", "python3 create_connection", "python3 asyncio", "node")]
FIRST_ONLY = [real(name) for name in ("python3 connect", "node")]
# In a test of their own, because to compile them takes long.
JAVA = [real(name) for name in ("java Socket", "java NIO")]


@dataclasses.dataclass(frozen=True)
class Group:
    """Programs that run at the same time."""

    programs: list[Program]
    times: int = 1  # that each of them runs in either way
    between: float = 0.06  # seconds after one that the next is started: those that have started would wait for it


# Those that wait in different places in the library, often enough that the median is of runs that have lost nothing.
SOME = [program for program in SMALL if program.name in ("a blocking connect", "poll", "epoll")]
GROUPS = {
    "small": Group(SMALL, 3, 0.02),
    "often": Group(SOME, 5, 0.02),
    "real": Group(REAL),
    "first only": Group(FIRST_ONLY),
    "java": Group(JAVA),
}
both_groups = pytest.mark.parametrize("group", ["small", "real"])


@dataclasses.dataclass
class Run:
    """One program that ran against a host of its own."""

    program: Program
    host: Host
    memory: Path | None = None  # where the library notes what it learns; bare without it
    result: labs.Result | None = None
    course: Course | None = None
    began: float = 0
    ended: float = 0

    def __post_init__(self):
        self._words = self.program.words(self.host.host, self.host.port)

    def run(self, after, timeout):
        time.sleep(after)
        self.began = time.monotonic()
        env = {**NATIVE.environment(), **NATIVE.preload(), "NEXTADDR_MEMORY": str(self.memory)} if self.memory else {}
        self.result = self.host.run(self._words, shim=False, env=env, timeout=timeout)
        self.ended = time.monotonic()

    def said(self):
        return self.result.stdout + self.result.stderr

    def reached(self):
        """The address that the program says it has got through to."""
        found = re.findall(r"(?:nextaddr-live |transfer=)([\da-f]+[.:][\d.:a-f]+)", self.said())
        return found[0] if len(set(found)) == 1 else None

    def __str__(self):
        library = "with the library" if self.memory else "bare"
        return f"{self.program.name}, {library}: {self.course}, servers saw {self.host.accepted()}; {self.result}"


@dataclasses.dataclass
class Pair:
    """The runs of one program, bare and with the library."""

    program: Program
    bare: list[Run]
    shim: list[Run]

    def later(self, what):
        """How many milliseconds later than bare it was connected, or acted."""
        return usual(self.shim, what) - usual(self.bare, what)

    def slow(self):
        """Milliseconds that a program may act late: more where bare ones act later than their two round trips explain,
        because the machine is busy."""
        return SLOW + 2 * max(0, usual(self.bare, "acted") - 2 * usual(self.bare, "connected"))

    def ended_later(self):
        """Seconds; from the first SYN on, because programs take long to start."""
        bare, shim = ([run.ended - run.course.began for run in runs] for runs in (self.bare, self.shim))
        return statistics.median(shim) - statistics.median(bare)


def usual(runs, what):
    times = [getattr(run.course, what) for run in runs]
    several = statistics.median if what == "connected" else min
    return several([float("inf") if ms is None else ms for ms in times])


def finish(runs, between, timeout=TOO_LONG):
    """All at the same time, but begun so many seconds after one another."""
    with concurrent.futures.ThreadPoolExecutor(len(runs)) as threads:
        list(threads.map(lambda i: runs[i].run(i * between, timeout), range(len(runs))))
    for run in runs:
        run.host.settle()
        run.course = run.host.course(run.began)


@pytest.fixture
def side_by_side(distant, tmp_path):
    """side_by_side(group, places) runs each program of the group bare and with the library, all at the same time, each
    against a host of its own. `bare` are the places that the bare ones get, where what they come to is to be had with
    the library from others. `meanwhile` is called with all hosts, once they have been asked."""

    def run(group, places, bare=None, meanwhile=None, timeout=TOO_LONG):
        group = GROUPS[group] if isinstance(group, str) else Group(group)
        programs = [program for program in group.programs if program.installed()]
        if not programs:
            pytest.skip(f"{', '.join(program.name for program in group.programs)}: not installed")
        pairs = []
        for program in programs:
            # With the same seed both meet the same jitter and the same losses.
            options = [{"protocol": program.protocol, "seed": seed} for seed in range(group.times)]
            # All have one memory: their addresses differ.
            shim = [Run(program, distant(*places, **each), tmp_path / "memory") for each in options]
            pairs.append(Pair(program, [Run(program, distant(*(bare or places), **each)) for each in options], shim))
        runs = [run for pair in pairs for both in zip(pair.bare, pair.shim) for run in both]
        hosts = [run.host for run in runs]
        with once_asked(hosts, lambda: meanwhile(hosts)) if meanwhile else contextlib.nullcontext():
            finish(runs, group.between, timeout)
        return pairs

    return run


# ---- What must be so ----


class Faults(list):
    """What is wrong, of all programs: the first that fails must not hide the others."""

    def check(self, holds, text, *runs):
        if not holds:
            self.append("\n    ".join([text, *map(str, runs)]))

    def check_later(self, pair, limit):
        """It has got through at most so many milliseconds later than bare."""
        for what, slack in (("connected", LATE), ("acted", pair.slow())):
            times = f"{usual(pair.shim, what):.0f} ms, bare {usual(pair.bare, what):.0f} ms"
            text = f"{pair.program.name} {what} after {times}; {limit:.0f} more would do"
            self.check(pair.later(what) <= limit + slack, text, *pair.shim)

    def check_exact(self, runs, connects=1):
        """The servers' applications have seen the connections that the program made, and no others."""
        for run in runs:
            addresses = [connection.address for connection in run.host.accepted()]
            self.check(run.reached() is not None, f"{run.program.name} did not get through", run)
            if run.reached() is not None:
                as_made = len(addresses) == connects and run.reached() in addresses
                self.check(as_made, f"{run.program.name}: the servers saw other connections than it made", run)

    def check_well(self, pairs, left=False):
        """No address is parked, or is to be asked again: all are healthy. One that was `left` may be noted as silent: a
        program that has ended since cannot know more, and the next one asks another first and that one by a probe."""
        shown = subprocess.run(
            [labs.LAUNCHER, "--memory", pairs[0].shim[0].memory, "--status"], capture_output=True, text=True
        )
        rows = [re.split(r"  +", line) for line in shown.stdout.splitlines()[1:]]
        unwell = {address: state for _, address, _, state, *_ in rows if state != "well" and not (left and "silent" in state)}
        for pair in pairs:
            for run in pair.shim:
                mine = {address: unwell[address] for address in run.host.addresses if address in unwell}
                self.check(not mine, f"{run.program.name}: remembered of healthy addresses: {mine}")

    def end(self):
        assert not self, f"{len(self)} faults\n" + "\n".join(self)


@pytest.fixture
def faults():
    return Faults()


def case(name, *values):
    return pytest.param(*values, id=name)


# ---- All addresses are healthy ----

HEALTHY = [
    case("two-at-20", [live(20)] * 2),
    case(
        "two-at-250",
        [live(250)] * 2,
    ),
    case(
        "six-at-350",
        [live(350)] * 6,
    ),
    case(
        "ipv6-and-ipv4-at-300",
        [live(300, family=6), live(300)],
    ),
    case(
        "jitter-at-270",
        [live(270, jitter=1 / 3)] * 2,
    ),
]
HEALTHY_MOSTLY = [
    case("jitter-at-110", [live(110, jitter=1 / 3)] * 2),
    case("loss-at-100", [live(100, loss=0.01)] * 2),
    case(
        "loss-at-300",
        [live(300, loss=0.01)] * 2,
    ),
]


def check_healthy(side_by_side, faults, places, group, left=False):
    pairs = side_by_side(group, places)
    for pair in pairs:
        faults.check_later(pair, SHARE * places[0].rtt)
        faults.check_exact(pair.bare + pair.shim)
    faults.check_well(pairs, left)


@both_groups
@pytest.mark.parametrize("places", HEALTHY)
def test_healthy(side_by_side, faults, places, group):
    check_healthy(side_by_side, faults, places, group)
    faults.end()


@pytest.mark.parametrize("places", HEALTHY_MOSTLY)
def test_healthy_but_for_jitter_and_loss(side_by_side, faults, places):
    check_healthy(side_by_side, faults, places, "often")
    faults.end()


UNEQUAL = [
    case(
        "350-and-200",
        live(350),
        live(200),
    ),
    case(
        "420-and-150",
        live(420),
        live(150),
    ),
    case(
        "250-and-20",
        live(250),
        live(20),
    ),
]


@both_groups
@pytest.mark.parametrize("first, nearer", UNEQUAL)
def test_unequal(side_by_side, faults, first, nearer, group):
    """It may cost one round trip of the nearer, and that once: then the distance is known."""
    pairs = side_by_side(group, [first, nearer])
    for pair in pairs:
        faults.check_later(pair, nearer.rtt)
        faults.check_exact(pair.bare + pair.shim)
    faults.check_well(pairs, left=True)
    for pair in pairs:
        pair.shim = [Run(run.program, run.host, run.memory) for run in pair.shim]
    finish([run for pair in pairs for run in pair.shim], GROUPS[group].between)
    for pair in pairs:
        faults.check_later(pair, SHARE * first.rtt)
        faults.check_exact(pair.shim, connects=2)
    faults.check_well(pairs, left=True)
    faults.end()


# ---- Packets are lost, or late ----

PARKED = "an address that is silent once is parked: connected after 252 ms, bare 1,054"
LOST = [
    case("the-first-syn-small", "syn 1", "small"),
    case("the-first-syn-ack-small", "syn-ack 1", "small"),
    case("the-first-syn-ack-real", "syn-ack 1", "real"),
]


@pytest.mark.parametrize("packet, group", LOST)
def test_lost(side_by_side, faults, packet, group):
    """Healthy all the same."""
    check_healthy(side_by_side, faults, [live(50, lost=(packet,)), live(50)], group, left=True)
    faults.end()


@both_groups
def test_late_and_the_only_one(side_by_side, faults, group):
    pairs = side_by_side(group, [live(900), silent()])
    for pair in pairs:
        faults.check_later(pair, SHARE * 900)
        faults.check_exact(pair.bare + pair.shim)
    faults.end()


@both_groups
def test_who_answers_too_late_sees_no_connection(side_by_side, faults, group):
    for pair in side_by_side(group, [live(700), live(20)], bare=[live(20)]):
        faults.check_exact(pair.bare + pair.shim)
    faults.end()


# ---- The first address is silent ----

# The milliseconds after which a program has to be connected that knows nothing of these addresses.
FIRST_SILENT = [
    case(
        "next-at-20",
        [silent(), live(20)],
        200,
    ),
    case(
        "two-silent-next-at-20",
        [silent(), silent(), live(20)],
        300,
    ),
    case(
        "next-at-300",
        [silent(), live(300)],
        1000,
    ),
]


@both_groups
@pytest.mark.parametrize("places, limit", FIRST_SILENT)
def test_first_silent(side_by_side, faults, places, limit, group):
    check_first_silent(side_by_side, faults, places, limit, group)
    faults.end()


def test_the_first_answers_late(side_by_side, faults):
    check_first_silent(side_by_side, faults, [live(2500), live(20)], 200, "small")
    faults.end()


def check_first_silent(side_by_side, faults, places, limit, group):
    """Bare ones wait for the kernel to give up, so they are given the live address alone."""
    pairs = side_by_side(group, places, bare=places[-1:])
    for pair in pairs:
        connected = usual(pair.shim, "connected")
        text = f"{pair.program.name}: connected after {connected:.0f} ms, not {limit}"
        faults.check(connected <= limit + LATE, text, *pair.shim)
        # What a program does after that takes it as long as without the library.
        bare, shim = (usual(runs, "acted") - usual(runs, "connected") for runs in (pair.bare, pair.shim))
        text = f"{pair.program.name}: acted {shim:.0f} ms after it was connected, bare {bare:.0f}"
        faults.check(shim <= bare + pair.slow(), text, *pair.shim)
        faults.check_exact(pair.bare + pair.shim)


@both_groups
@pytest.mark.parametrize("places", [places for each in FIRST_SILENT for places in each.values[:1]])
def test_the_next_program_waits_for_no_silent_one(side_by_side, faults, places, group):
    """However soon the first has ended."""
    for pair in side_by_side(group, places, bare=places[-1:]):
        again = [Run(run.program, run.host, run.memory) for run in pair.shim]
        finish(again, 0.5)
        text = f"{pair.program.name}: connected after {usual(again, 'connected'):.0f} ms, not {places[-1].rtt}"
        faults.check(usual(again, "connected") <= places[-1].rtt + LATE, text, *again)
    faults.end()


# ---- Nothing is live, or not in time ----

WAITS = "the silent address is waited for until the kernel gives up: 127 s, bare 0.02 s"
NOTHING_LIVE = [
    case("refused-silent-small", [refused(20), silent()], "small"),
    case("refused-silent-refused-real", [refused(20), silent(), refused(20)], "first only"),
]


@pytest.mark.parametrize("places, group", NOTHING_LIVE)
def test_nothing_live(side_by_side, faults, places, group):
    check_nothing_live(side_by_side, faults, places, group)
    faults.end()


def test_refused_and_silent_a_moment_later(side_by_side, faults):
    """A server that is being stopped. Programs are told the refusal, and do not wait for the kernel's time-out."""

    def go_silent(hosts):
        while not all(host.count(0, "syn") for host in hosts):
            time.sleep(0.02)
        time.sleep(0.5)
        for host in hosts:
            host.change(0, silent=True)

    # A second more, in which the kernel might have told it.
    check_nothing_live(
        side_by_side, faults, [refused(20), silent()], "small", limit=LAST_WAIT + 1, meanwhile=go_silent
    )
    faults.end()


def test_an_icmp_error_leaves_no_trace(side_by_side, faults):
    """In a connection that is made elsewhere: the kernel keeps the errors of a socket's handshakes in a queue."""
    for pair in side_by_side("small", [unreachable(20), live(20)], bare=[live(20)]):
        events = [[re.findall(r"events=(\S+)", run.result.stdout) for run in runs] for runs in (pair.bare, pair.shim)]
        faults.check(events[0] == events[1], f"{pair.program.name}: events {events[1]}, not {events[0]}", *pair.shim)
    faults.end()


def check_nothing_live(side_by_side, faults, places, group, limit=LAST_WAIT, **options):
    for pair in side_by_side(group, places, timeout=NO_ANSWER, **options):
        later = pair.ended_later()
        faults.check(later <= limit, f"{pair.program.name}: ended {later:.2f} s later than bare", *pair.shim)
        for bare, shim in zip(pair.bare, pair.shim):
            told = [(run.result.returncode, "refused" in run.said().lower()) for run in (bare, shim)]
            faults.check(told[0] == told[1], f"{pair.program.name}: told in another way than bare", bare, shim)


def test_java(side_by_side, faults):
    check_healthy(side_by_side, faults, [live(250)] * 2, "java")
    check_first_silent(side_by_side, faults, [silent(), live(20)], 200, "java")
    check_nothing_live(side_by_side, faults, [refused(20), silent()], "java")
    faults.end()


def script(name, text, *arguments):
    """A program that is given host, port and these."""
    return Program(name, "greeting", lambda host, port: [sys.executable, "-c", text, host, str(port), *arguments])


CREATE_CONNECTION = script(
    "create_connection(timeout=2)", "import socket, sys; socket.create_connection(sys.argv[1:3], timeout=2)"
)
SSH = Program(
    "ssh -o ConnectTimeout=2",
    "ssh",
    lambda host, port: ["ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "ConnectTimeout=2", "-p", str(port), host],
    lambda: shutil.which("ssh"),
)
WGET = Program(
    "wget -T 2",
    "http",
    lambda host, port: ["wget", "-q", "-T", "2", "-t", "1", url(host, port)],
    lambda: shutil.which("wget"),
)
CURL = Program(
    "curl --connect-timeout 2",
    "http",
    lambda host, port: ["curl", "-sS", "--connect-timeout", "2", url(host, port)],
    lambda: shutil.which("curl"),
)
OWN_LIMIT = [
    case(
        "create_connection-three-refused-one-silent",
        CREATE_CONNECTION,
        [refused(20)] * 3 + [silent()],
    ),
    case("create_connection-two-silent", CREATE_CONNECTION, [silent()] * 2),
    case(
        "ssh-silent-refused",
        SSH,
        [silent(), refused(20)],
    ),
    case(
        "wget-silent-refused",
        WGET,
        [silent(), refused(20)],
    ),
    case("curl-refused-silent", CURL, [refused(20), silent()]),
    case("a-blocking-connect-silent", small("SO_SNDTIMEO of 2 s", "connect_first", timeout=2000), [silent()] * 3),
]


@pytest.mark.parametrize("program, places", OWN_LIMIT)
def test_own_limit(side_by_side, faults, program, places):
    """It is never multiplied."""
    (pair,) = side_by_side([program], places, timeout=2 + NO_ANSWER)
    later = pair.ended_later()
    faults.check(later <= LAST_WAIT, f"ended {later:.2f} s later than bare", *pair.bare, *pair.shim)
    faults.check(not pair.shim[0].result.timed_out, "did not end by itself", *pair.shim)
    faults.end()


def test_a_refusal_is_told_before_half_of_the_limit(side_by_side, faults):
    program = small("SO_SNDTIMEO", "connect_first", timeout=1500)
    (pair,) = side_by_side([program], [refused(20), silent()])
    later = pair.ended_later()
    faults.check(later <= 0.75 + SLOW / 1000, f"ended {later:.2f} s later than bare", *pair.bare, *pair.shim)
    faults.check("error=ECONNREFUSED" in pair.shim[0].result.stdout, "is not told of the refusal", *pair.shim)
    faults.end()


def test_all_silent_is_not_asked_more_often_than_in_a_race(side_by_side, faults):
    """Of sockets that the kernel would have for each address: one of which is what the bare program has."""
    places = [silent()] * 3
    for pair in side_by_side([small("SO_SNDTIMEO", "connect_first", timeout=3300)], places):
        bare, shim = (
            [run.host.count(place, "syn") for place in range(len(places))] for run in (pair.bare[0], pair.shim[0])
        )
        faults.check(sum(shim) <= len(places) * sum(bare), f"SYNs to the addresses: {shim}, bare {bare}", *pair.shim)
    faults.end()


WAITS_FOR_ITS_SERVICE = """
import socket, sys, time
connected = False
while not connected:
    family, kind, protocol, _, address = socket.getaddrinfo(*sys.argv[1:], type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as connection:
        connected = connection.connect_ex(address) == 0
    time.sleep(0.1)
"""


def test_a_loop_that_waits_for_its_service(side_by_side, faults):
    """It notices within a second of when it does without the library."""
    program = script("a loop", WAITS_FOR_ITS_SERVICE)
    came_up = []

    def come_up(hosts):
        time.sleep(0.5)
        for host in hosts:
            host.listen(0)
        came_up.append(time.monotonic())

    (pair,) = side_by_side([program], [refused(20), silent()], meanwhile=come_up, timeout=NO_ANSWER)
    noticed = [run.ended - came_up[0] for run in (pair.bare[0], pair.shim[0])]
    text = f"noticed {noticed[1]:.1f} s after it came up, bare {noticed[0]:.1f}"
    faults.check(noticed[1] <= noticed[0] + 1 + SLOW / 1000, text, *pair.bare, *pair.shim)
    faults.check(not pair.shim[0].result.timed_out, "did not notice", *pair.shim)
    faults.end()
