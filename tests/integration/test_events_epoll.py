# Connects that do not block, waited for with epoll_wait(2) and its variants: the events are the program's own, with its
# own data, and come as often as they would if only the live address had ever been asked. Wherever that can be, the
# runs are compared with bare ones against a host whose first address is live.
# Nothing here may look at a socket before its event has come.
import pytest

from programs.events import FAILOVER, assert_connected, assert_same, due, hosts, side_by_side, together
from programs.harness import address_lab, several

FUNCTIONS = ["epoll_wait", "epoll_pwait", "epoll_pwait2"]
TRIGGERS = ["level", "edge", "oneshot", "exclusive"]
OUTCOME = ("events", "registered", "data_kept", "again", "foreign", "deleted_events", "pipe_events", "so_error", "changed")


def each(**choices):
    """Cases that have each of these values, by their places in the lists; a single value is for all."""
    count = max(len(values) for values in choices.values() if isinstance(values, list))
    lists = {key: values if isinstance(values, list) else [values] * count for key, values in choices.items()}
    return [{key: values[i % len(values)] for key, values in lists.items()} for i in range(count)]


CASES = {
    "functions": each(how=FUNCTIONS) + each(how=FUNCTIONS, timeout=20) + each(how=FUNCTIONS, timeout=0, trigger="edge"),
    "triggers": each(trigger=TRIGGERS, register="before") + each(trigger=TRIGGERS, register="after"),
    "data": each(data=["pointer", "zero", "ones", "fd"], trigger=["level", "edge", "oneshot"])
    + each(data=["pointer", "zero", "ones", "fd"], register="before", trigger=["oneshot", "level", "edge"]),
    "neighbours": each(data=["same", "fd", "pointer", "same"], trigger=TRIGGERS, pipe=25)
    + each(data=["same", "ones", "same"], trigger=["level", "edge", "oneshot"], pipe=25, size=1)
    + each(data=["same", "zero"], trigger=["oneshot", "edge"], pipe=25, timeout=5),
    "mod": each(during="mod", trigger=["level", "edge", "oneshot"], register=["before", "after"])
    + each(during="mod", trigger=["level", "edge", "oneshot"], data=["pointer", "ones"], register=["after", "before"]),
    "del": each(during="del", trigger=TRIGGERS, register=["before", "after"])
    + each(during="del", trigger=["oneshot", "level"], data="pointer", register=["before", "after"]),
    "readd": each(during="readd", trigger=TRIGGERS, register=["after", "before"])
    + each(during="readd", trigger=["edge", "oneshot"], data="zero", register=["after", "before"]),
    "several sets": each(sets=[2, 3, 2, 3], trigger=TRIGGERS)
    + each(sets=3, trigger=["oneshot", "edge", "level"], register="before", data=["pointer", "same", "zero"])
    + each(sets=2, trigger=["level", "oneshot"], timeout=20),
    "nested": each(nested=["epoll", "poll"] * 2, trigger=["level", "level", "edge", "oneshot"])
    + each(nested=["epoll", "poll"], register="before", data="pointer", trigger=["edge", "level"]),
}

# A thread sleeps in the set since before the connect. Registered before the connect the socket reports HUP first of
# all, which is told once only to who asks for edges.
SLEEPERS = (
    each(waiter="thread", how=FUNCTIONS, trigger=["level", "edge", "oneshot", "exclusive"])
    + each(waiter="thread", register="before", trigger="edge", data=["fd", "pointer", "ones"])
    + each(waiter="thread", trigger=["edge", "oneshot"], data=["same", "pointer"], pipe=25)
    + each(waiter="thread", during=["mod", "readd"], trigger=["level", "edge"])
    + each(waiter="thread", sets=2, trigger=["level", "oneshot"])
)


def assert_as_live_at_once(host, live_host, cases, kinds, descriptors=0):
    for bare, shim in side_by_side(host, "events_epoll", cases, bare_host=live_host):
        for key in OUTCOME:
            assert shim.first[key] == bare.first[key], (key, bare, shim)
        assert shim.values("data_kept", "foreign", "deleted_events", "again") == ("1", "0", "0", "none"), shim
        assert set(shim.first["events"].split(",")) == {"OUT"}, shim
        assert int(shim.first["ms"]) < due(kinds), shim
        assert int(shim.lines[-1]["descriptors_left"]) <= descriptors, shim
        address = host.live[0]
        assert shim.values("peer", "transfer") == (address, address), shim


@pytest.mark.parametrize("cases", CASES.values(), ids=CASES)
@hosts(("refused", "live"), ("silent", "live"), ("silent", "refused", "silent", "live"))
def test_told_as_if_only_the_live_address_had_been_asked(several, kinds, cases):
    # A set that nobody has waited on yet may be waited on in ways not seen here, if there is another thread: that of
    # the pipe. Then the timer is made.
    descriptors = 1 if cases is CASES["neighbours"] else 0
    assert_as_live_at_once(several(*kinds), several("live", "refused"), cases, kinds, descriptors)


