#!/usr/bin/env python3
# Test suites of other projects, run bare and preloaded in one run and compared test by test: `make foreign`.
# Exits 1 when a test ends differently with the library than without it.
# It must never drop a test silently: what a suite reported in any of its runs is compared, and a test that ends
# differently is run again on both sides, not forgiven. Nothing leaves the network namespaces the suites run in, and
# nothing is written outside the work directory.
import argparse
import collections
import concurrent.futures
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import suites

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "build" / "libnextaddr.so"
REPEATS = 3
# So many tests of a job are repeated one by one, more of them by all of the job.
FEW = 5

# Settings of the caller that would change what the tests do.
FOREIGN_SETTINGS = re.compile(r"NEXTADDR_.*|LD_PRELOAD|.*_PROXY|PYTHON.*|NODE_.*|RUBY.*|PERL.*|TMPDIR|XDG_.*", re.IGNORECASE)

# How the library is set in the runs with it.
SETTINGS = {
    "bare": None,
    "preloaded": {},
    "logged": {"NEXTADDR_LOG": "info"},
    # To look for mistakes, by --settings: every connect on loopback takes a while, and so is driven by the program's
    # waits. Not all that differs is one then: a test that connects to itself and neither waits nor asks
    # (libnextaddr(7), LIMITS) hangs.
    "delayed": {"NEXTADDR_LOG": "info", "NEXTADDR_FAULTS": "@127.0.0.0/8=delay(3);@::1=delay(3)"},
}
USUAL = ["preloaded", "logged"]

# Names that do not depend on the machine, and a host with two addresses, as most machines have it.
HOSTS = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"

# $1: the host table, the rest: the command. Everything the command leaves behind ends with the process namespace.
IN_NAMESPACE = 'ip link set lo up && mount --bind "$1" /etc/hosts && shift && "$@"'
UNSHARE = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


class Runner:
    """Runs the jobs of one suite, one after the other, and keeps how each test ended under each setting."""

    def __init__(self, suite, work, library):
        self.suite = suite
        self.work = work
        self.library = library
        self.outcomes = collections.defaultdict(lambda: collections.defaultdict(list))
        self.job_of = {}
        self.events = collections.Counter()
        self.problems = []
        self.seconds = collections.Counter()
        self.number = 0

    def run(self, job, setting):
        """How each test of `job` ended."""
        self.number += 1
        place = self.work / f"{self.number:04}-{setting}"
        shutil.rmtree(place, ignore_errors=True)
        (place / "tmp").mkdir(parents=True)
        hosts = place / "hosts"
        hosts.write_text(HOSTS + f"127.0.1.1 {os.uname().nodename}\n")
        environment = {name: value for name, value in os.environ.items() if not FOREIGN_SETTINGS.fullmatch(name)}
        environment |= {"TMPDIR": str(place / "tmp"), "HOME": str(place / "tmp"), "LC_ALL": "C.UTF-8"} | job.environment
        command = [word.replace("{results}", str(place / "results")) for word in job.command]
        log = place / "log"
        if SETTINGS[setting] is not None:
            preload = {"LD_PRELOAD": self.library, "NEXTADDR_MEMORY": place / "memory", "NEXTADDR_LOG_FILE": log,
                       "NEXTADDR_LOG_FORMAT": "json"} | SETTINGS[setting]
            # Only the command: not what brings the network up.
            command = ["env", *(f"{name}={value}" for name, value in preload.items()), *command]
        began = time.monotonic()
        with open(place / "output", "wb") as output:
            process = subprocess.Popen([*UNSHARE, "sh", "-c", IN_NAMESPACE, "sh", hosts, *command], cwd=job.directory or place,
                                       env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                       start_new_session=True)
            try:
                status = process.wait(job.seconds)
            except subprocess.TimeoutExpired:
                status = None
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.seconds[setting] += time.monotonic() - began
        self.read_log(log, job)
        ran = suites.Ran(status, (place / "output").read_text(errors="replace"), place / "results")
        shutil.rmtree(place / "tmp", ignore_errors=True)
        return job.parse(ran)

    def read_log(self, log, job):
        if not log.exists():
            return
        for line in log.read_text(errors="replace").splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                self.problems.append(f"{job.name}: a log line that is not JSON: {line[:200]}")
                continue
            self.events[event["event"]] += 1
            if event["event"] == "problem":
                self.problems.append(f"{job.name}: {event}")

    def note(self, job, setting):
        found = self.run(job, setting)
        for test, status in found.items():
            self.outcomes[test][setting].append(status)
            self.job_of.setdefault(test, job)
        return found

    def differs(self, test, setting):
        """What the test did with the library and never without it."""
        return set(self.outcomes[test][setting]) - set(self.outcomes[test]["bare"])

    def compare(self, jobs, settings, progress):
        """Names of tests that differ, and of those that differed once and then did not, by setting."""
        for job in jobs:
            found = {setting: self.note(job, setting) for setting in settings}
            for test in set().union(*found.values()):
                for setting in settings:
                    if test not in found[setting]:
                        self.outcomes[test][setting].append("absent")
            progress(f"{self.suite.name}: {job.name}")
        different, settled = {}, {}
        for setting in settings[1:]:
            by_job = collections.defaultdict(list)
            for test in sorted(self.outcomes):
                if self.differs(test, setting):
                    by_job[self.job_of[test].name].append(test)
            for tests in by_job.values():
                again = self.repeat(tests, setting)
                for test in tests:
                    bare = set(self.outcomes[test]["bare"])
                    shown = sorted(set(self.outcomes[test][setting]) | set(again[test]))
                    ends = f"{test} ({'/'.join(sorted(bare))}, with the library {'/'.join(shown)})"
                    (different if set(again[test]) - bare else settled).setdefault(setting, []).append(ends)
                    progress(f"{self.suite.name}: {setting}: {ends}")
        return different, settled

    def repeat(self, tests, setting):
        """Runs both sides of tests of one job again, in turn: how those with the library ended, by test."""
        whole = self.job_of[tests[0]]
        alone = [whole.only(test) for test in tests] if whole.only and len(tests) <= FEW else []
        # Not all are to be had alone.
        if not all(test in self.run(job, "bare") for job, test in zip(alone, tests)):
            alone = []
        again = {test: [] for test in tests}
        for _, job in itertools.product(range(REPEATS), alone or [whole]):
            ends = {side: self.run(job, side) for side in ("bare", setting)}
            for test in [tests[alone.index(job)]] if alone else tests:
                self.outcomes[test]["bare"].append(ends["bare"].get(test, "absent"))
                again[test].append(ends[setting].get(test, "absent"))
        return again


