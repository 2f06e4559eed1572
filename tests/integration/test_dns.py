# Programs that ask DNS servers themselves: what their own answers teach, and what nothing else does. And libresolv.
# A server here is a thread of the test, on loopback; that an answer has taught its addresses shows by a connect that
# moves on from the first of them.
# Nothing here may pass because the library learns from everything, or from nothing: each kind of mistake stands beside
# the same answer without it.
import socket

import pytest

import dns_server as dns
from programs.harness import LIBRARY, NATIVE, address_lab, several, start_shim

NAME = "db.dns.test"
QUESTION = 12  # where the name of the question begins


@pytest.fixture
def host(several):
    return several("refused", "live")


def run(host, way, answers=None, server=None, env=None, ports=None, **arguments):
    """Asks a server that gives these answers, by default the right one, and connects to the first address."""
    arguments = {"name": NAME, "way": way, "connect": host.addresses[0], **arguments}

    def started(server):
        ours = {"NEXTADDR_DNS_PORTS": ports or str(server.port), "NEXTADDR_RESOLVE": "", **(env or {})}
        return start_shim(host, "dns_client", env=ours, server=server.port, **arguments).finish()

    if server is not None:
        return started(server)
    with dns.Server(answers or (lambda query: [right(host, query)])) as server:
        return started(server)


def right(host, query):
    return dns.answer(query, dns.addresses(QUESTION, host.addresses))


def learns(host, *args, **arguments):
    result = run(host, *args, **arguments)
    assert result.first["error"] in ("0", "ECONNREFUSED"), result
    return result.values("error", "peer") == ("0", host.live[0])


DATAGRAMS = ["child", "send", "write", "writev", "sendmsg", "sendmmsg", "fortified", "peek-first"]
UNCONNECTED = ["unsendto", "unsendmsg", "unsendmmsg"]
STREAMS = ["tcp", "tcp-pieces", "tcp-fastopen"]
LIBRESOLV = ["res_query", "res_query_by_its_old_name", "res_search", "res_querydomain", "res_send"]
REENTRANT = ["res_nquery", "res_nsearch", "res_nquerydomain", "res_nsend"]


@pytest.mark.parametrize("way", DATAGRAMS + UNCONNECTED + STREAMS + LIBRESOLV + REENTRANT)
def test_an_answer_teaches(host, way):
    assert learns(host, way)


@pytest.mark.parametrize("way", ["send", "unsendto", "tcp", "res_query"])
def test_each_family_by_itself(several, way):
    host = several("refused", "live")

    def both(query):
        kind = int.from_bytes(query[-4:-2], "big")
        return [dns.answer(query, dns.addresses(QUESTION, host.addresses if kind == dns.A else ["::1"]))]

    assert learns(host, way, both)
    # The other family has nothing to do with it.
    assert not learns(host, way, both, type=dns.AAAA)
    # One answer does not replace the other.
    assert learns(host, way, both, again="send")


@pytest.mark.parametrize("ipv6_only", [0, 1])
@pytest.mark.parametrize("way", ["send", "tcp", "res_query"])
def test_a_name_looked_up_for_ipv6_alone_stays_there(several, way, ipv6_only):
    host = several("refused6", "live")
    ipv6, ipv4 = host.addresses

    def both(query):
        kind = int.from_bytes(query[-4:-2], "big")
        return [dns.answer(query, dns.addresses(QUESTION, [ipv4 if kind == dns.A else ipv6]))]

    arguments = {"type": dns.AAAA, "ipv6_only": ipv6_only}
    alone = run(host, way, both, again="send", **arguments)
    assert alone.values("error", "peer") == ("ECONNREFUSED", "none"), alone
    # Looked up for both families it means both, by whatever way.
    together = run(host, way, both, again="send", again_type=dns.A, **arguments)
    assert together.values("error", "peer") == ("0", f"::ffff:{ipv4}"), together


def test_a_stream_in_pieces(host):
    for chunk in (1, 2, 3, 7):
        with dns.Server(lambda query: [right(host, query)], chunk=chunk) as server:
            assert learns(host, "tcp", server=server)


def test_many_addresses(several):
    host = several("refused", "live")
    others = [f"127.1.{i >> 8}.{i & 255}" for i in range(998)]
    texts = [host.addresses[0], *others, host.addresses[1]]
    records = dns.addresses(QUESTION, texts)
    result = run(host, "tcp", lambda query: [dns.answer(query, records)], env={"NEXTADDR_LOG": "debug"})
    assert f"] lookup {NAME}: " in result.stderr


