# Real programs against names whose first addresses refuse, are silent or cannot be reached, with the names given
# by --resolve on loopback, and looked up by libc in a network namespace.
# A program that is not installed must be skipped by its name, and no test may pass when the library does nothing.
import re

import pytest

from clients import CLIENTS
from lab import SCENARIOS

# How long a program may take where nothing, or something, is silent. Generous: what failover itself costs is
# measured elsewhere; without it, a program waits for minutes. Java alone takes two seconds to start, beside others.
SECONDS = {"silent": 10, "refused": 10, "unreachable": 10, "live": 10}


def every(clients):
    return pytest.mark.parametrize("client", clients, ids=lambda client: client.name.replace(" ", "-"))


def run(scenario, client, **options):
    if not client.installed:
        pytest.skip(f"{client.name} is not installed")
    return client.run(scenario, **options)


def assert_got_through(scenario, client, result):
    first, *others = scenario.live
    assert client.answered(result, first), result
    assert scenario.connections(first) >= 1
    assert client.asks_all or [scenario.connections(address) for address in others] == [0] * len(others)
    assert result.seconds < SECONDS[scenario.kinds[0]] + client.seconds


def every_client_in(kinds_of):
    """Parameters `client` and `kind`: each client in the scenarios that `kinds_of` gives for it."""
    pairs = [(client, kind) for client in CLIENTS for kind in kinds_of(client)]
    names = [f"{client.name.replace(' ', '-')}-{kind}" for client, kind in pairs]
    return pytest.mark.parametrize("client, kind", pairs, ids=names)


@every_client_in(lambda client: [kind for kind in SCENARIOS if kind not in {*client.unhelped, "all-refused"}])
def test_gets_through(lab, client, kind):
    with lab.scenario(kind, client.protocol) as scenario:
        assert_got_through(scenario, client, run(scenario, client))


@every(CLIENTS)
def test_failure_is_reported_as_without_failover(lab, client):
    with lab.scenario("all-refused", client.protocol) as scenario:
        before = run(scenario, client, failover=False)
        after = run(scenario, client)
    assert client.failed(before), before
    assert client.failed(after), after
    assert outcome(after) == outcome(before)
    assert after.seconds < SECONDS["refused"] + client.seconds


def outcome(result):
    """What a program said, without process ids, times, pointers, and how deep its threads stood (Java)."""
    said = re.sub(r"\n\t(at |\.\.\. ).*|\[\d+\]|\d\d:\d\d:\d\d|\d+ ms|0x[\da-f]+", "", result.stdout + result.stderr)
    return result.returncode, said


@every([client for client in CLIENTS if "silent-first" not in client.unhelped])
def test_the_second_one_does_not_wait(loopback, client, tmp_path):
    """A silent address costs the first program its delay, and no other after it. By the log, because a program's own
    times differ by more than that."""
    logs = [tmp_path / "first", tmp_path / "second"]
    with loopback.scenario("silent-first", client.protocol) as scenario:
        silent, live = scenario.addresses
        for log in logs:
            options = ["--memory", str(tmp_path / "memory"), "-v", "--log-file", str(log)]
            result = run(scenario, client, options=options)
            assert client.answered(result, live), result
    first, second = (log.read_text() for log in logs)
    # A program may connect more than once.
    assert f" {silent} silent " in first.partition("\n")[0], first
    assert f" {silent} parked, {live} connected " in second and f" {silent} silent " not in second, second


# ---- Without failover, each of these programs needs what the tests above see it get ----


def assert_refusal_is_final(lab, client):
    with lab.scenario("refused-first", client.protocol) as scenario:
        result = run(scenario, client, failover=False)
        assert client.failed(result), result
        assert scenario.connections(scenario.live[0]) == 0


@every([client for client in CLIENTS if client.first_only])
def test_without_failover_a_refusal_is_final(lab, client):
    assert_refusal_is_final(lab, client)


@every([client for client in CLIENTS if not client.leaves_silence])
def test_without_failover_silence_is_waited_for(loopback, client):
    with loopback.scenario("silent-first", client.protocol) as scenario:
        result = run(scenario, client, failover=False, timeout=1 + client.seconds)
        assert result.timed_out, result
        assert client.asks_all or scenario.connections(scenario.live[0]) == 0


@every_client_in(lambda client: sorted(client.unhelped))
def test_who_is_not_helped_is_known(lab, client, kind):
    """The README names these; when one of them gets through, it is no longer to be named."""
    with lab.scenario(kind, client.protocol) as scenario:
        result = run(scenario, client, timeout=2 + client.seconds)
        assert result.timed_out, result
        assert scenario.connections(scenario.live[0]) == 0


def test_the_lookup_is_the_machines_own(namespace):
    """In the namespace nothing gives the names but libc, so a bare program meets the same addresses."""
    client = next(client for client in CLIENTS if client.name == "python3 connect")
    with namespace.scenario("refused-first", client.protocol) as scenario:
        assert client.failed(run(scenario, client, shim=False))


def test_ssh_is_heard(lab):
    client = next(client for client in CLIENTS if client.name == "ssh")
    with lab.scenario("silent-first", client.protocol) as scenario:
        run(scenario, client)
        assert [line.startswith("SSH-2.0-") for line in scenario.received(scenario.live[0])] == [True]
