# What scripts/nextaddr promises when it stays as the parent of the command, for a run with faults: the command and
# its caller see no difference but the process id, and nothing is left behind.
# Nothing here may leave a process behind, nor a file in TMPDIR.
import contextlib
import errno
import json
import os
import pty
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from test_launcher import LAUNCHER, assert_refused, clean_environment, compile_c, executable

FAULT = "--fault=*=off"  # a rule that changes nothing
UNMATCHED = "nowhere.test=refuse"
SHELLS = ["dash", "bash --posix", "busybox sh"]

# Says each signal that it gets, and reads from standard input with which status to end.
RECORDER = """
import os, signal, sys
def say(text):
    os.write(1, text.encode() + b"\\n")
for each in ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2"):
    signal.signal(getattr(signal, "SIG" + each), lambda number, _: say(signal.Signals(number).name))
say("ready")
os._exit(int(os.read(0, 10)))  # Python gives signals up before sys.exit ends
"""
PYTHON = [sys.executable, "-I", "-S", "-c"]


class Launcher:
    def __init__(self, shell, directory):
        self.words = [*shell.split(), LAUNCHER]
        self.directory = directory

    def environment(self, **extra):
        # Python would say itself what it finds in its locale.
        return clean_environment(**{"TMPDIR": str(self.directory), "LC_ALL": "C.UTF-8", **extra})

    def run(self, *words, options=(FAULT,), env=None, **more):
        more = {"capture_output": True, "text": True, "timeout": 30, **more}
        return subprocess.run([*self.words, *options, *words], env=self.environment(**(env or {})), **more)

    @contextlib.contextmanager
    def start(self, *words, options=(FAULT,), env=None, **more):
        more = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **more}
        environment = self.environment(**(env or {}))
        command = [*self.words, *options, *words]
        with subprocess.Popen(command, env=environment, start_new_session=True, **more) as process:
            try:
                yield process
                process.wait(10)
                # A helper of a launcher that a signal has ended may take a moment.
                eventually(lambda: not running(process.pid))
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def send(self, process, name, heard):
        """Sends the launcher a signal, of which heard(seconds) tells that it has arrived."""
        process.send_signal(getattr(signal, f"SIG{name}"))
        if "bash" in self.words and not heard(3):
            # bash takes no notice, before the next one, of a signal that comes at the moment in which a wait begins.
            process.send_signal(getattr(signal, f"SIG{name}"))
        assert heard(10)

    def bare(self, *words, **more):
        """The command without launcher, to compare with."""
        more = {"capture_output": True, "text": True, "timeout": 30, **more}
        return subprocess.run(words, env=self.environment(), **more)


@pytest.fixture(params=SHELLS)
def launcher(request, tmp_path):
    if shutil.which(request.param.split()[0]) is None:
        pytest.skip(f"{request.param} is not installed")
    directory = tmp_path / "temporary files"
    directory.mkdir()
    yield Launcher(request.param, directory)
    assert list(directory.iterdir()) == []


def says_something(stream):
    return lambda within: select.select([stream], [], [], within)[0]


def has_ended(process):
    def ended(within):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(within)
        return process.returncode is not None

    return ended


def read_line(stream, within=10):
    assert says_something(stream)(within), "nothing is said"
    return stream.readline()


