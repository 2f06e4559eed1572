# What clients see when one of two servers dies without a word, and when it comes back: those that are given the addresses
# of both, bare and with the library, and those of a virtual address that keepalived moves from one to the other.
# It must never compare what did not meet the same: the requests of all go on side by side, in one lab, to the same two
# servers. Each round has a lab of its own, in which nobody knows anything yet.
import contextlib
import dataclasses
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import lab as labs
from floating_lab import NAMES, PORT
from network import Failed
from samples import Grid, say
from steady import LIMIT_S, LONG_S, PER_SECOND

LAB = Path(__file__).with_name("floating_lab.py")
CLIENT = Path(__file__).with_name("steady.py")
SLOW_S = 1
# Seconds. The servers are so long in health, then the first one is dead, then it is back.
TIMES = {"settle": 6, "healthy": 6, "dead": 40, "after": 70}
QUICK_TIMES = {"settle": 0, "healthy": 2, "dead": 6, "after": 5}
PAIR, FLOATING, TUNED = NAMES


@dataclasses.dataclass(frozen=True)
class Way:
    name: str
    kind: str  # see steady.py
    host: str
    library: bool = False

    @property
    def bare(self):
        return self.host == PAIR and not self.library


WAYS = [
    Way("two addresses, curl, bare", "curl", PAIR),
    Way("two addresses, curl, nextaddr", "curl", PAIR, library=True),
    Way("two addresses, one process, bare", "process", PAIR),
    Way("two addresses, one process, nextaddr", "process", PAIR, library=True),
    Way("keepalived with its defaults", "process", FLOATING),
    Way("keepalived, advert_int 0.1", "process", TUNED),
    Way("two addresses, connection kept, bare", "kept", PAIR),
    Way("two addresses, connection kept, nextaddr", "kept", PAIR, library=True),
    Way("keepalived with its defaults, connection kept", "kept", FLOATING),
    Way("keepalived, advert_int 0.1, connection kept", "kept", TUNED),
]
COLUMNS = [
    "it dies: no answer, s",
    "lost",
    "slow",
    "a new one waits, s",
    "for so long, s",
    "it is back: no answer, s",
    "lost",
    "slow",
    "asked again after, s",
]


@dataclasses.dataclass(frozen=True)
class Request:
    at: float  # when it began: seconds from the death on
    took: float
    by_server: float  # so long of that the server was to take
    answer: str | None  # by whom; None: it is lost

    @property
    def end(self):
        return self.at + self.took

    @property
    def slow(self):
        return self.answer is not None and self.took > SLOW_S


def all_rows(bench):
    times = QUICK_TIMES if bench.quick else TIMES
    rounds = (bench.pairs + 1) // 2
    title = (
        f"a server dies, and is back {times['dead']} s later: {PER_SECOND} requests a second, lost when not answered in "
        f"{LIMIT_S} s, slow after {SLOW_S} s; median (lowest .. highest) of {rounds}"
    )
    found = Timeline("floating", title, COLUMNS, plot=True, back=times["dead"])
    if bench.no_namespace:
        found.reason = bench.no_namespace
        yield found
        return
    missing = "" if shutil.which("keepalived") else "keepalived is not installed"
    ways = [way for way in WAYS if way.host == PAIR or not missing]
    for turn in range(rounds):
        say(f"floating: {turn + 1} of {rounds}")
        for name, requests in play(bench, ways, times, turn).items():
            found.samples.setdefault(name, []).append(requests)
    for way in WAYS:
        courses = found.samples.get(way.name)
        found.lines[way.name] = line(way, courses, times["dead"]) if courses else [f"not measured: {missing}"]
    yield found


def play(bench, ways, times, seed):
    """By the name of the way: its requests, each as a list."""
    with tempfile.TemporaryDirectory(prefix="nextaddr-floating-") as directory:
        streams = {}
        for way in ways:
            memory = {"NEXTADDR_MEMORY": f"{directory}/memory-{way.kind}"}
            env = {**bench.libraries[-1].env, **memory} if way.library else {}
            streams[way.name] = [sys.executable, str(CLIENT), way.kind, way.host, str(PORT)], env
        # At any moment of the servers' own period.
        asked = {**times, "healthy": times["healthy"] + random.Random(seed).random(), "streams": streams}
        played = run_lab(Path(directory), asked)
    found = {}
    for name, requests in played["requests"].items():
        found[name] = [[round(at - played["died"], 3), round(took, 3), *rest] for at, took, *rest in requests]
    return found


