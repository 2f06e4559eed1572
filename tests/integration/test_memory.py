# What one program has learned of an address, the next one knows: a dead address costs one program once, a revived one
# is asked again, and nothing that may happen to the file in between does more than make it forgotten.
# No program here may end in another way, or later, than with the memory off; nothing may be written outside a temporary
# directory, and no time expected that a slow machine cannot keep.
import contextlib
import dataclasses
import fcntl
import json
import os
import random
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

import lab as labs
import lab_server
from programs.events import assert_connected, hosts
from programs.harness import (
    AS_NOBODY, BUILDS, HOST, NATIVE, NOBODY, address_lab, preload, public, run_as_nobody, run_bare, run_shim, several,
    start, start_shim,
)  # fmt: skip

# Machines are slow at times: a result this much later than due is still on time.
LATE = 2500
# How the programs connect: one that blocks, and two kinds of event loops.
WAYS = [("connect_first", {}), ("events_poll", {"how": "poll"}), ("events_epoll", {"how": "epoll_wait"})]


# ---- The file, as src/memory/record.h describes it ----

LINE = 320
LINES = 1 + 128 * 8
HEADER = b"nextaddr memory 2".ljust(LINE - 1) + b"\n"


def check_of(text):
    """FNV-1a."""
    value = 0x811C9DC5
    for byte in text:
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return b"%08x" % value


@dataclasses.dataclass
class Record:
    """Times in milliseconds since 1970, the round-trip time in microseconds, silence in milliseconds."""

    address: str
    port: int
    failures: int = 0
    until: int = 0
    claimed: int = 0
    updated: int = 0
    rtt: int = 0
    silent: int = 0
    silent_at: int = 0
    host: str = HOST
    network: int = 1

    def line(self):
        numbers = [self.port, self.network, self.failures, self.until, self.claimed, self.updated, self.rtt]
        numbers += [self.silent, self.silent_at]
        text = b" ".join(str(word).encode() for word in (self.address, *numbers, self.host)) + b" "
        return (text + check_of(text)).ljust(LINE - 1) + b"\n"


def parse(line):
    words = line.decode().split()
    port, network, *rest = map(int, words[1:10])
    record = Record(words[0], port, *rest, host=words[10], network=network)
    assert record.line() == line
    return record


class Memory:
    """A memory file that the programs of one test share."""

    def __init__(self, path):
        self.path = Path(path)

    def env(self, **more):
        """`more` are further variables, without NEXTADDR_."""
        more = {f"NEXTADDR_{name}": str(value) for name, value in more.items()}
        return {"NEXTADDR_MEMORY": str(self.path), "NEXTADDR_LOG": "info", **more}

    def records(self):
        """Those there are by their addresses. The whole file must be in order: what is no record is a hole."""
        data = self.path.read_bytes()
        assert data[:LINE] == HEADER
        assert len(data) % LINE == 0 and len(data) <= LINE * LINES
        lines = [data[at : at + LINE] for at in range(LINE, len(data), LINE)]
        records = [parse(line) for line in lines if line.strip(b"\0")]
        found = {(record.address, record.port): record for record in records}
        assert len(found) == len(records), "an address has two records"
        return {record.address: record for record in records}

    def asked_last(self):
        """Those that have failed, or were silent: for how long is found out by who lives longer."""
        return {address for address, record in self.records().items() if record.failures or record.silent}

    def failing(self):
        return {address for address, record in self.records().items() if record.failures}

    def write(self, *records):
        """Puts these where the library looks for them, which is learned from a library that fails to connect there."""
        data = bytearray(self.path.read_bytes())
        for record in records:
            at = data.index(f"{record.address} {record.port} ".encode())
            data[at : at + LINE] = record.line()
        self.path.write_bytes(data)


@pytest.fixture
def memory(tmp_path):
    return Memory(tmp_path / "memory")


@pytest.fixture
def public_memory():
    """In a directory that every user may enter."""
    with tempfile.TemporaryDirectory(prefix="nextaddr-") as name:
        os.chmod(name, 0o755)
        yield Memory(Path(name) / "memory")


def wall_ms():
    return time.time_ns() // 1_000_000


def sleep_until(ms):
    time.sleep(max(0, ms - wall_ms()) / 1000)


# ---- Servers of the tests' own ----


class Server:
    """An address that is live, refuses or is silent as it is told; at first it refuses."""

    def __init__(self, host):
        self.address = host.lab.unused()
        self._connections = 0
        self._port = host.port
        self._sockets = []

    def live(self):
        self.refuse()
        listener = self._listen(128)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def refuse(self):
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for it
            each.close()
        self._sockets = []

    def connections(self, expected):
        """How many it has accepted, once these have been."""
        ends = time.monotonic() + LATE / 1000
        while self._connections < expected and time.monotonic() < ends:
            time.sleep(0.001)
        return self._connections

    def silent(self):
        # With a full queue of connections to accept, the kernel drops every further SYN.
        self.refuse()
        listener = self._listen(0)
        for _ in range(2):
            self._sockets.append(lab_server.begin_connect(*listener.getsockname()))
        probe = lab_server.begin_connect(*listener.getsockname())
        self._sockets.append(probe)
        assert not select.select([], [probe], [], 0.05)[1], "it is not silent"

    def _listen(self, backlog):
        listener = socket.create_server((self.address, self._port), backlog=backlog)
        self._sockets.append(listener)
        return listener

    def _accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                connection = listener.accept()[0]
                self._connections += 1
                threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection):
        with connection, contextlib.suppress(OSError):
            lab_server.serve_banner(lab_server.Stream(connection, []), self.address)


@pytest.fixture
def server():
    """server(host): a server at the port of this host."""
    servers = []

    def new(host):
        servers.append(Server(host))
        return servers[-1]

    yield new
    for each in servers:
        each.refuse()


def named(*addresses):
    """A variable for Memory.env() that gives HOST these addresses."""
    return {"RESOLVE": f"{HOST}={','.join(addresses)}"}


def milliseconds(run):
    return int(run.first["ms"])


def run_in(namespace, *words, **options):
    """Runs a command in the namespace; what it says."""
    process = namespace.spawn(words, stdout=subprocess.PIPE, **options)
    said = process.communicate(timeout=30)[0]
    assert process.returncode == 0, words
    return said


def assert_reached(run, address):
    if "result" in run.first:
        assert run.values("result", "error", "peer") == ("0", "0", address), run
        assert run.lines[-1].get("descriptors_left", "0") == "0", run
    else:
        assert_connected(run, address)