def running(group):
    """The processes of this group, without those that only wait for init to take notice."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, its_group = (entry / "stat").read_bytes().rpartition(b")")[2].split()[:3]
            if state != b"Z" and int(its_group) == group:
                found.append((entry / "cmdline").read_bytes())
    return found


def eventually(condition, within=10):
    limit = time.monotonic() + within
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


# ---- The command sees no difference ----


@pytest.mark.parametrize("status", [0, 1, 42, 120, 125, 126, 127, 128, 143, 255])
def test_the_exit_status_is_the_commands(launcher, status):
    result = launcher.run("sh", "-c", f"exit {status}")
    assert result.returncode == status
    assert result.stdout == ""


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "KILL", "SEGV", "PIPE", "TERM", "USR1"])
def test_a_command_that_a_signal_kills_gives_128_and_its_number(launcher, name):
    result = launcher.run("sh", "-c", f"ulimit -c 0; kill -{name} $$")
    assert result.returncode == 128 + getattr(signal, f"SIG{name}")
    assert re.fullmatch(r"(nextaddr: nextaddr\[\d+\] .*\n)?", result.stderr)


def test_arguments_arrive_as_they_are(launcher):
    words = [b"", b"a b", b"a\nb", b"\n", b"*", b"$HOME", b"`id`", b"--off", b"--", b"\xff", b"'\"\\", b"A=1"]
    result = launcher.run("printf", r"%s\0", *words, text=False)
    assert result.stdout == b"".join(word + b"\0" for word in words)
    assert launcher.run("cat", "/proc/self/cmdline").stdout == "cat\0/proc/self/cmdline\0"


def test_a_name_may_look_like_an_assignment(launcher, tmp_path):
    executable(tmp_path / "A=1", "#!/bin/sh\necho ran\n")
    executable(tmp_path / "plain", "echo ran\n")
    for name in ("./A=1", tmp_path / "A=1", "./plain"):
        assert launcher.run(name, cwd=tmp_path).stdout == "ran\n"


def test_a_command_that_cannot_be_run_is_refused_as_ever(launcher, tmp_path):
    assert launcher.run("no-such-command").returncode == 127
    assert launcher.run(tmp_path).returncode == 126
    script = executable(tmp_path / "script", "#!/no/such/interpreter\n")
    result = launcher.run(script, options=["--expect-failover"])
    assert result.returncode == 127
    assert result.stderr.count("\n") == 1


def test_variables_are_those_of_the_caller_and_of_the_run(launcher):
    def variables(result):
        entries = dict(entry.split("=", 1) for entry in result.stdout.split("\0") if entry)
        return {k: v for k, v in entries.items() if k not in ("_", "SHLVL", "OLDPWD", "PWD")}

    settings = {"NEXTADDR_LOG": "off", "NEXTADDR_LOG_FORMAT": "json", "NEXTADDR_MEMORY": "off", "EMPTY": ""}
    before = variables(launcher.run("env", "-0", options=[], env=settings))
    after = variables(launcher.run("env", "-0", env=settings))
    assert after.pop("NEXTADDR_FAULTS") == "*=off"
    assert after.pop("NEXTADDR_RUN").startswith(f"{launcher.directory}/")
    assert after == before


def test_standard_input_is_left_to_the_command(launcher, tmp_path):
    data = bytes(range(256)) * 1000
    assert launcher.run("cat", input=data, text=False).stdout == data
    (tmp_path / "file").write_bytes(data)
    with open(tmp_path / "file", "rb", buffering=0) as file:
        file.seek(1000)
        assert launcher.run("head", "-c", "5000", stdin=file, text=False).stdout == data[1000:6000]
        # The same open file, not another one on the same name.
        assert file.tell() >= 6000


LIST_DESCRIPTORS = """
import os, stat
lines = []
for fd in range(300):
    try:
        found = os.fstat(fd)
    except OSError:
        continue
    kind = stat.S_IFMT(found.st_mode)
    name = "pipe" if kind == stat.S_IFIFO else (found.st_dev, found.st_ino)  # pipes are new ones each time
    lines.append(f"{fd} {kind} {name}")