def obstacle():
    """Why nothing can be run here, or None."""
    if not LIBRARY.exists():
        return "build/libnextaddr.so is not built"
    tried = subprocess.run([*UNSHARE, "ip", "link", "set", "lo", "up"], capture_output=True, text=True)
    return None if tried.returncode == 0 else f"no network namespace: {tried.stderr.strip()}"


def compare_suite(suite, arguments, progress):
    try:
        work = arguments.work / suite.name
        work.mkdir(parents=True, exist_ok=True)
        missing = suite.missing()
        if missing:
            return f"{suite.name}: SKIPPED: {missing}", False
        suite.prepare(work)
        jobs = [job for job in suite.jobs() if re.search(arguments.job, job.name)]
    except suites.Unavailable as reason:
        return f"{suite.name}: SKIPPED: {reason}", False
    runner = Runner(suite, work / "runs", arguments.work / LIBRARY.name)
    different, settled = runner.compare(jobs, ["bare", *arguments.settings], progress)
    return describe(suite, runner, different, settled, arguments.settings)


def describe(suite, runner, different, settled, settings):
    counts = {side: sum(ends[side][0] == "passed" for ends in runner.outcomes.values()) for side in ["bare", *settings]}
    lines = [f"{suite.name}: {len(runner.outcomes)} tests; passed: "
             + ", ".join(f"{side} {count}" for side, count in counts.items())
             + f"; differing: {sum(map(len, different.values()))}; seconds: "
             + ", ".join(f"{side} {runner.seconds[side]:.0f}" for side in counts)
             + f"; logged: {dict(runner.events) or 'nothing'}"]
    lines += [f"    DIFFERENT {setting}: {test}" for setting, tests in different.items() for test in tests]
    lines += [f"    PROBLEM {problem}" for problem in runner.problems]
    lines += [f"    differed once, not in {REPEATS} more runs: {setting}: {test}" for setting, tests in settled.items() for test in tests]
    if not runner.outcomes:
        lines.append("    DIFFERENT: no test has run")
    return "\n".join(lines), bool(different or runner.problems or not runner.outcomes)


def main():
    parser = argparse.ArgumentParser(description="compares test suites of other projects with and without the library")
    parser.add_argument("suites", nargs="*", help=f"of {', '.join(suite.name for suite in suites.ALL)}; default: all")
    parser.add_argument("--job", default="", help="only the parts of a suite whose names match this regular expression")
    parser.add_argument("--settings", type=lambda text: text.split(","), default=USUAL,
                        help=f"of {','.join(list(SETTINGS)[1:])}; default: {','.join(USUAL)}")
    parser.add_argument("--work", type=lambda text: Path(text).resolve(), default=ROOT / "build" / "foreign", help="where sources, builds and runs go")
    parser.add_argument("--parallel", type=int, default=2, help="how many suites at a time")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell of each part that is done")
    arguments = parser.parse_args()
    reason = obstacle()
    if reason:
        print(f"SKIPPED: {reason}")
        return 0
    # A copy, so that one may go on building. A new file: to write over one that a process has mapped kills that process.
    arguments.work.mkdir(parents=True, exist_ok=True)
    shutil.copy(LIBRARY, arguments.work / "copying")
    os.replace(arguments.work / "copying", arguments.work / LIBRARY.name)
    lock = threading.Lock()

    def progress(message):
        if arguments.verbose:
            with lock:
                print(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stderr, flush=True)

    chosen = [suite for suite in suites.ALL if not arguments.suites or suite.name in arguments.suites]
    failed = False
    with concurrent.futures.ThreadPoolExecutor(arguments.parallel) as pool:
        for done in concurrent.futures.as_completed([pool.submit(compare_suite, suite, arguments, progress) for suite in chosen]):
            text, bad = done.result()
            print(text, flush=True)
            failed |= bad
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
