# A blocking connect with the library: it reaches a live address, and in every other respect it is the program's
# own connect(2), with which it is compared wherever the two must be the same.
# Nothing here may look at how the library works inside, or expect a time shorter than the contract gives.
import re
import signal
import socket
import time

import pytest

from programs.harness import HOST, address_lab, preload, run_shim, several, start, start_bare, start_shim

# Machines are slow at times: a result this much later than due is still on time.
LATE = 2500


def milliseconds(run):
    return int(run.first["ms"])


def mapped(address):
    """An IPv4 address as an AF_INET6 socket has it."""
    return f"::ffff:{address}"


def assert_reached(run, address, **more):
    """Connected to this address, data went both ways, errno left alone, nothing left open."""
    assert run.values("result", "error", "peer", "transfer") == ("0", "0", address, address), run
    assert run.values("state", "so_error") == ("ESTABLISHED", "0"), run
    assert run.lines[-1] == {"descriptors_left": "0"}, run
    for key, value in more.items():
        assert run.first[key] == value, run


def side_by_side(host, name, **arguments):
    """A program bare and with the library, at the same time."""
    bare = start_bare(host, name, **arguments)
    shim = start_shim(host, name, **arguments)
    return bare.finish(), shim.finish()


# ---- Reaching a live address ----


@pytest.mark.parametrize(
    "kinds",
    [
        ("live", "refused"),
        ("refused", "live"),
        ("refused", "refused", "refused", "refused", "refused", "live"),
        ("silent", "live"),
        ("silent", "silent", "live"),
        ("refused", "silent", "refused", "live"),
        ("unreachable", "live"),
        ("unreachable", "silent", "refused", "live"),
    ],
    ids="-".join,
)
def test_reaches_the_live_address(several, kinds):
    host = several(*kinds)
    run = run_shim(host, "connect_first", transfer=1)
    assert_reached(run, host.live[0], timeout="0")
    assert milliseconds(run) < 250 * kinds.count("silent") + LATE


def test_asks_in_the_order_of_the_resolver(several):
    host = several("refused", "live", "live")
    assert_reached(run_shim(host, "connect_first", transfer=1), host.addresses[1])
    assert host.connections(host.addresses[2]) == 0


def test_thousand_addresses_of_which_the_last_is_live(several):
    host = several(*["refused"] * 999, "live")
    assert_reached(run_shim(host, "connect_first", transfer=1), host.live[0])


