# Names that get their addresses from --resolve: libc's own answer for a name of its hosts file is what they are
# compared with, call by call.
# Nothing here may send a packet, but for the connects to addresses of the lab.
import itertools
import re
import socket
from socket import AF_INET, AF_INET6, AF_UNSPEC, AF_UNIX, AI_CANONNAME, AI_NUMERICHOST, AI_NUMERICSERV, AI_V4MAPPED

import pytest

from programs.harness import HOST, address_lab, preload, several, start, start_shim

FAMILIES = [AF_UNSPEC, AF_INET, AF_INET6]
HOSTENT_FUNCTIONS = ["gethostbyname", "gethostbyname2", "gethostbyname_r", "gethostbyname2_r"]
ADDRESSES = {
    "both": ["2001:db8::a:1", "198.18.250.1", "198.18.250.2"],
    "ipv4": ["198.18.251.2", "198.18.251.1"],
    "ipv6": ["2001:db8::b:2", "2001:db8::b:1"],
}


@pytest.fixture(scope="module")
def answers(namespace):
    """answers("both", KEY=VALUE..) is what libc answers for a name of its hosts file, and what the library answers for
    a given one that has the same addresses."""
    with open(namespace.directory / "hosts", "a") as hosts:
        for kind, addresses in ADDRESSES.items():
            hosts.write("".join(f"{address} hosts-{kind}.test\n" for address in addresses))
    given = ";".join(f"given-{kind}.test={','.join(addresses)}" for kind, addresses in ADDRESSES.items())

    def ask(kind, **arguments):
        ours = {**preload(), "NEXTADDR_RESOLVE": given}
        libc = start(namespace, "lookups", {}, name=f"hosts-{kind}.test", **arguments)
        shim = start(namespace, "lookups", ours, name=f"given-{kind}.test", **arguments)
        return libc.finish().stdout, shim.finish().stdout.replace("given-", "hosts-")

    return ask


def hostent(answer):
    """An answer without what is nobody's promise: h_errno besides a result, and how large a buffer must be."""
    return re.sub(r"first=ERANGE h_error=-1 |(?<=result=0 )h_error=\d+ (?=name=)", "", answer)


# ---- getaddrinfo ----


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ADDRESSES)
def test_family_socket_type_protocol_and_service(answers, kind, family):
    for socktype, service in itertools.product([0, 1, 2, 3, 5], ["80", "http", "", "65536", "(null)"]):
        libc, shim = answers(kind, function="getaddrinfo", family=family, socktype=socktype, service=service)
        assert shim == libc, (socktype, service)
    for socktype, protocol in itertools.product([0, 1, 2], [6, 17, 132]):
        libc, shim = answers(kind, function="getaddrinfo", family=family, socktype=socktype, protocol=protocol)
        assert shim == libc, (socktype, protocol)


@pytest.mark.parametrize(
    "flags",
    [
        "AI_CANONNAME",
        "AI_PASSIVE",
        "AI_NUMERICHOST",
        "AI_NUMERICSERV",
        "AI_ADDRCONFIG",
        "AI_V4MAPPED",
        "AI_ALL",
        "AI_V4MAPPED|AI_ALL",
        "AI_V4MAPPED|AI_ADDRCONFIG|AI_CANONNAME",
    ],
)
def test_flags(answers, flags):
    number = sum(getattr(socket, flag) for flag in flags.split("|"))
    for kind, family, service in itertools.product(ADDRESSES, FAMILIES, ["80", "http", "(null)"]):
        libc, shim = answers(kind, function="getaddrinfo", family=family, socktype=1, flags=number, service=service)
        assert shim == libc, (kind, family, service)


@pytest.mark.parametrize("service", ["http", "(null)"])
@pytest.mark.parametrize("kind", ADDRESSES)
def test_null_hints(answers, kind, service):
    libc, shim = answers(kind, function="getaddrinfo", hints=0, service=service)
    assert "error=0\n" in libc
    assert shim == libc


@pytest.mark.parametrize(
    "error, kind, hints",
    [
        ("EAI_NONAME", "ipv4", {"family": AF_INET6}),
        ("EAI_NONAME", "ipv6", {"family": AF_INET}),
        ("EAI_NONAME", "ipv6", {"family": AF_INET, "flags": AI_V4MAPPED}),
        ("EAI_NONAME", "both", {"flags": AI_NUMERICHOST}),
        ("EAI_NONAME", "both", {"flags": AI_NUMERICSERV, "service": "http"}),
        ("EAI_SERVICE", "both", {"service": "no-such-service"}),
        ("EAI_SERVICE", "both", {"socktype": socket.SOCK_RAW, "service": "http"}),
        ("EAI_SERVICE", "ipv4", {"family": AF_INET6, "service": "no-such-service"}),
        ("EAI_FAMILY", "both", {"family": AF_UNIX}),
        ("EAI_FAMILY", "both", {"family": 99}),
        ("EAI_SOCKTYPE", "both", {"socktype": 99}),
        ("EAI_SOCKTYPE", "ipv4", {"family": AF_INET6, "socktype": 99}),
        ("EAI_BADFLAGS", "both", {"flags": 1 << 30}),
        ("EAI_BADFLAGS", "ipv4", {"family": AF_INET6, "flags": 1 << 30}),
    ],
)
def test_errors(answers, error, kind, hints):
    libc, shim = answers(kind, function="getaddrinfo", **{"socktype": 1, **hints})
    assert libc == f"error={getattr(socket, error)}\n"
    assert shim == libc