os.write(1 if lines[1].startswith("1") else 2, "; ".join(lines).encode())
"""


@pytest.mark.parametrize(
    "opened",
    [
        "",
        "</dev/zero",
        "<&-",
        "3</dev/zero",
        "<&- 3</dev/zero",
        "3>/dev/null 4<&3 5</dev/zero",
        "9</dev/zero",
        "3<&0 5<&0 6<&0 7<&0 8<&0 9<&0",
        "3<&0 4<&0 5<&0 6<&0 7<&0 8<&0 </dev/zero",
        ">&-",
        "2>&-",
        "<&- >&-",
    ],
)
def test_the_descriptors_are_those_of_the_caller(launcher, opened):
    if "2>&-" in opened and "bash" in launcher.words:
        pytest.skip("bash keeps its script open as standard error, also when it becomes the command")
    command = [*PYTHON, LIST_DESCRIPTORS]
    with open("/dev/zero") as zero:
        more = {"input": "", "pass_fds": [zero.fileno()]}
        script = f'"$@" {opened}'
        expected = launcher.bare("sh", "-c", script, "sh", *command, **more)
        found = launcher.bare("sh", "-c", script, "sh", *launcher.words, FAULT, *command, **more)
    assert expected.stdout + expected.stderr
    assert (found.returncode, found.stdout) == (expected.returncode, expected.stdout)
    assert found.stderr.startswith(expected.stderr)


def test_with_no_descriptor_to_work_with_nothing_runs(launcher, tmp_path):
    opened = " ".join(f"{fd}</dev/null" for fd in range(3, 10))
    words = ["sh", "-c", f'"$@" {opened}', "sh", *launcher.words, FAULT, "touch", tmp_path / "ran"]
    assert_refused(launcher.bare(*words), "descriptors 3 to 9")
    assert not (tmp_path / "ran").exists()


def test_a_descriptor_is_closed_for_all_when_the_command_closes_it(launcher):
    script = "exec 4>&- >&- <&-; echo closed >&2; read -r _ <&5"
    reads, writes = os.pipe()
    held, holds = os.pipe()
    remapped = ["bash", "-c", f'exec "$@" 4>&{writes} 5<&{held} {writes}>&- {held}<&-', "bash"]
    launcher.words = [*remapped, *launcher.words]
    try:
        with launcher.start("sh", "-c", script, pass_fds=[writes, held]) as process:
            os.close(writes)
            assert read_line(process.stderr) == "closed\n"
            for stream in (process.stdout, reads):
                assert select.select([stream], [], [], 10)[0]
            assert process.stdout.read() == ""
            assert os.read(reads, 1) == b""
            with pytest.raises(BrokenPipeError):
                os.write(process.stdin.fileno(), b"x")
            assert process.poll() is None
            os.write(holds, b"\n")
            assert process.wait(10) == 0
    finally:
        for fd in (reads, held, holds):
            os.close(fd)


@pytest.mark.parametrize("ignored", ["", "INT", "QUIT", "HUP", "INT QUIT", "INT QUIT HUP TERM USR1 USR2 PIPE"])
def test_signals_are_ignored_when_the_caller_ignores_them(launcher, ignored):
    show = ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]
    script = f'trap "" {ignored}; exec "$@"' if ignored else 'exec "$@"'
    expected = launcher.bare("sh", "-c", script, "sh", *show).stdout
    assert expected.count("\n") == 2
    # subprocess ignores none of these, but it may itself be ignoring others.
    assert launcher.bare("sh", "-c", script, "sh", *launcher.words, FAULT, *show).stdout == expected


def test_nohup_holds(launcher):
    words = ["nohup", *launcher.words, FAULT, *PYTHON, "import signal; print(signal.getsignal(signal.SIGHUP).name)"]
    assert launcher.bare(*words, stdin=subprocess.DEVNULL).stdout == "SIG_IGN\n"


def test_the_process_group_and_the_session_are_those_of_the_launcher(launcher):
    with launcher.start(*PYTHON, "import os; print(os.getpgrp(), os.getsid(0))") as process:
        group, session = process.communicate(timeout=10)[0].split()
        assert group == session == str(process.pid)


# ---- Signals to the launcher ----


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2"])
def test_a_signal_to_the_launcher_alone_is_passed_on(launcher, name):
    with launcher.start(*PYTHON, RECORDER) as process:
        assert read_line(process.stdout) == "ready\n"
        for _ in range(3):
            launcher.send(process, name, says_something(process.stdout))
            assert read_line(process.stdout) == f"SIG{name}\n"
        assert process.poll() is None
        out, _ = process.communicate("42", timeout=10)
        assert (out, process.returncode) == ("", 42)


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2"])
def test_a_signal_that_the_command_does_not_handle_ends_both(launcher, name):
    with launcher.start("sh", "-c", "ulimit -c 0; echo ready; exec sleep 60") as process:
        assert read_line(process.stdout) == "ready\n"
        launcher.send(process, name, has_ended(process))
        assert process.returncode == 128 + getattr(signal, f"SIG{name}")


def test_many_signals_leave_the_exit_status_alone(launcher):
    script = RECORDER.replace("say(signal", "str(signal")
    for status in (0, 7, 127, 138):
        with launcher.start(*PYTHON, script) as process:
            assert read_line(process.stdout) == "ready\n"
            for i in range(100):
                process.send_signal(signal.SIGUSR1)
                if i == 50:
                    process.stdin.write(f"{status}\n")
                    process.stdin.flush()
                time.sleep(0.0005)
            assert process.wait(10) == status


def test_a_signal_at_any_time_ends_the_run(launcher):
    choose = random.Random(20)
    for _ in range(25):
        name = choose.choice(["TERM", "HUP", "INT"])
        with launcher.start("sleep", "60") as process:
            time.sleep(choose.uniform(0, 0.12))
            # Before there is a trap, bash also heeds no SIGINT when the program it waits for does not die of it.
            launcher.send(process, name, has_ended(process))
            number = getattr(signal, f"SIG{name}")
            assert process.returncode in (-number, 128 + number)
        assert list(launcher.directory.iterdir()) == []


def test_a_signal_to_the_whole_group_ends_the_run(launcher):
    with launcher.start("sh", "-c", "echo ready; exec sleep 60") as process:
        assert read_line(process.stdout) == "ready\n"
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(10) == 143


def test_timeout_ends_it(launcher):
    result = launcher.bare("timeout", "1", *launcher.words, FAULT, "sleep", "60")
    assert result.returncode == 124


def test_in_the_background_of_a_shell_it_is_ended(launcher):
    script = '"$@" & sleep 0.5; kill $!; wait $!'
    result = launcher.bare("sh", "-c", script, "sh", *launcher.words, FAULT, "sleep", "60")
    assert result.returncode == 143


def test_a_script_with_set_e_goes_on_or_ends(launcher):
    script = '"$@" true; echo on; "$@" false; echo not here'
    result = launcher.bare("sh", "-ec", script, "sh", *launcher.words, FAULT)
    assert (result.returncode, result.stdout) == (1, "on\n")


@pytest.fixture
def old_env(tmp_path):
    """A directory for PATH in which env is one that cannot reset signals."""
    directory = tmp_path / "old"
    directory.mkdir()
    executable(directory / "env", "#!/bin/sh\ncase $1 in --default*) exit 125;; esac\nexec /usr/bin/env \"$@\"\n")
    return f"{directory}:{os.environ['PATH']}"


@pytest.mark.parametrize("name", ["INT", "QUIT"])
def test_where_nothing_resets_signals_the_command_gets_term_instead(launcher, old_env, name):
    with launcher.start(*PYTHON, RECORDER, env={"PATH": old_env}) as process:
        assert read_line(process.stdout) == "ready\n"
        launcher.send(process, name, says_something(process.stdout))
        assert read_line(process.stdout) == "SIGTERM\n"
        assert process.communicate("42", timeout=10)[0] == ""
        assert process.returncode == 42


# ---- At a terminal ----


class Terminal:
    """A launcher that has a terminal of its own, in whose foreground it runs."""

    def __init__(self, words, env):
        self.said = ""
        self.fd, inside = pty.openpty()
        words = ["setsid", "--ctty", *words]
        self.process = subprocess.Popen(words, env=env, stdin=inside, stdout=inside, stderr=inside)
        os.close(inside)
        eventually(lambda: os.tcgetpgrp(self.fd) == self.process.pid)

    def type(self, text):
        os.write(self.fd, text.encode())

    def expect(self, text, within=10):
        limit = time.monotonic() + within
        while text not in self.said:
            assert select.select([self.fd], [], [], max(0, limit - time.monotonic()))[0], self.said
            self.said += self.read()
        before, _, self.said = self.said.partition(text)
        return before

    def read(self):
        try:
            return os.read(self.fd, 4096).decode()
        except OSError as reason:
            assert reason.errno == errno.EIO
            return ""

    def wait(self, within=10):
        """Its exit status, and what it said before."""
        status = self.process.wait(within)
        while select.select([self.fd], [], [], 0)[0]:
            more = self.read()
            if not more:
                break
            self.said += more
        return status, self.said

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.fd)


@pytest.fixture
def terminal(launcher):
    terminals = []

    def start(*words, options=(FAULT,), env=None):
        command = [*launcher.words, *options, *words]
        terminals.append(Terminal(command, launcher.environment(**(env or {}))))
        return terminals[-1]

    yield start
    for each in terminals:
        each.close()


INTERRUPT, QUIT, END = "\x03", "\x1c", "\x04"


def test_the_interrupt_key_ends_both(terminal):
    run = terminal("sh", "-c", "echo ready; exec sleep 60")
    run.expect("ready")
    run.type(INTERRUPT)
    status, said = run.wait()
    assert status == 130
    assert re.fullmatch(r"\s*\^C(nextaddr: nextaddr\[\d+\] fault .*: never matched)?\s*", said)


@pytest.mark.parametrize(("key", "name"), [(INTERRUPT, "SIGINT"), (QUIT, "SIGQUIT")])
def test_a_key_reaches_the_command_once_and_it_may_go_on(terminal, key, name):
    run = terminal(*PYTHON, RECORDER)
    run.expect("ready")
    for _ in range(3):
        run.type(key)
        run.expect(name)
        time.sleep(0.1)
    assert run.process.poll() is None
    run.type("42\n")
    status, said = run.wait()
    assert status == 42
    assert name not in said


def test_other_signals_are_passed_on_at_a_terminal(launcher, terminal):
    run = terminal(*PYTHON, RECORDER)
    run.expect("ready")
    launcher.send(run.process, "TERM", says_something(run.fd))
    run.expect("SIGTERM")
    run.type("1\n")
    assert run.wait()[0] == 1


def test_the_interrupt_key_at_any_time_ends_the_run(launcher, terminal):
    choose = random.Random(21)
    for _ in range(15):
        run = terminal("sleep", "60")
        time.sleep(choose.uniform(0, 0.12))
        run.type(INTERRUPT)
        try:
            status, _ = run.wait(3)
        except subprocess.TimeoutExpired:
            # While a shell becomes the command the key may come too early for it; then it is pressed again.
            run.type(INTERRUPT)
            status, _ = run.wait()
        assert status in (-signal.SIGINT, 130)
        assert list(launcher.directory.iterdir()) == []


def test_the_interrupt_key_where_nothing_resets_signals(terminal, old_env):
    run = terminal("sh", "-c", "echo ready; exec sleep 60", env={"PATH": old_env})
    run.expect("ready")
    run.type(INTERRUPT)
    assert run.wait()[0] == 143


def test_the_terminal_is_the_commands(terminal):
    script = 'test -t 0 && test -t 1 && test -t 2 && read -r line && echo "read $line" && cat'
    run = terminal("sh", "-c", script)
    run.type("some words\n")
    run.expect("read some words")
    run.type(END)
    assert run.wait()[0] == 0


def test_a_shell_with_job_control_is_at_home_in_it(terminal, tmp_path):
    (tmp_path / "rc").write_text("PS1='> '; HISTFILE=\n")
    run = terminal("bash", "--rcfile", tmp_path / "rc", "-i")
    run.expect("> ")
    run.type("sleep 60\n")
    run.expect("sleep 60")
    time.sleep(0.3)
    run.type(INTERRUPT)
    run.expect("> ")
    run.type("echo status $?\n")
    run.expect("status 130")
    run.type("exit 5\n")
    assert run.wait()[0] == 5


# ---- What the command leaves running ----


def test_a_daemon_is_not_waited_for(launcher, tmp_path):
    script = "sleep 60 >/dev/null 2>&1 </dev/null & echo $!"
    started = time.monotonic()
    result = launcher.run("sh", "-c", script)
    assert result.returncode == 0
    assert time.monotonic() - started < 20
    os.kill(int(result.stdout), signal.SIGKILL)


# ---- The run's files ----


def test_the_file_of_the_run_is_private_and_whole(launcher):
    result = launcher.run("sh", "-c", 'umask; stat -c "%a %s %b" "$NEXTADDR_RUN"', umask=0o002)
    mask, line = result.stdout.splitlines()
    mode, size, blocks = line.split()
    assert (mask, mode, size) == ("0002", "600", "8192")
    assert int(blocks) >= 16


def test_a_directory_for_temporary_files_that_is_none_is_refused(launcher, tmp_path):
    for value in ("/nonexistent", "/etc/passwd"):
        result = launcher.run("touch", tmp_path / "ran", env={"TMPDIR": value})
        assert_refused(result, value, "TMPDIR")
    assert not (tmp_path / "ran").exists()


def test_a_relative_directory_for_temporary_files(launcher, tmp_path):
    script = 'cd / && test -s "$NEXTADDR_RUN"'
    result = launcher.run("sh", "-c", script, cwd=launcher.directory.parent, env={"TMPDIR": launcher.directory.name})
    assert (result.returncode, result.stderr.count("\n")) == (0, 1)


def test_a_full_file_system_is_said_before_anything_runs(launcher, tmp_path):
    bin_directory = tmp_path / "bin"
    bin_directory.mkdir()
    executable(bin_directory / "dd", f'#!/bin/sh\ncase $* in *of=*) exit 1; esac\nexec {shutil.which("dd")} "$@"\n')
    path = f"{bin_directory}:{os.environ['PATH']}"
    assert_refused(launcher.run("touch", tmp_path / "ran", env={"PATH": path}), "cannot be written")
    assert not (tmp_path / "ran").exists()


def test_no_helper_of_the_launcher_is_preloaded(launcher, tmp_path):
    directory = tmp_path / "bin"
    directory.mkdir()
    log = tmp_path / "helpers"
    for name in ("mktemp", "dd", "od", "sed", "rm", "env", "sh", "true", "tr", "sleep", "kill"):
        text = f'#!/bin/bash\necho "{name} ${{LD_PRELOAD-none}}" >>{log}\nexec -a {name} {shutil.which(name)} "$@"\n'
        executable(directory / name, text)
    path = f"{directory}:{os.environ['PATH']}"
    result = launcher.run("cat", env={"PATH": path}, stdin=subprocess.DEVNULL)
    assert result.returncode == 0
    seen = {tuple(line.split()) for line in log.read_text().splitlines()}
    assert {name for name, _ in seen} >= {"mktemp", "dd", "od", "rm", "env", "sh"}
    # It asks the library by running true with it, which answers before this script of true begins.
    assert {preload for _, preload in seen} == {"none"}


# ---- Rules ----


BAD = "a.test=refuse; b.test=explode"


def test_a_bad_rule_is_refused_before_anything_runs(launcher, tmp_path):
    touch = ["touch", tmp_path / "ran"]
    refused = launcher.run(*touch, options=["--fault", BAD])
    assert_refused(refused, f"nextaddr: --fault '{BAD}': column 23: unknown action")
    refused = launcher.run(*touch, options=[], env={"NEXTADDR_FAULTS": BAD})
    assert_refused(refused, f"nextaddr: NEXTADDR_FAULTS '{BAD}': column 23: unknown action")
    # Whatever the user's own log is.
    log = tmp_path / "log"
    refused = launcher.run(*touch, options=["-v", "--log-format=json", "--log-file", log, "--fault", BAD])
    assert_refused(refused, "unknown action")
    assert not log.exists()
    assert not (tmp_path / "ran").exists()


def test_rules_of_options_are_joined(launcher):
    assert_refused(launcher.run("true", options=["--fault=a=off", "--fault", "b=no"]), "--fault 'a=off;b=no': column 9")
    # What is replaced does not matter any more.
    assert launcher.run("true", env={"NEXTADDR_FAULTS": "wrong"}).returncode == 0


@pytest.mark.parametrize(
    ("options", "env"), [(["--off", "--fault", "bad"], {}), (["--fault", "bad"], {"NEXTADDR_OFF": "1"})]
)
def test_with_off_there_is_no_run(launcher, options, env):
    result = launcher.run("printenv", "NEXTADDR_RUN", options=options, env={**env, "TMPDIR": "/nonexistent"})
    assert (result.returncode, result.stderr) == (1, "")


def test_check_makes_no_run(launcher):
    options = ["--fault", "*=off", "--expect-failover", "--check"]
    result = launcher.run("true", options=options, env={"TMPDIR": "/nonexistent"})
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.endswith("can be helped\n")


def test_a_true_that_the_library_cannot_enter_is_said(launcher, tmp_path):
    directory = tmp_path / "bin"
    directory.mkdir()
    compile_c(directory / "true", "int main() { return 0; }", "-static")
    result = launcher.run("touch", tmp_path / "ran", env={"PATH": f"{directory}:{os.environ['PATH']}"})
    assert_refused(result, "cannot be loaded")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("level", [[], ["--log=off"], ["--log=error"], ["-v"]])
def test_a_rule_that_never_matched_is_reported_at_the_end(launcher, tmp_path, level):
    options = ["--fault", f"*=off; {UNMATCHED}", *level]
    result = launcher.run("sh", "-c", "echo last >&2; exit 3", options=options)
    assert result.returncode == 3
    first, *rest = result.stderr.splitlines()
    assert first == "last"
    assert all(re.fullmatch(r"nextaddr: nextaddr\[\d+\] fault .*: never matched", line) for line in rest)
    assert UNMATCHED in rest[-1]
    log = tmp_path / "log"
    result = launcher.run("true", options=[*options, "--log-file", log, "--log-format=json"])
    assert (result.returncode, result.stderr) == (0, "")
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert {"unmatched"} == {event["event"] for event in events}
    assert [event["rule"] for event in events] == ["*=off", UNMATCHED]


# ---- --expect-failover ----


@pytest.mark.parametrize(
    ("options", "env"),
    [
        (["--off"], {}),
        (["--no-failover"], {}),
        ([], {"NEXTADDR_OFF": "1"}),
        ([], {"NEXTADDR_NO_FAILOVER": "1"}),
    ],
)
def test_no_failover_can_be_expected_where_there_is_none(launcher, options, env):
    result = launcher.run("echo", "ran", options=["--expect-failover", *options], env=env)
    assert_refused(result, "--expect-failover", "cannot be combined")


def test_it_names_the_rules_that_led_to_none(launcher):
    result = launcher.run("true", options=["--expect-failover", "--fault", UNMATCHED, "--log-file=/dev/null"])
    assert result.returncode == 120
    assert re.fullmatch(rf"nextaddr: --expect-failover: [^\n]* {re.escape(UNMATCHED)}\n", result.stderr)


def test_nobody_need_be_there_to_read_it(launcher):
    reads, writes = os.pipe()
    os.close(reads)
    for options, expected in (["--expect-failover"], 120), (["--fault=bad"], 125):
        with launcher.start("true", options=options, stderr=writes) as process:
            assert process.wait(10) == expected
    os.close(writes)


@pytest.mark.parametrize(("status", "expected"), [(0, 120), (1, 1), (42, 42), (120, 120)])
def test_without_a_failover_success_is_none(launcher, status, expected):
    result = launcher.run("sh", "-c", f"exit {status}", options=["--expect-failover"])
    assert (result.returncode, result.stdout) == (expected, "")
    assert re.fullmatch(r"nextaddr: [^\n]*--expect-failover[^\n]*\n", result.stderr)


CONNECT = """
import socket, sys
socket.create_connection((sys.argv[1], int(sys.argv[2]))).close()
"""


@pytest.fixture
def connect(launcher, loopback):
    """Connects to a host of this kind, with these options."""

    def run(kind, *options, command=(*PYTHON, CONNECT), env=None):
        with loopback.scenario(kind) as host:
            options = ["--memory=off", "--resolve", host.resolve, *(each.format(host=host.host) for each in options)]
            return launcher.run(*command, host.host, str(host.port), options=options, env=env)

    return run


def test_a_failover_is_counted(connect):
    assert connect("refused-first", "--expect-failover").returncode == 0
    assert connect("live-first", "--expect-failover").returncode == 120
    result = connect("live-first", "--expect-failover", "--fault", "{host}#1=refuse")
    assert (result.returncode, result.stderr) == (0, "")


def test_a_failover_of_any_process_is_counted(connect):
    shell = ["sh", "-c", '"$@" & wait $!; true', "sh", *PYTHON, CONNECT]
    assert connect("refused-first", "--expect-failover", command=shell).returncode == 0


def test_without_failover_the_program_meets_the_fault(connect):
    once = "import socket, sys; socket.socket().connect((sys.argv[1], int(sys.argv[2])))"
    command = [*PYTHON, once]
    assert connect("live-first", "--fault={host}#1=refuse", command=command).returncode == 0
    result = connect("live-first", "--fault={host}#1=refuse", "--no-failover", command=command)
    assert result.returncode == 1
    assert "ConnectionRefusedError" in result.stderr


# ---- Launchers below launchers ----


def test_below_another_launcher_it_is_a_part_of_that_run(launcher, connect):
    inner = [LAUNCHER, "--log=off"]
    options = ["--fault", "{host}#1=refuse", "--expect-failover"]
    result = connect("live-first", *options, command=[*inner, *PYTHON, CONNECT])
    assert (result.returncode, result.stderr) == (0, "")
    script = 'test "$0" = "$NEXTADDR_RUN" && test -f "$0"'
    assert launcher.run("sh", "-c", 'exec "$@" "$NEXTADDR_RUN"', "sh", *inner, "sh", "-c", script).returncode == 0


def test_with_faults_of_its_own_it_makes_a_run_of_its_own(launcher):
    script = 'echo "$NEXTADDR_RUN"; exec "$@"'
    inner = [LAUNCHER, "--fault", UNMATCHED, "sh", "-c", 'echo "$NEXTADDR_RUN"; exit 4']
    result = launcher.run("sh", "-c", script, "sh", *inner)
    first, second = result.stdout.splitlines()
    assert first != second
    assert result.returncode == 4
    assert [line.count(UNMATCHED) for line in result.stderr.splitlines()] == [1, 0]


def test_a_run_that_is_over_is_no_run(launcher):
    result = launcher.run("printenv", "NEXTADDR_RUN", env={"NEXTADDR_RUN": f"{launcher.directory}/gone"})
    assert result.stdout != f"{launcher.directory}/gone\n"
    assert result.returncode == 0
