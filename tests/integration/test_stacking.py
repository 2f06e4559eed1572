# Other libraries that are preloaded beside ours, before it and after it: each goes on doing what it is for, and a
# connect moves on. Also modules that are loaded so that they find libc before either.
# Nothing here may need the network: what torsocks is to reach is a port at which nobody listens.
import subprocess
from pathlib import Path

import pytest

from programs.harness import (
    LIBRARY,
    NATIVE,
    PROGRAMS,
    ROOT,
    address_lab,
    preload,
    run_bare,
    run_shim,
    runtime_of,
    several,
    start,
    start_shim,
)

MULTIARCH = Path("/usr/lib/x86_64-linux-gnu")
OTHERS = {
    "jemalloc": MULTIARCH / "libjemalloc.so.2",
    "tcmalloc": MULTIARCH / "libtcmalloc_minimal.so.4",
    "eatmydata": MULTIARCH / "libeatmydata.so.1",
    "faketime": MULTIARCH / "faketime/libfaketimeMT.so.1",
    "keepalive": Path("/usr/lib/libkeepalive.so.0"),
    "nocache": Path("/usr/lib/nocache/nocache.so"),
    "stdbuf": Path("/usr/libexec/coreutils/libstdbuf.so"),
}
ORDERS = pytest.mark.parametrize("order", [1, -1], ids=["after ours", "before ours"])
HOSTS = pytest.mark.parametrize("kinds", [("live", "refused"), ("refused", "silent", "live")], ids="-".join)
WAYS = [("connect_first", {"transfer": 1}), ("events_poll", {"how": "poll"}), ("events_epoll", {})]


def present(library):
    return library if library.is_file() else pytest.skip(f"{library} is not installed")


def with_other(library, order, **env):
    return {**preload(*[LIBRARY, library][::order]), **env}


def assert_all_reached(host, env):
    """However a program waits; and the loader has had nothing to say."""
    runs = [start_shim(host, name, env=env, **arguments) for name, arguments in WAYS]
    for run in runs:
        assert run.finish().values("transfer", "peer") == (host.live[0], host.live[0]), run
        assert run.stderr == "", run


@pytest.mark.parametrize("other", OTHERS)
@ORDERS
@HOSTS
def test_both_are_preloaded(several, other, order, kinds):
    assert_all_reached(several(*kinds), with_other(present(OTHERS[other]), order))


@pytest.mark.parametrize("other", OTHERS)
def test_the_launcher_adds_ours(several, other):
    library = present(OTHERS[other])
    host = several("refused", "silent", "live")
    words = [NATIVE.program("connect_first"), f"host={host.host}", f"port={host.port}"]
    # faketime leaves memory in /dev/shm when its program executes another, as the launcher executes sh.
    script = 'cat /proc/self/maps && "$@"; code=$?; rm -f /dev/shm/*faketime_*_$$; exit $code'
    result = host.run(["sh", "-c", script, "sh", *words], env={"LD_PRELOAD": str(library)})
    assert result.returncode == 0 and f"peer={host.live[0]} " in result.stdout, result
    assert str(LIBRARY) in result.stdout and str(library.resolve()) in result.stdout, result


@ORDERS
def test_the_other_one_does_what_it_is_for(several, order):
    # The option that it has set is on the socket that moved on.
    script = """if True:
        import socket, sys
        with socket.socket() as connected:
            connected.connect((sys.argv[1], int(sys.argv[2])))
            print(connected.getpeername()[0], connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
    """
    host = several("refused", "live")
    env = with_other(present(OTHERS["keepalive"]), order, NEXTADDR_RESOLVE=host.resolve)
    words = ["/usr/bin/python3", "-c", script, host.host, str(host.port)]
    result = host.run(words, shim=False, env=env)
    assert result.stdout == f"{host.live[0]} 1\n", result


# ---- A clock that lies ----


@pytest.mark.parametrize("clock", ["-10d", "+3d x10", "+0 x0.5"])
@ORDERS
@HOSTS
def test_a_clock_that_is_set_or_runs_otherwise(several, clock, order, kinds):
    assert_all_reached(several(*kinds), with_other(present(OTHERS["faketime"]), order, FAKETIME=clock))


