# What a call costs: processor time, the library's own instructions, and system calls, of connects to healthy hosts, of
# lookups, and of calls that have nothing to do with a connect.
# It must never compare what was not the same program doing the same, bare and with the library.
import dataclasses
import re
import shutil
from pathlib import Path

from network import Failed
from samples import Row, interleaved, not_measured, say

PORT = 7777
HOST = "several.test"
# The programs listen at the first, and nobody else does at any. None of 127.0.0.0/8, whose addresses are their own
# source: getaddrinfo would move the first.
ADDRESSES = [f"198.18.{128 + number // 250}.{number % 250 + 1}" for number in range(1000)]


@dataclasses.dataclass(frozen=True)
class Sort:
    """A sort of call, measured by the program calls.cc."""

    name: str
    what: str
    addresses: int = 0  # of the host; 0: an address that was not looked up
    remember: int = 0  # so many other names
    count: int = 400  # in a batch
    host: str = HOST

    def among(self, many):
        """With no more other names than these."""
        if self.remember <= many:
            return self
        return dataclasses.replace(self, name=self.name.replace(f"{self.remember:,}", f"{many:,}"), remember=many)

    @property
    def words(self):
        words = [f"what={self.what}", f"port={PORT}"]
        if self.addresses or self.host != HOST:
            words.append(f"host={self.host}")
        elif self.what in WAYS:
            words.append("address=127.0.0.1")
        return words + ([f"remember={self.remember}"] if self.remember else [])


WAYS = {"blocking": "blocking connect", "poll": "connect, poll", "epoll": "connect, epoll"}
PASSING = [
    *("poll_call", "select", "epoll_wait", "epoll_ctl", "getsockopt", "setsockopt", "sendto"),
    *("send", "write", "recv", "read", "close"),
]
MANY, FEWER = 100_000, 5_000
SORTS = [
    *(
        Sort(f"{text}: {name}", way, addresses)
        for way, text in WAYS.items()
        for addresses, name in [
            (0, "never looked up"),
            (1, "host of 1 address"),
            (2, "host of 2"),
            (1000, "host of 1,000"),
        ]
    ),
    Sort(f"{WAYS['blocking']}: host of 2, among {MANY:,}", "blocking", 2, MANY),
    Sort(f"{WAYS['blocking']}: never looked up, {MANY:,} were", "blocking", 0, MANY),
    Sort("getaddrinfo: a number", "lookup", host="192.0.2.1", count=4000),
    Sort("getaddrinfo: host of 1 address", "lookup", 1, count=400),
    Sort("getaddrinfo: host of 2", "lookup", 2, count=400),
    Sort("getaddrinfo: host of 1,000", "lookup", 1000, count=2),
    *(Sort(f"{what.removesuffix('_call')}: nothing in flight", what, count=20000) for what in PASSING),
]


def all_rows(bench):
    yield from times(bench)
    yield from many_at_once(bench)
    yield from instructions(bench)
    yield from system_calls(bench)


def some(bench, sorts):
    """A quick run starts valgrind and strace for a few only."""
    return sorts[2::9] if bench.quick else sorts


def prepare(bench, sort):
    """Gives the host of this sort its addresses; or says why it cannot."""
    if not sort.addresses:
        return None
    if bench.no_namespace:
        return bench.no_namespace
    bench.network.only_host(HOST, ADDRESSES[: sort.addresses])
    return None