# ---- What an answer may look like ----


def aliases(host, query):
    """In an order that nobody would choose."""
    records = [
        *dns.addresses("c.test", host.addresses),
        dns.record("B.test", dns.CNAME, dns.wire_name("c.Test")),
        dns.record("other.test", dns.A, b"\x7f\1\1\1"),
        dns.record(QUESTION, dns.CNAME, dns.wire_name("b.test")),
    ]
    return dns.answer(query, records)


GOOD = {
    "aliases": aliases,
    "letters of the owner": lambda host, query: dns.answer(query, dns.addresses(NAME.upper(), host.addresses)),
    "authoritative": lambda host, query: dns.answer(query, dns.addresses(QUESTION, host.addresses), flags=0x8580),
}


@pytest.mark.parametrize("way", ["send", "tcp"])
@pytest.mark.parametrize("kind", GOOD)
def test_a_good_answer(host, kind, way):
    assert learns(host, way, lambda query: [GOOD[kind](host, query)])


def test_letters_are_kept(host):
    assert learns(host, "send", name="Db.dNs.teSt")


def mistaken(**mistake):
    return lambda host, query: dns.answer(query, dns.addresses(QUESTION, host.addresses), **mistake)


def question(name, kind=dns.A, of_class=1):
    return dns.wire_name(name) + kind.to_bytes(2, "big") + of_class.to_bytes(2, "big")


BAD = {
    "another id": mistaken(id=0x4321),
    "another name": mistaken(question=question("dc.dns.test")),
    "a longer name": mistaken(question=question("a." + NAME)),
    "other letters": mistaken(question=question("DB.dns.test")),
    "another type": mistaken(question=question(NAME, dns.AAAA)),
    "another class": mistaken(question=question(NAME, of_class=3)),
    "a query": mistaken(flags=0x0100),
    "truncated": mistaken(flags=0x8380),
    "a failure": mistaken(flags=0x8182),
    "no such name": mistaken(flags=0x8183),
    "an update": mistaken(flags=0xA980),
    "too many counted": mistaken(count=3),
    "too few counted": mistaken(count=1),
    "cut off": lambda host, query: right(host, query)[:-1],
    "junk at its end": lambda host, query: right(host, query) + b"junk",
    "addresses of another name": lambda host, query: dns.answer(query, dns.addresses("x.test", host.addresses)),
    "another class of records": lambda host, query: dns.answer(
        query, [dns.record(QUESTION, dns.A, socket.inet_aton(each), 3) for each in host.addresses]
    ),
    "a loop": lambda host, query: dns.answer(
        query, [dns.record(QUESTION, dns.CNAME, dns.wire_name(NAME)), *dns.addresses("x.test", host.addresses)]
    ),
    "a pointer forwards": lambda host, query: dns.answer(query, dns.addresses(200, host.addresses)),
    "nothing but noise": lambda host, query: b"\xff" * 100,
    "a few bytes": lambda host, query: b"\x12\x34",
}


@pytest.mark.parametrize("way", ["send", "unsendto", "tcp"])
@pytest.mark.parametrize("kind", BAD)
def test_a_bad_answer_teaches_nothing(host, kind, way):
    assert not learns(host, way, lambda query: [BAD[kind](host, query)])


@pytest.mark.parametrize("kind", ["another id", "another name", "other letters", "cut off"])
@pytest.mark.parametrize("way", ["send", "unsendto"])
def test_the_right_answer_after_a_forged_one_teaches(host, kind, way):
    assert learns(host, way, lambda query: [BAD[kind](host, query), right(host, query)], receive=2)


@pytest.mark.parametrize("way", ["send", "unsendto"])
def test_the_first_answer_counts(several, way):
    host = several("refused", "live")
    other = lambda query: dns.answer(query, dns.addresses(QUESTION, [host.addresses[0], "127.9.9.9"]))
    assert learns(host, way, lambda query: [right(host, query), other(query)], receive=2)
    # An answer that is late is none any more, nor one after a refusal.
    refusal = lambda query: dns.answer(query, [], flags=0x8185)
    assert not learns(host, way, lambda query: [refusal(query), right(host, query)], receive=2)


