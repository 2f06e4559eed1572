# Faults on purpose are real: a program that meets one does what it does at an address that really refuses, is silent
# or cannot be reached, with failover and without.
# Nothing here may pass when no fault is made: each run is compared with one at real addresses, or its log is read.
import concurrent.futures
import re

import pytest

from clients import CLIENTS
from programs.faults import events_of, faults

# How long a program may take with failover. Generous, as in test_real_programs.py, but less than what is delayed.
SECONDS = {"refuse": 10, "silent": 10, "unreachable": 10, "delay(9000)": 8}


def every(clients):
    return pytest.mark.parametrize("client", clients, ids=lambda client: client.name.replace(" ", "-"))


def run(scenario, client, env, **options):
    if not client.installed:
        pytest.skip(f"{client.name} is not installed")
    if scenario.lab.needs_resolve:
        env = {**env, "NEXTADDR_RESOLVE": scenario.resolve}
    return client.run(scenario, env=env, shim=False, **options)


# ---- With failover it gets through ----

# The library never sees what they look up, or sees each address as a host of its own.
OUT_OF_REACH = [client for client in CLIENTS if "silent-first" in client.unhelped]
IN_REACH = [client for client in CLIENTS if client not in OUT_OF_REACH]
# Connects more than once, whatever becomes of the first.
SEVERAL_CONNECTS = {"axel", "git http", "wrk", "chromium"}
# Ask SO_ERROR before they wait: what they find then, of an address as near as loopback, is true, and they go on by
# themselves.
ASKS_FIRST = {"ruby TCPSocket", "chromium", "python3 psycopg async"}


@pytest.mark.parametrize("action", SECONDS)
@every(IN_REACH)
def test_gets_through(loopback, client, action, tmp_path):
    log = tmp_path / "log"
    with loopback.scenario("live-first", client.protocol) as scenario:
        first, second = scenario.addresses
        result = run(scenario, client, faults(f"{scenario.host}#1={action}", LOG_FILE=log))
        assert client.answered(result, second), result
        assert scenario.connections(first) == 0
    assert result.seconds < SECONDS[action] + client.seconds
    connects, made = events_of(log, "connect"), events_of(log, "fault")
    assert len(connects) + len(made) == len(events_of(log))
    # One that has begun at the end of the program is not finished.
    assert len(made) - 1 <= len(connects) <= len(made) or client.name in ASKS_FIRST
    assert len(connects) == 1 or client.name in SEVERAL_CONNECTS | ASKS_FIRST
    name = action.partition("(")[0]
    for event in connects:
        assert event["failover"] and (event["asked"], event["used"]) == (first, second), event
        faulted, connected = event["attempts"]
        assert (faulted["address"], faulted["fault"]) == (first, name), event
        assert "fault" not in connected, event
    for event in made:
        named = {"rule": f"{scenario.host}#1={action}", "action": name, "host": scenario.host, "port": scenario.port}
        assert {**event, **named, "address": first} == event


@pytest.mark.parametrize("action", ["refuse", "unreachable"])
@every(OUT_OF_REACH)
def test_addresses_have_faults_where_names_are_out_of_reach(loopback, client, action, tmp_path):
    log = tmp_path / "log"
    with loopback.scenario("live-first", client.protocol) as scenario:
        first, second = scenario.addresses
        result = run(scenario, client, faults(f"@{first}={action}", LOG_FILE=log))
        assert client.answered(result, second), result
    assert [event["address"] for event in events_of(log, "fault")] == [first]


# ---- Without failover it does what it does at real addresses ----