def times(bench):
    section = "call"
    for sort in SORTS:
        sort = sort.among(FEWER if bench.quick else MANY)
        reason = prepare(bench, sort)
        if reason:
            yield not_measured(section, sort.name, reason)
            continue
        say(f"{section}: {sort.name}")
        count = max(sort.count // (20 if bench.quick else 1), 1)
        words = [bench.program("calls"), *sort.words, f"count={count}", f"batches={3 if bench.quick else 9}"]

        def ns(subject):
            return number_in(bench.network.run(words, subject.env), "ns")

        yield measured(section, sort.name, "ns", lambda: interleaved(bench.subjects, bench.pairs, ns))


def measured(section, name, unit, measure, **more):
    try:
        return Row(section, name, unit, measure(), **more)
    except Failed as failure:
        return not_measured(section, name, failure)


def number_in(output, key):
    found = re.search(rf"\b{key}=([\d.]+)", output)
    if not found:
        raise Failed(f"no {key}= in {output!r}")
    return float(found[1])


def many_at_once(bench):
    """The program of the tests with thousands of connects in flight; it takes time, not processor time, because
    whether threads wait for one another is what counts here."""
    count = 500 if bench.quick else 10_000
    for how in ("poll", "epoll"):
        section, name = "call", f"{count:,} connects at once, {how}"
        if bench.no_namespace:
            yield not_measured(section, name, bench.no_namespace)
            continue
        say(f"{section}: {name}")
        bench.network.only_host(HOST, ADDRESSES[:2])
        live = ADDRESSES[0]
        words = [f"hosts={HOST}", f"port={PORT}", f"live={live}", f"count={count}", "threads=1", f"how={how}"]

        def us_each(subject):
            output = bench.network.run([bench.program("events_many", "tests"), *words], subject.env)
            if number_in(output, "connected") != count:
                raise Failed(output)
            return number_in(output, "ms") * 1000 / count

        yield measured(section, name, "us each", lambda: interleaved(bench.subjects, bench.pairs, us_each))


# ---- Instructions ----


def instructions(bench):
    """As callgrind counts them: the same in every run."""
    # Each lookup takes long under callgrind.
    sorts = [sort.among(FEWER) for sort in some(bench, SORTS)]
    yield from by_tool(bench, "instructions", sorts, "valgrind", counted)


def by_tool(bench, section, sorts, tool, row_of):
    """What a tool counts, a row for each sort."""
    for sort in sorts:
        reason = f"{tool} is not installed" if not shutil.which(tool) else prepare(bench, sort)
        if reason:
            yield not_measured(section, sort.name, reason)
            continue
        say(f"{section}: {sort.name}")
        try:
            yield row_of(bench, section, sort)
        except Failed as failure:
            yield not_measured(section, sort.name, failure)


def counted(bench, section, sort):
    count = 2 if sort.addresses == 1000 and sort.what == "lookup" else 100
    words = [bench.program("calls"), *sort.words, f"count={count}", "batches=1"]
    own, total = {}, {}
    for subject in bench.subjects:
        counts = count_instructions(bench, subject, words, ["--collect-atstart=no"])
        total[subject.name] = sum(counts.values()) / count
        own[subject.name] = counts.get(subject.library, 0) / count
    added = ", ".join(f"{total[each.name] - total['bare']:+.0f}" for each in bench.libraries)
    values = {name: [value] for name, value in own.items()}
    return Row(section, sort.name, "own", values, note=f"with libc's: {added} to {total['bare']:.0f}")


def count_instructions(bench, subject, words, options=()):
    """By object file."""
    path = bench.network.directory / "callgrind.out"
    command = ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={path}"]
    command += ["--compress-strings=no", "--compress-pos=no", *options]
    bench.network.run([*command, *words], subject.env, timeout=300)
    counts = {}
    current, of_a_call = "", False
    for line in path.read_text().splitlines():
        if line.startswith("ob="):
            current = line[3:]
        elif line.startswith("calls="):
            of_a_call = True  # the next line is what the callee took
        elif line[:1].isdigit():
            if not of_a_call:
                counts[current] = counts.get(current, 0) + int(line.split()[1])
            of_a_call = False
    path.unlink()
    return counts


# ---- System calls ----


def system_calls(bench):
    sorts = some(bench, [each for each in SORTS if each.what not in PASSING and not each.remember])
    yield from by_tool(bench, "system calls", sorts, "strace", called)


def called(bench, section, sort):
    calls = {each.name: calls_of_one(bench, each, sort) for each in bench.subjects}
    values = {name: [sum(each.values())] for name, each in calls.items()}
    newest, bare = calls[bench.libraries[-1].name], calls["bare"]
    changes = {each: newest.get(each, 0) - bare.get(each, 0) for each in sorted({*newest, *bare})}
    # What is done now and then, as the memory file is written, is in the sum alone.
    note = ", ".join(f"{value:+.1f} {each}" for each, value in changes.items() if abs(value) > 0.05)
    return Row(section, sort.name, "each", values, note=note)


def calls_of_one(bench, subject, sort):
    """By name: what more of them need, divided by how many more."""
    few, many = (1, 3) if sort.addresses == 1000 and sort.what == "lookup" else (10, 60)
    counts = []
    for count in (few, many):
        words = [bench.program("calls"), *sort.words, f"count={count}", "batches=1"]
        counts.append(count_system_calls(bench, subject, words))
    # A tenth of each batch warms up.
    more = many - few + many // 10 - few // 10
    calls = {name: (counts[1][name] - counts[0].get(name, 0)) / more for name in counts[1]}
    return {name: round(value, 2) for name, value in calls.items() if round(value, 2)}


def count_system_calls(bench, subject, words):
    path = Path(bench.network.directory, "strace.out")
    env = [f"--env={name}={value}" for name, value in subject.env.items()]
    bench.network.run(["strace", "-qq", "-f", "-c", "-U", "calls,name", *env, "-o", path, *words], {})
    found = re.findall(r"^ *(\d+) (\w+)$", path.read_text(), re.MULTILINE)
    return {name: int(count) for count, name in found if name != "total"}
