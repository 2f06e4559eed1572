# A process that inherits a connect in progress and waits for it is helped, or told exactly what it would be told without the
# library: never is there a socket from which nothing comes any more, nor one that failed of what the library did to it.
# Nothing here may look at the socket in the child before its wait has told of it.
import pytest

from programs.events import hosts, side_by_side, together
from programs.harness import address_lab, several

WAITS = ["poll", "select", "epoll"]
# How the connect was begun, how far it had come before the fork, and what the parent does then.
ALONE = [{"parent": parent, "fork": fork} for parent in ("sleeps", "closes", "exits") for fork in (0, 60, 300)]
MOVED_BEFORE = [{"parent": parent, "fork": 60, "waits": 1} for parent in ("sleeps", "closes", "exits")]
BOTH = [{"parent": "waits", "fork": fork, "waits": waits} for fork in (0, 60, 300) for waits in (0, 1)]
WITHIN = 2500
TOLD = ("events", "so_error", "peer", "state")


def assert_helped_or_as_bare(host, cases):
    cases = [{**case, "wait": wait, "within": WITHIN} for case in cases for wait in WAITS]
    helped = [("OUT", "0", address, "ESTABLISHED") for address in host.live]
    for bare, shim in side_by_side(host, "inherited_connect", cases):
        assert shim.values(*TOLD) in [bare.values(*TOLD), *helped], (bare, shim)


@hosts(("live", "refused"), ("refused", "live"), ("silent", "live"), ("refused", "silent", "live"), ("refused", "refused"))
def test_the_child_alone_waits(several, kinds):
    assert_helped_or_as_bare(several(*kinds), ALONE)


@hosts(("refused", "silent", "live"), ("refused", "silent", "silent", "live"), ("refused", "refused", "silent", "live"))
def test_the_child_alone_waits_for_a_connect_that_was_moved_on(several, kinds):
    assert_helped_or_as_bare(several(*kinds), MOVED_BEFORE)


@hosts(("live", "refused"), ("refused", "live"), ("silent", "live"), ("refused", "refused"), ("silent", "refused", "silent"),
       ("silent", "silent", "silent", "live"))  # fmt: skip
def test_both_wait(several, kinds):
    assert_helped_or_as_bare(several(*kinds), BOTH)


@hosts(("live", "refused"), ("refused", "live"), ("silent", "silent", "live"))
def test_many_wait_and_all_are_told_the_same(several, kinds):
    host = several(*kinds)
    cases = [{"parent": "waits", "tells": 1, "children": 4, "wait": wait, "within": 4000, "fork": fork} for wait in WAITS for fork in (0, 60)]
    for run in together(host, "inherited_connect", cases):
        assert len(run.lines) == 5, run
        for line in run.lines:
            assert [line[key] for key in TOLD] == ["OUT", "0", host.live[0], "ESTABLISHED"], run


@pytest.mark.parametrize("waits", [0, 1])
@pytest.mark.parametrize("child", ["exec", "idle"])
@hosts(("refused", "live"), ("silent", "live"), ("refused", "silent", "silent", "live"))
def test_a_child_that_does_not_care_takes_nothing_from_its_parent(several, kinds, child, waits):
    host = several(*kinds)
    base = {"parent": "waits", "tells": 1, "child": child, "children": 3, "within": 4000, "waits": waits}
    for run in together(host, "inherited_connect", [{**base, "wait": wait, "fork": fork} for wait in WAITS for fork in (0, 60)]):
        [parent] = [line for line in run.lines if line["who"] == "parent"]
        assert [parent[key] for key in TOLD] == ["OUT", "0", host.live[0], "ESTABLISHED"], run


@pytest.mark.parametrize("parent", ["sleeps", "closes"])
def test_a_child_that_does_not_care_moves_nothing(several, parent):
    host = several("silent", "live")
    for bare, shim in side_by_side(host, "inherited_connect", [{"parent": parent, "child": "idle", "wait": "poll", "within": 2500}]):
        assert shim.values("state") == bare.values("state") == ("SYN_SENT",), (bare, shim)
