# What faults on purpose do to a socket, and what they leave alone: an attempt draws one fault, whatever is asked of it
# later; the socket is afterwards what it was; and nothing but TCP connects gets any.
# Nothing here may pass when no fault is made: each test sees one, or a socket beside it that gets one.
import contextlib
import os
import re
import socket

import pytest

import lab as labs
from programs.faults import events_of, faults, made
from programs.harness import HOST, address_lab, public, run_as_nobody, run_shim, several, start, start_bare, start_shim

ACTIONS = ["refuse", "silent", "unreachable", "reset", "delay(50)"]
BLOCKING = pytest.mark.parametrize("nonblocking", [0, 1], ids=["blocking", "nonblocking"])


def actions(*names):
    return pytest.mark.parametrize("action", names)


def ends_of(run):
    """What each step came to."""
    return [next(iter(line.values())) for line in run.lines if "ms" in line]


def steps(host, *words, rules=(), failover=False, bare=False, **arguments):
    """What each of these steps came to, and the run."""
    arguments = {"to": host.addresses[0], "steps": ",".join(words), **arguments}
    if bare:
        run = start_bare(host, "steps", **arguments).finish()
    else:
        run = run_shim(host, "steps", env=faults(*rules, failover=failover), **arguments)
    assert run.lines[-1] == {"descriptors_left": "0"}, run
    return ends_of(run), run


def other(host):
    """Arguments for the step `then`: a connect to this host."""
    return {"then": host.addresses[0], "then_port": host.port}


# ---- One attempt, one fault ----


def test_a_refusal_that_is_asked_about_again_is_one_fault(several):
    # By SO_ERROR, by connect(2), by both: bare, some of these calls begin an attempt, and the others tell of one.
    words = ["connect", "poll:2000", "so_error", "connect", "connect", "poll:2000", "connect", "connect", "poll:2000"]
    words += ["so_error", "so_error", "connect", "so_error", "connect", "poll:2000", "connect"]
    bare, _ = steps(several("refused"), *words, bare=True, nonblocking=1)
    ends, run = steps(several("live"), *words, rules=["*=4*refuse->off"], nonblocking=1)
    assert ends == bare
    assert made(run) == ["refuse"] * 4 and bare.count("EINPROGRESS") == 4
    # The next attempt of a program that has no more faults to come.
    ends, run = steps(several("live"), *words, "transfer", rules=["*=3*refuse->off"], nonblocking=1)
    assert ends[:13] == bare[:13] and ends[-3:-1] == ["OUT", "0"] and made(run) == ["refuse"] * 3
    assert ends[-1].startswith("127."), run


@pytest.mark.parametrize("failover", [False, True])
@actions("silent", "delay(9000)")
def test_silence_that_is_asked_about_again_is_one_fault(several, action, failover):
    words = ["connect", "connect", "so_error", "poll:20", "connect", "so_error", "poll:20", "peer", "connect"]
    bare, _ = steps(several("silent"), *words, bare=True, nonblocking=1)
    ends, run = steps(several("live"), *words, rules=[f"*={action}"], failover=failover, nonblocking=1)
    assert ends == bare and ends[-1] == "EALREADY"
    assert made(run) == [action.partition("(")[0]]


def test_a_blocking_connect_that_is_made_again_is_another_attempt(several):
    bare, _ = steps(several("refused"), *["connect"] * 3, bare=True)
    ends, run = steps(several("live"), *["connect"] * 5, rules=["*=1*refuse->1*errno(ETIMEDOUT)->1*unreachable"])
    assert ends == ["ECONNREFUSED", "ETIMEDOUT", "EHOSTUNREACH", "0", "EISCONN"]
    assert made(run) == ["refuse", "errno", "unreachable"]
    assert bare == ["ECONNREFUSED"] * 3


def test_every_attempt_of_failover_counts(several):
    host = several("live", "live", "live", "live")
    run = run_shim(host, "connect_first", env=faults(f"{HOST}=1*refuse->1*unreachable->1*silent->off"))
    assert run.values("result", "peer") == ("0", host.addresses[3]), run
    [event] = events_of(run, "connect")
    attempts = [(attempt["address"], attempt.get("fault")) for attempt in event["attempts"]]
    assert attempts == list(zip(host.addresses, ["refuse", "unreachable", "silent", None]))