def assert_straight(run, parked, address):
    """Connected to this address after passing over those, and nothing else."""
    assert_reached(run, address)
    words = ", ".join([f"{each} parked" for each in parked] + [rf"{address} connected \d+ ms"])
    assert re.search(rf" \S+:\d+ {words}\n", run.stderr), run


def attempts(trace):
    """The addresses that the kernel was asked to connect to, in a trace of strace: those of TCP, because libc connects
    sockets of UDP to sort what it has looked up."""
    stream, found = set(), []
    for line in trace.read_text().splitlines():
        if new := re.search(r"socket\(AF_INET6?, (SOCK_\w+).* = (\d+)$", line):
            (stream.add if new[1] == "SOCK_STREAM" else stream.discard)(new[2])
        # A step of ours works on a duplicate.
        if (copied := re.search(r"fcntl(?:64)?\((\d+), F_DUPFD_CLOEXEC, \d+\) += (\d+)$", line)) and copied[1] in stream:
            stream.add(copied[2])
        asked = re.search(r"connect\((\d+), \{sa_family=AF_INET6?, [^}]*\"(?:::ffff:)?([\d.:a-f]+)\"", line)
        if asked and asked[1] in stream:
            found.append(asked[2])
    return found


def traced(require, trace, calls="socket,connect,fcntl"):
    return [require("strace"), "-f", "-qq", "-e", f"trace={calls}", "-o", str(trace)]


# ---- The second program goes straight on ----


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way[0])
@hosts(("refused", "live"), ("silent", "live"), ("silent", "refused", "live"))
def test_the_next_program_goes_straight_on(several, memory, require, tmp_path, kinds, way):
    name, arguments = way
    host = several(*kinds)
    dead = host.addresses[:-1]
    assert_reached(run_shim(host, name, env=memory.env(), **arguments), host.live[0])
    assert memory.asked_last() == set(dead)
    # However the next one connects.
    for number, (name, arguments) in enumerate(WAYS):
        trace = tmp_path / f"trace-{number}"
        run = run_shim(host, name, env=memory.env(), before=traced(require, trace), **arguments)
        assert_reached(run, host.live[0])
        assert f"{dead[0]} parked, " in run.stderr, run
        assert attempts(trace) == [host.live[0]]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way[0])
@pytest.mark.parametrize("kind", ["refused-first", "silent-first"])
def test_names_of_a_real_resolver(namespace, memory, require, tmp_path, kind, way):
    name, arguments = way
    trace = tmp_path / "trace"
    with namespace.scenario(kind, protocol="banner") as host:
        assert_reached(run_shim(host, name, env=memory.env(), **arguments), host.live[0])
        assert memory.asked_last() == {host.addresses[0]}
        run = run_shim(host, name, env=memory.env(), before=traced(require, trace), **arguments)
    assert_straight(run, [host.addresses[0]], host.live[0])
    assert attempts(trace) == [host.live[0]]


def test_ipv6(several, memory):
    host = several("silent6", "live")
    for _ in range(2):
        run = run_shim(host, "connect_first", env=memory.env())
        assert run.values("result", "error", "peer") == ("0", "0", f"::ffff:{host.live[0]}"), run
    assert "[::1] parked, " in run.stderr, run
    assert memory.asked_last() == {"[::1]"}


def test_without_a_memory_every_program_pays(several, memory):
    # What the tests above would see if nothing was remembered.
    host = several("silent", "live")
    for _ in range(2):
        run = run_shim(host, "connect_first", env={**memory.env(), "NEXTADDR_MEMORY": "off"})
        assert " silent " in run.stderr and "parked" not in run.stderr, run
        assert milliseconds(run) > 95
    assert not memory.path.exists()


def test_the_port_belongs_to_it(several, memory):
    # A host may refuse one port and serve another.
    host = several("refused", "live")
    other = several("live", "live")
    run_shim(host, "connect_first", env=memory.env())
    resolve = named(*other.addresses)
    first = run_shim(other, "connect_first", env=memory.env(**resolve))
    assert_reached(first, other.addresses[0])
    assert memory.failing() == {host.addresses[0]}


def test_the_usual_file(several, tmp_path):
    host = several("refused", "live")
    usual = {"NEXTADDR_MEMORY": "", "NEXTADDR_LOG": "info", "XDG_RUNTIME_DIR": str(tmp_path)}
    for _ in range(2):
        run = run_shim(host, "connect_first", env=usual)
    assert_straight(run, host.addresses[:1], host.live[0])
    memory = Memory(tmp_path / "nextaddr-memory")
    assert memory.failing() == {host.addresses[0]}
    assert memory.path.stat().st_mode & 0o7777 == 0o600
    shown = subprocess.run([labs.LAUNCHER, "--status"], env={**os.environ, **usual}, capture_output=True, text=True)
    assert host.addresses[0] in shown.stdout


@pytest.mark.parametrize("runtime", ["", "not/absolute", "/nonexistent", "another user's"])
def test_the_usual_file_without_a_runtime_directory(namespace, runtime):
    # Of root in a namespace, who sees every other user as nobody.
    with contextlib.ExitStack() as stack:
        run_in(namespace, "mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/dev/shm")
        stack.callback(run_in, namespace, "umount", "/dev/shm")
        if runtime == "another user's":
            if os.geteuid() != 0:
                pytest.skip("only root can give a directory away")
            runtime = stack.enter_context(tempfile.TemporaryDirectory(prefix="nextaddr-"))
            os.chmod(runtime, 0o777)
            os.chown(runtime, NOBODY, NOBODY)
        host = stack.enter_context(namespace.scenario("refused-first", protocol="banner"))
        usual = {"NEXTADDR_MEMORY": "", "NEXTADDR_LOG": "info", "XDG_RUNTIME_DIR": runtime}
        for _ in range(2):
            run = run_shim(host, "connect_first", env=usual)
        assert_straight(run, host.addresses[:1], host.live[0])
        assert run_in(namespace, "ls", "/dev/shm") == "nextaddr-memory-0\n"
        shown = run_in(namespace, labs.LAUNCHER, "--status", env={**os.environ, **usual})
        assert host.addresses[0] in shown


# ---- Who is not parked ----


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way[0])
def test_no_route_is_not_the_fault_of_the_address(several, memory, way):
    name, arguments = way
    host = several("unreachable", "live")
    for _ in range(2):
        run = run_shim(host, name, env=memory.env(), **arguments)
        assert_reached(run, host.live[0])
        assert f"{host.addresses[0]} network unreachable " in run.stderr, run
    assert not memory.path.exists() or memory.failing() == set()


