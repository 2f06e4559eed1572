# What may happen to a process in its life: it forks, executes, starts threads, closes what it has, clears its
# environment, runs short of everything, and loads other libraries that stand where ours does.
# Nothing here may be left running: every program is waited for.
import contextlib
import os
import re
import signal
import subprocess
import sys

import pytest

from programs.events import assert_connected, assert_same, side_by_side, together
from programs.harness import HOST, LIBRARY, NATIVE, PROGRAMS, address_lab, preload, run_shim, several, start_bare, start_shim

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


def test_fork_while_a_thread_sleeps_through_a_connect(several):
    # A timer wakes each of them when its own connect has to be moved on, neither earlier nor later.
    host = several("silent", "live")
    delay, after = 3000, 2000
    run = run_shim(host, "fork_while_asleep", after=after, env={"NEXTADDR_DELAY": str(delay)})
    ends = {line.pop("who"): line for line in run.lines}
    assert ends.pop("status") == {"child": "0", "descriptors_left": "1"}, run
    assert set(ends) == {"child", "parent"}, run
    for end in ends.values():
        assert (end["events"], end["peer"]) == ("OUT", host.live[0]), run
        assert delay <= int(end["ms"]) < delay + after - 500, run


def test_a_vfork_child_is_left_alone_and_harms_nothing(several):
    host = several("refused", "live")
    run = run_shim(host, "vfork_child")
    assert run.values("child", "result", "error", "peer") == ("ECONNREFUSED", "0", "0", host.live[0]), run


@pytest.mark.parametrize("kinds", [("silent", "live"), ("live", "live")], ids="-".join)
def test_a_vfork_child_does_not_end_a_connect_of_its_parent(several, kinds):
    host = several(*kinds)
    run = run_shim(host, "vfork_child", during=1)
    assert run.values("child", "told", "peer") == ("ECONNREFUSED", "1", host.live[0]), run


def test_a_vfork_child_is_not_taken_for_the_forked_child_that_it_comes_from(several):
    host = several("refused", "live")
    assert_reached(host, run_shim(host, "forked", what="vfork"))


def test_a_handler_that_interrupts_a_fork_may_fork(several):
    """Each of the four processes goes on as if the forks had come one after the other."""
    host = several("refused", "live")
    run = start_shim(host, "forked", what="handler", env=preload(LIBRARY, LIBRARIES / "signals_in_fork.so")).finish()
    assert len(run.lines) == 4, run
    for line in run.lines:
        assert (line["result"], line["peer"]) == ("0", host.live[0]), run
        # In vain 500 or 200 ms were waited for what this very thread held, and 100 in each step of the child.
        assert int(line["fork_ms"]) < 190 and int(line["ms"]) < 190, run


