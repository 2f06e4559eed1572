# Faults on purpose as small programs meet them, in every way to wait for a connect: results, errors and events are the
# kernel's own, with failover and without, for a host with one address and for an address that was never looked up.
# Wherever that can be, the runs are compared with bare ones at real addresses.
# Nothing here may look at a socket before its wait has reported it, or expect a time that a slow machine cannot keep.
import pytest

from programs.events import LATE, assert_connected, assert_same, together
from programs.faults import events_of, faults, made
from programs.harness import HOST, address_lab, run_shim, several, start_bare, start_shim

POLLS = [{"how": how} for how in ("poll", "ppoll", "__poll", "__poll_chk", "__ppoll_chk", "select", "pselect", "__select")]
POLLS += [{"how": "poll", "with": "negative,twice"}]
# These return again and again meanwhile: bare, they may see an error before the end of input that comes with it.
BUSY = [{"how": "poll", "with": "pipe"}, {"how": "pselect", "with": "timer,twice"}]
TRIGGERS = ["level", "edge", "oneshot", "exclusive"]
EPOLLS = [{"trigger": trigger, "register": register} for trigger in TRIGGERS for register in ("before", "after")]
EPOLLS += [{"how": how} for how in ("epoll_pwait", "epoll_pwait2")]
EPOLLS += [{"trigger": "oneshot", "data": "pointer"}, {"sets": 2}, {"nested": "epoll"}, {"during": "mod", "trigger": "edge"}]
# A thread sleeps in the set since before the connect.
SLEEPERS = [{"waiter": "thread", "trigger": trigger} for trigger in ("level", "oneshot")]
# It may be told twice of a refusal, also bare.
SLEEPING_FOR_EDGES = [{"waiter": "thread", "trigger": "edge", "register": register} for register in ("before", "after")]

POLLED = ("events", "so_error", "peer", "transfer", "changed", "pipe_missed", "miscounted")
EPOLLED = ("events", "registered", "data_kept", "again", "foreign", "so_error", "peer", "changed")
ASKED = ("events", "steps", "so_error", "peer", "transfer", "changed", "descriptors_left")

# Failover goes on from these at once, or after the attempt delay.
AT_ONCE = ["refuse", "unreachable", "errno(ETIMEDOUT)"]
LATER = ["silent", "delay(9000)"]


def actions(*names):
    return pytest.mark.parametrize("action", names)


# The same address as a host's with failover off, as a host's only one, and never looked up.
WAYS_TO_NAME = ["no failover", "one address", "never looked up"]
ways_to_name = pytest.mark.parametrize("way", WAYS_TO_NAME)


def named(several, way, action):
    """A live host that gets this fault at its first address, and what its programs need for it."""
    host = several(*["live"] * (2 if way == "no failover" else 1))
    rule = f"@{host.addresses[0]}={action}" if way == "never looked up" else f"{host.host}={action}"
    arguments = {"env": faults(rule, failover=way != "no failover", LOG="error")}
    if way == "never looked up":
        arguments["host"] = host.addresses[0]
    return host, arguments


def beside_bare(several, way, action, real, name, cases):
    """Pairs of runs, bare at a real address of this kind and with the fault, all at the same time."""
    host, arguments = named(several, way, action)
    bare_host = several(real)
    bare = [start_bare(bare_host, name, **case) for case in cases]
    shim = together(host, name, [{**arguments, **case} for case in cases])
    assert [run.stderr for run in shim] == [""] * len(shim)
    assert host.connections(host.addresses[0]) == 0
    return list(zip([run.finish() for run in bare], shim))


# ---- Blocking ----


@actions(*AT_ONCE, *LATER)
def test_a_blocking_connect_moves_on(several, action):
    host = several("live", "live")
    first, second = host.addresses
    run = run_shim(host, "connect_first", env=faults(f"{host.host}#1={action}"), transfer=1)
    assert run.values("result", "error", "peer", "transfer", "so_error") == ("0", "0", second, second, "0"), run
    assert run.lines[-1] == {"descriptors_left": "0"}, run
    [event] = events_of(run, "connect")
    assert (event["asked"], event["used"], event["failover"]) == (first, second, True)
    assert int(run.first["ms"]) < LATE + (200 if action in LATER else 0)
    assert made(run) == [action.partition("(")[0]]


BLOCKING = ("result", "error", "peer", "local", "state", "timeout", "so_error")


@ways_to_name
@pytest.mark.parametrize("arguments", [{"syncnt": 1}, {"timeout": 300}, {"user_timeout": 1500}], ids=str)
def test_blocking_silence_is_the_kernels(several, way, arguments):
    [(bare, shim)] = beside_bare(several, way, "silent", "silent", "connect_first", [arguments])
    assert shim.values(*BLOCKING) == bare.values(*BLOCKING)
    assert int(bare.first["ms"]) - 200 <= int(shim.first["ms"]) <= int(bare.first["ms"]) + 1000, (bare, shim)