def test_a_slow_server_is_reached_in_a_later_pass(several):
    # Silent for the whole first pass; then it accepts again, and what is asked of it the second time is answered.
    host = several("silent", "refused")
    with socket.socket() as slow:
        slow.bind((host.lab.unused(), host.port))
        slow.listen(0)
        address = slow.getsockname()
        waiting = [socket.socket() for _ in range(2)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(address)
        env = {"NEXTADDR_RESOLVE": f"{host.resolve},{address[0]}"}
        run = start_shim(host, "connect_first", env=env)
        time.sleep(0.6)
        slow.listen(16)
        run.finish()
        for each in waiting:
            each.close()
    assert run.values("result", "error", "peer") == ("0", "0", address[0]), run
    assert milliseconds(run) > 600


@pytest.mark.parametrize("kind", ["refused-first", "silent-first", "unreachable-first", "ipv6-silent"])
def test_names_of_a_real_resolver(namespace, kind):
    with namespace.scenario(kind, protocol="banner") as host:
        bare = start_bare(host, "connect_first", timeout=1000)
        shim = start_shim(host, "connect_first", transfer=1)
        assert bare.finish().first["result"] == "-1"
        peer = mapped(host.live[0]) if kind == "ipv6-silent" else host.live[0]
        assert shim.finish().values("result", "error", "peer", "transfer") == ("0", "0", peer, host.live[0]), shim


# ---- Everything fails ----


@pytest.mark.parametrize(
    "kinds",
    [
        ("refused", "refused", "refused"),
        ("refused", "unreachable"),
        ("unreachable", "refused"),
        ("unreachable", "unreachable", "refused"),
    ],
    ids="-".join,
)
def test_the_error_is_that_of_the_requested_address(several, kinds):
    # The socket can be used again as it could be without us: `then` is a live address, not one of the host's.
    host = several(*kinds)
    then = several("live")
    other = {"then": then.live[0], "then_port": then.port}
    bare, shim = side_by_side(host, "connect_first", **other)
    keys = ("result", "error", "peer", "local", "state", "timeout", "so_error")
    assert shim.values(*keys) == bare.values(*keys)
    for run in (bare, shim):
        line = run.lines[1]
        assert (line["result"], line["error"], line["transfer"]) == ("0", "0", then.live[0]), run
        assert run.lines[2] == {"descriptors_left": "0"}


def test_a_refusal_of_the_requested_address_outlasts_the_silence_of_the_others(several):
    run = run_shim(several("refused", "silent"), "connect_first", syncnt=1)
    assert run.values("result", "error", "state") == ("-1", "ECONNREFUSED", "CLOSE")


def test_never_longer_than_the_kernel_would_take(several):
    bare, shim = side_by_side(several("silent", "silent", "silent"), "connect_first", syncnt=1)
    keys = ("result", "error", "peer", "local", "state", "so_error")
    assert shim.values(*keys) == bare.values(*keys)
    assert shim.first["error"] == "ETIMEDOUT"
    assert 2900 <= milliseconds(shim) <= min(milliseconds(bare) + 1000, 8000 + LATE), (bare, shim)


def test_tcp_user_timeout_bounds_the_whole(several):
    bare, shim = side_by_side(several("silent", "silent"), "connect_first", user_timeout=1500)
    assert shim.values("result", "error") == bare.values("result", "error") == ("-1", "ETIMEDOUT")
    assert milliseconds(shim) <= milliseconds(bare) + 1000, (bare, shim)


# ---- The program's own clock: SO_SNDTIMEO ----


def test_so_sndtimeo_ends_it_in_time(several):
    bare, shim = side_by_side(several("silent", "silent", "silent"), "connect_first", timeout=900)
    keys = ("result", "error", "peer", "state", "timeout", "so_error")
    assert shim.values(*keys) == bare.values(*keys)
    assert shim.values("error", "state", "timeout") == ("EINPROGRESS", "SYN_SENT", "900")
    assert 895 <= milliseconds(shim) <= milliseconds(bare) + 500, (bare, shim)


@pytest.mark.parametrize("timeout", [100, 400, 5000])
def test_so_sndtimeo_leaves_time_for_the_second_address(several, timeout):
    host = several("silent", "live")
    run = run_shim(host, "connect_first", timeout=timeout, transfer=1)
    assert_reached(run, host.live[0], timeout=str(timeout))
    assert milliseconds(run) < 250 + LATE


def test_asked_again_after_so_sndtimeo_it_goes_on(several):
    host = several("silent", "silent", "silent")
    bare, shim = side_by_side(host, "connect_first", timeout=300, then=host.addresses[0])
    for first, second in zip(bare.lines[:2], shim.lines[:2]):
        assert (first["result"], first["error"]) == (second["result"], second["error"]), (bare, shim)
    assert 290 <= int(shim.lines[1]["ms"]) <= int(bare.lines[1]["ms"]) + 500, (bare, shim)


# ---- Signals ----


@pytest.mark.parametrize("after", [1, 120])
def test_a_handler_without_sa_restart_interrupts(several, after):
    host = several("silent", "silent", "live")
    # The first signal may come before connect() is called, on a busy machine: then it is another one that interrupts.
    for _ in range(6):
        bare, shim = side_by_side(host, "interrupted", handler="plain", after=after, every=150)
        if bare.values("signals") == shim.values("signals") == ("1",):
            break
    keys = ("result", "error", "signals", "state", "timeout")
    assert shim.values(*keys) == bare.values(*keys)
    assert shim.values("result", "error", "signals") == ("-1", "EINTR", "1")
    assert after - 10 <= milliseconds(shim) <= after + LATE


@pytest.mark.parametrize("every", [0, 20])
def test_a_handler_with_sa_restart_does_not(several, every):
    host = several("silent", "refused", "silent", "live")
    run = run_shim(host, "interrupted", handler="restart", after=20, every=every)
    live = host.live[0]
    assert run.values("result", "error", "peer", "transfer", "timeout") == ("0", "0", live, live, "0"), run
    assert int(run.first["signals"]) >= (5 if every else 1)


def test_connecting_again_after_each_eintr_reaches_the_live_address(several):
    host = several("silent", "silent", "live")
    run = run_shim(host, "interrupted", handler="plain", after=20, every=20, resume=1)
    assert run.values("error", "again", "peer", "transfer") == ("EINTR", "0", host.live[0], host.live[0]), run


def test_with_so_sndtimeo_even_sa_restart_interrupts(several):
    # So says signal(7), and so it is without us.
    arguments = {"handler": "restart", "after": 100, "timeout": 3000}
    bare, shim = side_by_side(several("silent", "silent"), "interrupted", **arguments)
    keys = ("result", "error", "signals", "state", "timeout")
    assert shim.values(*keys) == bare.values(*keys)
    assert shim.first["error"] == "EINTR"


# 1 ms is in the very first moment of the wait.
@pytest.mark.parametrize("after", [1, 60, 150])
def test_a_handler_may_jump_out(several, after):
    host = several("silent", "silent", "live")
    run = run_shim(host, "interrupted", handler="jump", after=after)
    live = host.live[0]
    assert run.values("jumped", "signals", "result", "peer", "transfer") == ("1", "1", "0", live, live), run
    assert run.first["jumped_timeout"] == "0", run


def test_connect_in_a_handler(several):
    host = several("silent", "refused", "live")
    run = run_shim(host, "interrupted", handler="connect")
    assert run.values("result", "error", "peer", "transfer") == ("0", "0", host.live[0], host.live[0]), run


def test_stop_and_continue(several):
    host = several("silent", "silent", "silent", "live")
    run = start_shim(host, "connect_first", transfer=1)
    time.sleep(0.25)
    run.signal(signal.SIGSTOP)
    time.sleep(0.6)
    run.signal(signal.SIGCONT)
    assert_reached(run.finish(), host.live[0])


# ---- Other threads ----


@pytest.mark.parametrize("after", [1, 60, 150])
@pytest.mark.parametrize("how", ["cancel", "shutdown"])
def test_ended_from_another_thread(several, how, after):
    bare, shim = side_by_side(several("silent", "silent", "silent"), "disturbed", how=how, after=after, syncnt=1)
    keys = ("result", "error", "cancelled", "cleaned_up", "timeout", "state")
    assert shim.values(*keys) == bare.values(*keys), (bare, shim)
    assert shim.first["cancelled"] == ("1" if how == "cancel" else "0")
    assert int(shim.first["ended_after"]) <= int(bare.first["ended_after"]) + 500, (bare, shim)


@pytest.mark.parametrize("after", [60, 300])
def test_a_closed_descriptor_is_not_connected_any_more(several, after):
    host = several("silent", "silent", "silent", "live")
    run = run_shim(host, "disturbed", how="close", after=after, syncnt=1)
    assert run.first["result"] == "-1", run
    assert host.connections(host.live[0]) == 0


@pytest.mark.parametrize("after", [30, 60, 150, 250])
def test_a_reused_descriptor_number_is_never_touched(several, after):
    host = several("silent", "silent", "silent", "live")
    other = several("live")
    stranger = other.live[0]
    arguments = {"stranger": stranger, "stranger_port": other.port}
    run = run_shim(host, "disturbed", how="reuse", after=after, syncnt=1, **arguments)
    assert run.values("stranger_peer", "stranger_transfer") == (stranger, stranger), run
    assert run.first["stranger_timeout"] == "4320", run
    assert host.connections(host.live[0]) == 0


def test_many_threads(several):
    host = several(*["refused"] * 4, "silent", "live", "live", "live")
    *refused, silent = host.addresses[:5]
    live = host.live
    names = {
        "a.test": [refused[0], live[0]],
        "b.test": [live[1], refused[1]],
        "c.test": [live[2]],
        "d.test": [refused[2], refused[3], live[0]],
        "e.test": [silent, live[1]],
    }
    resolve = ";".join(f"{name}={','.join(addresses)}" for name, addresses in names.items())
    # The silent one in every hundredth connect only, or the test would wait for it most of the time.
    hosts = ",".join((["a.test", "b.test", "c.test", "d.test"] * 25)[:99] + ["e.test"])
    env = {**preload(), "NEXTADDR_RESOLVE": resolve}
    arguments = {"hosts": hosts, "port": host.port, "live": ",".join(live), "threads": 8, "rounds": 200}
    run = start(host.lab, "many_threads", env, **arguments).finish(60)
    assert run.first == {"right": "1600", "descriptors_left": "0"}, run


# ---- The socket stays what it was ----


@pytest.mark.parametrize(
    "kinds",
    [("live", "refused"), ("refused", "live"), ("silent", "live"), ("silent6", "live"), ("refused6", "live")],
    ids="-".join,
)
def test_every_option_and_flag_is_unchanged(several, kinds):
    host = several(*kinds)
    live = mapped(host.live[0]) if kinds[0].endswith("6") else host.live[0]
    run = run_shim(host, "socket_state")
    assert run.values("result", "error", "peer", "dup_peer", "changed") == ("0", "0", live, live, "none"), run


@pytest.mark.parametrize("kinds", [("refused", "refused"), ("unreachable", "refused")], ids="-".join)
def test_every_option_and_flag_is_unchanged_when_all_fail(several, kinds):
    bare, shim = side_by_side(several(*kinds), "socket_state")
    keys = ("result", "error", "peer", "dup_peer", "changed")
    assert shim.values(*keys) == bare.values(*keys)
    assert shim.first["changed"] == "none"


@pytest.mark.parametrize("kinds", [("refused", "live"), ("silent", "live")], ids="-".join)
def test_bound_source_address_and_port_are_kept(several, kinds):
    host = several(*kinds)
    # Nobody has this port at an address of ours: the lab's sockets have it at theirs.
    source = host.lab.unused()
    run = run_shim(host, "connect_first", bind=source, bind_port=host.port, transfer=1)
    assert_reached(run, host.live[0], local=source, local_port=str(host.port))


@pytest.mark.parametrize("dup", [0, 1])
def test_bound_source_address_is_kept_when_the_port_is_any(several, dup):
    """And so is the port that bind(2) has chosen, which the program may have told others: by whichever descriptor."""
    host = several("silent", "refused", "live")
    source = host.lab.unused()
    run = run_shim(host, "connect_first", bind=source, dup=dup, transfer=1)
    assert_reached(run, host.live[0], local=source, local_port=run.first["bound_port"])


@pytest.mark.parametrize("kinds", [("refused", "live"), ("silent", "live"), ("live", "refused")], ids="-".join)
def test_mptcp(several, kinds):
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).close()  # IPPROTO_MPTCP
    except OSError as error:
        pytest.skip(f"no MPTCP: {error}")
    host = several(*kinds)
    run = run_shim(host, "connect_first", protocol="mptcp", transfer=1)
    assert_reached(run, host.live[0], timeout="0")