@BLOCKING
@actions(*ACTIONS)
def test_a_connected_socket_gets_none(several, action, nonblocking):
    host = several("live")
    words = ["connect", "poll:2000", "connect", "connect", "then", "transfer", "connect"]
    bare, _ = steps(host, *words, bare=True, nonblocking=nonblocking, **other(host))
    rules = [f"*=1*off->{action}"]
    ends, run = steps(host, *words, rules=rules, nonblocking=nonblocking, **other(host))
    assert ends == bare and "EISCONN" in ends and made(run) == []


def test_a_listening_socket_gets_none(several):
    host = several("live")
    bare, _ = steps(host, "listen", "connect", bare=True)
    ends, run = steps(host, "listen", "connect", "again", "connect", rules=["*=1*refuse"])
    assert ends == [*bare, "0", "ECONNREFUSED"] and bare == ["0", "EISCONN"]
    assert made(run) == ["refuse"]


@BLOCKING
def test_udp_gets_none(several, nonblocking):
    host = several("live")
    ends, run = steps(host, "connect", "peer", rules=["*=refuse"], kind="udp", nonblocking=nonblocking)
    assert ends == ["0", host.addresses[0]] and events_of(run) == []


def test_unix_sockets_get_none(address_lab, tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        run = start(address_lab, "plain_calls", faults("*=refuse"), what="unix", path=tmp_path / "socket").finish()
    assert run.stdout == "connect=0 \n" and events_of(run) == []


@pytest.mark.parametrize("what", ["null", "error_pointer", "short", "no_socket", "disconnect"])
def test_bad_calls_get_none(several, what):
    host = several("live")
    bare = start_bare(host, "plain_calls", what=what).finish()
    run = run_shim(host, "plain_calls", env=faults("*=unreachable"), what=what)
    assert run.stdout == bare.stdout and made(run) == []


def test_a_vfork_child_gets_none(several):
    host = several("live")
    run = run_shim(host, "vfork_child", env=faults("*=1*refuse"))
    assert run.values("child", "result", "error") == ("0", "-1", "ECONNREFUSED"), run
    assert made(run) == ["refuse"]


@pytest.mark.parametrize("how", ["sendto", "sendmsg", "option"])
@pytest.mark.parametrize("blocking", [0, 1])
def test_fast_open_gets_one(several, how, blocking):
    host = several("live", "live")
    run = run_shim(host, "events_fastopen", env=faults(f"{HOST}#1=refuse"), how=how, blocking=blocking)
    assert run.values("first", "sent", "echo") == ("5" if blocking else "EINPROGRESS", "5", "echo"), run
    assert run.values("peer", "changed") == (host.addresses[1], "none"), run
    alone = run_shim(several("live"), "events_fastopen", env=faults("*=refuse"), how=how, blocking=blocking)
    assert alone.values("first", "sent") == ("ECONNREFUSED" if blocking else "EINPROGRESS", "ECONNREFUSED"), alone
    assert made(run) == made(alone) == ["refuse"]


# ---- The socket afterwards ----


@BLOCKING
@actions(*ACTIONS, "errno(ENOBUFS)")
def test_used_again_after_a_fault(several, action, nonblocking):
    host, then = several("live"), several("live")
    # What ends each of them: an answer, or the program.
    words = ["connect", *["poll:3000"] * nonblocking, "so_error"]
    if action.startswith(("silent", "delay")) or (action == "reset" and not nonblocking):
        words += ["disconnect"]
    elif nonblocking and action in ("refuse", "reset"):
        words += ["connect"]  # ECONNABORTED
    words += ["then", "poll:2000", "transfer", "so_error", "min_ttl", "changed"]
    timeout = {} if action.startswith("delay") or nonblocking else {"timeout": 300}
    rules = [f"*=1*{action}->off"]
    arguments = {"nonblocking": nonblocking, "syncnt": 1, **timeout, **other(then)}
    ends, run = steps(host, *words, rules=rules, **arguments)
    assert ends[-6:] == ["EINPROGRESS" if nonblocking else "0", "OUT", then.addresses[0], "0", "0", "none"], run
    assert made(run) == [action.partition("(")[0]]


@pytest.mark.parametrize("failover", [False, True])
@BLOCKING
def test_used_again_after_silence_to_the_end(several, nonblocking, failover):
    host, then = several(*["live"] * (1 + failover)), several("live")
    # It stays with the kernel in the end: connect(2) tells of it once more.
    asked = ["poll:9000", "so_error", "connect"]
    words = ["connect", *asked * nonblocking, "min_ttl", "then", "poll:2000", "transfer", "min_ttl"]
    rules = [f"@{address}=silent" for address in host.addresses]
    arguments = {"nonblocking": nonblocking, "syncnt": 1, "to": "" if failover else host.addresses[0], **other(then)}
    ends, run = steps(host, *words, rules=rules, failover=failover, **arguments)
    assert "ETIMEDOUT" in ends and ends[-3:] == ["OUT", then.addresses[0], "0"], run
    # What the kernel has waited for to the end is left deaf until then.
    assert ends[words.index("min_ttl")] == "0" or not failover, run


@BLOCKING
@actions(*ACTIONS)
def test_every_option_and_flag_is_unchanged(several, action, nonblocking):
    # With failover and without, for one that comes to its address and one that does not.
    host = several("live", "live")
    run = run_shim(host, "socket_state", env=faults(f"{HOST}#1={action}"))
    if action == "reset":
        assert run.values("result", "peer", "changed") == ("0", "none", "SO_ERROR,"), run
    else:
        reached = host.addresses[0 if action.startswith("delay") else 1]
        assert run.values("result", "error", "peer", "dup_peer", "changed") == ("0", "0", reached, reached, "none"), run
    words = ["connect", *["poll:200"] * nonblocking, "so_error", "changed"]
    timeout = {} if nonblocking else {"timeout": 200}
    ends, run = steps(several("live"), *words, rules=[f"*={action}"], nonblocking=nonblocking, **timeout)
    assert ends[-1] == "none" and made(run) == [action.partition("(")[0]], run


def test_a_bound_socket(several):
    host = several("live", "live")
    # With a port of its own there are no probes.
    for action in ("refuse", "silent", "unreachable", "delay(3000)"):
        source = host.lab.unused()
        env = faults(f"{HOST}#1={action}")
        run = run_shim(host, "connect_first", env=env, bind=source, bind_port=host.port, transfer=1)
        second = host.addresses[1]
        assert run.values("result", "transfer", "local", "local_port") == ("0", second, source, str(host.port)), run


@BLOCKING
@actions(*ACTIONS, "errno(ENOBUFS)")
def test_no_descriptor_is_left_by_a_thousand(several, action, nonblocking):
    host = several("live")
    arguments = {"to": host.addresses[0], "nonblocking": nonblocking, "times": 1000, "threads": 1}
    arguments["steps"] = "connect,poll:5000,so_error"
    if action == "silent":
        arguments.update(nonblocking=1, steps="connect,poll:0,so_error,disconnect" if nonblocking else "connect")
    if action.startswith("delay"):
        action = "delay(1)"
        arguments["times"] = 300  # each takes some milliseconds
    env = faults(f"*={action}", failover=False, LOG="error")
    run = run_shim(host, "steps", env=env, **arguments)
    [way, left] = run.lines
    assert way["count"] == str(arguments["times"]) and left == {"descriptors_left": "0"}, run
    expected = {"refuse": "ECONNREFUSED", "reset": "ECONNRESET", "unreachable": "EHOSTUNREACH"}
    if action in expected:
        assert expected[action] in way.values(), run
    assert run.stderr == ""


def test_no_descriptor_is_left_by_a_thousand_failovers(several):
    host = several("live", "live")
    rule = "*#1=250*refuse->250*errno(ETIMEDOUT)->250*unreachable->250*delay(1)->off"
    arguments = {"steps": "connect,poll:5000,so_error,peer", "times": 1001, "threads": 1}
    for nonblocking in (0, 1):
        env = faults(rule, LOG="error")
        run = run_shim(host, "steps", env=env, nonblocking=nonblocking, **arguments)
        counts = {line["peer"]: line["count"] for line in run.lines[:-1]}
        assert counts == {host.addresses[0]: "251", host.addresses[1]: "750"}, run
        assert run.lines[-1] == {"descriptors_left": "0"}, run


def test_a_reset_without_a_descriptor_to_make_it(several, require):
    # The program's socket is the last one to be had, so the connect fails with that error.
    host = several("live", "live")
    before = [require("prlimit"), "--nofile=4:4"]
    run = start_shim(host, "connect_first", env=faults(f"{HOST}#1=reset"), before=before).finish()
    assert run.values("result", "error", "peer") == ("-1", "ECONNRESET", "none"), run


# ---- Sockets on which a fault cannot be made ----


def problems(run):
    return [event["message"] + event["subject"] for event in events_of(run, "problem")]


@BLOCKING
@actions(*ACTIONS)
def test_a_filter_of_the_programs_own_stays(several, socket_filters, action, nonblocking):
    # A socket that takes what it is sent anyhow is made deaf in another way.
    words = ["filter", "connect", "poll:100", "so_error", "filter"]
    ends, run = steps(several("live"), *words, rules=[f"*={action}"], filter=1, timeout=100, nonblocking=nonblocking)
    assert (ends[0], ends[-1]) == ("3", "3") and made(run) == [action.partition("(")[0]], run


@BLOCKING
@actions(*ACTIONS)
def test_a_limit_of_the_programs_own_stays(several, action, nonblocking):
    # The "generalized TTL security mechanism" (RFC 5082), of which it is made otherwise.
    host = several("live")
    words = ["min_ttl", "connect", "poll:2000", "so_error", "min_ttl"]
    ends, run = steps(host, *words, rules=[f"*={action}"], min_ttl=60, nonblocking=nonblocking)
    assert (ends[0], ends[-1]) == ("60", "60"), run
    if action in ("silent", "delay(50)"):
        # Told, and the connect is as without it.
        assert ends[2:4] == ["OUT", "0"] and made(run) == [], run
        assert problems(run) == [f"cannot be made on this socket: fault *={action}"]
    else:
        assert problems(run) == [] and made(run) == [action]


def mptcp():
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262):
        return True