@ways_to_name
@pytest.mark.parametrize("timeout", [0, 300])
def test_a_blocking_refusal_is_the_kernels(several, way, timeout):
    cases = [{"timeout": timeout}]
    [(bare, shim)] = beside_bare(several, way, "refuse", "refused", "connect_first", cases)
    assert shim.values(*BLOCKING) == bare.values(*BLOCKING)


@ways_to_name
@pytest.mark.parametrize("handler, timeout", [("plain", 0), ("restart", 3000), ("plain", 3000)])
def test_signals_interrupt_silence_as_ever(several, way, handler, timeout):
    # In the first moment, in which the library lets no signal in, and later. On a busy machine the first may come before
    # connect() is called; then it is another one that interrupts.
    cases = [{"handler": handler, "after": after, "every": 150, "timeout": timeout} for after in (4, 120)]
    for _ in range(5):
        pairs = beside_bare(several, way, "silent", "silent", "interrupted", cases)
        if all(run.values("signals") == ("1",) for pair in pairs for run in pair):
            break
    for bare, shim in pairs:
        keys = ("result", "error", "signals", "state", "timeout", "peer")
        assert shim.values(*keys) == bare.values(*keys)
        assert shim.first["error"] == "EINTR"


@ways_to_name
@pytest.mark.parametrize("how", ["cancel", "shutdown"])
def test_threads_end_silence_as_ever(several, way, how):
    cases = [{"how": how, "after": after, "syncnt": 1} for after in (60, 300)]
    for bare, shim in beside_bare(several, way, "silent", "silent", "disturbed", cases):
        keys = ("result", "error", "cancelled", "cleaned_up", "timeout", "state")
        assert shim.values(*keys) == bare.values(*keys), (bare, shim)


# ---- Events ----


def assert_moves_on(several, name, cases, action, descriptors=0):
    host = several("live", "live")
    env = faults(f"{host.host}#1={action}")
    for run in together(host, name, [{"env": env, **case} for case in cases]):
        assert set(run.first["events"].split(",")) == {"OUT"}, run
        # An edge may be told twice: see events_many.cc.
        again = {"none", "OUT"} if "trigger=edge" in repr(run) else {"none"}
        assert run.first.get("again", "none") in again, run
        assert run.values("so_error", "peer", "transfer", "changed") == ("0", *host.addresses[1:] * 2, "none"), run
        assert int(run.lines[-1]["descriptors_left"]) <= descriptors, run
        [event] = events_of(run, "connect")
        assert event["failover"] and event["attempts"][0]["fault"] == action.partition("(")[0], run
    assert host.connections(host.addresses[0]) == 0


@actions(*AT_ONCE, *LATER)
def test_polls_tell_of_the_next_address_only(several, action):
    assert_moves_on(several, "events_poll", POLLS + BUSY, action)


@actions(*AT_ONCE, *LATER)
def test_epolls_tell_of_the_next_address_only(several, action):
    assert_moves_on(several, "events_epoll", EPOLLS, action)


@actions(*AT_ONCE, *LATER)
def test_a_sleeping_thread_is_told_of_the_next_address_only(several, action):
    # The timer that wakes it is the one descriptor the library may have.
    assert_moves_on(several, "events_epoll", (SLEEPERS + SLEEPING_FOR_EDGES) * 4, action, descriptors=1)


@ways_to_name
def test_a_refusal_is_told_as_the_kernel_does(several, way):
    for bare, shim in beside_bare(several, way, "refuse", "refused", "events_poll", POLLS):
        assert_same(bare, shim, *POLLED)
        assert shim.first["so_error"] == "ECONNREFUSED"
    # Not those that wait for an edge: without a wait in between, the kernel tells twice at times.
    cases = [case for case in EPOLLS if case.get("trigger") != "edge"] + SLEEPERS
    for bare, shim in beside_bare(several, way, "refuse", "refused", "events_epoll", cases):
        assert_same(bare, shim, *EPOLLED)
        assert shim.first["so_error"] == "ECONNREFUSED"


@ways_to_name
def test_silence_is_told_as_the_kernel_does(several, way):
    polls = [{"syncnt": 1, **case} for case in POLLS]
    epolls = [{"syncnt": 1, **case} for case in EPOLLS + SLEEPERS]
    for name, cases, keys in (("events_poll", polls, POLLED), ("events_epoll", epolls, EPOLLED)):
        for bare, shim in beside_bare(several, way, "silent", "silent", name, cases):
            # An edge may be told twice: see events_many.cc.
            assert_same(bare, shim, *[key for key in keys if key != "again" or "trigger=edge" not in repr(shim)])
            assert shim.first["so_error"] == "ETIMEDOUT"
            assert int(bare.first["ms"]) - 200 <= int(shim.first["ms"]) <= int(bare.first["ms"]) + 1000, (bare, shim)


