#!/usr/bin/env python3
# Thousands of connects of many programs at once, while the addresses of their hosts come and go: `make soak`.
# Exits 1, and says all there is to know, when a connect did not come to what it must (judge.py), when the library left
# something behind in a program, its log or the shared memory is not as documented, or a process or file is left.
# The same --seed gives the same changes at the same times; what the programs make of them depends on the machine.
# The addresses are at distances of 0 to 300 ms where there may be network namespaces, and on loopback elsewhere.
# It must never use an address outside of these, nor end while a program of it runs.
import argparse
import collections
import concurrent.futures
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import lab as labs  # noqa: E402
import log_schema  # noqa: E402
from clients import CLIENTS  # noqa: E402
from distant_lab import DistantLab, live  # noqa: E402
from flapping import Elsewhere, Network, schedule  # noqa: E402
from judge import Connect, Judge  # noqa: E402

LIMIT = 4  # seconds that a connect of the workers may take; at the end, when all is live, a program
SETTLING = 40
# What a worker's private memory may grow by after warming up; V8 takes what it likes.
MEMORY_BOUND_KB = {"node": 48 * 1024}
USUAL_MEMORY_BOUND_KB = 1024
# A header and 128 x 8 records of 256 bytes (src/memory/record.h).
RECORD_BYTES = 320
MEMORY_FILE_BOUND = RECORD_BYTES * (1 + 128 * 8)
MARK = "NEXTADDR_SOAK_MARK"
# Of addresses: milliseconds, and shares of that; a packet may be late by so much more, because the machine is busy.
DISTANCES = [(0, 0), (1, 30), (30, 150), (150, 300)]
JITTER = [0, 0.1, 1 / 3]
LATE_SECONDS = 0.5

PYTHON_WAYS = ["blocking", "forks", "timeout", "looping", "poll", "select", "epoll", "threads", "sleepers", "asyncio"]
OTHER_WAYS = ["node", "perl"]
PROTOCOLS = {"greeting", "http"}  # which the network's answer serves
# These take a second to start, or want more of HTTP than one answer.
LEFT_OUT = re.compile(r"java|chromium|siege|wrk|nginx|haproxy|git|\bab\b")


def texts_of_hosts(lab):
    """The hosts by their names; the groups of addresses that change, of each of which one is mostly live; and what those
    are that are the same all the time, if they do not refuse."""
    a1, a2, a3, b1, b2, b3, b4, s1, s2, c1, c2, d1, e1, e2, n1, n2, x1, x2, x3, y1, y2 = (lab.unused() for _ in range(21))
    hosts = {
        "a.test": [a1, a2, a3],
        "b.test": [b1, b2, b3, b4],
        # These share addresses: who asks for a shared one may only be sent to what all have that hold it.
        "c.test": [s1, s2, c1, c2],
        "d.test": [s2, s1, d1],
        "e.test": [e1, c1, e2],
        # By number, hosts with one address, which are those of another: two, because the only number of a name that is
        # looked up is taken for what was found under the name.
        "f.test": [d1, n1, n2],
        n1: [n1],
        n2: [n2],
        "dead.test": [x1, x2, x3],
        "dark.test": [y1, y2],
    }
    changing = [hosts["a.test"], [b1, b2, b3], [s1, s2], hosts["e.test"], [n1], [n2], [c2], [d1]]
    return hosts, changing, {b4: "live", y1: "silent"}


class NearLab(labs.Loopback):
    """All addresses on loopback."""

    def unused(self):
        return self._address("refused")

    def network(self, texts, seed):
        """The network of these addresses, and the longest round trip of each in seconds."""
        return Network(texts), {}


class FarLab(DistantLab):
    """Each address has a distance of its own, and some jitter."""

    servers = HERE / "flapping.py"
    needs_resolve = True  # nothing is in the hosts file

    def unused(self):
        return next(self._free[4])

    def network(self, texts, seed):
        choice = random.Random(f"{seed} distances")
        longest = {}
        for text in texts:
            # As many near as far: all of a host that are alike would ask for nothing.
            place = live(choice.uniform(*choice.choice(DISTANCES)), jitter=choice.choice(JITTER), noted=False)
            self.ask("ways", {text: place.properties(f"{seed} {text}")})
            longest[text] = place.rtt * (1 + place.jitter) / 1000
        return Elsewhere(self, texts, {text: rtt + LATE_SECONDS for text, rtt in longest.items()}), longest


