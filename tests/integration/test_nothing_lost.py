# A failover takes nothing from the program that it would have without: no event, no wake-up, no option, no port, no time limit,
# no connection that it has had, and no route.
# Nothing here may look at a socket before the program's own wait has told of it.
import pytest

from programs.events import assert_same, due, hosts, side_by_side, together
from programs.harness import (
    HOST, LIBRARY, PROGRAMS, address_lab, preload, several, start, start_bare, start_shim,
)  # fmt: skip
from programs.moments import own_mounts, own_network

# ---- Events that asking takes away ----

@pytest.mark.parametrize("wait", ["poll", "ppoll", "epoll", "select", "pselect"])
def test_events_that_asking_takes_away(several, tmp_path, wait):
    host = several("refused", "live")
    arguments = {"before": own_mounts(), "wait": wait, "directory": tmp_path, "events": 3}
    bare, shim = start_bare(host, "mount_events", **arguments), start_shim(host, "mount_events", **arguments)
    assert bare.finish().first["seen"] == "3", bare
    assert shim.finish().values("peer", "seen") == (host.live[0], "3"), shim


# ---- Threads that sleep since before the connect ----

ASLEEP = ["set", "nested", "nested-poll", "poll", "select", "dup", "dup-poll", "added"]


@pytest.mark.parametrize("register", ["before", "after"])
@pytest.mark.parametrize("asleep", ASLEEP)
def test_a_thread_that_sleeps_since_before_the_connect(several, asleep, register):
    kinds = ("silent", "live")
    host = several(*kinds)
    run = start_shim(host, "sleepers", asleep=asleep, register=register, limit=4).wait()
    assert run.returncode == 0, run
    assert run.values("events", "so_error", "peer") == ("OUT", "0", host.live[0]), run
    assert int(run.first["ms"]) < due(kinds), run


def test_the_thread_that_was_woken_is_given_other_work(several):
    kinds = ("silent", "silent", "silent", "live")
    host = several(*kinds)
    cases = [{"asleep": "many", "threads": threads, "work": work} for threads in (2, 4, 8) for work in (60, 220, 260, 300)]
    for run in together(host, "sleepers", cases):
        assert run.values("events", "so_error", "peer") == ("OUT", "0", host.live[0]), run
        assert int(run.first["ms"]) < due(kinds), run


# ---- Options ----

IPV4 = [f"198.18.0.{n}" for n in (1, 2, 3)]
IPV6 = [f"2001:db8::{n}" for n in (1, 2, 3)]
OPTIONS_NETWORK = [f"addr add {address}/32 dev lo" for address in IPV4]
OPTIONS_NETWORK += [f"addr add {address}/128 dev lo nodad" for address in IPV6]
PORT = 7777
# What no two connections have in common, by level and name: IP_PROTOCOL, which is the local port with TCP; SO_INCOMING_CPU,
# SO_INCOMING_NAPI_ID, SO_COOKIE, SO_NETNS_COOKIE; IPV6_2292PKTOPTIONS; TCP_INFO, TCP_TIMESTAMP, TCP_CC_INFO.
DIFFERENT = {"0:52", "1:49", "1:56", "1:57", "1:71", "41:6", "6:11", "6:24", "6:26"}


def options_told(run):
    """What each socket has told, by the option that was set on it."""
    told = {}
    for line in run.finish().lines:
        told[line.pop("set")] = {name: value for name, value in line.items() if name not in DIFFERENT}
    return told


