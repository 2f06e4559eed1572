# What few programs do with a socket whose connect is under way, or has failed: as without the library, and no attempt is taken
# for failed because of it.
# Nothing here may depend on how long a machine takes for it.
import pytest

from programs.events import assert_same, hosts, side_by_side, together
from programs.harness import address_lab, several


@pytest.mark.parametrize("use", ["oob", "parts"])
def test_the_error_of_a_wrong_call_is_its_own(several, use):
    host = several("silent", "live")
    for run in together(host, "odd_uses", [{"use": use, "wait": 5000}]):
        assert run.values("error", "events", "so_error") == ("EINVAL", "OUT", "0"), run
        assert run.first["peer"] == host.live[0], run
    for bare, shim in side_by_side(several("silent", "silent"), "odd_uses", [{"use": use}]):
        assert_same(bare, shim, "error", "events", "so_error", "peer")


def test_nothing_is_read_that_the_kernel_does_not_read(several):
    for bare, shim in side_by_side(several("silent", "live"), "odd_uses", [{"use": "room"}]):
        assert_same(bare, shim, "received", "error")
        assert shim.values("received", "error") == ("1", "EFAULT"), shim


@pytest.mark.parametrize("use", ["read", "write"])
def test_the_time_limit_of_a_first_use(several, use):
    for bare, shim in side_by_side(several("silent", "silent"), "odd_uses", [{"use": use}]):
        assert_same(bare, shim, "error", "in_time")
        assert shim.values("error", "in_time") == ("EAGAIN", "1"), shim


@hosts(("refused", "refused"), ("unreachable", "refused"))
def test_a_duplicate_is_told_of_the_failure(several, kinds):
    for run in together(several(*kinds), "odd_uses", [{"use": "duplicate"}] * 4):
        assert run.first["so_error"] in ("ECONNREFUSED", "ENETUNREACH", "EHOSTUNREACH"), run
        assert run.first["peer"] == "none", run


@hosts(("silent", "live"), ("silent", "silent", "live"))
def test_a_sleeper_wakes_though_another_has_left_with_nothing(several, kinds):
    host = several(*kinds)
    waits = [0, 60] if kinds.count("silent") == 1 else [0, 60, 180]
    for run in together(host, "odd_uses", [{"use": "left", "wait": wait} for wait in waits]):
        assert run.values("woken", "events", "peer") == ("1", "OUT", host.live[0]), run
