# Networks for the tests and the demo: host names whose addresses are live, refuse, are silent or cannot be reached.
# It must never use an address outside loopback or a network namespace of its own, and never leave a process or a
# file behind: all sockets are those of one server process per lab, which ends when its standard input does.
import contextlib
import dataclasses
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LAUNCHER = ROOT / "scripts" / "nextaddr"
SERVER = ROOT / "tests" / "lab_server.py"
MANY_USERS = ROOT / "tests" / "many_users.py"

# What the addresses of a host are, in the resolver's order.
SCENARIOS = {
    "live-first": ["live", "live"],
    "refused-first": ["refused", "live"],
    "five-refused": ["refused"] * 5 + ["live"],
    "silent-first": ["silent", "live"],
    "two-silent": ["silent", "silent", "live"],
    "unreachable-first": ["unreachable", "live"],
    "ipv6-silent": ["silent6", "live"],
    "all-refused": ["refused", "refused"],
}

# Settings of the caller that would change where the programs connect, or what they say.
FOREIGN_SETTINGS = re.compile(r"(NEXTADDR_|PG|GIT_|REDISCLI_).*|LD_PRELOAD|.*_(PROXY|OPTIONS)", re.IGNORECASE)


@dataclasses.dataclass
class Result:
    """How a program ended."""

    returncode: int
    stdout: str
    stderr: str
    seconds: float
    timed_out: bool


def communicate(process, within, input=None):
    """What it has written, and whether it had to be killed, with its group, because it took longer."""
    try:
        return *process.communicate(input, within), False
    except BaseException as reason:  # the interrupt key as well
        os.killpg(process.pid, signal.SIGKILL)
        written = process.communicate()
        if not isinstance(reason, subprocess.TimeoutExpired):
            raise
        return *written, True


class Scenario:
    """One host name and port with several addresses."""

    def __init__(self, lab, number, host, port, kinds, addresses):
        self.lab = lab
        self.host = host
        self.port = port
        self.kinds = [kind.rstrip("6") for kind in kinds]
        self.addresses = addresses
        self._number = number

    @property
    def live(self):
        return [address for kind, address in zip(self.kinds, self.addresses) if kind == "live"]

    @property
    def resolve(self):
        return f"{self.host}={','.join(self.addresses)}"

    def connections(self, address):
        """How many connections the live server at this address has accepted."""
        return self.lab.ask("connections", self._number)[address]

    def received(self, address):
        """What these connections have said first, as far as they have."""
        return self.lab.ask("received", self._number)[address]

    def run(self, argv, shim=True, failover=True, options=(), env=None, timeout=20, input=None, hold_stdin=False):
        """Runs a program to its end, or for `timeout` seconds: with the library, with it but without failover, or
        bare. Standard input is `input`, by default nothing; `hold_stdin` keeps it open until the program ends."""
        stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
        writer = None
        if hold_stdin:
            stdin, writer = os.pipe()
        started = time.monotonic()
        process = self.lab.spawn(
            self._words(shim, failover, options) + list(argv),
            env={**self.lab.environment(), **(env or {})},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            errors="replace",
        )
        stdout, stderr, timed_out = communicate(process, timeout, input)
        seconds = time.monotonic() - started
        if hold_stdin:
            os.close(stdin)
            os.close(writer)
        return Result(process.returncode, stdout, stderr, seconds, timed_out)

    def _words(self, shim, failover, options):
        if not shim:
            return []
        words = [str(LAUNCHER), *options]
        if not failover:
            words += ["--skip", "*"]
        if self.lab.needs_resolve:
            words += ["--resolve", self.resolve]
        return [*words, "--"]