@pytest.mark.parametrize("kinds", [("refused", "live"), ("silent", "live")], ids="-".join)
@ORDERS
def test_a_clock_that_stands_still(several, kinds, order):
    # Silence then ends when the kernel says so, as without the library.
    host = several(*kinds)
    env = with_other(present(OTHERS["faketime"]), order, FAKETIME="2020-01-01 00:00:00")
    run = start_shim(host, "connect_first", env=env, syncnt=1).finish()
    assert run.values("result", "error", "peer") == ("0", "0", host.live[0]), run


# ---- torsocks, which stands before connect and lookups itself ----


@pytest.fixture
def torsocks(tmp_path):
    """torsocks(allow): the library, and the variables that make it let connects to loopback pass, or not."""
    library = present(MULTIARCH / "torsocks/libtorsocks.so")

    def configured(allow):
        path = tmp_path / "torsocks.conf"
        path.write_text(f"TorAddress 127.0.0.1\nTorPort 9\nAllowOutboundLocalhost {allow}\n")
        return library, {"TORSOCKS_CONF_FILE": str(path), "TORSOCKS_LOG_LEVEL": "1"}

    return configured


@HOSTS
def test_torsocks_after_ours_has_every_attempt(several, torsocks, kinds):
    library, env = torsocks(allow=1)
    host = several(*kinds)
    run = start_shim(host, "connect_first", env=with_other(library, 1, **env), transfer=1).finish()
    assert run.values("result", "error", "transfer") == ("0", "0", host.live[0]), run


@pytest.mark.parametrize("kinds", [("live", "refused"), ("refused", "live")], ids="-".join)
def test_what_torsocks_forbids_stays_forbidden(several, torsocks, kinds):
    library, env = torsocks(allow=0)
    host = several(*kinds)
    run = start_shim(host, "connect_first", env=with_other(library, 1, **env)).finish()
    assert run.values("result", "error", "peer") == ("-1", "EPERM", "none"), run
    assert host.connections(host.live[0]) == 0


def test_torsocks_before_ours_is_as_without_ours(several, torsocks):
    # It looks names up by itself, and its connects go to libc itself.
    library, env = torsocks(allow=1)
    host = several("live", "live")
    arguments = {"host": host.host, "port": host.port}
    alone = start(host.lab, "connect_first", {**preload(library), **env}, **arguments).wait()
    both = start_shim(host, "connect_first", env=with_other(library, -1, **env)).wait()
    assert both.returncode == alone.returncode == 3
    assert "name resolution" in both.stderr and both.stderr == alone.stderr
    assert [host.connections(address) for address in host.live] == [0, 0]


# ---- A program with a sanitizer of its own ----


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    """connect_first, built with ASan, and its runtime, which has to be preloaded first."""
    path = tmp_path_factory.mktemp("sanitized") / "connect_first"
    words = ["g++", "-std=c++20", "-fsanitize=address", ROOT / "tests/programs/connect_first.cc", "-pthread", "-o", path]
    subprocess.run(words, check=True)
    return path, runtime_of("asan")[0]


@pytest.mark.skipif(bool(NATIVE.runtime), reason="the library has a sanitizer itself")
@HOSTS
def test_a_program_with_a_sanitizer(several, sanitized, kinds):
    program, runtime = sanitized
    host = several(*kinds)
    run = start_shim(host, program, env=preload(runtime, LIBRARY), transfer=1).finish()
    assert run.values("result", "transfer") == ("0", host.live[0]) and run.stderr == "", run


@pytest.mark.skipif(bool(NATIVE.runtime), reason="the library has a sanitizer itself")
def test_the_launcher_leaves_a_sanitizer_the_first_place(several, sanitized):
    program, runtime = sanitized
    host = several("refused", "live")
    result = host.run([str(program), f"host={host.host}", f"port={host.port}"], env={"LD_PRELOAD": runtime})
    assert result.returncode == 0 and f"peer={host.live[0]} " in result.stdout, result
    # Nor has what it runs to examine the program been in the way.
    assert result.stderr == "", result
