# Connects that do not block, waited for with poll(2), select(2) and their variants: the program sees one event, when
# its host is reached, and everything else in its set as without the library.
# Nothing here may look at a socket before its wait has reported it, or expect a time shorter than the contract gives.
import pytest

from programs.events import FAILOVER, assert_connected, assert_same, due, hosts, side_by_side, together
from programs.harness import address_lab, several, start_shim

POLLS = ["poll", "ppoll", "__poll", "__poll_chk", "__ppoll_chk"]
SELECTS = ["select", "pselect", "__select"]
# One of each that the library does in its own way.
KINDS_OF_WAIT = ["poll", "ppoll", "select", "pselect"]

OUTCOME = ("events", "so_error", "peer", "transfer", "changed", "descriptors_left", "pipe_missed", "miscounted")


def ways(functions, **arguments):
    return [{"how": how, **arguments} for how in functions]


def assert_one_event(run, address, events="OUT"):
    assert run.first["events"] == events, run
    assert run.values("pipe_missed", "miscounted", "too_early", "signals_outside") == ("0",) * 4, run
    assert_connected(run, address)


# ---- Reaching a live address ----


@hosts(("live", "refused"), *FAILOVER)
def test_one_event_when_the_host_is_reached(several, kinds):
    host = several(*kinds)
    for run in together(host, "events_poll", ways(POLLS + SELECTS)):
        assert_one_event(run, host.live[0])
        assert int(run.first["ms"]) < due(kinds), run


@pytest.mark.parametrize("want", ["in", "inout"])
@hosts(("refused", "live"), ("silent", "live"))
def test_waiting_for_the_greeting(several, kinds, want):
    host = several(*kinds)
    for run in together(host, "events_poll", ways(KINDS_OF_WAIT, want=want)):
        # What the greeting is there for first is chance.
        events = run.first["events"]
        assert events == "IN" or (want == "inout" and events in ("OUT", "IN|OUT")), run
        assert_one_event(run, host.live[0], events)


def test_names_of_a_real_resolver(namespace):
    for kind in ("refused-first", "silent-first", "unreachable-first"):
        with namespace.scenario(kind, protocol="banner") as host:
            for run in together(host, "events_poll", ways(KINDS_OF_WAIT)):
                assert_one_event(run, host.live[0])


# ---- The program's own time ----