# The kind of the host, the rule that makes a live one like it, and how long the program is given.
REAL = {
    "first refused": ("refused-first", "#1=refuse", 10),
    "all refused": ("all-refused", "=refuse", 10),
    # What the lab has for unreachable addresses on loopback, and in a namespace.
    "first without a network": ("unreachable-first", "#1=errno(ENETUNREACH)", 10),
    "first unreachable": ("unreachable-first", "#1=unreachable", 10),
    "first silent": ("silent-first", "#1=silent", 1),
}
# What differs from run to run.
PASSING = re.compile(
    r"\n\s+(at |\.\.\. ).*"  # the depth of a Java trace
    r"|\[\d+\]|\d\d:\d\d:\d\d|\d[\d.]* ?[mu]?s\b|0x[\da-f]+"
    r"|/tmp[\w./-]*|socket: -?\d+|ontent-Length: \d+|\[\d+/\d+\]"
)
# They measure, and say how much they got.
MEASURING = {"ab", "wrk"}


def outcome(scenario, client, result):
    said = f"{result.stdout}\n-- stderr --\n{result.stderr}".replace(scenario.host, "HOST")
    for number, address in enumerate(scenario.addresses):
        said = re.sub(rf"{re.escape(address)}(?!\d)", f"ADDRESS{'ABC'[number]}", said)
    said = PASSING.sub("", re.sub(rf"\b{scenario.port}\b", "PORT", said))
    if client.name in MEASURING:
        said = set(re.sub(r"[\d.]+\w*|\s+(?=\S)", " ", line) for line in said.splitlines())
    return result.timed_out or result.returncode, said


def assert_as_at_real_addresses(lab, client, name):
    if not client.installed:
        pytest.skip(f"{client.name} is not installed")
    kind, rule, seconds = REAL[name]

    def outcome_with(kind, *rules):
        with lab.scenario(kind, client.protocol) as scenario:
            env = faults(*[scenario.host + rule for rule in rules], failover=False, LOG="off")
            result = run(scenario, client, env, timeout=seconds + client.seconds)
            first_got = scenario.connections(scenario.addresses[0]) if rules else 0
            return outcome(scenario, client, result), first_got

    client.words("host", 1)  # what it needs is made once
    with concurrent.futures.ThreadPoolExecutor() as pool:
        real, made = pool.map(lambda words: outcome_with(*words), [(kind,), ("live-first", rule)])
    assert made == real


def in_reach_and_waiting(name):
    return [client for client in IN_REACH if name != "first silent" or not client.leaves_silence]


@pytest.mark.parametrize(
    "client, name",
    [
        pytest.param(client, name, id=f"{client.name}-{name}".replace(" ", "-"))
        for name in REAL
        if name != "first unreachable"
        for client in in_reach_and_waiting(name)
    ],
)
def test_as_at_real_addresses(loopback, client, name):
    assert_as_at_real_addresses(loopback, client, name)


# Of each way to wait some.
SOME = {"python3 connect", "perl IO::Socket", "bash /dev/tcp", "java Socket", "wget", "ssh", "curl", "node", "java NIO"}
SOME |= {"psql", "nginx", "redis-cli", "python3 asyncio"}


@pytest.mark.parametrize("name", ["first refused", "all refused", "first unreachable"])
@every([client for client in CLIENTS if client.name in SOME])
def test_as_at_real_addresses_that_libc_has_looked_up(namespace, client, name):
    assert_as_at_real_addresses(namespace, client, name)


# wget tries a connection that was reset twenty times.
@pytest.mark.parametrize("failover", [False, True])
@every([client for client in IN_REACH if client.name != "wget"])
def test_a_reset_is_of_a_connection(loopback, client, failover, tmp_path):
    # It is the program's own, with failover too: the handshake was completed.
    log = tmp_path / "log"
    with loopback.scenario("live-first", client.protocol) as scenario:
        result = run(scenario, client, faults(f"{scenario.host}=reset", failover=failover, LOG_FILE=log))
        assert not any(client.answered(result, address) for address in scenario.addresses), result
        assert [scenario.connections(address) for address in scenario.addresses] == [0, 0]
    assert events_of(log, "fault") and events_of(log, "connect") == []