def test_no_local_port_is_not_the_fault_of_the_address(several, server, memory):
    host = several("live", "refused")
    first = server(host)
    first.live()
    with socket.socket() as taken:
        taken.connect((first.address, host.port))
        arguments = {"only_port": taken.getsockname()[1]}
        run = run_shim(host, "one_lookup", env=memory.env(**named(first.address, host.live[0])), **arguments)
    if "broken: setsockopt" in run.stderr:
        pytest.skip("no IP_LOCAL_PORT_RANGE")
    assert_reached(run, host.live[0])
    assert f"{first.address} no local address" in run.stderr, run
    assert memory.failing() == set()


def test_silence_of_all_may_be_the_networks(several, memory):
    host = several("silent", "silent")
    eventful = start_shim(host, "events_poll", env=memory.env(), how="poll", syncnt=1)
    run = run_shim(host, "connect_first", env=memory.env(), timeout=900)
    assert run.values("result", "error") == ("-1", "EINPROGRESS"), run
    assert eventful.finish().values("so_error", "peer") == ("ETIMEDOUT", "none"), eventful
    assert not memory.path.exists() or memory.failing() == set()


def test_a_healthy_address_is_never_passed_over(several, memory):
    host = several("live", "refused", "live")
    env = memory.env()
    other = {"NEXTADDR_RESOLVE": f"{HOST}={host.addresses[1]},{host.addresses[2]}"}
    assert_reached(run_shim(host, "connect_first", env={**env, **other}), host.addresses[2])
    assert memory.failing() == {host.addresses[1]}
    for name, arguments in WAYS:
        run = run_shim(host, name, env=env, **arguments)
        assert_reached(run, host.addresses[0])
        assert run.stderr == "", run


def test_one_that_answers_after_all_is_healthy_again(several, server, memory):
    # Asked last, because it is parked, and yet the only one that is left.
    host = several("refused", "live")
    first = server(host)
    live = host.live[0]
    run_shim(host, "connect_first", env=memory.env(**named(first.address, live)))
    assert memory.failing() == {first.address}
    first.live()
    run = run_shim(host, "connect_first", env=memory.env(**named(first.address, host.addresses[0])))
    assert_reached(run, first.address)
    assert memory.failing() == {host.addresses[0]}


def test_a_datagram_socket_with_the_number_of_a_connection_teaches_nothing(several, memory):
    host = several("refused", "live")
    text = """
import socket, sys
where = socket.getaddrinfo(*sys.argv[1:], type=socket.SOCK_STREAM)[0][4]
with socket.create_connection(sys.argv[1:]) as connection:
    number = connection.fileno()
with socket.socket(type=socket.SOCK_DGRAM) as other:
    assert other.fileno() == number
    other.connect(where)
"""
    for _ in range(2):
        result = host.run([sys.executable, "-c", text, host.host, str(host.port)], env=memory.env())
        assert result.returncode == 0, result
        assert memory.failing() == {host.addresses[0]}


# ---- All are parked ----


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way[0])
def test_when_all_are_parked_all_are_asked(several, memory, require, tmp_path, way):
    name, arguments = way
    host = several("refused", "refused", "refused")
    bare = run_bare(host, name, **arguments)
    keys = ("result", "error", "so_error", "events", "peer", "state", "transfer", "changed", "timeout")
    for number in range(2):
        trace = tmp_path / f"trace-{number}"
        run = run_shim(host, name, env=memory.env(), before=traced(require, trace), **arguments)
        assert set(attempts(trace)) == set(host.addresses)
        for expected, got in zip(bare.lines, run.lines):
            for key in keys:
                assert got.get(key) == expected.get(key), (key, bare, run)
    assert memory.failing() == set(host.addresses)


@pytest.mark.parametrize("revived", [0, 1, 2])
def test_when_all_are_parked_a_live_one_is_reached(several, server, memory, revived):
    host = several("live", "refused")
    servers = [server(host) for _ in range(3)]
    addresses = [each.address for each in servers]
    env = memory.env(**named(*addresses))
    assert run_shim(host, "connect_first", env=env).first["error"] == "ECONNREFUSED"
    assert memory.failing() == set(addresses)
    servers[revived].live()
    assert_reached(run_shim(host, "connect_first", env=env), addresses[revived])
    assert memory.failing() == set(addresses) - {addresses[revived]}


def test_the_only_address_is_asked_although_it_is_parked(several, server, memory):
    host = several("live", "refused")
    first = server(host)
    run_shim(host, "connect_first", env=memory.env(**named(first.address, host.live[0])))
    first.live()
    run = run_shim(host, "connect_first", env=memory.env(**named(first.address)))
    assert_reached(run, first.address)


@pytest.mark.parametrize("same_socket", [0, 1])
def test_programs_that_loop_pay_twice_at_most(several, memory, require, tmp_path, same_socket):
    host = several(*["refused"] * 6)
    for number in range(2):
        trace = tmp_path / f"trace-{number}"
        command = traced(require, trace)
        run = run_shim(host, "walk_all", env=memory.env(), before=command, same_socket=same_socket)
        assert [line["error"] for line in run.lines] == ["ECONNREFUSED"] * 6, run
        assert [line["asked"] for line in run.lines] == host.addresses
        assert 6 < len(attempts(trace)) <= 2 * 6


# ---- After its parking ----


def test_one_program_asks_again_and_then_all(several, server, memory):
    host = several("live", "refused")
    first, live = server(host), host.live[0]
    # Long enough for all of these programs to have started while one of them still waits.
    env = memory.env(PARKING=600, DELAY=1500, **named(first.address, live))
    assert_reached(run_shim(host, "connect_first", env=env), live)
    parked = memory.records()[first.address]
    assert parked.failures == 1
    assert 480 <= parked.until - parked.updated <= 720

    # It has come back, but its parking is not over.
    first.live()
    run = run_shim(host, "connect_first", env=env)
    if wall_ms() < parked.until:
        assert_straight(run, [first.address], live)

    first.silent()
    sleep_until(parked.until + 10)
    for run in [start_shim(host, "connect_first", env=env) for _ in range(10)]:
        assert_straight(run.finish(), [first.address], live)
    # One of them has begun to ask it by a probe, and has ended too soon to know.
    parked = memory.records()[first.address]
    assert parked.failures == 1
    assert parked.claimed >= parked.until

    # So the next one does that in its own connect, after a while.
    first.live()
    parked.until = parked.claimed = parked.claimed - 11_000
    memory.write(parked)
    for _ in range(3):
        assert_reached(run_shim(host, "connect_first", env=env), first.address)
    assert memory.failing() == set()
    assert first.connections(3) == 3


