# Connects that do not block, disturbed while they are in flight: by fork and exec, shutdown, close, a second connect,
# no descriptor to be had, or something else that gets the descriptor's number.
# Nothing here may disturb a connect that is finished, and nothing the number went to may ever be touched.
import pytest

from programs.events import LATE, assert_connected, assert_same, hosts, side_by_side, together
from programs.harness import address_lab, several

WAITS = ["poll", "epoll"]
# Before the library has first moved on, around that moment, and after.
MOMENTS = [20, 95, 230]
SILENT_FIRST = hosts(("silent", "live"), ("silent", "silent", "silent", "live"))


def cases(what, moments=(20,), **arguments):
    return [{"what": what, "wait": wait, "after": after, **arguments} for wait in WAITS for after in moments]


def moments_of(kinds):
    """Those at which the connect to such a host is in flight."""
    return MOMENTS[:1] if kinds.count("silent") == 1 else MOMENTS


@pytest.mark.parametrize("what", ["fork", "exec", "nofile", "again"])
@SILENT_FIRST
def test_goes_on(several, kinds, what):
    host = several(*kinds)
    for run in together(host, "events_disturbed", cases(what, moments_of(kinds))):
        assert run.first["events"] == "OUT", run
        assert run.first.get("child", "0") == "0", run
        assert_connected(run, host.live[0])


@SILENT_FIRST
def test_shutdown_ends_it(several, kinds):
    host = several(*kinds)
    for bare, shim in side_by_side(host, "events_disturbed", cases("shutdown", moments_of(kinds))):
        assert_same(bare, shim, "shutdown", "events", "so_error", "peer", "transfer", "changed", "descriptors_left")
    assert host.connections(host.live[0]) == 0


@SILENT_FIRST
def test_closed_in_flight(several, kinds):
    host = several(*kinds)
    for run in together(host, "events_disturbed", cases("give-up", moments_of(kinds))):
        assert run.first == {"state": "SYN_SENT", "descriptors_left": "0"}, run
    assert host.connections(host.live[0]) == 0


@pytest.mark.parametrize("what", ["connecting", "udp", "listener", "file"])
@SILENT_FIRST
def test_what_gets_the_number_is_never_touched(several, kinds, what):
    host = several(*kinds)
    other = several("silent")
    arguments = {"silent": other.addresses[0], "silent_port": other.port}
    for run in together(host, "events_disturbed", cases(what, moments_of(kinds), **arguments)):
        # Nothing came while the program waited for something else.
        assert run.first == {"events": "none", "state_kept": "1", "descriptors_left": "0"}, run
    assert host.connections(host.live[0]) == 0


@pytest.mark.parametrize("timeout", [0, 5000])
@SILENT_FIRST
def test_made_blocking_and_asked_again(several, kinds, timeout):
    host = several(*kinds)
    for run in together(host, "events_disturbed", cases("blocking", moments_of(kinds), timeout=timeout)):
        assert run.values("result", "error") == ("0", "0"), run
        assert int(run.first["ms"]) < 250 * kinds.count("silent") + LATE, run
        assert_connected(run, host.live[0])


def test_made_blocking_with_a_timeout_that_ends_before(several):
    host = several("silent", "silent", "silent")
    for bare, shim in side_by_side(host, "events_disturbed", cases("blocking", [20, 300], timeout=150)):
        assert_same(bare, shim, "result", "error", "so_error", "peer", "changed", "descriptors_left")
        assert 145 <= int(shim.first["ms"]) <= int(bare.first["ms"]) + 500, (bare, shim)
