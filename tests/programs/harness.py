# Runs the small programs of this directory with the library, and bare for comparison, against hosts whose
# addresses are live, refuse, are silent or cannot be reached, in any order a test asks for.
# It must never use an address that the lab did not give it, and never leave a process behind.
import contextlib
import dataclasses
import errno
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

import lab as labs

ROOT = Path(__file__).resolve().parents[2]
HOST = "several.test"


@dataclasses.dataclass(frozen=True)
class Build:
    """The library and the small programs of one architecture."""

    directory: Path = ROOT / "build"
    programs: str = "tests"
    emulator: str = ""  # what runs the programs; they find their libc below `sysroot`
    sysroot: str = ""
    runtime: tuple = ()  # libraries that must be loaded before ours: that of ASan

    @property
    def library(self):
        return self.directory / "libnextaddr.so"

    def program(self, name):
        path = self.directory / self.programs / name
        assert path.is_file(), f"{path} is not built: run make programs"
        return str(path)

    def words(self, name):
        return [self.emulator, self.program(name)] if self.emulator else [self.program(name)]

    def preload(self, *libraries):
        """The variables that preload these in this order, by default ours alone."""
        preloaded = ":".join(str(library) for library in (*self.runtime, *(libraries or (self.library,))))
        if not self.emulator:
            return {"LD_PRELOAD": preloaded}
        # The emulator's own loader must not see it.
        return {"QEMU_SET_ENV": f"LD_PRELOAD={preloaded}"}

    def environment(self):
        # What a program under test does with its memory is its own affair, and it may be killed.
        # What a forked child has not joined is its parent's.
        tsan = f"report_thread_leaks=0:suppressions={ROOT}/tests/programs/tsan.supp"
        sanitizers = {"ASAN_OPTIONS": "detect_leaks=0", "TSAN_OPTIONS": tsan}
        return {"QEMU_LD_PREFIX": self.sysroot} if self.emulator else sanitizers


def runtime_of(sanitizer):
    """Where the compiler has it; its name alone when it has not."""
    found = subprocess.run(["g++", f"-print-file-name=lib{sanitizer}.so"], capture_output=True, text=True)
    return (os.path.realpath(found.stdout.strip()),)


I386 = ROOT / "build" / "i386"


def emulator_of_i386():
    """Empty, unless the kernel has been built without 32-bit programs."""
    try:
        subprocess.run([I386 / "tests" / "connect_first"], capture_output=True, timeout=10)
    except OSError as error:
        return "qemu-i386" if error.errno == errno.ENOEXEC else ""
    return ""


IN_32_BITS = {"emulator": emulator_of_i386(), "sysroot": "/"}
BUILDS = {
    "native": Build(),
    "i386": Build(I386, **IN_32_BITS),
    "i386-time64": Build(I386, "tests-time64", **IN_32_BITS),
    "aarch64": Build(ROOT / "build" / "aarch64", emulator="qemu-aarch64", sysroot="/usr/aarch64-linux-gnu"),
    "address": Build(ROOT / "build" / "address", runtime=runtime_of("asan")),
    # Its runtime stays behind ours: inside its own hooks of waits it would not see what our atomics order.
    "thread": Build(ROOT / "build" / "thread"),
    "coverage": Build(ROOT / "build" / "coverage"),
}
# TEST_BUILD=i386 runs any test of the small programs with these; not all hold everywhere.
NATIVE = BUILDS[os.environ.get("TEST_BUILD", "native")]
LIBRARY = NATIVE.library
# TEST_UNDER=valgrind runs each of them by this command.
UNDER = os.environ.get("TEST_UNDER", "").split()
PROGRAMS = NATIVE.directory / NATIVE.programs
preload = NATIVE.preload


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
        self.stdout, self.stderr, timed_out = labs.communicate(self._process, within)
        if timed_out:
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


def start(lab, name, env, /, before=(), as_user=None, build=NATIVE, **arguments):
    """Starts a program with KEY=VALUE arguments in the network of a lab, with `env` added to the environment.
    `before` is a command that runs it (strace, valgrind); `as_user` holds what Popen has to say who it runs as."""
    env = {**build.environment(), **env}
    words = [*UNDER, *before, *build.words(name), *(f"{key}={value}" for key, value in arguments.items())]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "errors": "replace"}
    return Run(lab.spawn(words, env={**lab.environment(), **env}, **streams, **(as_user or {})))


NOBODY = 65534
AS_NOBODY = {"user": NOBODY, "group": NOBODY, "extra_groups": [], "cwd": "/"}


@pytest.fixture
def public():
    """A directory that every user may enter, as the one of the checkout need not be."""
    with tempfile.TemporaryDirectory(prefix="nextaddr-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


def copies_for_nobody(public, name):
    """The paths of a program and the library that every user may read."""
    return shutil.copy(NATIVE.program(name), public), shutil.copy(LIBRARY, public)


def run_as_nobody(public, scenario, name, env, /, **arguments):
    """A program with the library, both of them copies, as a user without privileges. Only root can do that."""
    program, library = copies_for_nobody(public, name)
    arguments = {"host": HOST, "port": scenario.port, **arguments}
    env = {"NEXTADDR_RESOLVE": scenario.resolve, **env, **preload(library)}
    return start(scenario.lab, program, env, as_user=AS_NOBODY, **arguments).finish()


def start_shim(scenario, name, /, env=None, before=(), build=NATIVE, **arguments):
    """With the library. The program is given the name of the host, and so gets all addresses of it."""
    ours = build.preload()
    if scenario.lab.needs_resolve:
        ours["NEXTADDR_RESOLVE"] = scenario.resolve
    arguments = {"host": scenario.host, "port": scenario.port, **arguments}
    return start(scenario.lab, name, {**ours, **(env or {})}, before, build=build, **arguments)


def start_bare(scenario, name, /, before=(), build=NATIVE, **arguments):
    """Without the library. Where names need it the program is given the first address, which is all it uses."""
    host = scenario.addresses[0] if scenario.lab.needs_resolve else scenario.host
    return start(scenario.lab, name, {}, before, build=build, **{"host": host, "port": scenario.port, **arguments})


def run_shim(scenario, name, /, within=30, **arguments):
    return start_shim(scenario, name, **arguments).finish(within)


def run_bare(scenario, name, /, within=30, **arguments):
    return start_bare(scenario, name, **arguments).finish(within)