def run_lab(directory, asked):
    environment = {name: value for name, value in os.environ.items() if not labs.FOREIGN_SETTINGS.fullmatch(name)}
    words = ["unshare", "-rnm", sys.executable, str(LAB), str(directory)]
    with subprocess.Popen(
        words,
        env={**environment, "LC_ALL": "C"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        # Where that is allowed it takes precedence: what others on the machine do must not move an address.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, -20)
            Path(f"/proc/{process.pid}/autogroup").write_text("-20")
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        said = process.stdout.read()
    if process.returncode != 0:
        raise Failed(f"the lab ended with {process.returncode}")
    return json.loads(said)


# ---- What is made of a round ----


def line(way, courses, back):
    rounds = [numbers([Request(*each) for each in requests], way, back) for requests in courses]
    return [summary(values) for values in zip(*rounds)]


def numbers(requests, way, back):
    """Of one round, in the order of the columns."""
    # What had begun just before, and was well, can be broken by an address that goes back. To the bare ones the server is
    # dead until the last moment.
    border = back if way.bare else back - LONG_S - 0.1
    died = [each for each in requests if each.end > 0 and each.at < border]
    returned = [each for each in requests if each.at >= border]
    new = [each for each in died if each.at > 0]
    troubled = [each.at for each in new if each.answer is None or each.slow]
    answered = sorted(each.end for each in requests if each.answer)
    gaps = list(zip(answered, answered[1:]))
    again = [each.at - back for each in requests if each.at > back and each.answer == "a"]
    return [
        longest(gap for gap in gaps if gap[1] > 0 and gap[0] < border),
        *counts(died),
        max((each.took - each.by_server for each in new), default=None),
        max(troubled, default=0),
        longest(gap for gap in gaps if gap[0] >= border),
        *counts(returned),
        min(again, default=None),
    ]


def counts(requests):
    return sum(each.answer is None for each in requests), sum(each.slow for each in requests)


def longest(gaps):
    return max((end - start for start, end in gaps), default=None)


def summary(values):
    """(MEDIAN, LOWEST, HIGHEST). Of those that have not happened nothing is known but that they are beyond the others."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return f"in {len(known)} of {len(values)}: {min(known):.1f} .. {max(known):.1f}" if known else "not seen"
    return statistics.median(values), min(values), max(values)


# ---- The drawing ----


@dataclasses.dataclass
class Timeline(Grid):
    """Drawn as it goes: of the requests that begin in each second, how many are lost, and how many slow."""

    back: float = 0  # when the server is

    def draw(self, pyplot, path):
        pyplot.rcParams["svg.hashsalt"] = "nextaddr"  # the same drawing from the same numbers
        figure, axes = pyplot.subplots(figsize=(8, 0.35 * len(self.samples)))
        axes.axvspan(0, self.back, color="#eeeeee", linewidth=0)
        seconds = list(range(-5, 53))
        for row, courses in enumerate(self.samples.values()):
            requests = [Request(*each) for course in courses for each in course]
            begun = [[each for each in requests if start <= each.at < end] for start, end in zip(seconds, seconds[1:])]
            slow = [share(each.answer is None or each.slow for each in some) for some in begun]
            lost = [share(each.answer is None for each in some) for some in begun]
            for values, color, label in [(slow, "#f2c14e", "slow"), (lost, "#c0392b", "lost")]:
                heights, edges = merged([row + 0.4 - 0.8 * value for value in values], seconds)
                label = label if row == 0 else None
                axes.stairs(heights, edges, baseline=row + 0.4, fill=True, color=color, linewidth=0, label=label)
        axes.set_xlim(seconds[0], seconds[-1])
        axes.set_yticks(range(len(self.samples)), list(self.samples))
        axes.set_ylim(len(self.samples) - 0.4, -0.6)
        axes.tick_params(left=False)
        axes.set_xlabel("seconds from the death on (gray: dead). Full height: all requests of that second")
        axes.legend(loc="center right")
        axes.spines[["top", "right", "left"]].set_visible(False)
        figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
        pyplot.close(figure)


def merged(values, edges):
    """Neighbours that are equal become one: most are."""
    starts = [place for place, value in enumerate(values) if place == 0 or value != values[place - 1]]
    return [values[place] for place in starts], [*(edges[place] for place in starts), edges[-1]]


def share(found):
    found = list(found)
    return sum(found) / len(found) if found else 0