# ---- Both families ----


@pytest.mark.parametrize("first", ["refused", "silent", "unreachable"])
def test_an_ipv6_socket_reaches_mapped_ipv4_addresses(several, first):
    # As Java connects: an AF_INET6 socket even for a host with IPv4 addresses only.
    host = several(first, "live")
    run = run_shim(host, "connect_first", mapped=1, transfer=1)
    expected = ("0", "0", mapped(host.live[0]), host.live[0])
    assert run.values("result", "error", "peer", "transfer") == expected, run


@pytest.mark.parametrize("first", ["silent6", "refused6"])
def test_ipv6_fails_and_ipv4_is_live(several, first):
    host = several(first, "live")
    run = run_shim(host, "connect_first", transfer=1)
    expected = ("0", "0", mapped(host.live[0]), host.live[0])
    assert run.values("result", "error", "peer", "transfer") == expected, run


@pytest.mark.parametrize("first", ["refused", "silent", "unreachable"])
def test_mapped_ipv4_fails_and_ipv6_is_live(several, first):
    host = several(first, "live6")
    to = mapped(host.addresses[0])
    run = run_shim(host, "after_lookups", names=HOST, to=to, transfer=1)
    assert run.values("result", "error", "peer", "transfer") == ("0", "0", "::1", "::1"), run