@pytest.mark.skipif(not mptcp(), reason="no MPTCP")
@BLOCKING
@actions("silent", "delay(50)", "refuse", "unreachable")
def test_mptcp(several, action, nonblocking):
    host = several("live", "live")
    words = ["connect", "poll:2000", "so_error", "peer", "transfer"]
    arguments = {"kind": "mptcp", "nonblocking": nonblocking, "to": ""}
    ends, run = steps(host, *words, rules=[f"{HOST}#1={action}"], failover=True, **arguments)
    first, second = host.addresses
    if action in ("silent", "delay(50)"):
        assert ends[1:] == ["OUT", "0", first, first] and made(run) == [], run
        assert problems(run) == [f"cannot be made on this socket: fault {HOST}#1={action}"]
    else:
        assert ends[1:] == ["OUT", "0", second, second] and made(run) == [action], run
    ends, run = steps(host, "connect", "poll:2000", "so_error", rules=[f"*={action}"], **arguments)
    expected = {"refuse": "ECONNREFUSED", "unreachable": "EHOSTUNREACH"}.get(action, "0")
    assert expected in ends, run


def run_in(namespace, host, *rules, failover=False, **arguments):
    env = faults(*rules, failover=failover)
    run = start(namespace, "steps", env, port=host.port, **arguments).finish()
    return ends_of(run), run