@pytest.mark.parametrize("way", WAYS[1:], ids=lambda way: way[0])
def test_a_revived_address_is_found_by_event_loops(several, server, memory, way):
    name, arguments = way
    host = several("live", "live")
    first, live = server(host), host.live[0]
    env = memory.env(PARKING=100, **named(first.address, live))
    run_shim(host, name, env=env, **arguments)
    parked = memory.records()[first.address]
    first.live()
    sleep_until(parked.until + 10)
    # A probe finds it, while the program gets another one.
    assert_reached(run_shim(host, name, env=env, **arguments), live)
    assert memory.failing() == set()
    assert_reached(run_shim(host, name, env=env, **arguments), first.address)
    assert first.connections(1) == 1


def test_while_another_process_claims_nobody_else_does(several, memory):
    host = several("refused", "live")
    env = memory.env(PARKING=50)
    run_shim(host, "connect_first", env=env)
    sleep_until(memory.records()[host.addresses[0]].until + 10)
    with open(memory.path, "r+b") as file:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        started = time.monotonic()
        run = run_shim(host, "connect_first", env=env)
        assert time.monotonic() - started < LATE / 1000
        assert_straight(run, host.addresses[:1], host.live[0])
    # Nobody holds it any more.
    assert memory.records()[host.addresses[0]].failures == 1
    run_shim(host, "connect_first", env=env)
    assert memory.records()[host.addresses[0]].failures == 2


def test_a_claim_that_came_to_nothing_is_free_again(several, memory):
    host = several("refused", "live")
    run_shim(host, "connect_first", env=memory.env())
    record = memory.records()[host.addresses[0]]
    now = wall_ms()
    for claimed_before, asked in ((5000, False), (11_000, True)):
        record.until = now - 20_000
        record.claimed = record.updated = now - claimed_before
        memory.write(record)
        run = run_shim(host, "connect_first", env=memory.env())
        assert (f"{host.addresses[0]} refused" in run.stderr) == asked, run
        assert_reached(run, host.live[0])


def test_trying_again_and_again_does_not_make_it_longer(several, memory):
    host = several("refused", "refused")
    started = wall_ms()
    run = run_shim(host, "walk_all", env=memory.env(), rounds=20)
    run_shim(host, "walk_all", env=memory.env(), rounds=20)
    assert {line["error"] for line in run.lines} == {"ECONNREFUSED"}
    for address in host.addresses:
        record = memory.records()[address]
        assert record.failures == 1
        assert 24_000 <= record.until - record.updated <= 36_000
        assert started <= record.updated <= wall_ms()


def test_a_clock_set_back_parks_nobody_for_ever(several, memory):
    host = several("refused", "live")
    run_shim(host, "connect_first", env=memory.env())
    record = memory.records()[host.addresses[0]]
    year = 365 * 24 * 3600 * 1000
    record.until = record.updated = record.claimed = wall_ms() + year
    memory.write(record)
    # It is asked by a probe, which refuses again.
    run_shim(host, "connect_first", env=memory.env())
    assert memory.records()[host.addresses[0]].until < wall_ms() + year // 2
    assert_straight(run_shim(host, "connect_first", env=memory.env()), host.addresses[:1], host.live[0])


# ---- Programs that live long ----


def test_what_a_child_learns_its_parent_knows(several, memory):
    # By the memory they share: nothing is looked up meanwhile, and there is no file.
    host = several("silent", "live")
    env = {**memory.env(), "NEXTADDR_MEMORY": str(memory.path / "nowhere")}
    run = run_shim(host, "one_lookup", env=env, in_child=1, times=3)
    assert [line["peer"] for line in run.lines] == [host.live[0]] * 3, run
    first, *others = run.stderr.splitlines()
    assert f"{host.addresses[0]} silent" in first, run
    assert len(others) == 2 and all(f"{host.addresses[0]} parked, " in line for line in others), run


def test_what_ended_last_does_not_forget_what_others_found_out(several, server, memory):
    # The one that connected while all was well writes its round-trip time when it ends.
    host = several("live", "refused")
    first, live = server(host), host.live[0]
    env = memory.env(**named(first.address, live))
    first.live()
    long_lived = start_shim(host, "one_lookup", env=env, stay=700)
    time.sleep(0.3)
    first.refuse()
    assert_reached(run_shim(host, "connect_first", env=env), live)
    assert memory.failing() == {first.address}
    assert_reached(long_lived.finish(), first.address)
    assert memory.failing() == {first.address}
    assert_straight(run_shim(host, "connect_first", env=env), [first.address], live)


def test_a_parking_is_not_made_shorter_by_who_did_not_know_of_it(several, server, memory):
    host = several("refused", "live")
    address = host.addresses[0]
    long_lived = start_shim(host, "one_lookup", env=memory.env(), pause=600)
    time.sleep(0.2)
    run_shim(host, "connect_first", env=memory.env())
    record = memory.records()[address]
    record.failures, record.rtt, record.until = 4, 70_000, record.updated + 240_000
    memory.write(record)
    assert_reached(long_lived.finish(), host.live[0])
    assert memory.records()[address] == record


# ---- Round-trip times ----


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way[0])
def test_the_silence_of_a_near_address_is_noticed_soon(several, server, memory, tmp_path, way):
    name, arguments = way
    host = several("live", "refused")
    first, live = server(host), host.live[0]
    first.live()
    names = named(first.address, live)
    run_shim(host, name, env=memory.env(**names), **arguments)
    record = memory.records()[first.address]
    assert record.failures == 0
    assert 0 < record.rtt < 100_000
    # As if measured on a machine without load.
    record.rtt = 50
    memory.write(record)
    first.silent()
    # Who finds out parks it, so each of these has a memory of its own.
    waits = []
    for number in range(3):
        copy = Memory(shutil.copy(memory.path, tmp_path / f"copy-{number}"))
        run = run_shim(host, "connect_first", env=copy.env(**names))
        assert_reached(run, live)
        assert f"{first.address} silent" in run.stderr, run
        waits.append(milliseconds(run))
        assert copy.asked_last() == {first.address}
    assert 19 <= min(waits) < 100, waits
    run = run_shim(host, "connect_first", env=memory.env(DELAY=300, **names))
    assert milliseconds(run) >= 298, run


def test_the_silence_of_a_far_address_is_waited_for_longer(several, memory):
    host = several("silent", "live")
    run_shim(host, "connect_first", env=memory.env())
    record = memory.records()[host.addresses[0]]
    record.failures, record.silent, record.rtt = 0, 0, 250_000
    memory.write(record)
    run = run_shim(host, "connect_first", env=memory.env())
    assert_reached(run, host.live[0])
    # Half as long again, and 30 ms.
    assert 400 <= milliseconds(run) < 400 + LATE


