# What it costs to be preloaded at all: the start of a process, its memory, and the object's size.
# It must never count what a program has of its own: all is beside the same program, bare.
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from calls import ADDRESSES, HOST, MANY, PORT, count_instructions, count_system_calls, measured
from network import Failed
from samples import Row, interleaved, not_measured, say

PROGRAMS = {"/bin/true": ["/bin/true"], "python3 -c pass": [sys.executable, "-c", "pass"]}


def all_rows(bench):
    yield from starts(bench)
    yield from memory(bench)
    yield from size(bench)


def starts(bench):
    for name, words in PROGRAMS.items():
        say(f"start: {name}")
        repeats = 3 if bench.quick else 20

        def start(subject):
            return [once(bench, words, subject) for _ in range(repeats)]

        samples = interleaved(bench.subjects, bench.pairs, start)
        for unit, index in [("time", 0), ("processor time", 1), ("page faults", 2)]:
            values = {
                subject: [statistics.median(each[index] for each in sample) for sample in of_subject]
                for subject, of_subject in samples.items()
            }
            yield Row("start", f"{name}: {unit}", "" if index == 2 else "ms", values)
        if words[0] == "/bin/true" or not bench.quick:
            yield counted(bench, f"{name}: instructions", words, "valgrind", count_instructions)
        yield counted(bench, f"{name}: system calls", words, "strace", count_system_calls)


def once(bench, words, subject):
    environment = bench.network.environment_with(subject.env)
    begin = time.perf_counter()
    pid = os.posix_spawn(words[0], words, environment)
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - begin
    if status != 0:
        raise RuntimeError(f"{words[0]} ended with {status}")
    return seconds * 1000, (usage.ru_utime + usage.ru_stime) * 1000, usage.ru_minflt


def counted(bench, name, words, tool, count):
    if not shutil.which(tool):
        return not_measured("start", name, f"{tool} is not installed")
    say(f"start: {name}")

    def all_counts():
        return {each.name: [sum(count(bench, each, words).values())] for each in bench.subjects}

    return measured("start", name, "", all_counts)


# ---- Memory ----


def memory(bench):
    holds = [
        ("never looks up", 0, 0),
        ("looked up a host of 2", 2, 0),
        ("looked up a host of 1,000", 1000, 0),
        (f"looked up {MANY:,} hosts", 0, 5000 if bench.quick else MANY),
    ]
    for text, addresses, remember in holds:
        name = f"private memory written, {text}"
        if addresses and bench.no_namespace:
            yield not_measured("memory", name, bench.no_namespace)
            continue
        say(f"memory: {name}")
        words = [bench.program("calls"), "what=hold", f"port={PORT}"]
        if addresses:
            bench.network.only_host(HOST, ADDRESSES[:addresses])
            words.append(f"host={HOST}")
        if remember:
            words.append(f"remember={remember}")
        try:
            found = {each.name: private_kb(bench, each, words) for each in bench.subjects}
        except Failed as failure:
            yield not_measured("memory", name, failure)
            continue
        own = ", ".join("{1} ({2} written)".format(*found[each.name]) for each in bench.libraries)
        values = {subject: [sums[0]] for subject, sums in found.items()}
        # Those that are not written are shared as soon as a second process has them.
        yield Row("memory", name, "KiB", values, note=f"the object's own pages: {own}")


def private_kb(bench, subject, words):
    """(ALL WRITTEN, THE OBJECT'S, OF THESE WRITTEN): what no other process shares; the object's with its zero pages."""
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = bench.network.spawn(words, env=bench.network.environment_with(subject.env), **streams)
    try:
        if process.stdout.readline() != "ready\n":
            raise Failed(f"{words[0]} does not hold")
        # nsenter has become the program: the process is the same.
        with open(f"/proc/{process.pid}/smaps") as smaps:
            return sum_private(smaps.read(), subject.library)
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def sum_private(smaps, library):
    total = own = written = 0
    ours, ended_at = False, None
    for line in smaps.splitlines():
        mapping = re.match(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \S+ *(.*)", line)
        if mapping:
            begin, end, path = mapping.groups()
            # The zero pages of an object follow it without a name.
            ours = library is not None and (path == library or (ours and not path and begin == ended_at))
            ended_at = end
        elif line.startswith(("Private_Dirty:", "Private_Clean:")):
            kb = int(line.split()[1])
            dirty = kb if line.startswith("Private_Dirty:") else 0
            total += dirty
            own += kb if ours else 0
            written += dirty if ours else 0
    return total, own, written


def size(bench):
    values = {}
    if not shutil.which("strip"):
        yield not_measured("memory", "object, stripped", "strip is not installed")
        return
    for subject in bench.libraries:
        with tempfile.NamedTemporaryFile() as copy:
            subprocess.run(["strip", "-o", copy.name, subject.library], check=True)
            values[subject.name] = [os.stat(copy.name).st_size / 1024]
    yield Row("memory", "object, stripped", "KiB", values)
