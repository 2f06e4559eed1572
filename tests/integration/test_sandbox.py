# Programs in a sandbox: one that forbids itself system calls (seccomp) is ended by any that it would not have made
# itself, and one in namespaces of its own has no network, no files or not even the library.
# Nothing here may leave a sandbox: it ends with its program.
import signal
import subprocess

import pytest

import lab as labs
from programs.harness import LIBRARY, NATIVE, address_lab, preload, run_bare, several, start, start_bare, start_shim
from test_memory import memory

# What the program itself does, and what libnextaddr(7) says that it has to allow besides.
OWN = ["socket", "connect", "getpeername", "write", "exit"]
NEEDED = ["fcntl", "getsockopt", "setsockopt", "getpid", "rt_sigprocmask", "poll"]
WAITS = {"": [], "poll": ["mmap"], "epoll": ["mmap", "epoll_ctl", "epoll_wait"]}
HOSTS = pytest.mark.parametrize("kinds", [("live", "refused"), ("refused", "live"), ("silent", "live")], ids="-".join)


def assert_reached(host, run):
    assert run.returncode == 0, run
    assert run.values("result", "peer") == ("0", host.live[0]), run


# ---- seccomp ----


@pytest.mark.parametrize("how", ["prctl", "seccomp"])
@pytest.mark.parametrize("kinds", [("live", "refused"), ("refused", "live")], ids="-".join)
def test_nothing_is_done_at_the_end(several, memory, kinds, how):
    # There are round-trip times to save, but the program may do nothing but end.
    host = several(*kinds)
    run = start_shim(host, "sandboxed", env=memory.env(LOG="off"), how=how, when="after", allow="write,exit").wait()
    assert_reached(host, run)


def test_a_round_trip_is_saved_at_the_end_without_a_sandbox(several, memory):
    # Nor is a child's sandbox ours, made before it executes something.
    host = several("live", "refused")
    start_shim(host, "sandboxed", env=memory.env(), how="vfork", when="after").finish()
    assert memory.records()[host.live[0]].rtt > 0


@HOSTS
@pytest.mark.parametrize("wait", WAITS)
def test_a_connect_in_a_sandbox(several, memory, kinds, wait):
    host = several(*kinds)
    allow = ",".join([*OWN, *NEEDED, *WAITS[wait]])
    arguments = {"how": "prctl", "when": "before", "allow": allow, "wait": wait}
    # The memory was there to be read by the lookup before; no file is opened any more, that of the log neither.
    log = memory.path.with_name("log")
    run = start_shim(host, "sandboxed", env=memory.env(LOG="info", LOG_FILE=log), **arguments).wait()
    assert_reached(host, run)
    assert not log.exists() and not memory.path.exists()


@pytest.mark.parametrize("call", OWN + NEEDED[:5])
def test_any_other_call_ends_the_program(several, memory, call):
    # So the tests above would notice.
    host = several("refused", "live")
    allow = ",".join(each for each in OWN + NEEDED if each != call)
    run = start_shim(host, "sandboxed", env=memory.env(LOG="off"), how="prctl", when="before", allow=allow).wait()
    assert run.returncode == -signal.SIGSYS, run


def test_who_only_gives_up_new_privileges_remembers(several, memory):
    # As haproxy does, which is no sandbox.
    host = several("refused", "live")
    assert_reached(host, start_shim(host, "sandboxed", env=memory.env(), how="nnp", when="before").finish())
    assert memory.failing() == {host.addresses[0]}


LIBSECCOMP = """if True:
    import seccomp, socket, sys
    with socket.socket() as connected:
        connected.connect((sys.argv[1], int(sys.argv[2])))
        print("peer=" + connected.getpeername()[0], flush=True)
    forbidden = seccomp.SyscallFilter(seccomp.ALLOW)
    for call in "open", "openat":
        forbidden.add_rule(seccomp.KILL_PROCESS, call)
    forbidden.load()
"""


def test_libseccomp(several, memory):
    python = "/usr/bin/python3"
    if subprocess.run([python, "-c", "import seccomp"], capture_output=True).returncode != 0:
        pytest.skip("python3-seccomp is not installed")
    host = several("refused", "live")
    options = ["--memory", str(memory.path)]
    result = host.run([python, "-c", LIBSECCOMP, host.host, str(host.port)], options=options)
    assert (result.returncode, result.stdout) == (0, f"peer={host.live[0]}\n"), result


# ---- bubblewrap ----


@pytest.fixture
def wrapped(require):
    """wrapped(OPTION, ..): the words that run a program in bubblewrap with these."""
    bwrap = require("bwrap")
    base = [bwrap, "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--die-with-parent", "--cap-drop", "ALL"]
    trial = subprocess.run([*base, "--unshare-all", "true"], capture_output=True, text=True)
    if trial.returncode != 0:
        pytest.skip(f"no sandbox: {trial.stderr.strip()}")
    return lambda *options: [*base, *options, "--"]


@HOSTS
def test_in_namespaces_of_its_own(several, memory, wrapped, kinds):
    # The memory is where nobody may write.
    host = several(*kinds)
    before = wrapped("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-user", "--new-session")
    run = start_shim(host, "connect_first", before=before, env=memory.env(), transfer=1).finish()
    assert run.values("result", "error", "transfer") == ("0", "0", host.live[0]), run
    assert not memory.path.exists()


def test_the_launcher_before_it_and_in_it(several, wrapped):
    host = several("refused", "silent", "live")
    words = [NATIVE.program("connect_first"), f"host={host.host}", f"port={host.port}"]
    for argv in ([*wrapped("--unshare-pid"), *words], [*wrapped("--unshare-pid"), str(labs.LAUNCHER), *words]):
        result = host.run(argv)
        assert result.returncode == 0 and f"peer={host.live[0]} " in result.stdout, result


def test_without_a_network(several, wrapped):
    # Its loopback is another one.
    host = several("live", "live")
    before = wrapped("--unshare-net")
    run = start_shim(host, "connect_first", before=before).finish()
    bare = start_bare(host, "connect_first", before=before).finish()
    assert run.values("result", "error", "peer") == bare.values("result", "error", "peer") == ("-1", "ECONNREFUSED", "none")
    assert [host.connections(address) for address in host.live] == [0, 0]


def test_where_the_library_is_out_of_sight(several, wrapped):
    # The loader says so, and the program is as without it.
    host = several("refused", "live")
    before = wrapped("--tmpfs", str(LIBRARY.parent), "--ro-bind", str(LIBRARY.parent / "tests"), str(LIBRARY.parent / "tests"))
    bare = run_bare(host, "connect_first", before=before)
    env = {**preload(), "NEXTADDR_RESOLVE": host.resolve}
    run = start(host.lab, "connect_first", env, before=before, host=host.addresses[0], port=host.port).finish()
    assert run.values("result", "error", "peer") == bare.values("result", "error", "peer") == ("-1", "ECONNREFUSED", "none")
    assert "cannot be preloaded" in run.stderr, run