@pytest.mark.parametrize("timeout", [0, 7, 30, 150])
def test_timeouts_are_neither_shorter_nor_longer(several, timeout):
    host = several("silent", "silent", "live")
    for run in together(host, "events_poll", ways(KINDS_OF_WAIT, timeout=timeout)):
        assert_one_event(run, host.live[0])
        # 400 ms of silence hold many such waits, even where each takes much longer than it should.
        assert int(run.first["timeouts"]) >= min(400 // (timeout + 1) // 4, 10), run


def test_a_timeout_longer_than_the_connect(several):
    host = several("silent", "live")
    for run in together(host, "events_poll", ways(KINDS_OF_WAIT, timeout=20_000)):
        assert_one_event(run, host.live[0])
        assert run.first["timeouts"] == "0", run


def test_select_leaves_the_time_not_slept(several):
    host = several("silent", "live")
    for run in together(host, "events_poll", ways(["select", "__select"], timeout=20_000)):
        assert_one_event(run, host.live[0])
        slept = 20_000 - int(run.first["left"])
        # The first address alone was waited for so long; the clocks differ in their fractions.
        assert 90 <= slept <= int(run.first["longest"]) + 2, run


# ---- What else is in the set ----


@pytest.mark.parametrize("neighbours", ["pipe", "pipe,timer", "timer,twice", "pipe,negative,twice", "dup"])
@hosts(("refused", "live"), ("silent", "silent", "live"))
def test_other_descriptors_are_neither_lost_nor_doubled(several, kinds, neighbours):
    host = several(*kinds)
    for run in together(host, "events_poll", ways(KINDS_OF_WAIT, **{"with": neighbours})):
        assert_one_event(run, host.live[0])
        assert run.first.get("twice", "1") == "1", run
        assert run.first.get("negative", "0") == "0", run
        if "timer" in neighbours and "silent" in kinds:
            # Every 30 ms for 400 ms, on a machine that may be busy.
            assert int(run.first["ticks"]) >= 3, run


@hosts(("refused", "live"), ("silent", "silent", "live"))
def test_a_descriptor_that_is_not_open(several, kinds):
    host = several(*kinds)
    cases = ways(["poll", "ppoll", "select", "pselect"], **{"with": "closed"})
    for bare, shim in side_by_side(host, "events_poll", cases, bare_host=several("live", "refused")):
        assert_same(bare, shim, "closed", "events", "so_error")
        assert_one_event(shim, host.live[0])


def test_signals_interrupt_and_only_where_the_mask_lets_them(several):
    host = several("silent", "silent", "live")
    # Without a mask the signal stays blocked.
    masked = together(host, "events_poll", ways(["ppoll", "__ppoll_chk", "pselect"], **{"with": "signal"}))
    others = together(host, "events_poll", ways(["poll", "select"], **{"with": "signal"}))
    for run in masked:
        assert_one_event(run, host.live[0])
        assert int(run.first["signals"]) == int(run.first["interrupted"]) >= 3, run
    for run in others:
        assert_one_event(run, host.live[0])
        assert run.values("signals", "interrupted") == ("0", "0"), run


def test_signals_timers_and_timeouts_at_once(several):
    host = several("silent", "refused", "silent", "live")
    cases = ways(["ppoll", "pselect"], timeout=50, **{"with": "signal,timer,twice"})
    for run in together(host, "events_poll", cases):
        assert_one_event(run, host.live[0])
        assert int(run.first["interrupted"]) >= 3, run


@hosts(("refused", "live"), ("silent", "live"))
def test_a_duplicate_whose_original_is_closed_is_as_without_us(several, kinds):
    # The connect is known by the number that was closed.
    host = several(*kinds)
    cases = ways(KINDS_OF_WAIT, syncnt=1, **{"with": "dup-only"})
    for bare, shim in side_by_side(host, "events_poll", cases):
        assert_same(bare, shim, *OUTCOME)


# ---- Everything fails ----


@hosts(("refused", "refused"), ("refused",) * 6)
@pytest.mark.parametrize("want", ["out", "in", "inout"])
def test_refused_by_all_is_told_as_by_one(several, kinds, want):
    host = several(*kinds)
    for bare, shim in side_by_side(host, "events_poll", ways(POLLS + SELECTS, want=want)):
        assert_same(bare, shim, *OUTCOME)
        assert shim.first["so_error"] == "ECONNREFUSED"


def test_errors_are_told_to_who_asks_for_nothing(several):
    host = several("refused", "refused")
    cases = ways(["poll", "ppoll"], want="nothing") + ways(["poll", "ppoll"], want="pri")
    for bare, shim in side_by_side(host, "events_poll", cases):
        assert_same(bare, shim, *OUTCOME)


@pytest.mark.parametrize("neighbours", ["pipe,timer,twice", "dup", "negative,twice"])
def test_refused_by_all_among_others(several, neighbours):
    host = several("refused", "refused", "refused")
    for bare, shim in side_by_side(host, "events_poll", ways(KINDS_OF_WAIT, **{"with": neighbours})):
        assert_same(bare, shim, *OUTCOME, "twice", "negative")


@hosts(("silent", "silent"), ("silent", "refused"))
def test_silence_of_all_is_told_as_of_one(several, kinds):
    host = several(*kinds)
    for bare, shim in side_by_side(host, "events_poll", ways(KINDS_OF_WAIT, syncnt=1)):
        assert_same(bare, shim, *OUTCOME)
        assert shim.first["so_error"] == "ETIMEDOUT"
        assert 2900 <= int(shim.first["ms"]) <= int(bare.first["ms"]) + 1000, (bare, shim)


def test_a_refusal_of_the_requested_address_outlasts_the_silence_of_the_others(several):
    host = several("refused", "silent")
    for bare, shim in side_by_side(host, "events_poll", ways(KINDS_OF_WAIT, syncnt=1)):
        assert_same(bare, shim, *OUTCOME)
        assert shim.first["so_error"] == "ECONNREFUSED"


@hosts(("unreachable", "refused"), ("unreachable", "unreachable", "refused", "refused"))
def test_an_error_that_connect_itself_could_have_told(several, kinds):
    # Bare, connect(2) tells it at once. With the library it had begun, so it is an event's.
    host = several(*kinds)
    like = several("refused", "refused")
    for bare, shim in side_by_side(host, "events_poll", ways(POLLS + SELECTS), bare_host=like):
        assert_same(bare, shim, "events", "peer", "transfer", "changed", "descriptors_left", "miscounted")
        assert shim.first["so_error"] == "ENETUNREACH", shim


def test_select_touches_no_more_than_the_kernel_does(several):
    host = several("silent", "refused", "live")
    run = start_shim(host, "select_table").finish()
    assert run.values("changed_behind", "found", "so_error", "peer") == ("0", "1", "0", host.live[0]), run
    assert int(run.first["asked_for"]) > 1024 and int(run.first["waits"]) > 1, run