STEPS = ["so_error", "connect", "getpeername", "write", "send", "read", "recv"]


@ways_to_name
@pytest.mark.parametrize("action, real, more", [("refuse", "refused", {}), ("silent", "silent", {"syncnt": 1})])
def test_the_error_is_where_it_is_without_us(several, way, action, real, more):
    cases = [
        {"wait": wait, "by": by, **more}
        for wait in ("poll", "select", "epoll")
        for by in (*STEPS, *(f"{step},so_error,so_error" for step in STEPS), "so_error,connect", "connect,getpeername")
    ]
    cases += [{"by": by, "spin": 1, **more} for by in ("so_error", "connect")]
    for bare, shim in beside_bare(several, way, action, real, "events_result", cases):
        assert_same(bare, shim, *ASKED, "answer")


@actions("unreachable", "errno(ENOBUFS)", "errno(ECONNREFUSED)")
@ways_to_name
@pytest.mark.parametrize("nonblocking", [0, 1])
def test_an_error_that_connect_itself_tells(several, way, action, nonblocking):
    # ECONNREFUSED as a firewall's reject has it.
    host, arguments = named(several, way, action)
    arguments["to"] = arguments.pop("host", "")
    steps = "connect,state,so_error,peer,local,min_ttl,changed"
    run = run_shim(host, "steps", nonblocking=nonblocking, steps=steps, **arguments)
    ends = [next(iter(line.items())) for line in run.lines[:-1]]
    error = {"unreachable": "EHOSTUNREACH"}.get(action, action[6:-1])
    ends_expected = [error, "CLOSE", "0", "none", "0.0.0.0", "0", "none"]
    assert ends == list(zip(steps.split(","), ends_expected)), run
    assert int(run.first["ms"]) < LATE


# ---- A delay ----


def ends_of(run):
    """What each step came to."""
    return [next(value for key, value in line.items() if key != "who") for line in run.lines if "ms" in line]


def assert_delayed(run, address, ms):
    assert run.values("so_error", "peer") == ("0", address), run
    # The clocks of programs and kernel differ in their fractions.
    assert ms - 2 <= int(run.first["ms"]) < ms + LATE, run


@ways_to_name
def test_a_delay_of_a_blocking_connect(several, way):
    host, arguments = named(several, way, "delay(300)")
    run = run_shim(host, "connect_first", transfer=1, **arguments)
    assert run.values("result", "error", "transfer", "timeout") == ("0", "0", host.addresses[0], "0"), run
    assert_delayed(run, host.addresses[0], 300)


@ways_to_name
@pytest.mark.parametrize(
    "name, cases",
    [("events_poll", POLLS), ("events_epoll", EPOLLS + SLEEPERS + SLEEPING_FOR_EDGES)],
    ids=["poll", "epoll"],
)
@pytest.mark.parametrize("ms", [30, 300])
def test_events_come_after_the_delay(several, way, name, cases, ms):
    host, arguments = named(several, way, f"delay({ms})")
    for run in together(host, name, [{**arguments, **case} for case in cases]):
        assert set(run.first["events"].split(",")) == {"OUT"}, run
        assert run.first["changed"] == "none" and run.first["transfer"] == host.addresses[0], run
        assert_delayed(run, host.addresses[0], ms)


@pytest.mark.parametrize("nonblocking", [0, 1])
@pytest.mark.parametrize("action, events", [("delay(100)", 0), ("delay(9000)", 1)])
def test_a_delay_shorter_than_the_attempt_delay_moves_nobody_on(several, nonblocking, action, events):
    host = several("live", "live")
    env = faults(f"{host.host}#1={action}")
    run = run_shim(host, "steps", env=env, nonblocking=nonblocking, steps="connect,poll:9000,so_error,transfer")
    assert ends_of(run)[1:] == ["OUT", "0", host.addresses[events]], run
    assert len(events_of(run, "connect")) == events


def test_a_delayed_address_is_waited_for(several):
    host = several("live", "live")
    run = run_shim(host, "connect_first", env=faults(f"{host.host}=delay(600)"), transfer=1)
    # The other one is delayed as well, as its probe finds.
    assert_delayed(run, host.addresses[0], 600)
    assert not events_of(run, "connect") and made(run) == ["delay"] * 2


