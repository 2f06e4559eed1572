# Threads with stacks as small as there are: the library needs no more of them than 4 KiB beyond what the program's own calls need,
# in a lookup as in a failover, with the log on.
# Nothing here may need a stack that the program would not need without the library.
import pytest

from programs.harness import start_bare, start_shim

LOOKUPS = ["getaddrinfo", "gethostbyname", "gethostbyname_r"]
WAYS = ["blocking", "poll", "select", "pselect", "epoll", "connect"]
LOG = {"NEXTADDR_LOG": "info", "NEXTADDR_LOG_FORMAT": "json"}
FRAMES = 4096


def pairs(host, whats, stack, env=None):
    """Runs of each, bare and with the library, all at the same time."""
    started = [(start_bare(host, "small_stack", what=what, stack=stack), what) for what in whats]
    started = [(bare, start_shim(host, "small_stack", env=env, what=what, stack=stack)) for bare, what in started]
    return [(bare.finish(), shim.wait()) for bare, shim in started]


@pytest.mark.parametrize("stack", [16, 24])
def test_a_lookup(lab, stack):
    with lab.scenario("five-refused", protocol="banner") as host:
        for bare, shim in pairs(host, LOOKUPS, stack):
            assert shim.returncode == 0, shim
            assert shim.values("addresses") == ("6",), (bare, shim)


@pytest.mark.parametrize("kind", ["refused-first", "silent-first"])
@pytest.mark.parametrize("stack", [16, 24])
def test_a_failover(lab, kind, stack):
    with lab.scenario(kind, protocol="banner") as host:
        # Bare nobody waits for a silent address.
        for shim in [start_shim(host, "small_stack", what=what, stack=stack) for what in WAYS]:
            assert shim.finish().values("error", "peer") == ("0", host.live[0]), shim


@pytest.mark.parametrize("kind", ["refused-first", "silent-first", "all-refused"])
@pytest.mark.parametrize("stack", [16, 24])
def test_a_failover_with_the_log(lab, kind, stack):
    with lab.scenario(kind, protocol="banner") as host:
        for shim in [start_shim(host, "small_stack", env=LOG, what=what, stack=stack) for what in WAYS]:
            assert shim.wait().returncode == 0, shim
            assert shim.first["peer"] == (host.live[0] if host.live else "none"), shim
            assert '"event":"connect"' in shim.stderr.replace(" ", ""), shim


def test_what_is_taken_of_a_stack(lab):
    with lab.scenario("five-refused", protocol="banner") as host:
        for env in ({}, LOG):
            for bare, shim in pairs(host, LOOKUPS + WAYS, 64, env):
                taken = int(shim.first["used"]) - int(bare.first["used"])
                assert taken <= FRAMES, (taken, bare, shim)