def test_what_the_program_did_meanwhile_is_no_round_trip(several, memory):
    # It starts to wait for the connect a second after it was made. That must not be taken for a far address.
    host = several("live", "refused")
    script = """if True:
        import selectors, socket, sys, time
        address = socket.getaddrinfo(sys.argv[1], int(sys.argv[2]), type=socket.SOCK_STREAM)[0][4]
        connecting = socket.socket()
        connecting.setblocking(False)
        connecting.connect_ex(address)
        time.sleep(1)
        with selectors.PollSelector() as selector:
            selector.register(connecting, selectors.EVENT_WRITE)
            selector.select()
        sys.exit(connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    """
    words = ["/usr/bin/python3", "-c", script, HOST, str(host.port)]
    env = {**host.lab.environment(), **NATIVE.environment(), **preload(), **memory.env(RESOLVE=host.resolve)}
    subprocess.run(words, env=env, check=True, timeout=30)
    assert 0 < memory.records()[host.addresses[0]].rtt < 500_000


# ---- A healthy connect pays nothing ----


def calls_of_connect(trace):
    """The system calls from socket(2) on to the close(2) of the socket, without what they were told."""
    calls = [re.sub(r"\(0x\w+", "(", line.split(maxsplit=1)[1]) for line in trace.read_text().splitlines()]
    # A connect that is measured, as the first one of a process is, asks which network it was in.
    asked = [call for call in calls if "SO_NETNS_COOKIE" in call]
    assert len(asked) <= 1
    calls = [call for call in calls if call not in asked]
    first = max(i for i, call in enumerate(calls) if call.startswith("socket(AF_INET, SOCK_STREAM"))
    last = next(i for i, call in enumerate(calls) if i > first and call.startswith("close(3)"))
    return [re.match(r"\w+\(\w*", call)[0] for call in calls[first:last]]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way[0])
def test_a_healthy_connect_pays_no_system_call(several, memory, require, tmp_path, way):
    name, arguments = way
    host = several("live", "refused")

    def calls_of_each():
        seen = []
        memory.path.unlink(missing_ok=True)
        # Off, with nothing known, with a round-trip time known, and with another address parked.
        for number, env in enumerate([{}, memory.env(), memory.env(), memory.env()]):
            if number == 3:
                parked = {"NEXTADDR_RESOLVE": f"{HOST}={host.addresses[1]},{host.addresses[0]}"}
                run_shim(host, name, env={**env, **parked}, **arguments)
                assert memory.failing() == {host.addresses[1]}
            trace = tmp_path / f"trace-{number}"
            run = run_shim(host, name, env=env, before=[require("strace"), "-f", "-o", str(trace)], **arguments)
            assert_reached(run, host.live[0])
            seen.append(calls_of_connect(trace))
        assert len(seen[0]) > 5
        return seen

    # A connect that has taken more than 4 ms, on a busy machine, pays for one.
    for _ in range(4):
        seen = calls_of_each()
        if seen == [seen[0]] * 4:
            break
    assert seen == [seen[0]] * 4


# ---- Whatever is in the place of the file ----


def valid_file():
    return HEADER + b"\0" * LINE * 8 + Record("192.0.2.1", 80, 1, 5, 5, 5).line()


def replaced(data, at, new):
    return data[:at] + new + data[at + len(new) :]


