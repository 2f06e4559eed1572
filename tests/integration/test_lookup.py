# Lookups are only observed: the caller gets byte by byte what libc gives. And what they taught is known wherever the
# process, its threads, its parent and its children connect.
# Nothing here may ask a name server: the names are those of a hosts file, or of --resolve.
import itertools
from socket import AF_INET, AF_INET6, AF_UNSPEC, AI_ALL, AI_CANONNAME, AI_PASSIVE, AI_V4MAPPED, SOCK_STREAM

import pytest

from programs.harness import address_lab, preload, run_shim, several, start, start_shim

GETADDRINFO = ["getaddrinfo", "getaddrinfo_a:wait", "getaddrinfo_a:nowait"]
GETHOSTBYNAME = ["gethostbyname", "gethostbyname2", "gethostbyname_r", "gethostbyname2_r"]
HOSTS = """
198.18.252.1 official.test alias.test other-alias.test
2001:db8::c:1 both.test
198.18.252.2 both.test
198.18.252.3 both.test
"""
NAMES = ["official.test", "alias.test", "both.test", "BOTH.test", "missing.test", "localhost", "198.18.252.9", "::1", ""]


@pytest.fixture(scope="module")
def answers(namespace):
    """answers(KEY=VALUE..) is what a program gets without and with the library."""
    with open(namespace.directory / "hosts", "a") as hosts:
        hosts.write(HOSTS)

    def ask(**arguments):
        libc = start(namespace, "lookups", {}, errno=1, **arguments)
        shim = start(namespace, "lookups", preload(), errno=1, **arguments)
        return libc.finish().stdout, shim.finish().stdout

    return ask


# ---- What the caller gets ----


@pytest.mark.parametrize("name", [*NAMES, "(null)"])
@pytest.mark.parametrize("function", GETADDRINFO)
def test_answers_of_getaddrinfo_are_untouched(answers, function, name):
    flags = [0, AI_CANONNAME, AI_PASSIVE, AI_V4MAPPED | AI_ALL]
    for each in itertools.product([AF_UNSPEC, AF_INET, AF_INET6, 99], [0, SOCK_STREAM], flags, ["http", "(null)"]):
        hints = dict(zip(("family", "socktype", "flags", "service"), each))
        libc, shim = answers(function=function, name=name, **hints)
        assert shim == libc, hints
    libc, shim = answers(function=function, name=name, hints=0)
    assert shim == libc


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("function", GETHOSTBYNAME)
def test_answers_of_gethostbyname_are_untouched(answers, function, name):
    for family, buffer in itertools.product([4, 6], [1, 40, 1024]):
        libc, shim = answers(function=function, name=name, family=family, buffer=buffer)
        assert shim == libc, (family, buffer)


# ---- What it taught ----


@pytest.mark.parametrize("function", [*GETADDRINFO, *GETHOSTBYNAME])
def test_every_function_teaches(namespace, function):
    with namespace.scenario("refused-first") as host:
        family = AF_UNSPEC if function in GETADDRINFO else 4
        run = start(namespace, "lookups", preload(), function=function, name=host.host, family=family, connect=host.port)
        last = run.finish().lines[-1]
        assert (last["result"], last["peer"]) == ("0", host.live[0]), run


@pytest.mark.parametrize("where", ["thread", "child", "parent"])
def test_looked_up_elsewhere(lab, where):
    with lab.scenario("refused-first", "banner") as host:
        run = run_shim(host, "lookup_elsewhere", where=where)
        assert run.values("result", "error", "peer") == ("0", "0", host.live[0]), run


def test_a_thousand_addresses(namespace):
    with namespace.scenario("refused-first", "banner", count=1000) as host:
        run = run_shim(host, "connect_first", transfer=1)
        assert run.values("result", "error", "transfer") == ("0", "0", host.live[0]), run


# ---- Very many, and rudely ended ones ----


def test_memory_is_bounded_and_the_last_host_is_known(several):
    host = several("refused", "live")
    runs = [run_shim(host, "many_names", within=60, count=count, threads=4) for count in (200_000, 600_000)]
    assert [run.values("result", "peer") for run in runs] == [("0", host.live[0])] * 2, runs
    few, many = (int(run.first["grown_kb"]) for run in runs)
    assert few < 40_000
    assert many < few + 2_000


def test_what_a_million_names_ago_was_forgotten_is_closed(several):
    # There is no room for more marks by then: what has none is closed as well, and costs no more memory.
    host = several("refused", "refused", "live")
    resolve = {"NEXTADDR_RESOLVE": f"before.test={host.addresses[0]};{host.host}={','.join(host.addresses[:1] + host.live)}"}
    run = run_shim(host, "many_names", within=100, env=resolve, count=1_200_000, threads=4, first="before.test")
    assert run.values("error", "peer") == ("ECONNREFUSED", "none"), run
    assert int(run.first["grown_kb"]) < 42_000
    assert host.connections(host.live[0]) == 0


def test_children_killed_in_the_middle_of_a_lookup(several):
    host = several("refused", "live")
    names = {f"name{n}.test": ",".join(f"127.250.{n}.{i}" for i in range(1, 200)) for n in range(20)}
    env = {"NEXTADDR_RESOLVE": ";".join([host.resolve, *(f"{name}={addresses}" for name, addresses in names.items())])}
    run = start_shim(host, "killed_child", env=env, names=",".join(names), rounds=100).finish(60)
    assert run.values("right", "of") == ("100", "100"), run
    assert int(run.first["slowest"]) < 2000
