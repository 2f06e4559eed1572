# What may happen to a process in its life: it forks, executes, starts threads, closes what it has, clears its
# environment, runs short of everything, and loads other libraries that stand where ours does.
# Nothing here may be left running: every program is waited for.
import re
import signal
import subprocess
import sys

import pytest

from programs.harness import HOST, LIBRARY, PROGRAMS, address_lab, preload, run_shim, several, start, start_bare, start_shim

LIBRARIES = PROGRAMS / "lib"


def assert_reached(host, run):
    assert run.values("result", "error", "peer") == ("0", "0", host.live[0]), run


# ---- fork, vfork, exec ----


@pytest.mark.parametrize("after", [0, 60, 250])
@pytest.mark.parametrize("kinds", [("refused", "live"), ("silent", "refused", "silent", "live")], ids="-".join)
def test_fork_while_another_thread_connects(several, kinds, after):
    host = several(*kinds)
    run = run_shim(host, "fork_during_connect", after=after)
    ends = {line.pop("who"): line for line in run.lines}
    assert ends.pop("status") == {"child": "0"}, run
    assert set(ends) == {"thread", "child", "parent"}, run
    live = host.live[0]
    for end in ends.values():
        assert (end["result"], end["error"], end["peer"], end["transfer"]) == ("0", "0", live, live), run


def test_a_vfork_child_is_left_alone_and_harms_nothing(several):
    host = several("refused", "live")
    run = run_shim(host, "vfork_child")
    assert run.values("child", "result", "error", "peer") == ("ECONNREFUSED", "0", "0", host.live[0]), run


def test_executed_children(several):
    # A child, and then the shell's own process.
    host = several("refused", "live")
    run = start_shim(host, "connect_first", before=["sh", "-c", '"$@" && exec "$@"', "sh"]).finish()
    assert [line["peer"] for line in run.lines if "peer" in line] == [host.live[0]] * 2, run


# ---- Before main and after it ----


@pytest.mark.parametrize("order", [1, -1])
def test_called_before_our_constructor_and_after_main(several, order):
    host = several("refused", "silent", "live")
    env = preload(*[LIBRARY, LIBRARIES / "early.so"][::order])
    run = start_shim(host, "connect_first", env={**env, "EARLY_HOST": HOST, "EARLY_PORT": str(host.port)}).finish()
    assert_reached(host, run)
    ends = [dict(word.split("=") for word in line.split()) for line in run.stderr.splitlines()]
    expected = {"result": "0", "error": "0", "peer": host.live[0]}
    assert ends == [{"when": when, **expected} for when in ("constructor", "destructor")], run


# ---- Other libraries ----


@pytest.mark.parametrize("kinds", [("live", "refused"), ("refused", "silent", "live")], ids="-".join)
def test_another_library_before_ours_sees_the_program_connect(several, kinds):
    host = several(*kinds)
    run = start_shim(host, "connect_first", env=preload(LIBRARIES / "counts_connects.so", LIBRARY)).finish()
    assert_reached(host, run)
    assert run.stderr == "counted=1\n"


def test_another_library_after_ours_sees_every_attempt(several):
    host = several("refused", "refused", "live")
    run = start_shim(host, "connect_first", env=preload(LIBRARY, LIBRARIES / "counts_connects.so")).finish()
    assert_reached(host, run)
    assert int(re.fullmatch(r"counted=(\d+)\n", run.stderr)[1]) >= 3


@pytest.mark.parametrize("order", [1, -1])
def test_our_names_in_another_library_are_not_called(several, require, order):
    library = LIBRARIES / "same_names.so"

    def names(path, *options):
        listing = subprocess.run([require("nm"), *options, path], capture_output=True, text=True, check=True).stdout
        return {line.split()[-1] for line in listing.splitlines() if "nextaddr" in line}

    same = names(library, "-D", "--defined-only")
    assert same - names(LIBRARY) == set(), "no names of ours any more"
    host = several("refused", "silent", "live")
    run = start_shim(host, "connect_first", env=preload(*[LIBRARY, library][::order])).finish()
    assert_reached(host, run)


# ---- Nothing left of what it started with ----


def test_all_descriptors_closed_and_the_environment_cleared(several, tmp_path):
    # As nginx does. What was set is still known, and the log is still written.
    host = several("refused", "silent", "live")
    log = tmp_path / "log"
    env = {"NEXTADDR_LOG": "info", "NEXTADDR_LOG_FILE": str(log), "NEXTADDR_DELAY": "20"}
    run = start_shim(host, "connect_first", env=env, close_all=1, clear_environment=1).finish()
    assert_reached(host, run)
    assert run.lines[-1] == {"descriptors_left": "0"}
    assert re.search(r" refused \d+ ms, \S+ silent \d+ ms, \S+ connected \d+ ms\n$", log.read_text())


def test_no_descriptor_is_to_be_had(several, tmp_path):
    # The program's socket is the last one. That the log cannot be written then changes nothing.
    host = several("refused", "silent", "live")
    env = {"NEXTADDR_LOG": "debug", "NEXTADDR_LOG_FILE": str(tmp_path / "log")}
    assert_reached(host, start_shim(host, "connect_first", env=env, before=["prlimit", "--nofile=4:4"]).finish())


def test_no_memory_is_to_be_had(namespace):
    # Plain libc then, whatever part of the memory is missing.
    with namespace.scenario("refused-first", "banner") as host:
        bare = start_bare(host, "connect_first").finish()
        sizes = range(4_000_000, 40_000_000, 1_000_000)
        runs = [start_shim(host, "connect_first", before=["prlimit", f"--as={size}"]).wait() for size in sizes]
    loaded = [run for run in runs if run.returncode != 127]
    ended = [run.values("result", "error") for run in loaded if run.returncode == 0]
    assert ended[0] == bare.values("result", "error") == ("-1", "ECONNREFUSED")
    assert ended[-1] == ("0", "0")
    # Where even the program has too little it says so itself: C++ calls terminate(3) for want of an exception.
    own = "terminate called"
    assert [run for run in loaded if run.returncode < 0 and own not in run.stderr] == []


# ---- A log that nobody asked the program to write ----


def test_the_log_does_not_go_into_what_took_the_place_of_stderr(several):
    host = several("refused", "live")
    before = ["sh", "-c", 'exec "$@" 2>&-', "sh"]
    run = start_shim(host, "connect_first", env={"NEXTADDR_LOG": "debug"}, before=before, transfer=1).finish()
    assert_reached(host, run)
    assert run.first["transfer"] == host.live[0], run
    assert host.received(host.live[0]) == ["echo"]


def test_a_log_that_nobody_reads_does_not_end_the_program(several):
    host = several("refused", "live")
    script = """if True:
        import os, signal, sys
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, 2)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execv(sys.argv[1], sys.argv[1:])
    """
    before = [sys.executable, "-c", script]
    run = start_shim(host, "connect_first", env={"NEXTADDR_LOG": "info"}, before=before).wait()
    assert run.returncode != -signal.SIGPIPE
    assert_reached(host, run)