def test_two_questions_with_one_id(host):
    """Each answer is one to its own question, in whatever order they were asked."""
    second = "other.dns.test"
    answers = {question(name): host.addresses if name == NAME else ["127.9.9.9"] for name in (NAME, second)}

    def told(query):
        return dns.answer(query, dns.addresses(QUESTION, answers[query[12:]]))

    assert learns(host, "two", lambda query: [told(query)], second=second)
    # Forged ones between them are to neither.
    forged = lambda query: dns.answer(query, dns.addresses(QUESTION, host.addresses), id=0x4321)
    assert learns(host, "two", lambda query: [forged(query), told(query)], second=second, receive=4)
    assert not learns(host, "two", lambda query: [forged(query)], second=second)


def test_from_another_address(host):
    """Only who has not connected its socket gets it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.2", 0))
        assert not learns(host, "unsendto", lambda query: [(stranger, right(host, query))])
        assert not learns(host, "unsendmsg", lambda query: [(stranger, right(host, query))])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        # The address of the server, but not its port.
        stranger.bind(("127.0.0.1", 0))
        assert not learns(host, "unsendmmsg", lambda query: [(stranger, right(host, query))])


# ---- How it is received ----


@pytest.mark.parametrize("way", ["peek", "tcp-peek", "small", "closed", "unnamed"])
def test_what_is_not_received_as_it_came_teaches_nothing(host, way):
    # "unnamed" does not ask from where it comes, "closed" gets it by another socket of the same number.
    assert not learns(host, way)


def test_another_port_teaches_nothing(host):
    assert not learns(host, "send", ports="53")
    assert not learns(host, "tcp", ports="53")


def test_one_of_several_ports(host):
    with dns.Server(lambda query: [right(host, query)]) as server:
        assert learns(host, "send", server=server, ports=f"53,8600,{server.port}")
        # Which is told, and the usual one is taken.
        result = run(host, "send", server=server, ports=f"{server.port},no", env={"NEXTADDR_LOG": "error"})
        assert "bad value ignored in NEXTADDR_DNS_PORTS" in result.stderr
        assert result.first["error"] == "ECONNREFUSED"


# ---- Who is a name server ----


def test_a_name_server_learns_nothing(host):
    assert not learns(host, "send", serve="127.0.0.77")


def test_who_asks_very_often_learns_nothing_more(host):
    assert learns(host, "send", often=100)
    assert not learns(host, "send", often=300)
    assert not learns(host, "res_query", often=300)


# ---- Never to a stranger ----


@pytest.mark.parametrize("way", ["send", "unsendto", "tcp", "res_query"])
def test_an_answer_that_comes_while_others_write_closes_the_door(host, way):
    """Nobody waits for them: that would be 200 ms, for a thread of the same process."""
    result = run(host, way, busy=5)
    assert result.values("error", "peer") == ("ECONNREFUSED", "none"), result
    assert int(result.first["fastest"]) < 150, result
    # The same answer once more tells that these addresses were all of it, another does not.
    assert learns(host, way, busy=1, again=way)
    answers = [dns.addresses(QUESTION, ["127.9.9.9", *host.addresses]), dns.addresses(QUESTION, host.addresses)]
    assert not learns(host, way, lambda query: [dns.answer(query, answers.pop(0))], busy=1, again=way)


def test_what_two_names_have_in_common(several):
    """The second answer, for another name, has only the first address in common with the first."""
    host = several("refused", "live")

    def both(query):
        mine = b"other" not in query
        return [dns.answer(query, dns.addresses(QUESTION, host.addresses if mine else [host.addresses[0], "127.9.9.9"]))]

    with dns.Server(both) as server:
        assert learns(host, "send", server=server)
        assert not learns(host, "send", server=server, name="other.dns.test")


def test_hosts_left_alone(host):
    assert not learns(host, "send", env={"NEXTADDR_SKIP": "*.dns.test"})
    assert learns(host, "send", env={"NEXTADDR_ONLY": NAME})


def test_errno_and_results_are_the_programs(host):
    """The same with and without the library, but for the connect."""
    with dns.Server(lambda query: [right(host, query)]) as server:
        result = run(host, "unsendto", server=server, env={"NEXTADDR_OFF": "1"})
    assert result.first["error"] == "ECONNREFUSED"