def test_families_alternate(several):
    # RFC 8305 section 4: after an IPv4 address an IPv6 one, wherever that is in the list.
    host = several("refused", "live", "live6")
    run = run_shim(host, "after_lookups", names=HOST, to=mapped(host.addresses[0]), transfer=1)
    assert run.first["transfer"] == "::1", run


# ---- IPV6_V6ONLY ----


@pytest.mark.parametrize("kinds", [("refused6", "live"), ("silent6", "live"), ("refused6", "refused", "live")])
def test_ipv6_only_sockets_reach_ipv4(several, kinds):
    """A host that was looked up for both families. The option goes on reading as the program has set it."""
    host = several(*kinds)
    run = run_shim(host, "connect_first", v6only=1, transfer=1)
    assert run.values("result", "error", "transfer") == ("0", "0", host.live[0]), run
    assert run.values("peer", "v6only") == (mapped(host.live[0]), "1"), run
    run = run_shim(host, "socket_state", v6only=1)
    assert run.first["changed"] == "none", run


@pytest.mark.parametrize("kinds", [("refused6", "refused"), ("refused6", "refused", "unreachable")])
def test_ipv6_only_sockets_are_left_as_they_were(several, kinds):
    host = several(*kinds)
    bare, shim = side_by_side(host, "connect_first", v6only=1)
    keys = ("result", "error", "peer", "state", "v6only", "so_error")
    assert shim.values(*keys) == bare.values(*keys)
    assert shim.first["error"] == "ECONNREFUSED" and shim.first["v6only"] == "1"


