# Measures what the library costs, and what it is worth beside what users would pick instead:
#     bench.py [--pairs N] [--only SECTION,..] [--library PATH] [--against PATH] [--quick]
# Needs no network, and root or user namespaces for most of it. Writes to stdout and build/bench/.
# It must never judge: no figure makes it fail. What it could not measure it says, with the reason.
import argparse
import contextlib
import os
import platform
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import calls  # noqa: E402
import dead  # noqa: E402
import distances  # noqa: E402
import floating  # noqa: E402
import network  # noqa: E402
import others  # noqa: E402
import start  # noqa: E402
import table  # noqa: E402
import throughput  # noqa: E402
from samples import Grid, Subject, say  # noqa: E402

SECTIONS = {
    "calls": calls.all_rows,
    "start": start.all_rows,
    "throughput": throughput.all_rows,
    "dead": dead.all_rows,
    "distances": distances.all_rows,
    "others": others.all_rows,
    "floating": floating.all_rows,
}
# Parts of sections.
PARTS = {
    "times": calls.times,
    "many": calls.many_at_once,
    "instructions": calls.instructions,
    "system-calls": calls.system_calls,
    "memory": start.memory,
    "far": distances.times,
    "ghosts": distances.ghosts,
}


class Bench:
    """What is measured, how often, and where."""

    def __init__(self, options):
        self.quick = options.quick
        self.pairs = options.pairs or (1 if options.quick else 11)
        library = str(options.library.resolve())
        self.libraries = [Subject("nextaddr", {"LD_PRELOAD": library}, library)]
        if options.against:
            older = str(options.against.resolve())
            self.libraries = [
                Subject("old", {"LD_PRELOAD": older}, older),
                Subject("new", {"LD_PRELOAD": library}, library),
            ]
        self.subjects = [Subject("bare", {}), *self.libraries]
        self.no_namespace = network.Network.obstacle()
        self.network = network.Loopback() if self.no_namespace else network.Network()

    @staticmethod
    def program(name, directory="bench"):
        return str(ROOT / "build" / directory / name)


def main():
    parser = argparse.ArgumentParser(description="what the library costs, and what it is worth")
    parser.add_argument("--pairs", type=int, help="how often each is measured by turns (default 11)")
    parser.add_argument("--only", help=f"some of {', '.join([*SECTIONS, *PARTS])}")
    parser.add_argument("--library", type=Path, default=ROOT / "build" / "libnextaddr.so")
    parser.add_argument("--against", type=Path, help="an older library, to measure beside it")
    parser.add_argument("--quick", action="store_true", help="once each, only to see that all can be measured")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench", help="the directory to write to")
    options = parser.parse_args()
    for path in filter(None, (options.library, options.against, Path(Bench.program("calls")))):
        if not path.is_file():
            parser.error(f"{path} is not there: run make bench")
    names = options.only.split(",") if options.only else list(SECTIONS)
    for name in names:
        if name not in {**SECTIONS, **PARTS}:
            parser.error(f"nothing is called {name}")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of what closes the network
    options.output.mkdir(parents=True, exist_ok=True)
    bench = Bench(options)
    before = os.getloadavg()[0]
    found = []
    with contextlib.closing(bench.network):
        for name in names:
            found += {**SECTIONS, **PARTS}[name](bench)
    load = f"load {before:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} processors"
    machine = f"{platform.system()} {platform.release()} {platform.machine()}"
    header = f"{machine}, {load}; {bench.pairs} samples of each by turns"
    grids = [each for each in found if isinstance(each, Grid)]
    rows = [each for each in found if not isinstance(each, Grid)]
    tables = [table.table(rows, bench.subjects)] if rows else []
    text = "\n".join([f"{header}\n", *tables, *(table.grid_table(grid) for grid in grids)])
    print(text, end="")
    (options.output / "table.md").write_text(text)
    table.write_json(options.output / "results.json", rows, grids, header)
    reason = table.draw(options.output, rows, grids, bench.subjects)
    if reason:
        say(f"no plots: {reason}")


if __name__ == "__main__":
    main()