@actions(*ACTIONS)
def test_a_socket_bound_to_a_device(namespace, action):
    # Packets to loopback would leave by it.
    with namespace.scenario("live-first", protocol="banner") as host:
        arguments = {"to": "198.18.0.7", "steps": "connect,state", "timeout": 100}
        ends, run = run_in(namespace, host, f"*={action}", device="bh0", **arguments)
        if action == "unreachable":
            assert ends == ["EHOSTUNREACH", "CLOSE"] and made(run) == ["unreachable"], run
        else:
            assert ends == ["EINPROGRESS", "SYN_SENT"] and made(run) == [], run
            assert problems(run) == [f"cannot be made on this socket: fault *={action}"]
        ends, run = run_in(namespace, host, f"*={action}", device="lo", **arguments)
        assert made(run) == [action.partition("(")[0]], run


def test_no_ipv6_on_loopback():
    if obstacle := labs.Namespace.obstacle():
        pytest.skip(obstacle)
    with labs.Namespace() as namespace, namespace.scenario("live-first") as host:
        namespace.spawn(["sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/lo/disable_ipv6"]).wait()
        ends, run = run_in(namespace, host, "*=silent", to="2001:db8::7", steps="connect", timeout=100)
        assert ends == ["ENETUNREACH"], run
        assert problems(run) == ["loopback cannot be reached for a fault: ENETUNREACH"]


@actions(*ACTIONS)
def test_every_user_may_make_them(several, public, action):
    if os.geteuid() != 0:
        pytest.skip("not root: cannot run a program as somebody else")
    host = several("live")
    arguments = {"to": host.addresses[0], "timeout": 100, "steps": "connect"}
    run = run_as_nobody(public, host, "steps", faults(f"*={action}"), **arguments)
    expected = {"silent": "EINPROGRESS", "refuse": "ECONNREFUSED", "unreachable": "EHOSTUNREACH"}
    assert ends_of(run) == [expected.get(action, "0")] and made(run) == [action.partition("(")[0]]


