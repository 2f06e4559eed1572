# A short run of the soak (tests/soak), and that its judge sees what it is there for.
# Nothing here may ask that a run be fast: only that much was judged, and nothing found.
import re
import socket
import subprocess
import sys
import time

import pytest

from flapping import Network, schedule
from judge import Connect, Judge
from soak import FarLab
from lab import ROOT
from programs.harness import address_lab

SOAK = ROOT / "tests" / "soak"


def test_many_programs_while_addresses_come_and_go(require, socket_filters):
    for tool in ("node", "perl"):
        require(tool)
    words = [sys.executable, SOAK / "soak.py", "--seconds", "10"]
    run = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0 and not run.stderr, f"{run.stdout}{run.stderr}"
    figures = dict(re.findall(r"^([^:\n]+): (\d+)", run.stdout, re.MULTILINE))
    # A busy machine makes few, where each takes some hundred milliseconds.
    assert int(figures["connects"]) > 100 and int(figures["with one live all the time"]) > 50, run.stdout
    assert int(figures["failovers"]) > 10 and int(figures["refused by all"]) > 2, run.stdout
    assert int(figures["short programs"]) >= 4, run.stdout
    assert ("distances: none" in run.stdout) == bool(FarLab.obstacle()), run.stdout


def test_the_same_seed_has_the_same_changes():
    groups = [["127.0.1.1", "127.0.1.2"], ["127.0.1.2", "127.0.1.3"]]
    assert schedule(7, groups, 60) == schedule(7, groups, 60) != schedule(8, groups, 60)


# ---- The judge ----

HOSTS = {
    "a.test": ["live", "silent", "refused"],
    "b.test": ["refused", "other"],
    "dead.test": ["refused"],
    "late.test": ["refused", "back"],
    "far.test": ["far"],
}


class Steady:
    """Addresses that always were what they are called; but one was silent a moment ago."""

    addresses = property(lambda self: {name: self.Address(name) for names in HOSTS.values() for name in names})

    class Address:
        def __init__(self, state):
            self.state = state

        def states(self, begin, end):
            if self.state == "back" and end - begin > 30:
                return {"silent", "live"}
            return {"live" if self.state in ("other", "back", "far") else self.state}


@pytest.mark.parametrize(
    "host, asked, outcome, expected",
    [
        ("a.test", "silent", "live", None),
        ("a.test", "silent", "other", "connected to the stranger other"),
        # b.test has it too, and nothing else in common.
        ("a.test", "refused", "live", "connected to the stranger live"),
        ("a.test", "refused", "!ECONNREFUSED", None),
        ("a.test", "silent", "silent", "answered by silent, which was silent all the time"),
        ("a.test", "silent", "!ECONNREFUSED", "not connected, though live was live all the time"),
        ("a.test", "silent", "!timeout", "not connected, though live was live all the time"),
        ("a.test", "live", "!no answer", "connected, and not answered by who it is connected to"),
        ("dead.test", "refused", "!ECONNREFUSED", None),
        ("dead.test", "refused", "!ETIMEDOUT", "not the error of the address it asked for"),
        ("dead.test", "refused", "!timeout", "not ended, though all refused all the time"),
        # Not asked again so soon.
        ("late.test", "back", "!ECONNREFUSED", None),
        ("late.test", "back", "!timeout", None),
        # Too far away for who gives up an address so soon.
        ("far.test", "far", "!own timer", None),
        ("far.test", "far", "!ECONNREFUSED", "not connected, though far was live all the time"),
        ("a.test", "live", "!own timer", "not connected, though live was live all the time"),
    ],
)
def test_the_judge(host, asked, outcome, expected):
    judge = Judge(HOSTS, Steady(), {"far": 0.2})
    assert judge.complaint(Connect("program", 1, 10, 11, host, asked, outcome), list(HOSTS)) == expected


def test_who_was_silent_is_spared_for_a_second_only():
    judge = Judge(HOSTS, Steady())
    longer = Connect("program", 1, 10, 12, "late.test", "back", "!timeout")
    assert judge.complaint(longer, list(HOSTS)) == "not connected, though back was live all the time"


def test_the_judge_of_who_goes_through_the_addresses_itself():
    hosts = {"a.test": ["refused", "silent"], "b.test": ["refused"]}
    judge = Judge(hosts, Steady())
    ends = [Connect("program", 1, 10, 11, host, None, "!own timer") for host in hosts]
    complaints = [judge.complaint(end, list(hosts)) for end in ends]
    assert complaints == [None, "not ended, though all refused all the time"]


# ---- The network ----

STEP = 0.8


def test_an_address_is_what_it_is_set_to(address_lab, socket_filters):
    network = Network([address_lab.unused()])
    (text,) = network.addresses
    states = ["live", "silent", "slow", "refused", "live", "refused", "silent", "live"]
    begin = time.monotonic()
    network.plan((begin + number * STEP, text, state) for number, state in enumerate(states))
    network.start()
    try:
        for number, state in enumerate(states):
            time.sleep(max(begin + number * STEP + 0.1 - time.monotonic(), 0))
            # On a busy machine a change comes late, or an answer.
            while state != "slow" and (found := connects_to(text, network.port)) != state:
                assert time.monotonic() < begin + (number + 1) * STEP, f"{found}, not {state}"
        assert network.addresses[text].states(begin + 1.2 * STEP, begin + 1.5 * STEP) == {"silent"}
    finally:
        network.close()


def connects_to(address, port):
    with socket.socket() as client:
        client.settimeout(0.3)
        try:
            client.connect((address, port))
        except TimeoutError:
            return "silent"
        except ConnectionRefusedError:
            return "refused"
        return "live" if client.recv(99).startswith(b"HTTP/1.0 200 nextaddr-live") else "mute"
