# Programs that connect without blocking and then neither wait nor ask what has become of it: they send, receive, or ask for their
# peer. Each call is answered as the kernel does for a connect in progress until there is an end, and at the end as for a
# connection, or as bare when every address has failed.
# Nothing here may wait in the program's place.
import pytest

from clients import fetch
from programs.events import FAILOVER, assert_same, due, hosts, side_by_side, together
from programs.harness import address_lab, several

SENDS = ["send", "sendto", "sendmsg", "write", "writev"]
RECEIVES = ["recv", "recvfrom", "recvmsg", "read", "readv", "__read_chk", "__recv_chk", "__recvfrom_chk"]
CALLS = [*SENDS, *RECEIVES, "getpeername"]
# Before the first call, and between two.
PACES = [{"pause": 0, "nap": 1}, {"pause": 30, "nap": 1}, {"pause": 0, "nap": 40}]


def of(calls, paces=PACES, **arguments):
    return [{"call": call, **pace, **arguments} for call in calls for pace in paces]


def assert_reached(host, kinds, cases):
    for run in together(host, "no_wait", cases):
        expected = "0" if "call=getpeername" in repr(run) else "1"
        assert run.values("answer", "so_error", "peer") == (expected, "0", host.live[0]), run
        assert int(run.first["ms"]) < due(kinds), run
        assert run.lines[-1] == {"descriptors_left": "0"}, run


@hosts(("live", "refused"), ("unreachable", "live"))
def test_a_connect_that_needs_no_help_afterwards(several, kinds):
    assert_reached(several(*kinds), kinds, of(CALLS))


@pytest.mark.parametrize("calls", [SENDS, RECEIVES, ["getpeername"]], ids=["send", "receive", "getpeername"])
@hosts(*(kinds for kinds in FAILOVER if kinds != ("unreachable", "live")))
def test_a_live_address_behind_others(several, kinds, calls):
    assert_reached(several(*kinds), kinds, of(calls))


@hosts(("refused",), ("refused", "refused"), ("refused",) * 5)
def test_refused_by_all_is_told_as_by_one(several, kinds):
    host = several(*kinds)
    for bare, shim in side_by_side(host, "no_wait", of(CALLS, PACES[:2], tries=200)):
        assert_same(bare, shim, "answer", "so_error", "peer", "again", "descriptors_left")


@hosts(("refused", "silent"), ("refused", "silent", "silent"))
def test_a_refusal_outlasts_the_silence_of_the_others(several, kinds):
    host = several(*kinds)
    for bare, shim in side_by_side(host, "no_wait", of([*SENDS, *RECEIVES], PACES[:1])):
        assert_same(bare, shim, "answer", "so_error", "peer", "again", "descriptors_left")


@hosts(
    ("silent", "silent"),
    ("silent", "refused"),
)
def test_in_progress_as_long_as_the_requested_address_is_silent(several, kinds):
    host = several(*kinds)
    for bare, shim in side_by_side(host, "no_wait", of(CALLS, [{"nap": 20}], tries=30)):
        assert_same(bare, shim, "answer", "so_error", "peer", "again", "descriptors_left")


# It sends its request at once.
@pytest.mark.parametrize(
    "kind", ["live-first", "refused-first", "five-refused", "silent-first"]
)
def test_wget2_without_fast_open(lab, require, kind):
    words = fetch(require("wget2"), "--no-tcp-fastopen", "--tries=1", "-qO-")
    with lab.scenario(kind, protocol="http") as host:
        result = host.run(words(host.host, host.port))
        assert f"nextaddr-live {host.live[0]}" in result.stdout, result
        assert result.seconds < 10, result