# What the file may hold. Those with True are somebody else's, and must stay what they are.
CONTENTS = {
    "nothing": (b"", False),
    "only the header": (HEADER, False),
    "half a header": (HEADER[:40], True),
    "a header without its last byte": (HEADER[:-1], True),
    "half a record": (valid_file()[:-LINE // 2], False),
    "a record without its last byte": (valid_file()[:-1], False),
    "an older version": (HEADER.replace(b"2", b"1") + b"x" * 1000, False),
    "a line edited by hand": (replaced(valid_file(), LINE * 9 + 14, b"9"), False),
    "garbage below the header": (HEADER + random.Random(8305).randbytes(LINE * (LINES - 1)), False),
    "lines below the header": (HEADER + b"\n" * 5000, False),
    "twice its size": (HEADER + b"\0" * (2 * LINE * LINES), False),
    "another program's text": (b"# settings\n" * 3000, True),
    "another program's bytes": (random.Random(7).randbytes(300_000), True),
    "one byte": (b"n", True),
    "the beginning of our first word": (b"nextadd", True),
    "a text that begins as ours": (b"nextaddr memory leaks, as far as known\n".ljust(5000), True),
    "a version and more": (HEADER.replace(b"2 ", b"2 of ours") + b"x" * 1000, True),
}


@pytest.mark.parametrize("content", CONTENTS)
def test_whatever_the_file_holds(several, memory, content):
    data, foreign = CONTENTS[content]
    host = several("refused", "live")
    memory.path.write_bytes(data)
    memory.path.chmod(0o600)
    runs = [run_shim(host, name, env=memory.env(), **arguments) for name, arguments in WAYS]
    for run in runs:
        assert_reached(run, host.live[0])
    if foreign:
        assert memory.path.read_bytes() == data
    else:
        assert_straight(runs[-1], host.addresses[:1], host.live[0])
        assert host.addresses[0].encode() in memory.path.read_bytes()


@pytest.mark.parametrize("how", ["edited", "cut off", "overwritten", "moved"])
def test_a_record_that_is_not_whole_is_not_believed(several, memory, how):
    host = several("refused", "live")
    run_shim(host, "connect_first", env=memory.env())
    whole = memory.path.read_bytes()
    record = memory.records()[host.addresses[0]].line()
    at = whole.index(record)
    if how == "edited":
        memory.path.write_bytes(replaced(whole, at, record.replace(b" 1 ", b" 2 ", 1)))
    elif how == "cut off":
        os.truncate(memory.path, at + LINE - 1)
    elif how == "overwritten":
        memory.path.write_bytes(replaced(whole, at + LINE // 2, b"\0" * (LINE // 2)))
    else:
        memory.path.write_bytes(replaced(replaced(whole, at, b" " * LINE), at - 1, record))
    run = run_shim(host, "connect_first", env=memory.env())
    assert_reached(run, host.live[0])
    assert f"{host.addresses[0]} refused" in run.stderr, run


def test_every_record_is_of_others(several, memory):
    # All of them parked, and changed later than anything here.
    for _ in range(2):
        run_shim(several(*["refused"] * 999, "live"), "connect_first", env=memory.env())
    others = list(memory.records().values())
    assert len(others) > LINES * 0.9
    later = wall_ms() + 300_000
    memory.write(*(dataclasses.replace(other, failures=3, until=later, updated=later) for other in others))
    host = several("refused", "live")
    for _ in range(2):
        run = run_shim(host, "connect_first", env=memory.env())
    assert_straight(run, host.addresses[:1], host.live[0])
    assert len(memory.records()) in (len(others), len(others) + 1)


def test_a_huge_file(several, memory):
    host = several("refused", "live")
    memory.path.write_bytes(HEADER)
    memory.path.chmod(0o600)
    os.truncate(memory.path, 1 << 40)
    for _ in range(2):
        run = run_shim(host, "connect_first", env=memory.env())
        assert milliseconds(run) < LATE
    assert_straight(run, host.addresses[:1], host.live[0])
    assert memory.path.stat().st_size == 1 << 40
    status = subprocess.run([labs.LAUNCHER, "--memory", memory.path, "--status"], capture_output=True, timeout=5)
    assert host.addresses[0].encode() in status.stdout


def make_symlink(path):
    other = path.with_name("other")
    other.write_bytes(HEADER)
    other.chmod(0o600)
    path.symlink_to(other)
    return other


def make_hard_link(path):
    other = path.with_name("other")
    other.write_bytes(HEADER)
    other.chmod(0o600)
    os.link(other, path)
    return other


def make_file(mode, owner=None):
    def make(path):
        path.write_bytes(HEADER)
        path.chmod(mode)
        if owner is not None:
            if os.geteuid() != 0:
                pytest.skip("only root can give a file away")
            os.chown(path, owner, owner)
        return path

    return make


def make_directory(path):
    path.mkdir()


def make_fifo(path):
    os.mkfifo(path, 0o600)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


NOT_OURS = {
    "a symbolic link": make_symlink,
    "a symbolic link to nothing": lambda path: path.symlink_to("nothing"),
    "a hard link": make_hard_link,
    "a file that others may read": make_file(0o640),
    "a file that others may write": make_file(0o602),
    "a file of another user": make_file(0o600, NOBODY),
    "a directory": make_directory,
    "a fifo": make_fifo,
    "a socket": make_socket,
}


@pytest.mark.parametrize("what", NOT_OURS)
def test_what_is_not_a_file_of_this_user_alone_is_left_alone(several, memory, what):
    host = several("refused", "live")
    file = NOT_OURS[what](memory.path)
    for name, arguments in WAYS:
        run = run_shim(host, name, within=10, env=memory.env(), **arguments)
        assert_reached(run, host.live[0])
        assert "refused" in run.stderr and "parked" not in run.stderr, run
    assert file is None or file.read_bytes() == HEADER
    assert not (memory.path.parent / "nothing").exists()
    assert what != "a directory" or not list(memory.path.iterdir())


@pytest.mark.parametrize("path", ["/dev/null", "/dev/full", "/proc/self/mem", "/nonexistent/memory", "x" * 4000, "."])
def test_paths_that_are_none(several, memory, path):
    host = several("refused", "live")
    env = {**memory.env(), "NEXTADDR_MEMORY": path}
    for name, arguments in WAYS:
        assert_reached(run_shim(host, name, env=env, **arguments), host.live[0])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a program as another user")
@pytest.mark.parametrize("what", ["a directory it may not write", "a file it may not write", "a file it may not read"])
def test_as_a_user_who_may_not(several, public_memory, public, what):
    host = several("refused", "live")
    if what != "a directory it may not write":
        public_memory.path.write_bytes(HEADER)
        public_memory.path.chmod(0o400 if "write" in what else 0o200)
        os.chown(public_memory.path, NOBODY, NOBODY)
        public_memory.path.parent.chmod(0o777)
    for _ in range(2):
        run = run_as_nobody(public, host, "connect_first", public_memory.env())
        assert_reached(run, host.live[0])
        assert f"{host.addresses[0]} refused" in run.stderr, run
    assert what == "a directory it may not write" or public_memory.path.read_bytes() == HEADER


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a program as another user")
def test_another_user_has_a_file_of_his_own(several, public_memory, public):
    host = several("refused", "live")
    public_memory.path.parent.chmod(0o1777)
    assert_reached(run_shim(host, "connect_first", env=public_memory.env()), host.live[0])
    before = public_memory.path.read_bytes()
    run = run_as_nobody(public, host, "connect_first", public_memory.env())
    assert_reached(run, host.live[0])
    assert "parked" not in run.stderr, run
    assert public_memory.path.read_bytes() == before


@pytest.mark.parametrize("mask", [0o000, 0o077, 0o777])
def test_the_file_is_the_users_alone(several, memory, mask):
    host = several("refused", "live")
    before = ["sh", "-c", f'umask {mask:03o} && exec "$@"', "sh"]
    assert_reached(run_shim(host, "connect_first", env=memory.env(), before=before), host.live[0])
    assert memory.path.stat().st_mode & 0o7777 == 0o600 & ~mask


# ---- Short of everything ----


@pytest.mark.parametrize("size", [0, 10, 319, 320, 400, 5000, 100_000])
@pytest.mark.parametrize("way", WAYS[:2], ids=lambda way: way[0])
def test_a_limit_on_the_size_of_files(several, memory, require, size, way):
    # What goes beyond it is no error that a call returns, but a signal that ends the program.
    name, arguments = way
    host = several("refused", "live")
    for _ in range(2):
        before = [require("prlimit"), f"--fsize={size}:{size}"]
        assert_reached(run_shim(host, name, env=memory.env(), before=before, **arguments), host.live[0])
    # Nothing is left there that would be in the way without the limit.
    for _ in range(2):
        run = run_shim(host, name, env=memory.env(), **arguments)
    assert_straight(run, host.addresses[:1], host.live[0])
    memory.records()


def test_no_space(namespace):
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nextaddr-")))
        host = stack.enter_context(namespace.scenario("refused-first", protocol="banner"))
        run_in(namespace, "mount", "-t", "tmpfs", "-o", "size=4096,mode=700", "tmpfs", directory)
        stack.callback(run_in, namespace, "umount", directory)
        memory = Memory(directory / "memory")
        run_in(namespace, "dd", "if=/dev/zero", f"of={directory}/other", "bs=4096", "count=1", "status=none")
        for name, arguments in WAYS:
            assert_reached(run_shim(host, name, env=memory.env(), **arguments), host.live[0])
        run_in(namespace, "rm", f"{directory}/other")
        # The header has room now, but not every record.
        for name, arguments in WAYS:
            assert_reached(run_shim(host, name, env=memory.env(), **arguments), host.live[0])


@pytest.mark.parametrize("kinds", [("refused", "live"), ("silent", "live")], ids="-".join)
def test_no_descriptor_is_to_be_had(several, memory, require, kinds):
    # The program's socket is the last one: nothing can be read or written.
    host = several(*kinds)
    before = [require("prlimit"), "--nofile=4:4"]
    for _ in range(2):
        run = run_shim(host, "connect_first", env=memory.env(), before=before)
        assert_reached(run, host.live[0])
    # The process itself remembers all the same.
    run = run_shim(host, "one_lookup", env=memory.env(), before=before, times=3)
    assert [line["peer"] for line in run.lines] == [host.live[0]] * 3, run
    assert sum("parked" in line for line in run.stderr.splitlines()) >= 2, run


def test_truncated_and_removed_while_it_is_used(several, memory):
    host = several("refused", "live")
    run = start_shim(host, "walk_all", env=memory.env(PARKING=1), rounds=40, pause=10)
    sizes = random.Random(8305)
    for number in range(150):
        with contextlib.suppress(FileNotFoundError):
            if number % 10 == 0:
                memory.path.unlink()
            else:
                os.truncate(memory.path, sizes.choice([0, 1, 100, 320, 400, 5000, 200_000]))
        time.sleep(0.003)
    run.finish()
    assert [line["peer"] for line in run.lines] == [host.live[0]] * 40, run
    with contextlib.suppress(FileNotFoundError):
        memory.path.unlink()
    run_shim(host, "connect_first", env=memory.env())
    assert memory.failing() == {host.addresses[0]}


def test_a_thread_that_is_cancelled_while_the_file_is_open(several, memory, require, tmp_path):
    # The file is read slowly, so that the cancellation comes in the middle.
    host = several("refused", "live")
    trace = tmp_path / "trace"
    before = [*traced(require, trace, "openat,pread64,close"), "-e", "inject=pread64:delay_enter=200000"]
    run_shim(host, "disturbed", env=memory.env(), before=before, how="cancel", after=300)
    calls = [line for line in trace.read_text().splitlines() if not line.endswith("(No such file or directory)")]
    opened = [number for number, call in enumerate(calls) if f'"{memory.path}"' in call]
    assert opened, calls
    for at in opened:
        descriptor = re.search(r" = (\d+)$", calls[at])[1]
        assert any(f"close({descriptor})" in call for call in calls[at:]), calls[at:]


# ---- Many at once ----


def test_many_processes_and_some_that_are_killed(several, memory):
    host = several("live", "refused")
    live, refused = host.addresses
    dead = [host.lab.unused() for _ in range(60)]
    choose = random.Random(8305)

    def begin(rounds):
        # Parked for a moment only, so that all are claimed and parked again all the time.
        env = memory.env(PARKING=20, LOG="off", **named(*choose.sample(dead, 3), live))
        # The one server there is must not be asked for more than it can do.
        return start_shim(host, "walk_all", env=env, rounds=rounds, pause=60)

    steady = [begin(60) for _ in range(50)]
    ends = time.monotonic() + 3
    while time.monotonic() < ends:
        victims = [begin(1000) for _ in range(4)]
        time.sleep(choose.uniform(0.02, 0.15))
        for victim in victims:
            victim.signal(signal.SIGKILL)
            assert victim.wait().returncode == -signal.SIGKILL
    for run in steady:
        run.finish()
        ended = [(line["result"], line["error"], line["peer"]) for line in run.lines]
        assert ended == [("0", "0", live)] * 60, run
    assert len(memory.records()) > 30
    for _ in range(2):
        run = run_shim(host, "connect_first", env=memory.env(**named(refused, live)))
    assert_straight(run, [refused], live)


def test_many_threads(several, memory):
    host = several("refused", "refused", "silent", "live", "live")
    refused, other, silent, live, also = host.addresses
    names = {
        "a.test": [refused, live],
        "b.test": [silent, also],
        "c.test": [live, other],
        "d.test": [refused, other, live],
        "e.test": [also],
    }
    resolve = ";".join(f"{name}={','.join(addresses)}" for name, addresses in names.items())
    env = {**preload(), **memory.env(RESOLVE=resolve, LOG="off")}
    arguments = {"hosts": ",".join(names), "port": host.port, "live": f"{live},{also}", "threads": 8, "rounds": 100}
    run = start(host.lab, "many_threads", env, **arguments).finish(60)
    assert run.first == {"right": "800", "descriptors_left": "0"}, run
    assert {refused, silent} <= memory.asked_last() <= {refused, silent, other}


# ---- The launcher shows it, and forgets it ----


def launcher(*words, path=labs.LAUNCHER, **options):
    env = {name: value for name, value in os.environ.items() if not name.startswith("NEXTADDR_")}
    options = {"capture_output": True, "text": True, "timeout": 10, "env": env, **options}
    return subprocess.run([path, *words], **options)


def test_status_is_a_table_of_what_is_known(memory):
    now = wall_ms()
    records = [
        Record("192.0.2.1", 443, 2, now + 45_000, 0, now, 30_400, host="db.example.org"),
        Record("192.0.2.2", 443, 1, now - 5000, 0, now - 40_000),
        Record("192.0.2.3", 443, 1, now - 5000, now - 1000, now - 1000),
        Record("[2001:db8::1]", 5432, 0, now + 9000, 0, now, 1_000_000, host="-"),
    ]
    memory.path.write_bytes(HEADER + b"\0" * LINE * 3 + b"".join(each.line() for each in records))
    shown = launcher("--memory", memory.path, "--status")
    assert (shown.returncode, shown.stderr) == (0, "")
    head, *rows = [re.split(r"  +", line) for line in shown.stdout.splitlines()]
    assert head == ["HOST", "ADDRESS", "PORT", "STATE", "FAILURES", "RTT"]
    left = rows[0].pop(3)
    assert re.fullmatch(r"parked for 4\d s", left)
    assert rows == [
        ["db.example.org", "192.0.2.1", "443", "2", "30.4 ms"],
        [HOST, "192.0.2.2", "443", "to be asked again", "1", "-"],
        [HOST, "192.0.2.3", "443", "being asked again", "1", "-"],
        ["-", "[2001:db8::1]", "5432", "well", "0", "1000.0 ms"],
    ]
    starts = {line.index(word) for line, word in zip(shown.stdout.splitlines()[1:], ["192", "192", "192", "[2001"])}
    assert starts == {shown.stdout.index("ADDRESS")}, "the columns are not straight"


def remembered(memory, now):
    records = [
        Record("192.0.2.1", 443, 2, now + 45_000, 0, now, 30_449, host='a"b\\c.example.org'),
        Record("192.0.2.1", 443, 1, now - 5000, 0, now - 40_000, network=2, host="-"),
        Record("[2001:db8::1]", 5432, 0, now + 9000, 0, now, 1_000_000),
    ]
    memory.path.write_bytes(HEADER + b"".join(each.line() for each in records))


def test_status_as_json(memory):
    remembered(memory, wall_ms())
    shown = launcher("--memory", memory.path, "--status", "--format", "json")
    assert (shown.returncode, shown.stderr) == (0, "")
    told = json.loads(shown.stdout)
    assert told["memory"] == str(memory.path)
    first, *others = told["addresses"]
    assert 40_000 < first.pop("parked_ms") <= 45_000
    assert first == {
        "host": 'a"b\\c.example.org', "address": "192.0.2.1", "port": 443, "network": "1", "state": "parked",
        "failures": 2, "rtt_ms": 30.449,
    }  # fmt: skip
    assert others == [
        {"host": "", "address": "192.0.2.1", "port": 443, "network": "2", "state": "to be asked again", "parked_ms": 0,
         "failures": 1, "rtt_ms": None},
        {"host": HOST, "address": "2001:db8::1", "port": 5432, "network": "1", "state": "well", "parked_ms": 0,
         "failures": 0, "rtt_ms": 1000.0},
    ]  # fmt: skip


def metrics(text):
    """The samples of OpenMetrics: {name: {(network, address): value}}, and all their labels."""
    parser = pytest.importorskip("prometheus_client.openmetrics.parser")
    found, labels = {}, []
    for family in parser.text_string_to_metric_families(text):
        assert family.documentation, family
        for sample in family.samples:
            at = sample.labels["network"], sample.labels["address"]
            assert at not in found.setdefault(sample.name, {})
            found[sample.name][at] = sample.value
            labels.append(sample.labels)
    return found, labels


def test_status_as_openmetrics(memory):
    remembered(memory, wall_ms())
    shown = launcher("--memory", memory.path, "--status", "--format=openmetrics")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.endswith("\n# EOF\n")
    found, labels = metrics(shown.stdout)
    first, second, third = ("1", "192.0.2.1"), ("2", "192.0.2.1"), ("1", "2001:db8::1")
    assert found == {
        "nextaddr_address_parked": {first: 1, second: 0, third: 0},
        "nextaddr_address_failures_total": {first: 2, second: 1, third: 0},
        "nextaddr_address_round_trip_seconds": {first: 0.030449, third: 1},
    }
    assert labels[0] == {
        "host": 'a"b\\c.example.org', "address": "192.0.2.1", "port": "443", "network": "1", "memory": str(memory.path),
    }  # fmt: skip


def test_status_for_programs_is_whole_when_nothing_is_remembered(memory, tmp_path):
    for path in (memory.path, tmp_path / 'odd"\\\n\u00e9'):
        shown = launcher("--memory", path, "--status", "--format=json")
        name = re.sub(r"[^ -~]", "?", os.fsencode(path).decode("latin-1"))
        assert json.loads(shown.stdout) == {"memory": name, "addresses": []}
        assert metrics(launcher("--memory", path, "--status", "--format=openmetrics").stdout) == ({}, [])
    memory.path.write_text("secret\n")
    for form in ("json", "openmetrics"):
        shown = launcher("--memory", memory.path, "--status", "--format", form)
        assert (shown.returncode, shown.stdout) == (125, "")


def test_status_of_what_programs_have_left(several, memory):
    host = several("refused", "live")
    run_shim(host, "connect_first", env=memory.env())
    for options, env in ((["--memory", memory.path], {}), ([], {"NEXTADDR_MEMORY": str(memory.path)})):
        shown = launcher(*options, "--status", env={**os.environ, **env})
        assert re.search(rf"^{HOST} +{host.addresses[0]} +{host.port} +parked for \d\d s +1 +-$", shown.stdout, re.M)


def test_a_record_that_is_none_is_not_shown(memory):
    good = Record("192.0.2.1", 443, 0, 0, 0, 1, 5000).line()
    edited = Record("192.0.2.2", 443, 0, 0, 0, 1, 5000).line().replace(b" 443 0 ", b" 443 7 ")
    memory.path.write_bytes(HEADER + good + edited + b"\033[2J 2 3 4 5 6 7 8 9\n")
    shown = launcher("--memory", memory.path, "--status")
    assert shown.returncode == 0
    assert "192.0.2.1" in shown.stdout
    assert "\033" not in shown.stdout


def test_forget_removes_it(several, memory):
    host = several("refused", "live")
    for _ in range(2):
        run = run_shim(host, "connect_first", env=memory.env())
        assert "parked" not in run.stderr, run
        assert memory.path.exists()
        done = launcher("--memory", memory.path, "--forget")
        assert (done.returncode, done.stderr) == (0, "")
        assert not memory.path.exists()


@pytest.mark.parametrize("option", ["--status", "--forget"])
def test_nothing_is_remembered(memory, option):
    done = launcher("--memory", memory.path, option)
    assert (done.returncode, done.stderr) == (0, "")
    assert str(memory.path) in done.stdout
    assert not memory.path.exists()


@pytest.mark.parametrize("option", ["--status", "--forget"])
def test_what_is_no_memory_file_is_neither_shown_nor_removed(memory, option):
    for text in ("secret\n", "", "nextaddr-memory\n" * 100, "x\nnextaddr memory 2\n"):
        memory.path.write_text(text)
        done = launcher("--memory", memory.path, option)
        assert (done.returncode, done.stdout) == (125, ""), done
        assert re.fullmatch(r"nextaddr: [^\n]*no memory file[^\n]*\n", done.stderr)
        assert memory.path.read_text() == text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a program as another user")
def test_what_may_not_be_read_or_removed(public_memory, public):
    (public / "build").mkdir()
    (public / "scripts").mkdir()
    shutil.copy(BUILDS["native"].library, public / "build")
    nobody = {"path": shutil.copy(labs.LAUNCHER, public / "scripts"), **AS_NOBODY}
    public_memory.path.write_bytes(HEADER)
    public_memory.path.chmod(0o600)
    shown = launcher("--memory", public_memory.path, "--status", **nobody)
    assert (shown.returncode, shown.stdout) == (125, "")
    assert re.fullmatch(r"nextaddr: [^\n]+\n", shown.stderr)
    os.chown(public_memory.path, NOBODY, NOBODY)
    done = launcher("--memory", public_memory.path, "--forget", **nobody)
    assert (done.returncode, done.stdout) == (125, "")
    assert re.fullmatch(r"nextaddr: [^\n]*cannot be removed\n", done.stderr), done
    assert public_memory.path.exists()