# ---- gethostbyname and its variants ----


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("kind", ADDRESSES)
@pytest.mark.parametrize("function", HOSTENT_FUNCTIONS)
def test_hostent(answers, function, kind, family):
    libc, shim = answers(kind, function=function, family=family)
    assert hostent(shim) == hostent(libc)


@pytest.mark.parametrize("buffer", [1, 7, 16, 31])
@pytest.mark.parametrize("function", ["gethostbyname_r", "gethostbyname2_r"])
def test_too_small_a_buffer_is_erange_and_a_larger_one_will_do(answers, function, buffer):
    libc, shim = answers("ipv4", function=function, family=4, buffer=buffer)
    assert "first=ERANGE h_error=-1 " in libc
    assert "first=ERANGE h_error=-1 " in shim
    assert hostent(shim) == hostent(libc)


# ---- Names, and other names ----


def addresses_of(run):
    """The addresses of a getaddrinfo answer, in its order."""
    addresses = []
    for line in run.finish().lines[1:]:
        family = int(line["family"])
        size, offset = (4, 4) if family == AF_INET else (16, 8)
        addresses.append(socket.inet_ntop(family, bytes.fromhex(line["addr"])[offset : offset + size]))
    return addresses


def given_addresses(lab, resolve, name, **hints):
    env = {**preload(), "NEXTADDR_RESOLVE": resolve}
    return addresses_of(start(lab, "lookups", env, function="getaddrinfo", name=name, socktype=1, **hints))


@pytest.mark.parametrize("name", ["given.test", "GIVEN.test", "Given.TEST", "given.test.", "GIVEN.TEST."])
@pytest.mark.parametrize("given", ["given.test", "Given.Test", "given.test."])
def test_names_differ_neither_by_case_nor_by_the_last_dot(address_lab, given, name):
    assert given_addresses(address_lab, f"{given}=127.9.9.9", name) == ["127.9.9.9"]


@pytest.mark.parametrize("name", ["given.tes", "given.test2", "iven.test", "a.given.test", "given.test..", "given"])
def test_other_names_are_left_to_libc(namespace, name):
    arguments = {"function": "getaddrinfo", "name": name, "socktype": 1}
    libc = start(namespace, "lookups", {}, **arguments)
    shim = start(namespace, "lookups", {**preload(), "NEXTADDR_RESOLVE": "given.test=127.9.9.9"}, **arguments)
    assert libc.finish().first["error"] != "0"
    assert shim.finish().stdout == libc.stdout


def test_a_given_name_comes_before_the_hosts_file(namespace):
    assert given_addresses(namespace, "localhost=127.9.9.9", "localhost") == ["127.9.9.9"]


def test_the_order_is_kept(address_lab):
    # By RFC 6724, libc would put ::1 first and the address without a route last.
    given = ["127.9.9.9", "192.0.2.1", "::1", "127.0.0.1", "2001:db8::1", "127.9.9.8"]
    assert given_addresses(address_lab, f"{HOST}={','.join(given)}", HOST) == given


def test_entries_for_one_name_add_up(address_lab):
    resolve = f"{HOST}=127.9.9.9;other.test=127.9.9.1;{HOST}=127.9.9.8,127.9.9.9"
    assert given_addresses(address_lab, resolve, HOST) == ["127.9.9.9", "127.9.9.8"]


def test_a_thousand_addresses(address_lab):
    given = [f"127.9.{n // 250}.{n % 250 + 1}" for n in range(1000)]
    assert given_addresses(address_lab, f"{HOST}={','.join(given)}", HOST) == given


@pytest.mark.parametrize("brackets", ["::1", "[::1]"])
def test_ipv6_with_and_without_brackets(address_lab, brackets):
    assert given_addresses(address_lab, f"{HOST}={brackets},127.9.9.9", HOST) == ["::1", "127.9.9.9"]


def test_canonical_name_is_the_one_asked_for(address_lab):
    env = {**preload(), "NEXTADDR_RESOLVE": f"{HOST}=127.9.9.9,127.9.9.8"}
    arguments = {"function": "getaddrinfo", "name": HOST, "socktype": 1, "flags": AI_CANONNAME}
    run = start(address_lab, "lookups", env, **arguments).finish()
    assert [line["canonname"] for line in run.lines[1:]] == [HOST, "null"]


# ---- What follows ----


@pytest.mark.parametrize("function", ["getaddrinfo", *HOSTENT_FUNCTIONS])
def test_failover_among_the_given_addresses(several, function):
    host = several("refused", "live")
    arguments = {"function": function, "name": HOST, "family": AF_UNSPEC if function == "getaddrinfo" else 4}
    run = start_shim(host, "lookups", connect=host.port, **arguments).finish()
    assert (run.lines[-1]["result"], run.lines[-1]["peer"]) == ("0", host.live[0]), run


@pytest.mark.parametrize("function", ["getaddrinfo", *HOSTENT_FUNCTIONS])
def test_memory_is_used_and_freed_as_it_should_be(address_lab, require, function):
    command = [require("valgrind"), "-q", "--leak-check=full", "--error-exitcode=99"]
    env = {**preload(), "NEXTADDR_RESOLVE": f"{HOST}=127.9.9.9,::1,127.9.9.8"}
    arguments = {"function": function, "name": HOST, "flags": AI_CANONNAME, "buffer": 1, "repeat": 3}
    run = start(address_lab, "lookups", env, before=command, **arguments).finish(within=60)
    assert run.stderr == "", run
