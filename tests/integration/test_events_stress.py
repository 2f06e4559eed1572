# Thousands of rounds of connects in random ways, and thousands of connects at once. A failure prints the seed of its
# rounds: seed=N gives the same choices again, though not the same timing.
# Nothing here may depend on time but by limits that only a hang exceeds.
import resource

import pytest

from programs.harness import address_lab, preload, several, start, start_bare

# More than a slow machine needs; a hang takes longer.
LIMIT = 100


def addresses_by_kind(host):
    kinds = {}
    for kind, address in zip(host.kinds, host.addresses):
        kinds.setdefault(kind, []).append(address)
    return kinds


def stress(host, resolve, runs, **arguments):
    env = {**preload(), "NEXTADDR_RESOLVE": resolve}
    started = [start(host.lab, "stress_interleavings", env, port=host.port, **arguments, **run) for run in runs]
    return [run.finish(LIMIT) for run in started]


def assert_eventful(runs, rounds):
    """Something of each kind has happened, and nothing is left."""
    total = {key: sum(int(run.first[key]) for run in runs) for key in runs[0].first}
    assert total["rounds"] == rounds, runs
    for key in ("reached", "refused", "abandoned", "forks"):
        assert total[key] > 0, runs


def test_the_stress_itself_holds_without_the_library(several):
    # What it fails on is not what it expects wrongly.
    host = several("live", "live", "live", "refused")
    arguments = {"live": ",".join(host.live), "dead": host.addresses[-1], "rounds": 1000}
    started = [start_bare(host, "stress_interleavings", threads=threads, **arguments) for threads in (1, 4)]
    runs = [run.finish(LIMIT) for run in started]
    assert_eventful(runs, 2000)
    assert [run.first["descriptors_left"] for run in runs] == ["0", "0"], runs


def test_ten_thousand_random_rounds(several):
    host = several(*["live"] * 4, *["refused"] * 9)
    kinds = addresses_by_kind(host)
    live, refused = kinds["live"], kinds["refused"]
    names = {
        "a.test": [refused[0], live[0]],
        "b.test": [live[1], refused[1]],
        "c.test": [refused[2], refused[3], refused[4], live[2], live[3]],
        "d.test": ["127.255.255.255", refused[5], live[3]],
        "dead.test": [refused[6], refused[7], refused[8]],
    }
    resolve = ";".join(f"{name}={','.join(addresses)}" for name, addresses in names.items())
    runs = stress(
        host,
        resolve,
        [{"threads": 1, "rounds": 2500}, {"threads": 1, "rounds": 2500}, {"threads": 4, "rounds": 5000}],
        live="a.test,b.test,c.test,d.test",
        dead="dead.test",
    )
    assert_eventful(runs, 10_000)
    for run in runs:
        # A timer is the one thing the library may keep.
        assert int(run.first["descriptors_left"]) <= 1, run


def test_random_rounds_with_silent_addresses(several):
    host = several("live", "live", "refused", "refused", "refused", "silent", "silent")
    kinds = addresses_by_kind(host)
    live, refused, silent = kinds["live"], kinds["refused"], kinds["silent"]
    names = {
        "a.test": [silent[0], live[0]],
        "b.test": [refused[0], silent[1], live[1]],
        "c.test": [live[0], silent[0]],
        "dead.test": [refused[1], refused[2]],
    }
    resolve = ";".join(f"{name}={','.join(addresses)}" for name, addresses in names.items())
    runs = stress(
        host,
        resolve,
        [{"threads": 1, "rounds": 50}, {"threads": 8, "rounds": 400}],
        live="a.test,b.test,c.test",
        dead="dead.test",
    )
    assert_eventful(runs, 450)


@pytest.mark.parametrize("how", ["poll", "epoll"])
def test_ten_thousand_connects_at_once_in_eight_threads(several, how):
    count = 10_000
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < count + 200:
        pytest.skip(f"only {most} descriptors")
    host = several("silent", "refused", "refused", "silent")
    silent, refused, other_refused, other_silent = host.addresses
    # The program serves there itself: the lab's servers are not for so many at once.
    live = host.lab.unused()
    names = {
        "a.test": [silent, live],
        "b.test": [refused, live],
        "c.test": [other_refused, other_silent, live],
    }
    resolve = ";".join(f"{name}={','.join(addresses)}" for name, addresses in names.items())
    env = {**preload(), "NEXTADDR_RESOLVE": resolve}
    arguments = {"hosts": ",".join(names), "port": host.port, "live": live, "count": count, "threads": 8}
    run = start(host.lab, "events_many", env, how=how, **arguments).finish(60)
    # A program that does not come to its wait for seconds may be told the refusal of the requested address.
    connected, wrong, failed = (int(run.first[key]) for key in ("connected", "wrong", "failed"))
    assert connected + failed == count and wrong == 0 and failed <= count // 20, run
    # The timer, where threads may sleep in sets.
    assert int(run.first["descriptors_left"]) <= (1 if how == "epoll" else 0), run
    assert int(run.first["ms"]) < 20_000, run