def test_a_child_with_the_process_id_of_its_parent(several, require):
    """Where each is the first of a pid namespace, by whose id it is not told what another thread of the parent held."""
    host = several("refused", "live")
    # The first of a namespace is not ended by signals from within, such as those of its own time limit.
    namespace = [require("unshare"), "--map-root-user", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*namespace, "true"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("no pid namespaces")
    env = {"NEXTADDR_LOG": "debug", "NEXTADDR_LOG_FILE": os.devnull}
    runs = [start_shim(host, "forked", what="nested", after=after, before=namespace, env=env) for after in range(10, 34)]
    for run in runs:
        assert run.finish().values("id", "result", "peer") == ("1", "0", host.live[0]), run


def test_waits_of_a_forked_child_cost_nothing_though_a_timer_of_its_parent_is_set(several, require, tmp_path):
    host = several("silent", "live")
    trace, times = tmp_path / "trace", 20
    run = start_shim(host, "forked", what="waits", times=times, before=[require("strace"), "-f", "-qq", "-o", str(trace)]).finish()
    calls = [re.match(r"(\d+) +(\w+)\(", line) for line in trace.read_text().splitlines()]
    calls = [call[2] for call in calls if call and call[1] == run.first["pid"]]
    begin, end = [position for position, call in enumerate(calls) if call == "getppid"]
    assert end - begin - 1 == 3 * times, calls[begin : end + 1]


@pytest.mark.parametrize("kinds", [("refused", "live"), ("refused", "refused", "refused", "live")], ids="-".join)
def test_a_forked_child_keeps_no_socket_that_another_thread_worked_on(several, kinds):
    run = run_shim(several(*kinds), "forked", what="pins", times=300)
    assert run.values("held", "connected") == ("0", "1"), run


def test_executed_children(several):
    # A child, and then the shell's own process.
    host = several("refused", "live")
    run = start_shim(host, "connect_first", before=["sh", "-c", '"$@" && exec "$@"', "sh"]).finish()
    assert [line["peer"] for line in run.lines if "peer" in line] == [host.live[0]] * 2, run


WAYS_TO_START = ["posix_spawn", "actions", "sigmask", "vfork", "system", "popen", "exec"]


def start_children(host, how, **arguments):
    program = NATIVE.program("started_children")
    return start_shim(host, "started_children", how=how, program=program, **arguments)


@pytest.mark.parametrize("how", WAYS_TO_START)
@pytest.mark.parametrize("kinds", [("live", "refused"), ("refused", "silent", "live")], ids="-".join)
def test_children_started_while_other_threads_connect(several, how, kinds):
    host = several(*kinds)
    run = start_children(host, how, connecting=3, times=5).finish()
    children = [line for line in run.lines if line["who"] == "child"]
    assert len(children) == 5, run
    for child in children:
        assert (child["result"], child["error"], child["transfer"]) == ("0", "0", host.live[0]), run
        assert child["usr1_blocked"] == str(int(how == "sigmask")), run
    [threads] = [line for line in run.lines if line["who"] == "threads"]
    assert threads["failed"] == "0", run


@pytest.mark.parametrize("kinds", [("live", "refused"), ("refused", "silent", "live")], ids="-".join)
def test_a_daemon(several, tmp_path, kinds):
    host = several(*kinds)
    log = tmp_path / "log"
    run = start_children(host, "daemon", env={"NEXTADDR_LOG": "info", "NEXTADDR_LOG_FILE": str(log)}).finish()
    assert run.values("result", "error", "transfer") == ("0", "0", host.live[0]), run
    assert log.exists() == (kinds[0] == "refused")


@pytest.mark.parametrize("how", ["exec", "clearenv", "no_environ"])
def test_a_child_that_is_executed_without_an_environment_is_as_without_us(namespace, how):
    with namespace.scenario("refused-first", "banner") as host:
        run = start_children(host, how).finish()
    expected = ("0", "0", host.live[0]) if how == "exec" else ("-1", "ECONNREFUSED", "none")
    assert run.values("result", "error", "peer") == expected, run


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
    # What the linker has taken into its callers has no name left to be mistaken.
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


WAYS_TO_CLOSE = ["closefrom", "close_range", "loop"]


@pytest.mark.parametrize("after", [20, 250])
@pytest.mark.parametrize("kinds", [("silent", "live"), ("silent", "refused", "silent", "live")], ids="-".join)
def test_all_descriptors_closed_while_a_connect_is_in_flight(several, kinds, after):
    host = several(*kinds)
    cases = [{"closing": closing, "wait": wait} for closing in WAYS_TO_CLOSE for wait in ("poll", "select", "epoll")]
    for run in together(host, "all_closed", [{**case, "after": after} for case in cases]):
        assert run.values("events", "had_timer") == ("OUT", "0"), run
        assert_connected(run, host.live[0])


def test_the_timer_of_a_sleeping_thread_closed(several):
    # Nobody wakes that thread before the kernel gives up, as without us; and what has the number now is left alone.
    host = several("silent", "live")
    cases = [{"closing": closing, "wait": "thread", "after": 20, "syncnt": 1} for closing in WAYS_TO_CLOSE]
    bare = start_bare(host, "all_closed", **cases[0])
    for run in together(host, "all_closed", cases):
        assert run.values("had_timer", "timer_armed") == ("1", "0"), run
        assert run.values("changed", "descriptors_left") == ("none", "0"), run
        told = run.values("events", "so_error", "peer")
        # Unless another thread comes by.
        assert told in [("OUT|ERR|HUP", "ETIMEDOUT", "none"), ("OUT", "0", host.live[0])], run
    assert bare.finish().values("events", "so_error") == ("OUT|ERR|HUP", "ETIMEDOUT"), bare


# ---- Signal handlers in a wait ----


@pytest.mark.parametrize("handler", ["jump", "poll", "connect"])
@pytest.mark.parametrize("kinds", [("silent", "live"), ("silent", "refused", "silent", "live")], ids="-".join)
def test_a_handler_in_the_middle_of_a_wait(several, handler, kinds):
    host = several(*kinds)
    # Before the library first moves on, about then, and after.
    moments = [20, 95, 160] if kinds.count("silent") > 1 else [20, 60]
    cases = [{"wait": wait, "after": after, "handler": handler} for wait in ("poll", "select", "epoll") for after in moments]
    for run in together(host, "waits_in_signals", cases):
        assert run.values("ready", "signals") == ("1", "1"), run
        assert_connected(run, host.live[0])
        if handler == "connect":
            assert run.values("handlers_events", "handlers_error", "handlers_peer") == ("OUT", "0", host.live[0]), run


@pytest.mark.parametrize("handler", ["return", "jump", "nested"])
def test_what_is_held_back_in_and_after_a_handler_is_the_programs_own(several, handler):
    host = several("silent", "silent", "silent", "silent", "silent", "live")
    cases = [{"wait": wait, "handler": handler, "after": after} for wait in ("poll", "select", "epoll", "ppoll") for after in (30, 300)]
    for bare, shim in side_by_side(host, "mask_in_wait", cases):
        assert_same(bare, shim, "result", "handler", "afterwards")


@pytest.mark.parametrize("wait", ["poll", "epoll"])
def test_a_handler_that_jumps_out_of_a_wait_leaves_nothing_held(several, wait):
    run = run_shim(several("live", "refused"), "jumped_out", wait=wait, rounds=6000)
    assert run.values("jumped", "waited") == ("1", "0"), run


# ---- A log that nobody asked the program to write ----


def test_the_log_does_not_go_into_what_took_the_place_of_stderr(several):
    host = several("refused", "live")
    before = ["sh", "-c", 'exec "$@" 2>&-', "sh"]
    run = start_shim(host, "connect_first", env={"NEXTADDR_LOG": "debug"}, before=before, transfer=1).finish()
    assert_reached(host, run)
    assert run.first["transfer"] == host.live[0], run
    assert host.received(host.live[0]) == ["echo"]


# What runs a program with a stderr that is full, and whose other end is kept open.
FULL = {
    "pipe": "reader, writer = os.pipe()",
    "socket": "ends = socket.socketpair(); reader, writer = (end.detach() for end in ends)",
    "terminal": "reader, writer = pty.openpty()",
    "stopped": "reader, writer = pty.openpty(); termios.tcflow(writer, termios.TCOOFF)",
}


def with_a_full_stderr(what):
    script = f"""if True:
        import os, pty, socket, sys, termios
        {FULL[what]}
        os.set_inheritable(reader, True)
        os.set_blocking(writer, False)
        for size in (4096, 1):
            try:
                while {what != "stopped"}: os.write(writer, b"x" * size)
            except BlockingIOError:
                pass
        os.set_blocking(writer, True)
        os.dup2(writer, 2)
        os.execv(sys.argv[1], sys.argv[1:])
    """
    return [sys.executable, "-c", script]


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("what", FULL)
def test_a_log_whose_reader_has_stopped_holds_nobody_up(several, what, form):
    host = several("refused", "live")
    env = {"NEXTADDR_LOG": "debug", "NEXTADDR_LOG_FORMAT": form}
    runs = [start_shim(host, "connect_first", env=env, before=with_a_full_stderr(what)) for _ in range(2)]
    for run in runs:
        assert_reached(host, run.wait(within=10))


def test_a_log_file_that_is_a_full_pipe_holds_nobody_up(several, tmp_path):
    host = several("refused", "live")
    log = tmp_path / "log"
    os.mkfifo(log)
    reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(log, os.O_WRONLY | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x")
    env = {"NEXTADDR_LOG": "info", "NEXTADDR_LOG_FILE": str(log)}
    assert_reached(host, start_shim(host, "connect_first", env=env).wait(within=10))
    os.close(reader)
    os.close(writer)


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
