# The client programs of the tests and the demo: how each is started, and how it says that it got through.
# Nothing here may know about the library: a client is what a user would type.
import dataclasses
import functools
import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Client:
    """A program, connecting to HOST and PORT as `words` says. The live servers answer "nextaddr-live ADDRESS"."""

    name: str
    tool: str  # the command that must be installed
    protocol: str  # one of lab_server.PROTOCOLS
    words: Callable[[str, int], list[str]]
    probe: tuple[str, ...] = ()  # a command that succeeds where all else it needs is installed
    env: Mapping[str, str] | None = None  # added to the environment
    first_only: bool = False  # gives up when the first address refuses
    leaves_silence: bool = False  # asks the next address by itself when one is silent
    hold_stdin: bool = False  # leaves as soon as its standard input ends
    status: int = 0  # exit status after an answer
    mute: bool = False  # does not print the answer: its exit status must do
    always_zero: bool = False  # has the same exit status when it got nowhere
    asks_all: bool = False  # connects to every address, whatever becomes of the first
    any_order: bool = False  # begins with whichever address it likes
    unhelped: frozenset[str] = frozenset()  # the scenarios in which it hangs all the same
    seconds: float = 0  # that it takes beyond those of most programs: sleeps of its own, a slow start

    @functools.cached_property
    def installed(self):
        if not shutil.which(self.tool):
            return False
        return not self.probe or subprocess.run(self.probe, capture_output=True).returncode == 0

    def run(self, scenario, env=None, **options):
        """Runs it against a host of the lab; the options are those of Scenario.run."""
        words = self.words(scenario.host, scenario.port)
        env = {**(self.env or {}), **(env or {})}
        return scenario.run(words, env=env, hold_stdin=self.hold_stdin, **options)

    def answered(self, result, address):
        """Did it get through to this address, and say so?"""
        answer = rf"nextaddr-live[ -]{re.escape(address)}(?![\d.])"
        said = self.mute or re.search(answer, result.stdout + result.stderr)
        return result.returncode == self.status and bool(said)

    def failed(self, result):
        """Did it end by itself, and report that it got nowhere?"""
        said = result.stdout + result.stderr
        ended = not result.timed_out and (self.always_zero or result.returncode != 0)
        return ended and "nextaddr-live" not in said


def url(host, port):
    return f"http://{host}:{port}/"


def plain(*words):
    """Host and port come last."""
    return lambda host, port: [*words, host, str(port)]


def fetch(*words):
    """The URL comes last."""
    return lambda host, port: [*words, url(host, port)]


def saved(*words):
    """As `fetch`, of a program that saves the answer in a file of this name."""
    text = 'cd "$(mktemp -d)" && "$@" && cat answer'
    return fetch("sh", "-c", text, "sh", *words)


def java(name, source):
    """Runs main of the class NAME, which is compiled when first needed; host and port are its arguments."""
    quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData"]
    return lambda host, port: ["java", *quick, "-cp", java_classes(name, source), name, host, str(port)]


@functools.cache
def java_classes(name, source):
    """The path of a directory with the compiled class."""
    path = script(f"{name}.java", source)
    subprocess.run(["javac", "-J-XX:-UsePerfData", path], check=True)
    return str(Path(path).parent)


@functools.cache
def script(name, source):
    """The path of a file with this text. It lives as long as this process, and no other text takes its place."""
    path = Path(_scripts.name, hashlib.sha256(source.encode()).hexdigest()[:16], name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(source)
    return str(path)


# Here, because of two that are made by two threads one would go, with its files, as soon as nobody holds it.
_scripts = tempfile.TemporaryDirectory(prefix="nextaddr-clients-")


from clients import blocking, event_driven, mailers, own_resolver  # noqa: E402 (they need the above)

CLIENTS = blocking.CLIENTS + event_driven.CLIENTS
RESOLVING = own_resolver.RESOLVING
MAILERS = mailers.MAILERS
