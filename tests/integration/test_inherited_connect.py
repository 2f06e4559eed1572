# A process that inherits a connect in progress and waits for it is helped, or told exactly what it would be told without the
# library: never is there a socket from which nothing comes any more, nor one that failed of what the library did to it.
# Nothing here may look at the socket in the child before its wait has told of it.
import pytest

from programs.events import hosts, not_yet, side_by_side
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


@not_yet("Nobody looks after a connect that was moved on before the fork.")
@hosts(("refused", "silent", "live"), ("refused", "silent", "silent", "live"), ("refused", "refused", "silent", "live"))
def test_the_child_alone_waits_for_a_connect_that_was_moved_on(several, kinds):
    assert_helped_or_as_bare(several(*kinds), MOVED_BEFORE)


# In a moment in which the socket is taken back it looks as if it had been reset, or had never been connected.
NOW_AND_THEN = not_yet("The child sees the moment in which its parent takes an attempt back.", always=False)


@hosts(
    ("live", "refused"),
    *(pytest.param(kinds, marks=NOW_AND_THEN) for kinds in (("refused", "live"), ("silent", "live"), ("refused", "refused"))),
)
def test_both_wait(several, kinds):
    assert_helped_or_as_bare(several(*kinds), BOTH)


@not_yet("The child sees the moments in which its parent takes attempts back.")
@hosts(("silent", "refused", "silent"), ("silent", "silent", "silent", "live"))
def test_both_wait_and_the_parent_moves_the_connect(several, kinds):
    assert_helped_or_as_bare(several(*kinds), BOTH)