# ---- Both families ----

LIKE = {"refuse": "refused", "silent": "silent"}


@BLOCKING
@actions(*ACTIONS)
@pytest.mark.parametrize("v6only", [0, 1])
def test_ipv6(several, action, nonblocking, v6only):
    host = several("live6")
    words = ["connect", "poll:300", "so_error", "disconnect", "then", "poll:2000", "transfer", "min_ttl", "changed"]
    arguments = {"nonblocking": nonblocking, "v6only": v6only, "syncnt": 1, "timeout": 200, **other(host)}
    ends, run = steps(host, *words, rules=["@v4=refuse", f"@v6=1*{action}->off"], **arguments)
    assert ends[-5:] == ["EINPROGRESS" if nonblocking else "0", "OUT", "::1", "0/0", "none"], run
    assert made(run) == [action.partition("(")[0]], run
    if action in LIKE:
        bare, _ = steps(several(LIKE[action] + "6"), *words[:3], bare=True, **arguments)
        assert ends[:3] == bare


@BLOCKING
@actions(*ACTIONS)
def test_ipv4_on_an_ipv6_socket(several, action, nonblocking):
    host = several("live")
    words = ["connect", "poll:300", "so_error", "disconnect", "then", "poll:2000", "transfer", "min_ttl", "changed"]
    arguments = {"nonblocking": nonblocking, "mapped": 1, "syncnt": 1, "timeout": 200, **other(host)}
    ends, run = steps(host, *words, rules=["@v6=refuse", f"@{host.addresses[0]}=1*{action}->off"], **arguments)
    assert ends[-5:] == ["EINPROGRESS" if nonblocking else "0", "OUT", host.addresses[0], "0/0", "none"], run
    assert made(run) == [action.partition("(")[0]], run
    if action in LIKE:
        bare, _ = steps(several(LIKE[action]), *words[:3], bare=True, **arguments)
        assert ends[:3] == bare


@actions("refuse", "silent", "unreachable")
def test_a_broken_ipv6_network(several, action):
    # The dual-stack socket goes on to the IPv4 address, and the other way round.
    host = several("live6", "live")
    run = run_shim(host, "connect_first", env=faults(f"@v6={action}"), transfer=1)
    assert run.values("result", "error", "transfer") == ("0", "0", host.addresses[1]), run
    host = several("live", "live6")
    to = f"::ffff:{host.addresses[0]}"
    run = run_shim(host, "after_lookups", env=faults(f"@v4={action}"), names=HOST, to=to, transfer=1)
    assert run.values("result", "error", "peer", "transfer") == ("0", "0", "::1", "::1"), run


# ---- What goes out ----


@pytest.mark.parametrize("to", ["192.0.2.7", "2001:db8::7"])
@BLOCKING
def test_nothing_leaves_loopback(several, require, tmp_path, to, nonblocking):
    host = several("live")
    for number, action in enumerate(ACTIONS[:-1]):
        trace = tmp_path / f"trace-{number}"
        before = [require("strace"), "-f", "-qq", "-e", "trace=connect", "-o", str(trace)]
        arguments = {"to": to, "nonblocking": nonblocking, "timeout": 100, "steps": "connect,poll:100,so_error"}
        env = faults(f"@{to}={action}", failover=False)
        run = start_shim(host, "steps", env=env, before=before, **arguments).finish()
        assert made(run) == [action]
        asked = re.findall(r"sin6?_port=htons\((\d+)\).*?\"?([\d.]+|[\da-f:]+)\"", trace.read_text())
        loopback = set() if action == "unreachable" else {"::1" if ":" in to else "127.0.0.1"}
        assert {address for _, address in asked} == loopback
        assert action == "reset" or all(port == "0" for port, _ in asked)


# ---- Disturbed ----


@pytest.mark.parametrize("what", ["fork", "exec", "again"])
@pytest.mark.parametrize("wait", ["poll", "epoll"])
@actions("silent", "delay(9000)")
def test_goes_on_when_disturbed(several, what, wait, action):
    host = several("live", "live")
    env = faults(f"{HOST}#1={action}")
    run = run_shim(host, "events_disturbed", env=env, what=what, wait=wait, after=20)
    assert run.values("events", "peer", "changed") == ("OUT", host.addresses[1], "none"), run
    assert run.first.get("child", "0") == "0", run