class Lab:
    """A network, and the one process that serves in it."""

    needs_resolve: bool  # must the launcher give the names?

    def __init__(self):
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._directory = tempfile.TemporaryDirectory(prefix="nextaddr-lab-")
        self.directory = Path(self._directory.name)
        self._server = subprocess.Popen(
            self._server_words(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # the interrupt key must not end it before the programs that use it
        )
        self.ask("ready")

    def close(self):
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()
        self._directory.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def ask(self, question, *arguments):
        """Asks the server process; see there for the questions."""
        with self._lock:
            print(json.dumps([question, *arguments]), file=self._server.stdin, flush=True)
            answer = json.loads(self._server.stdout.readline() or '{"error": "it has ended"}')
        if "error" in answer:
            raise RuntimeError(f"server process of the lab, asked to {question}: {answer['error']}")
        return answer["value"]

    def environment(self):
        """What programs get: ours, without settings that change what they do."""
        kept = {name: value for name, value in os.environ.items() if not FOREIGN_SETTINGS.fullmatch(name)}
        # What one program has found out must not change what the next one meets, but in the tests of that.
        return {**kept, "NEXTADDR_MEMORY": "off", "LC_ALL": "C", "HOME": str(self.directory), "TMPDIR": str(self.directory)}

    def spawn(self, argv, **popen_kwargs):
        """Starts a program in this network, as the leader of a process group of its own."""
        return subprocess.Popen(argv, **{"text": True, "start_new_session": True, **popen_kwargs})

    @contextlib.contextmanager
    def scenario(self, kind, protocol="http", count=None):
        """A host of this kind. With `count` it has so many addresses: the first of its kinds is repeated, and the
        last ends the list."""
        kinds = SCENARIOS[kind]
        if count is not None:
            kinds = [kinds[0]] * (count - 1) + kinds[-1:]
        addresses = [self._address(each) for each in kinds]
        number = next(self._numbers)
        host = f"{kind}-{number}.nextaddr.test"
        try:
            port = self.ask("open", number, protocol, kinds, addresses)
            self._give_name(host, port, addresses)
            yield Scenario(self, number, host, port, kinds, addresses)
        finally:
            self.ask("close", number)

    def _server_words(self):
        return [sys.executable, str(SERVER)]

    def _address(self, kind):
        raise NotImplementedError

    def _give_name(self, host, port, addresses):
        raise NotImplementedError


class Loopback(Lab):
    """Addresses of 127.0.0.0/8 and ::1, without privileges; --resolve gives the names."""

    needs_resolve = True

    # Each address is used once, so that no test meets what another has left, and from a random one on, so that
    # neither do two runs. Not 127.0.0.x: other servers are there, and connections come from 127.0.0.1.
    _next = itertools.count(random.randrange(0x7F010000, 0x7FE00000))

    def _address(self, kind):
        if kind == "unreachable":
            return "127.255.255.255"  # TCP to the broadcast address: ENETUNREACH, without a packet
        if kind == "silent6":
            return "::1"
        return socket.inet_ntoa(struct.pack("!I", next(self._next)))

    def _give_name(self, host, port, addresses):
        pass


class Namespace(Lab):
    """A network namespace of our own, in which libc looks the names up in a hosts file."""

    needs_resolve = False

    def __init__(self):
        # See lab_server.py for these networks.
        self._addresses = {
            "live": (f"198.18.{n >> 8}.{n & 255}" for n in range(1, 65535)),
            "silent": (f"192.0.2.{n % 250 + 1}" for n in itertools.count()),
            "silent6": (f"2001:db8::{n:x}" for n in range(1, 65535)),
            "unreachable": (f"198.51.100.{n % 250 + 1}" for n in itertools.count()),
        }
        self._addresses["refused"] = self._addresses["live"]
        super().__init__()

    @staticmethod
    def obstacle():
        """Why there can be none on this machine, or None."""
        for tool in ("unshare", "nsenter", "mount", "ip"):
            if not shutil.which(tool):
                return f"{tool} is not installed"
        trial = subprocess.run(["unshare", "-rnm", "true"], capture_output=True, text=True)
        return f"no namespaces: {trial.stderr.strip()}" if trial.returncode else None

    def spawn(self, argv, **popen_kwargs):
        directory = popen_kwargs.pop("cwd", os.getcwd())
        enter = ["nsenter", f"--target={self._server.pid}", "--user", "--preserve-credentials", "--net", "--mount"]
        return super().spawn([*enter, f"--wdns={directory}", "--", *argv], **popen_kwargs)

    def _server_words(self):
        return ["unshare", "-rnm", *super()._server_words(), str(self.directory)]

    def _address(self, kind):
        return next(self._addresses[kind])

    def _give_name(self, host, port, addresses):
        with open(self.directory / "hosts", "a") as hosts:
            hosts.write("".join(f"{address} {host}\n" for address in addresses))
        order = self.ask("look up", host, port)
        assert order == addresses, f"the addresses of {host} come in the order {order}, not {addresses}"


class NameServed(Namespace):
    """The same with a name server (dnsmasq), and no names in a hosts file: for programs that ask it themselves."""

    def __init__(self):
        super().__init__()
        (self.directory / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        (self.directory / "nsswitch.conf").write_text("hosts: files dns\npasswd: files\ngroup: files\n")
        self._names = self.directory / "names"
        self._names.write_text("203.0.113.1 name-server.nextaddr.test\n")
        # It ends with this process, however that ends.
        words = "setpriv --pdeathsig TERM dnsmasq -d --conf-file=/dev/null --no-resolv --no-hosts --user=root --group=root --pid-file= --log-facility=-"
        words += f" --no-round-robin --listen-address=127.0.0.1 --bind-interfaces --local=/test/ --addn-hosts={self._names}"
        self._name_server = self.spawn(words.split(), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # Not before it answers may it be told to read names anew: SIGHUP would be its end.
        self._await("name-server.nextaddr.test", 1, ["203.0.113.1"], lambda: None)

    @staticmethod
    def obstacle():
        return None if shutil.which("dnsmasq") else "dnsmasq is not installed"

    def _server_words(self):
        # Where that is possible with many users, which mailers want.
        many_users = [sys.executable, str(MANY_USERS)]
        if os.geteuid() != 0 or subprocess.run([*many_users, "true"], capture_output=True).returncode != 0:
            return super()._server_words()
        return [*many_users, "unshare", "-nm", *Lab._server_words(self), str(self.directory)]

    def close(self):
        os.killpg(self._name_server.pid, signal.SIGTERM)
        self._name_server.wait()
        super().close()

    def _give_name(self, host, port, addresses):
        with open(self._names, "a") as names:
            names.write("".join(f"{address} {host}\n" for address in addresses))
        self._await(host, port, addresses, lambda: os.killpg(self._name_server.pid, signal.SIGHUP))

    def _await(self, host, port, addresses, before):
        order = None
        for _ in range(200):
            before()
            time.sleep(0.02)
            with contextlib.suppress(RuntimeError):
                order = self.ask("look up", host, port)
                if order == addresses:
                    return
        raise AssertionError(f"the addresses of {host} come in the order {order}, not {addresses}")
