# How long programs take to a working connection when the first addresses of a host refuse or are silent: bare, with the
# library (when it knows nothing yet, and when another program has found out before), and with what else there is.
# It must never count a program that did not get through as fast: it "fails", or took longer than it was waited for.
import dataclasses
import functools
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from clients import CLIENTS, plain
from network import Failed
from samples import Grid, say

ASYNCIO = """
import asyncio, sys
async def main():
    reader, _ = await asyncio.open_connection(*sys.argv[1:], happy_eyeballs_delay=0.25)
    print((await reader.readline()).decode())
asyncio.run(main())
"""
KNOWN = {client.name: client for client in CLIENTS}
ADDRESSES = [1, 2, 3, 4, 5]
RFC_8305_DELAY_MS = 250  # its recommended connection attempt delay


@dataclasses.dataclass(frozen=True)
class Way:
    name: str
    words: Callable[[str, int], list[str]]
    protocol: str = "greeting"
    library: bool = False
    obstacle: str = ""  # why it cannot be measured
    start: float = 0  # seconds that it is given besides


def ways(bench):
    def first(host, port):
        return [bench.program("calls"), "what=first", f"host={host}", f"port={port}"]

    def of_client(name, text, library=False):
        client = KNOWN[name]
        missing = "" if client.installed else f"{client.tool} is not installed"
        if bench.quick and name == "chromium":
            missing = "not in a quick run"
        # Some need a second to start; on a busy machine several.
        return Way(text, client.words, client.protocol, library, missing, client.seconds * 6)

    dialer, missing = build_dialer(bench)
    return [
        Way("blocking connect to the first address, bare", first),
        Way("the same, nextaddr", first, library=True),
        of_client("curl", "curl, bare: its own"),
        of_client("curl", "curl, nextaddr", library=True),
        of_client("node autoselection", "Node's own (autoSelectFamily)"),
        Way("asyncio's own (happy_eyeballs_delay=0.25)", plain(sys.executable, "-c", ASYNCIO)),
        Way("Go's own (net.Dialer, Timeout 30 s)", plain(dialer), obstacle=missing),
        of_client("chromium", "Chromium's own"),
    ]


@functools.cache
def build_dialer(bench):
    """(PROGRAM, "") or ("", WHY NOT)"""
    if not shutil.which("go"):
        return "", "golang-go is not installed"
    program = bench.network.directory / "dial"
    environment = {**os.environ, "GOCACHE": str(bench.network.directory / "go-build"), "GOPROXY": "off"}
    words = ["go", "build", "-o", program, Path(__file__).with_name("dial.go")]
    built = subprocess.run(words, env=environment, capture_output=True, text=True)
    return str(program), "" if built.returncode == 0 else f"go build: {built.stderr.strip()[:200]}"


def all_rows(bench):
    for kind in ("refused", "silent"):
        yield grid(bench, kind)


def grid(bench, kind):
    numbers = ADDRESSES[:1] if bench.quick else ADDRESSES
    rounds = (bench.pairs + 1) // 2
    title = (
        f"ms to a working connection, after so many {kind} addresses: beyond what the program takes without, "
        f"median (lowest .. highest) of {rounds}"
    )
    found = Grid(f"dead {kind}", title, ["without", *(str(number) for number in numbers)], plot=True)
    if bench.no_namespace:
        found.reason = bench.no_namespace
        return found
    measured = {}  # by way and how warm, and number of dead addresses: milliseconds, or why there are none
    all_ways = ways(bench)
    for turn in range(rounds):
        for number in [0, *numbers]:
            say(f"dead: {number} {kind}, {turn + 1} of {rounds}")
            for way in all_ways:
                if not way.obstacle:
                    take(bench, way, kind, number, measured)
    delay = RFC_8305_DELAY_MS if kind == "silent" else 0
    found.lines["RFC 8305, computed"] = ["", *(delay * number for number in numbers)]
    for way in all_ways:
        for heat in heats(way):
            if way.obstacle:
                found.lines[way.name + heat] = [f"not measured: {way.obstacle}"]
                continue
            values = [measured[way.name + heat, number] for number in [0, *numbers]]
            alone = values[0] if all_through(values[0]) else [0] * rounds
            cells = [summary(values[0], [0] * rounds), *(summary(each, alone) for each in values[1:])]
            found.lines[way.name + heat] = cells
    found.samples = {f"{name}, {number}": values for (name, number), values in measured.items()}
    return found


def heats(way):
    return [", knows nothing yet", ", second program"] if way.library else [""]


def all_through(values):
    return all(isinstance(value, float) for value in values)


def summary(values, alone):
    """(MEDIAN, LOWEST, HIGHEST) beyond what it took `alone` in the same rounds; or what became of one that failed."""
    if not all_through(values):
        return next(value for value in values if isinstance(value, str))
    beyond = [value - base for value, base in zip(values, alone)]
    return statistics.median(beyond), min(beyond), max(beyond)


def take(bench, way, kind, number, measured):
    limit = 1.5 if bench.quick else 8
    for heat in heats(way):
        measured.setdefault((way.name + heat, number), [])
    before = measured[way.name + heats(way)[0], number - 1] if number > 1 else []
    hung = [each for each in measured[way.name + heats(way)[0], number] + before if each == f"> {limit * 1000:.0f}"]
    if hung:
        # It would hang once more, and with one more.
        for heat in heats(way):
            measured[way.name + heat, number].append(hung[0])
        return
    env = bench.libraries[-1].env if way.library else {}
    with bench.network.scenario("live-first" if number == 0 else f"{kind}-first", way.protocol, number + 1) as scenario:
        bench.network.forget()
        words = way.words(scenario.host, scenario.port)
        for heat in heats(way):
            measured[way.name + heat, number].append(time_of(bench, words, env, limit, way.start))


def time_of(bench, words, env, limit, start):
    begin = time.perf_counter()
    try:
        said = bench.network.run(words, env, timeout=limit + start)
    except Failed as failure:
        said = f"failed: {failure}"
    ms = (time.perf_counter() - begin) * 1000
    if ms > (limit + start) * 1000:
        return f"> {limit * 1000:.0f}"
    return ms if "nextaddr-live" in said else "fails"