@pytest.mark.parametrize("mode", ["blocking", "nonblocking"])
@pytest.mark.parametrize("addresses", [IPV4, IPV6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("kind", ["refused", "silent"])
def test_every_option_is_as_after_a_connect_straight_to_the_live_address(address_lab, addresses, mode, kind):
    before, live = own_network(*OPTIONS_NETWORK), addresses[-1]
    arguments = {"port": PORT, "live": live, "mode": mode}
    bare = start(address_lab, "every_option", {}, before, host=live, **arguments)
    if kind == "silent":
        arguments["silent"] = ",".join(addresses[:-1])
    env = {**preload(), "NEXTADDR_DELAY": "60", "NEXTADDR_RESOLVE": f"{HOST}={','.join(addresses)}"}
    shim = start(address_lab, "every_option", env, before, host=HOST, **arguments)
    expected, told = options_told(bare), options_told(shim)
    assert len(expected) > 50 and expected.keys() == told.keys(), (bare, shim)
    differences = [
        (setting, name, value, told[setting].get(name))
        for setting, options in expected.items()
        for name, value in options.items()
        if told[setting].get(name) != value
    ]
    assert differences == []


# ---- A port of the program's own choice ----


def test_a_second_connect_is_given_no_values_of_the_first(address_lab, several):
    host = several("refused", "live")
    refused = address_lab.unused()
    bare = start(address_lab, "second_connect", {}, host=host.live[0], port=host.port, refused=refused).finish()
    shim = start_shim(host, "second_connect", refused=refused).finish()
    assert shim.values("peer", "clamp") == bare.values("peer", "clamp"), (bare, shim)
    # By a timestamp less once the server has sent something.
    assert abs(int(shim.first["maxseg"]) - int(bare.first["maxseg"])) < 100, (bare, shim)



@hosts(("refused", "live"), ("refused",) * 5 + ("live",), ("silent", "live"))
def test_the_port_that_bind_has_chosen(several, kinds):
    host = several(*kinds)
    for source in ("0.0.0.0", "127.0.0.1"):
        cases = [
            {"bind": source, "steps": "port,connect,port,peer,so_error"},
            {"bind": source, "nonblocking": 1, "steps": "port,connect,poll:2000,port,so_error,peer"},
        ]
        # A silent first address is the kernel's when the port cannot be kept.
        for run in together(host, "steps", [{**case, "syncnt": 1, "user_timeout": 1500} for case in cases]):
            steps = [next((key, value) for key, value in line.items() if key != "ms") for line in run.lines]
            first, second = (value for name, value in steps if name == "port")
            assert first == second != "0", run
            peer = dict(steps)["peer"]
            assert peer in (host.live[0], "none"), run
            failed = dict(steps)["connect"] not in ("0", "EINPROGRESS") or dict(steps)["so_error"] != "0"
            assert (peer == "none") == failed, run


# ---- SO_SNDTIMEO ----

HEALTHY_OR_NOT = hosts(("live", "refused"), ("refused", "live"), ("silent", "live"))
def assert_timeout_kept(several, kinds, cases):
    host = several(*kinds)
    for bare, shim in side_by_side(host, "send_timeout", cases, bare_host=several("live", "refused")):
        assert_same(bare, shim, "error", "so_error", "timeout")
        assert shim.first["peer"] == host.live[0], shim


@HEALTHY_OR_NOT
def test_a_send_timeout_of_this_process(several, kinds):
    cases = [{"set": "before", "nonblocking": nonblocking} for nonblocking in (0, 1)]
    assert_timeout_kept(several, kinds, [*cases, {"set": "began", "nonblocking": 1}])


@HEALTHY_OR_NOT
def test_a_send_timeout_that_was_inherited(several, kinds):
    cases = [{"set": how, "nonblocking": nonblocking} for how in ("forked", "executed") for nonblocking in (0, 1)]
    assert_timeout_kept(several, kinds, cases)


@hosts(("refused", "live"), ("silent", "live"))
def test_a_send_timeout_set_when_the_connect_had_begun(several, kinds):
    # SO_ERROR without a wait tells of a refusal as it is.
    waits = ("poll", "epoll") if "refused" in kinds else ("poll", "epoll", "none")
    cases = [{"set": "began", "nonblocking": 1, "then": "blocking", "wait": wait} for wait in waits]
    assert_timeout_kept(several, kinds, cases)


# ---- A server that resets at once ----

@pytest.mark.parametrize("way", ["blocking", "poll", "select", "epoll", "so_error", "recv"])
def test_a_server_that_resets_at_once_is_asked_once(several, way):
    host = several("live", "live")
    # No attempt may be left for its silence: way=blocking needs it.
    arguments = {"way": way, "pause": 50}
    server = host.lab.unused()
    # On a busy machine the reset may come after all has been asked.
    for _ in range(5):
        bare = start_bare(host, "reset_at_once", host=server, server=server, **arguments).finish()
        if "ECONNRESET" in bare.stdout:
            break
    server = host.lab.unused()
    env = {"NEXTADDR_DELAY": "5000", "NEXTADDR_RESOLVE": f"{HOST}={server},{host.live[0]}"}
    shim = start_shim(host, "reset_at_once", env=env, server=server, **arguments)
    assert bare.first["accepted"] == "1" and "ECONNRESET" in bare.stdout, bare
    if shim.finish().first.get("result") == "0":
        # A thread that is quick enough is told of the handshake by connect, and of the reset by what it calls next, when
        # that has come by then.
        told = shim.values("so_error", "peer", "accepted")
        assert told in [("ECONNRESET", "none", "1"), ("0", server, "1")], shim
    else:
        assert_same(bare, shim, "result", "error", "events", "first", "so_error", "recv", "peer", "accepted")
    assert host.connections(host.live[0]) == 0, shim


# ---- An address of one link ----

LINK = ["link add v0 type veth peer name v1", "link set v0 arp off", "addr add fe80::1/64 dev v0 nodad"]
LINK += ["link set v0 up", "link set v1 up", "addr add fd00::1/128 dev lo nodad"]
LIBRARY_OF_LOOKUPS = "scoped_lookup.so"


@pytest.mark.parametrize("first", ["refused", "silent"])
@pytest.mark.parametrize("way", ["blocking", "poll", "epoll"])
def test_an_address_of_one_link_first(address_lab, way, first):
    before, lookups = own_network(*LINK), PROGRAMS / "lib" / LIBRARY_OF_LOOKUPS
    address = {"refused": "fe80::1%v0", "silent": "fe80::77%v0"}[first]
    env = {**preload(LIBRARY, lookups), "LOOKUP_NAME": HOST, "LOOKUP_ADDRESSES": f"{address},fd00::1"}
    run = start(address_lab, "link_local", env, before, host=HOST, port=PORT, live="fd00::1", way=way).wait()
    assert run.returncode == 0, run
    assert run.values("error", "peer", "device") == ("0", "fd00::1", "0"), run