def test_bound_ipv6_only_sockets_do_not_go_to_ipv4(several):
    host = several("refused6", "live")
    bare, shim = side_by_side(host, "connect_first", v6only=1, bind="::1")
    keys = ("result", "error", "peer", "state", "v6only")
    assert shim.values(*keys) == bare.values(*keys)
    assert shim.first["error"] == "ECONNREFUSED"
    assert host.connections(host.live[0]) == 0


def test_a_lookup_for_ipv6_alone_stays_with_ipv6(several):
    host = several("refused6", "live")
    bare, shim = side_by_side(host, "connect_first", v6only=1, family=6)
    keys = ("result", "error", "peer", "state", "v6only")
    assert shim.values(*keys) == bare.values(*keys)
    assert host.connections(host.live[0]) == 0


def test_ipv4_sockets_skip_ipv6(several):
    host = several("refused", "live6", "live")
    run = run_shim(host, "after_lookups", names=HOST, to=host.addresses[0], transfer=1)
    assert run.values("result", "error", "transfer") == ("0", "0", host.addresses[2]), run
    assert host.connections("::1") == 0


# ---- Programs that walk the list themselves ----


def connect_calls(trace):
    """The attempts that the kernel saw, in a trace of strace: without those that take a socket back."""
    return len(re.findall(r"connect\(\d+, \{sa_family=AF_INET6?,", trace))


@pytest.mark.parametrize("same_socket", [0, 1])
def test_programs_that_loop_pay_twice_at_most(several, require, tmp_path, same_socket):
    strace = require("strace")
    host = several(*["refused"] * 6)
    trace = tmp_path / "trace"
    command = [strace, "-f", "-qq", "-e", "trace=connect", "-o", str(trace)]
    run = run_shim(host, "walk_all", before=command, same_socket=same_socket)
    assert [line["error"] for line in run.lines] == ["ECONNREFUSED"] * 6, run
    assert [line["asked"] for line in run.lines] == host.addresses
    assert 6 < connect_calls(trace.read_text()) <= 2 * 6


def test_programs_that_loop_over_silence_keep_their_clock(several):
    host = several("silent", "silent", "silent")
    bare, shim = side_by_side(host, "walk_all", timeout=400)
    assert [line["error"] for line in shim.lines] == [bare.first["error"]] * 3 == ["EINPROGRESS"] * 3, shim
    for line in shim.lines:
        assert 395 <= int(line["ms"]) <= milliseconds(bare) + 500, (bare, shim)


def test_a_new_lookup_begins_anew(several):
    # A program that has walked in vain looks up again, and one address has come back meanwhile.
    host = several("refused", "refused")
    address = host.lab.unused()
    env = {"NEXTADDR_RESOLVE": f"{host.resolve},{address}"}
    run = start_shim(host, "walk_all", env=env, rounds=2, pause=800)
    time.sleep(0.5)
    with socket.create_server((address, host.port)):
        run.finish()
    assert [line["error"] for line in run.lines] == ["ECONNREFUSED"] * 3 + ["0"], run
    assert (run.lines[3]["asked"], run.lines[3]["peer"]) == (host.addresses[0], address)