@ways_to_name
@pytest.mark.parametrize("timeout", [0, 20, 150])
@pytest.mark.parametrize("name", ["events_poll", "events_epoll"])
def test_waits_that_are_shorter_than_the_delay(several, way, timeout, name):
    host, arguments = named(several, way, "delay(400)")
    choices = ("poll", "ppoll", "select", "pselect") if name == "events_poll" else ("epoll_wait", "epoll_pwait2")
    cases = [{**arguments, "how": how, "timeout": timeout} for how in choices]
    for run in together(host, name, cases):
        assert_connected(run, host.addresses[0])
        assert_delayed(run, host.addresses[0], 400)
        assert int(run.first.get("timeouts", "99")) >= min(400 // (timeout + 1) // 4, 10), run
        assert run.first.get("too_early", "0") == "0", run


@ways_to_name
def test_so_sndtimeo_that_is_shorter_than_the_delay(several, way):
    # As at a slow server: each call waits for so long, and the last one is told.
    host, arguments = named(several, way, "delay(1500)")
    arguments["to"] = arguments.pop("host", "")
    steps = "connect,connect,connect,connect,connect,connect,transfer,min_ttl,changed"
    run = run_shim(host, "steps", timeout=300, steps=steps, **arguments)
    *connects, transferred, limit, changed = ends_of(run)
    assert connects[:3] == ["EINPROGRESS", "EALREADY", "EALREADY"], run
    assert connects[connects.index("0") :] == ["0"] + ["EISCONN"] * (5 - connects.index("0")), run
    assert (transferred, limit, changed) == (host.addresses[0], "0", "none"), run
    assert sum(int(line["ms"]) for line in run.lines[:6]) >= 1490
    assert all(int(line["ms"]) >= 290 for line in run.lines[:3]), run


@ways_to_name
def test_so_sndtimeo_and_then_a_wait(several, way):
    host, arguments = named(several, way, "delay(600)")
    arguments["to"] = arguments.pop("host", "")
    run = run_shim(host, "steps", timeout=200, steps="connect,poll:50,poll:9000,so_error,transfer,changed", **arguments)
    assert ends_of(run) == ["EINPROGRESS", "none", "OUT", "0", host.addresses[0], "none"], run
    assert sum(int(line["ms"]) for line in run.lines[:3]) >= 590, run


@ways_to_name
@pytest.mark.parametrize("timeout", [0, 3000])
@pytest.mark.parametrize("every", [0, 20])
def test_a_signal_during_a_delay(several, way, timeout, every):
    host, arguments = named(several, way, "delay(300)")
    plain = {"handler": "plain", "after": 60, "every": every, "timeout": timeout, "resume": 1}
    restart = {"handler": "restart", "after": 60, "every": every, "timeout": timeout}
    interrupted, restarted = together(host, "interrupted", [{**arguments, **plain}, {**arguments, **restart}])
    address = host.addresses[0]
    assert interrupted.values("result", "error", "again") == ("-1", "EINTR", "0"), interrupted
    assert interrupted.values("peer", "transfer", "timeout") == (address, address, str(timeout)), interrupted
    if timeout:
        # signal(7): with a timeout even SA_RESTART interrupts.
        assert restarted.values("result", "error") == ("-1", "EINTR"), restarted
    else:
        assert restarted.values("result", "error", "peer", "transfer") == ("0", "0", address, address), restarted
        assert 290 <= int(restarted.first["ms"]) < 300 + LATE


@ways_to_name
@pytest.mark.parametrize("after", [1, 60])
def test_a_handler_may_jump_out_of_a_delay(several, way, after):
    host, arguments = named(several, way, "1*delay(300)->off")
    run = run_shim(host, "interrupted", handler="jump", after=after, **arguments)
    address = host.addresses[0]
    assert run.values("jumped", "result", "peer", "transfer") == ("1", "0", address, address), run
    assert run.first["jumped_timeout"] == "0", run


@pytest.mark.parametrize("how", ["poll", "epoll"])
@pytest.mark.parametrize("threads", [1, 4])
def test_many_delays_of_different_length_at_once(several, how, threads):
    host = several("refused")
    live = host.lab.unused()  # the program serves there itself
    env = faults("*=100*delay(500)->100*delay(50)->100*delay(250)->off", RESOLVE=f"{HOST}={live}")
    arguments = {"hosts": HOST, "port": host.port, "live": live, "count": 400, "threads": threads}
    run = start_shim(host, "events_many", env=env, how=how, **arguments).finish()
    assert run.values("connected", "wrong", "failed") == ("400", "0", "0"), run
    # The timer, where threads may sleep in sets.
    assert int(run.first["descriptors_left"]) <= (1 if how == "epoll" else 0), run
    assert 490 <= int(run.first["ms"]) < 500 + 2 * LATE, run
    assert made(run) == ["delay"] * 300