@pytest.mark.parametrize("what", ["connecting", "udp", "listener", "file", "give-up"])
@pytest.mark.parametrize("wait", ["poll", "epoll"])
@actions("silent", "delay(400)")
def test_what_gets_the_number_of_a_faulted_socket_is_never_touched(several, what, wait, action):
    host, silent = several("live"), several("silent")
    arguments = {"silent": silent.addresses[0], "silent_port": silent.port, "what": what, "wait": wait}
    env = faults(f"@{host.addresses[0]}={action}")
    run = run_shim(host, "events_disturbed", env=env, after=20, **arguments)
    expected = {"events": "none", "state_kept": "1", "descriptors_left": "0"}
    assert run.first == ({"state": "SYN_SENT", "descriptors_left": "0"} if what == "give-up" else expected), run
    assert host.connections(host.addresses[0]) == 0 and made(run) == [action.partition("(")[0]]


@pytest.mark.parametrize("wait", ["poll", "epoll"])
@actions("silent", "delay(9000)")
def test_shut_down_during_a_fault(several, wait, action):
    arguments = {"what": "shutdown", "wait": wait, "after": 20}
    bare = start_bare(several("silent"), "events_disturbed", **arguments).finish()
    run = run_shim(several("live"), "events_disturbed", env=faults(f"*={action}"), **arguments)
    keys = ("shutdown", "events", "so_error", "peer", "transfer", "changed", "descriptors_left")
    assert run.values(*keys) == bare.values(*keys)


def test_a_child_has_the_socket_as_the_kernel_has_it(several):
    # The process that began it goes on with it.
    host = several("live")
    words = ["connect", "fork:20", "poll:300", "so_error", "peer"]
    bare = start_bare(several("silent"), "steps", nonblocking=1, steps=",".join(words)).finish()
    for action in ("silent", "delay(9000)"):
        run = run_shim(host, "steps", env=faults(f"*={action}"), nonblocking=1, steps=",".join(words))
        for ours, theirs in zip(run.lines, bare.lines):
            ours.pop("ms", None), theirs.pop("ms", None)
            assert ours == theirs, run
    run = run_shim(host, "steps", env=faults("*=refuse"), nonblocking=1, steps=",".join(words))
    child = [line for line in run.lines if line.get("who") == "child"]
    assert child[2]["so_error"] == "ECONNREFUSED", run
    assert made(run) == ["refuse"]


# ---- The memory ----


@pytest.mark.parametrize("action", ["refuse", "silent"])
def test_nothing_is_remembered_of_a_faulted_run(several, tmp_path, action):
    host = several("live", "live")
    usual = {"NEXTADDR_MEMORY": "", "XDG_RUNTIME_DIR": str(tmp_path)}
    run = run_shim(host, "connect_first", env={**faults(f"{HOST}#1={action}"), **usual})
    assert run.first["peer"] == host.addresses[1] and os.listdir(tmp_path) == []
    # The next one goes where it wants, and it is remembered that this worked.
    run = run_shim(host, "connect_first", env={"NEXTADDR_LOG": "info", **usual})
    assert run.first["peer"] == host.addresses[0] and run.stderr == ""
    assert os.listdir(tmp_path) == ["nextaddr-memory"]


def test_what_was_remembered_hides_no_fault(several, tmp_path):
    host = several("refused", "live")
    usual = {"NEXTADDR_MEMORY": "", "XDG_RUNTIME_DIR": str(tmp_path)}
    run_shim(host, "connect_first", env=usual)
    before = (tmp_path / "nextaddr-memory").read_bytes()
    assert host.addresses[0].encode() in before
    run = run_shim(host, "connect_first", env={**faults(f"{HOST}#1=silent"), **usual})
    [event] = events_of(run, "connect")
    assert [attempt["outcome"] for attempt in event["attempts"]] == ["silent", "connected"]
    assert (tmp_path / "nextaddr-memory").read_bytes() == before


def test_a_memory_that_is_asked_for_has_it(several, tmp_path):
    host = several("live", "live")
    env = {**faults(f"{HOST}#1=1*refuse->off"), "NEXTADDR_MEMORY": str(tmp_path / "memory")}
    for outcomes in (["refused", "connected"], ["parked", "connected"]):
        [event] = events_of(run_shim(host, "connect_first", env=env), "connect")
        assert [attempt["outcome"] for attempt in event["attempts"]] == outcomes
