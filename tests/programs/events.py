# What the tests of the events_*.cc programs share: many runs of a program at the same time, and what a connect that
# reached its host looks like.
# It must never wait by itself, nor expect a time that a slow machine cannot keep.
import pytest

from programs.harness import start_bare, start_shim

# Machines are slow at times: a result this much later than due is still on time.
LATE = 2500

# Hosts with a live address behind others.
FAILOVER = [
    ("refused", "live"),
    ("refused",) * 5 + ("live",),
    ("silent", "live"),
    ("silent", "silent", "live"),
    ("unreachable", "live"),
    ("unreachable", "silent", "refused", "live"),
]


def hosts(*kinds):
    return pytest.mark.parametrize("kinds", kinds, ids="-".join)


def not_yet(reason, always=True):
    """Marks what the library does not do yet: a test that must be unmarked as soon as it does. `always`: without chance."""
    return pytest.mark.xfail(strict=always, reason=reason)


def together(host, name, cases, start=start_shim):
    """A run for each of these arguments, all at the same time; all have ended well."""
    started = [start(host, name, **case) for case in cases]
    return [run.finish() for run in started]


def side_by_side(host, name, cases, bare_host=None):
    """Pairs of runs, bare and with the library, all at the same time. `bare_host` is for the bare ones, where what
    they come to is to be had with the library from another host."""
    bare = [start_bare(bare_host or host, name, **case) for case in cases]
    shim = together(host, name, cases)
    return list(zip([run.finish() for run in bare], shim))


def assert_same(bare, shim, *keys):
    """Each line has these, where it has them, as without the library."""
    assert len(shim.lines) == len(bare.lines), (bare, shim)
    for expected, got in zip(bare.lines, shim.lines):
        for key in keys:
            assert got.get(key) == expected.get(key), (key, bare, shim)


def assert_connected(run, address):
    """The socket is connected to this address and was not changed; data went both ways, and nothing is left open."""
    assert run.values("so_error", "peer", "transfer", "changed") == ("0", address, address, "none"), run
    assert run.lines[-1]["descriptors_left"] == "0", run


def due(kinds):
    """Milliseconds until such a host must have been reached."""
    return 250 * kinds.count("silent") + LATE
