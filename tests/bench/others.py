# What other libraries that stand before connect cost, where they too only let it pass: a connect to loopback.
# It must never let a connect go anywhere but to the program's own listener: they are told to leave loopback alone.
import dataclasses
import shutil
from pathlib import Path

from calls import SORTS, Sort, calls_of_one, count_instructions, number_in, prepare
from network import Failed
from samples import Grid, Row, Subject, interleaved, say
from table import ratio_text

TORSOCKS = """
TorAddress 127.0.0.1
TorPort 9050
OnionAddrRange 127.42.42.0/24
AllowInbound 1
AllowOutboundLocalhost 1
"""
PROXYCHAINS = """
strict_chain
quiet_mode
localnet 127.0.0.0/255.0.0.0
[ProxyList]
socks4 127.0.0.1 9050
"""


def others(directory):
    """(NAME, OBJECT, ITS VARIABLES)"""
    (directory / "torsocks.conf").write_text(TORSOCKS)
    (directory / "proxychains.conf").write_text(PROXYCHAINS)
    return [
        ("torsocks", "torsocks/libtorsocks.so", {"TORSOCKS_CONF_FILE": str(directory / "torsocks.conf")}),
        ("proxychains4", "libproxychains.so.4", {"PROXYCHAINS_CONF_FILE": str(directory / "proxychains.conf")}),
    ]


def find_library(name):
    return next((str(path.resolve()) for path in Path("/usr/lib").glob(f"*/{name}")), None)


def all_rows(bench):
    columns = ["ns", "ratio", "quartiles of pairs", "instructions added", "system calls added"]
    for what in ("blocking", "poll")[: 1 if bench.quick else 2]:
        sort = next(each for each in SORTS if each.what == what and each.addresses == 0)
        title = f"connect ({what}), accept and close on loopback, with other libraries that stand before connect"
        found = Grid(f"others {what}", title, columns)
        several = next(each for each in SORTS if each.what == what and each.addresses == 2)
        compared = [Case(each.name, each, sort) for each in bench.subjects]
        if not prepare(bench, several):
            last = bench.libraries[-1]
            compared.append(Case(f"{last.name}, host of 2 addresses", last, several))
        for name, library, variables in others(bench.network.directory):
            path = find_library(name=library)
            if path is None:
                found.lines[name] = [f"not measured: {name} is not installed"]
                continue
            compared.append(Case(name, Subject(name, {"LD_PRELOAD": path, **variables}, path), sort))
        say(f"others: {what}")
        compare(bench, found, compared)
        yield found


@dataclasses.dataclass(frozen=True)
class Case:
    """A line of the table."""

    name: str
    subject: Subject
    sort: Sort


def compare(bench, grid, cases):
    count, batches = (20, 3) if bench.quick else (400, 9)

    def ns(case):
        words = [bench.program("calls"), *case.sort.words, f"count={count}", f"batches={batches}"]
        return number_in(bench.network.run(words, case.subject.env), "ns")

    def instructions(case):
        words = [bench.program("calls"), *case.sort.words, "count=100", "batches=1"]
        return sum(count_instructions(bench, case.subject, words, ["--collect-atstart=no"]).values()) / 100

    def system_calls(case):
        return sum(calls_of_one(bench, case.subject, case.sort).values())

    working, counts, calls = [], {}, {}
    for case in cases:
        try:
            counts[case.name] = instructions(case) if shutil.which("valgrind") else None
            calls[case.name] = system_calls(case) if shutil.which("strace") else None
            working.append(case)
        except Failed as failure:
            grid.lines[case.name] = [f"not measured: {failure}"]
    values = interleaved(working, bench.pairs, ns)
    row = Row(grid.section, "", "ns", values)
    for name in values:
        added = [None if found[name] is None else found[name] - found["bare"] for found in (counts, calls)]
        grid.lines[name] = [row.median(name), *ratio_text(row.ratio(name, "bare")), *added]
    grid.samples = values