class Worker:
    """A program that runs all the time."""

    def __init__(self, soak, way, number, hosts, until):
        self.way = way
        self.name = f"{way} worker {number}"
        self.hosts = hosts
        self.records = soak.lab.directory / f"records-{number}"
        program = {"node": ["node", HERE / "worker.js"], "perl": ["perl", HERE / "worker.pl"]}
        program = program.get(way, [sys.executable, HERE / "worker.py"])
        arguments = [way, soak.seed + number, soak.warm_up, until, LIMIT, soak.network.port, self.records, *hosts]
        self.process = soak.lab.spawn(
            [str(word) for word in [*soak.launcher(hosts), *program, *arguments]],
            env=soak.environment(number),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.states = {}

    def await_word(self, word):
        """Waits until it has no connect under way, and looks at what it has."""
        said = self.process.stdout.readline().strip()
        if said == word:
            self.states[word] = self.descriptors(), self.private_kb()
        return said == word

    def go_on(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def close(self):
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def descriptors(self):
        directory = Path("/proc", str(self.process.pid), "fd")
        kinds = (re.sub(r"\[\d+\]", "", os.readlink(entry)) for entry in directory.iterdir())
        return collections.Counter(kinds)

    def private_kb(self):
        text = Path("/proc", str(self.process.pid), "smaps_rollup").read_text()
        return int(re.search(r"Private_Dirty: *(\d+)", text)[1])

    def connects(self):
        pid = 0 if self.way == "forks" else self.process.pid
        for line in self.records.read_text().splitlines():
            record = json.loads(line)
            if record[0] == "complaint":
                yield record[1]
            else:
                yield Connect(self.name, pid, *record)

    def complaints(self):
        """What the library has left in it."""
        (before, memory), (after, memory_after) = self.states["ready"], self.states["done"]
        timers = "anon_inode:[timerfd]"
        more = {kind: count - before[kind] for kind, count in after.items() if count > before[kind]}
        if more.pop(timers, 0) + before[timers] > 1:
            yield f"{self.name} has {after[timers]} timers"
        if more:
            yield f"{self.name} has more descriptors than before: {more}"
        bound = MEMORY_BOUND_KB.get(self.way, USUAL_MEMORY_BOUND_KB)
        if memory_after > memory + bound:
            yield f"{self.name} has {memory_after} kB of its own, and had {memory} kB: more than {bound} kB more"


class Soak:
    def __init__(self, lab, seed, seconds, programs):
        self.lab = lab
        self.seed = seed
        self.seconds = seconds
        self.warm_up = min(10, seconds / 3)
        self.programs = programs
        self.log = lab.directory / "log"
        self.memory = lab.directory / "memory"
        self.mark = f"{seed}-{os.getpid()}"
        self.hosts, self.changing, self.fixed = texts_of_hosts(lab)
        texts = list(dict.fromkeys(text for texts in self.hosts.values() for text in texts))
        self.network, self.distances = lab.network(texts, seed)
        self.judge = Judge(self.hosts, self.network, self.distances)
        self.complaints = []
        self.figures = {}
        self.stopped = False
        # Before anything begins: to find out takes some of them a second.
        self.clients = [
            client
            for client in CLIENTS
            if client.protocol in PROTOCOLS
            and not {"silent-first", "two-silent"} & client.unhelped
            and not LEFT_OUT.search(client.name)
            and client.installed
        ]

    def environment(self, number):
        # Some remember for long, some ask again soon.
        parking = [None, "300", "2000"][number % 3]
        return {**self.lab.environment(), MARK: self.mark, **({"NEXTADDR_PARKING": parking} if parking else {})}

    def options(self):
        return ["--memory", str(self.memory), "-v", "--log-file", str(self.log), "--log-format", "json"]

    def launcher(self, hosts):
        given = [["--resolve", f"{host}={','.join(self.hosts[host])}"] for host in hosts if host.endswith(".test")]
        return [labs.LAUNCHER, *self.options(), *sum(given, []), "--"]

    def run(self):
        for text, state in self.fixed.items():
            self.network.set(text, state)
        begin = time.monotonic() + 0.2
        changes = schedule(self.seed, self.changing, self.seconds)
        self.network.plan((begin + after, text, state) for after, text, state in changes)
        # To the end with all of them, so that whoever has begun gets through.
        flapping = list(dict.fromkeys(sum(self.changing, [])))
        self.network.plan((begin + self.seconds, text, "live") for text in flapping)
        self.network.start()
        wall_offset = time.time() - time.monotonic()
        try:
            workers, connects = self.run_all(begin + self.seconds)
        finally:
            self.network.close()
        self.events = self.read_log()
        self.judge_all(workers, connects, wall_offset)
        self.check_what_is_left()

    def run_all(self, until):
        """All workers, and the connects of the short programs."""
        ways = [*PYTHON_WAYS, *(way for way in OTHER_WAYS if shutil.which(way))]
        for way in set(OTHER_WAYS) - set(ways):
            print(f"SKIPPED: {way} is not installed")
        workers = []
        with concurrent.futures.ThreadPoolExecutor(len(ways) + self.programs) as pool:
            try:
                for number, way in enumerate(ways):
                    workers.append(Worker(self, way, number, self.hosts_for(way), until))
                ended = [pool.submit(self.accompany, worker) for worker in workers]
                short = [pool.submit(self.run_programs, number, until) for number in range(self.programs)]
                for each in ended:
                    each.result()
                connects = sum((each.result() for each in short), [])
            finally:
                self.stopped = True
                for worker in workers:
                    if worker.process.poll() is None:
                        os.killpg(worker.process.pid, signal.SIGKILL)
        for worker in workers:
            worker.close()
        return workers, connects

    def hosts_for(self, way):
        # Each host that a program knows makes the way from shared addresses narrower: some know fewer.
        names = list(self.hosts)
        if way == "node":
            # It looks up no numbers: to the library such a one is an address of the host whose last it is.
            return [name for name in names if name.endswith(".test")]
        return {"blocking": names[:2] + names[-2:], "forks": names[2:]}.get(way, names)

    def accompany(self, worker):
        limit = threading.Timer(self.seconds + SETTLING, os.killpg, [worker.process.pid, signal.SIGKILL])
        limit.start()
        try:
            for word in ("ready", "done"):
                if not worker.await_word(word):
                    self.complaints.append(f"{worker.name} hangs or has ended: it was to be {word}")
                    return
                worker.go_on()
            if worker.process.wait() != 0:
                self.complaints.append(f"{worker.name} has ended with {worker.process.returncode}")
        finally:
            limit.cancel()

    def run_programs(self, number, until):
        """One short program after the other."""
        choice = random.Random(self.seed * 100 + number)
        # dark.test would keep most of them for minutes.
        names = [host for host in self.hosts if host.endswith(".test") and host != "dark.test"]
        connects = []
        while time.monotonic() < until and not self.stopped:
            client = choice.choice(self.clients)
            host = choice.choice(names)
            scenario = labs.Scenario(self.lab, 0, host, self.network.port, [], self.hosts[host])
            begin = time.monotonic()
            env = {name: value for name, value in self.environment(number).items() if name.startswith("NEXTADDR_")}
            del env["NEXTADDR_MEMORY"]
            result = client.run(scenario, env=env, options=self.options(), timeout=SETTLING)
            found = re.search(r"nextaddr-live[ -](\d+\.\d+\.\d+\.\d+)", result.stdout + result.stderr)
            outcome = found[1] if found else "!timeout" if result.timed_out else "!"
            connects.append(Connect(client.name, 0, begin, time.monotonic(), host, None, outcome))
            if not found and not result.timed_out:
                connects[-1].said = result  # for the report
        return connects

    # ---- Afterwards ----

    def read_log(self):
        if not self.log.exists():
            self.complaints.append("nothing was logged")
            return []
        try:
            events = log_schema.events_of(self.log.read_bytes())
        except (AssertionError, ValueError, KeyError) as error:
            self.complaints.append(f"the log is not as documented: {type(error).__name__} {error}")
            return []
        connects = log_schema.of_kind(events, "connect")
        self.figures["failovers"] = sum(event["failover"] for event in connects)
        self.figures["problems logged"] = len(log_schema.of_kind(events, "problem"))
        for event in connects:
            reached = {event["asked"], *(attempt["address"] for attempt in event["attempts"])}
            # Of several hosts that hold an address any one may be named.
            if not any(reached <= set(addresses) for addresses in self.hosts.values()):
                self.complaints.append(f"an address of another host was asked: {json.dumps(event)}")
        return events

    def judge_all(self, workers, connects, wall_offset):
        for worker in workers:
            if "done" in worker.states:
                self.complaints += worker.complaints()
            found = list(worker.connects()) if worker.records.exists() else []
            self.complaints += [f"{worker.name}: {each}" for each in found if isinstance(each, str)]
            mine = sorted((each for each in found if not isinstance(each, str)), key=lambda each: each.end)
            for connect in mine:
                self.judge_one(connect, worker.hosts, wall_offset)
            if not mine:
                self.complaints.append(f"{worker.name} has made no connect")
            self.figures[worker.name] = len(mine)
            if "done" in worker.states:
                memory = " -> ".join(str(worker.states[word][1]) for word in ("ready", "done"))
                self.figures[worker.name] = f"{len(mine)} connects, {memory} kB private"
        by_name = collections.Counter()
        for number, connect in enumerate(connects):
            # Each a process of its own.
            name, connect.program = connect.program, f"{connect.program} ({number})"
            self.judge_one(connect, [connect.host], wall_offset)
            self.judge.counts["short programs"] += 1
            by_name[name] += 1
        self.figures |= self.judge.counts
        self.figures["of these"] = ", ".join(f"{count} {name}" for name, count in sorted(by_name.items()))
        self.figures["accepted"] = self.network.accepted

    def judge_one(self, connect, known, wall_offset):
        complaint = self.judge.complaint(connect, known)
        if complaint is None:
            return
        lines = [f"{connect.program}: {connect.host} asked for {connect.asked}, outcome {connect.outcome}: {complaint}"]
        lines.append(f"    from {connect.begin:.3f} to {connect.end:.3f}")
        if hasattr(connect, "said"):
            lines.append(f"    {connect.said}")
        for address in self.hosts[connect.host]:
            history = self.network.addresses[address].between(connect.begin - 1, connect.end + 1)
            far = f"up to {self.distances[address] * 1000:.0f} ms away " if self.distances else ""
            lines.append(f"    {address} {far}" + " ".join(f"{state}@{moment:.3f}" for moment, state in history))
        lines += [
            f"    {json.dumps(event)}"
            for event in self.events
            if event.get("asked") in self.hosts[connect.host]
            and connect.pid in (0, event["pid"])
            and connect.begin - 1 < log_schema.time_of(event) - wall_offset < connect.end + 1
        ][:12]
        self.complaints.append("\n".join(lines))

    def check_what_is_left(self):
        size = self.memory.stat().st_size if self.memory.exists() else 0
        text = self.memory.read_text(errors="replace") if size else ""
        shown = subprocess.run([labs.LAUNCHER, "--status", "--memory", self.memory], capture_output=True, text=True)
        rows = shown.stdout.splitlines()[1:]
        kept = [line for line in text.replace("\0", "").splitlines()[1:] if line.strip()]
        self.figures["memory file"] = f"{size} bytes, {len(rows)} addresses"
        known = set(self.network.addresses)
        if not 0 < size <= MEMORY_FILE_BOUND or size % RECORD_BYTES:
            self.complaints.append(f"the memory file has {size} bytes")
        if shown.returncode or not rows or len(rows) != len(kept) or not {row.split()[1] for row in rows} <= known:
            self.complaints.append(f"the memory file is not valid:\n{text}\n{shown}")
        files = {path.name for path in self.lab.directory.iterdir()}
        # Programs may have files of their own there.
        left = sorted(name for name in files - {"memory", "log"} if name.startswith(("nextaddr", "memory", "log")))
        if left:
            self.complaints.append(f"files are left: {left}")
        left = list(self.processes())
        if left:
            self.complaints.append(f"processes are left: {left}")

    def processes(self):
        mark = f"{MARK}={self.mark}".encode()
        for directory in Path("/proc").iterdir():
            try:
                if directory.name.isdigit() and mark in (directory / "environ").read_bytes().split(b"\0"):
                    yield (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue


def main():
    parser = argparse.ArgumentParser(description="Many programs connect while addresses come and go.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--programs", type=int, default=4, help="short programs at the same time")
    arguments = parser.parse_args()
    # Ended early it leaves nothing either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"seed {arguments.seed}", flush=True)
    obstacle = FarLab.obstacle()
    print(f"distances: {f'none, {obstacle}' if obstacle else '0 to 300 ms'}", flush=True)
    with (NearLab if obstacle else FarLab)() as lab:
        soak = Soak(lab, arguments.seed, arguments.seconds, arguments.programs)
        soak.run()
    for name, figure in soak.figures.items():
        print(f"{name}: {figure}")
    for complaint in soak.complaints[:8]:
        print(f"FAILED: {complaint}")
    print(f"failures: {len(soak.complaints)} (repeat with --seed {arguments.seed})")
    return 1 if soak.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