@hosts(("live", "refused"), ("refused",) * 5 + ("live",), ("unreachable", "live"), ("unreachable", "silent", "live"))
def test_other_hosts(several, kinds):
    cases = CASES["functions"] + CASES["triggers"] + CASES["data"][:4]
    # A set that nobody has waited on yet may be waited on in ways not seen here, if there is another thread: that of
    # the pipe. Then the timer is made.
    descriptors = 1 if cases is CASES["neighbours"] else 0
    assert_as_live_at_once(several(*kinds), several("live", "refused"), cases, kinds, descriptors)


@hosts(("live", "refused"), *FAILOVER)
def test_a_thread_that_sleeps_in_the_set_since_before(several, kinds):
    # The timer that wakes it is the one descriptor the library may have.
    assert_as_live_at_once(several(*kinds), several("live", "refused"), SLEEPERS, kinds, descriptors=1)


@pytest.mark.parametrize("want", ["in", "inout"])
@hosts(("refused", "live"), ("silent", "live"))
def test_waiting_for_the_greeting(several, kinds, want):
    host = several(*kinds)
    cases = each(trigger=["level", "oneshot", "exclusive"], register=["before", "after", "after"], want=want)
    for run in together(host, "events_epoll", cases):
        # What the greeting is there for first is chance.
        events = run.first["events"]
        assert events == "IN" or (want == "inout" and events in ("OUT", "IN|OUT")), run
        assert_connected(run, host.live[0])


def test_names_of_a_real_resolver(namespace):
    for kind in ("refused-first", "silent-first", "unreachable-first"):
        with namespace.scenario(kind, protocol="banner") as host:
            for run in together(host, "events_epoll", CASES["triggers"]):
                assert run.values("events", "data_kept", "again", "foreign") == ("OUT", "1", "none", "0"), run
                assert_connected(run, host.live[0])


# ---- Everything fails ----

# Not those with a sleeping thread and an edge: the kernel reports a refusal by two calls, and whoever fetches the
# event between them gets a second one, also without the library.
FAILING = {name: cases for name, cases in CASES.items() if name != "neighbours"}
SLEEPING_FAILING = [case for case in SLEEPERS if case["trigger"] in ("level", "oneshot")]


@pytest.mark.parametrize("cases", FAILING.values(), ids=FAILING)
@hosts(("refused", "refused"))
def test_refused_by_all_is_told_as_by_one(several, kinds, cases):
    host = several(*kinds)
    for bare, shim in side_by_side(host, "events_epoll", cases):
        assert_same(bare, shim, *OUTCOME, "peer", "descriptors_left")
        assert shim.first["so_error"] == "ECONNREFUSED"


def test_refused_by_all_and_a_pipe(several):
    host = several("refused", "refused", "refused")
    for bare, shim in side_by_side(host, "events_epoll", CASES["neighbours"]):
        assert_same(bare, shim, *OUTCOME, "peer")
        assert int(shim.lines[-1]["descriptors_left"]) <= 1, shim


def test_refused_by_all_is_told_to_a_sleeping_thread(several):
    host = several("refused", "refused")
    for bare, shim in side_by_side(host, "events_epoll", SLEEPING_FAILING):
        assert_same(bare, shim, *OUTCOME, "peer")
        assert int(shim.lines[-1]["descriptors_left"]) <= 1, shim


@hosts(("silent", "silent"), ("silent", "refused"), ("refused", "silent"))
def test_the_end_of_all_is_that_of_the_requested_one(several, kinds):
    host = several(*kinds)
    cases = each(trigger=TRIGGERS, register=["before", "after"], syncnt=1) + each(
        trigger=["level", "oneshot"], data=["pointer", "ones"], syncnt=1, timeout=50
    )
    sleepers = each(trigger=["level", "oneshot"], waiter="thread", syncnt=1)
    for bare, shim in side_by_side(host, "events_epoll", cases + sleepers):
        assert_same(bare, shim, *OUTCOME, "peer")
        assert shim.first["so_error"] == ("ETIMEDOUT" if kinds[0] == "silent" else "ECONNREFUSED")


def test_an_error_that_connect_itself_could_have_told(several):
    # Bare, connect(2) tells it at once. With the library it had begun, so it is an event's.
    host = several("unreachable", "refused")
    cases = each(trigger=TRIGGERS, register=["before", "after"]) + each(trigger=["oneshot", "edge"], data="pointer")
    for bare, shim in side_by_side(host, "events_epoll", cases, bare_host=several("refused", "refused")):
        for key in OUTCOME:
            if key != "so_error":
                assert shim.first[key] == bare.first[key], (key, bare, shim)
        assert shim.first["so_error"] == "ENETUNREACH", shim
