# Runs the small programs of this directory with the library, and bare for comparison, against hosts whose
# addresses are live, refuse, are silent or cannot be reached, in any order a test asks for.
# It must never use an address that the lab did not give it, and never leave a process behind.
import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytest

import lab as labs

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "build" / "libnextaddr.so"
PROGRAMS = ROOT / "build" / "tests"
HOST = "several.test"


class Addresses(labs.Loopback):
    """Loopback, with hosts that have one address of each kind asked for; a 6 at the end of a kind means ::1."""

    @contextlib.contextmanager
    def several(self, *kinds):
        addresses = ["::1" if kind.endswith("6") else self._address(kind) for kind in kinds]
        plain = [kind.rstrip("6") for kind in kinds]
        number = next(self._numbers)
        try:
            port = self.ask("open", number, "banner", plain, addresses)
            yield labs.Scenario(self, number, HOST, port, plain, addresses)
        finally:
            self.ask("close", number)

    def unused(self):
        """An address at which nothing listens, for a test to use itself."""
        return self._address("refused")


@pytest.fixture(scope="session")
def address_lab():
    with Addresses() as lab:
        yield lab


@pytest.fixture
def several(address_lab):
    """several("refused", "live") gives HOST these addresses until the test ends."""
    with contextlib.ExitStack() as stack:
        yield lambda *kinds: stack.enter_context(address_lab.several(*kinds))


class Run:
    """A program that is running, or has ended."""

    def __init__(self, process):
        self._process = process
        self.returncode = None
        self.stdout = self.stderr = ""

    def signal(self, number):
        self._process.send_signal(number)

    def wait(self, within=30):
        try:
            self.stdout, self.stderr = self._process.communicate(timeout=within)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self.stdout, self.stderr = self._process.communicate()
            pytest.fail(f"still running after {within} s: {self}")
        self.returncode = self._process.returncode
        return self

    def finish(self, within=30):
        """Waits for its end, and expects a good one."""
        self.wait(within)
        assert self.returncode == 0, self
        return self

    @property
    def lines(self):
        """Each line of output as a dictionary of its KEY=VALUE words."""
        return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in self.stdout.splitlines()]

    @property
    def first(self):
        return self.lines[0]

    def values(self, *keys):
        """What the first line says of these."""
        return tuple(self.first[key] for key in keys)

    def __repr__(self):
        return f"{self._process.args}: exit status {self.returncode}\n{self.stdout}{self.stderr}"


def program(name):
    path = PROGRAMS / name
    assert path.is_file(), f"{path} is not built: run make programs"
    return str(path)


def preload(*libraries):
    """The variable that preloads these in this order, by default ours alone."""
    return {"LD_PRELOAD": ":".join(str(library) for library in libraries or (LIBRARY,))}


def start(lab, name, env, /, before=(), as_user=None, **arguments):
    """Starts a program with KEY=VALUE arguments in the network of a lab, with `env` added to the environment.
    `before` is a command that runs it (strace, valgrind); `as_user` holds what Popen has to say who it runs as."""
    words = [*before, program(name), *(f"{key}={value}" for key, value in arguments.items())]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "errors": "replace"}
    return Run(lab.spawn(words, env={**lab.environment(), **env}, **streams, **(as_user or {})))


def start_shim(scenario, name, /, env=None, before=(), **arguments):
    """With the library. The program is given the name of the host, and so gets all addresses of it."""
    ours = preload()
    if scenario.lab.needs_resolve:
        ours["NEXTADDR_RESOLVE"] = scenario.resolve
    arguments = {"host": scenario.host, "port": scenario.port, **arguments}
    return start(scenario.lab, name, {**ours, **(env or {})}, before, **arguments)


def start_bare(scenario, name, /, before=(), **arguments):
    """Without the library. Where names need it the program is given the first address, which is all it uses."""
    host = scenario.addresses[0] if scenario.lab.needs_resolve else scenario.host
    return start(scenario.lab, name, {}, before, **{"host": host, "port": scenario.port, **arguments})


def run_shim(scenario, name, /, within=30, **arguments):
    return start_shim(scenario, name, **arguments).finish(within)


def run_bare(scenario, name, /, within=30, **arguments):
    return start_bare(scenario, name, **arguments).finish(within)
