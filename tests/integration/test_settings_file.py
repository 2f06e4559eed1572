# /etc/nextaddr.conf: what it says counts where the environment says nothing, and whatever is in its place, no program is
# held up, ended or changed by it. And the names of programs that are to be left alone.
# Nothing here may write the /etc of the machine (see machine.py), nor open a connection outside loopback.
import os
import re
import shutil
import subprocess

import pytest

import lab as labs
from machine import FILE, machine, written
from programs.harness import HOST, LIBRARY, NATIVE, address_lab, preload, public, several, start, start_shim

root_only = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can give a file away, make a device, or run a program as another user"
)


@pytest.fixture
def run(several, machine):
    """run(FILE'S TEXT, ENVIRONMENT): a program that connects to a host whose first address refuses."""
    host = several("refused", "live")

    def ended(text, env=None, prepare=None):
        before = machine.before(prepare or written(FILE, text))
        result = start_shim(host, "connect_first", env=env, before=before).finish(within=10)
        result.moved_on = result.values("result", "peer") == ("0", host.live[0])
        if not result.moved_on:
            assert result.values("result", "error", "peer") == ("-1", "ECONNREFUSED", "none"), result
        return result

    return ended


def problems(run):
    return re.findall(r"^nextaddr: connect_first\[\d+\] (.*ignored in .*)$", run.stderr, re.MULTILINE)


ERRORS = {"NEXTADDR_LOG": "error"}


# ---- What it says ----


def test_the_file_has_what_the_environment_has_not(several, machine, tmp_path):
    host = several("refused", "live")
    log = tmp_path / "a log"
    text = f"# for all\n\nNEXTADDR_LOG=info\r\n \tNEXTADDR_LOG_FILE={log} \n#NEXTADDR_OFF=1\nNEXTADDR_RESOLVE={host.resolve}"
    run = start(host.lab, "connect_first", preload(), machine.with_file(text), host=HOST, port=host.port).finish()
    assert run.values("result", "peer") == ("0", host.live[0]), run
    assert re.fullmatch(rf"nextaddr: connect_first\[\d+\] {HOST}:\d+ \S+ refused .* connected .*\n", log.read_text())
    assert run.stderr == ""


@pytest.mark.parametrize(
    "text, env, moves_on",
    [
        ("NEXTADDR_NO_FAILOVER=1\n", {}, False),
        ("NEXTADDR_NO_FAILOVER=1\n", {"NEXTADDR_NO_FAILOVER": "0"}, True),
        ("NEXTADDR_NO_FAILOVER=1\n", {"NEXTADDR_NO_FAILOVER": ""}, True),
        ("NEXTADDR_NO_FAILOVER=0\n", {"NEXTADDR_NO_FAILOVER": "1"}, False),
        (f"NEXTADDR_SKIP={HOST}\n", {}, False),
        (f"NEXTADDR_SKIP={HOST}\n", {"NEXTADDR_SKIP": "others.test"}, True),
        (f"NEXTADDR_SKIP={HOST}\n", {"NEXTADDR_ONLY": HOST}, False),
        ("NEXTADDR_SKIP=\n", {}, True),
        ("NEXTADDR_ONLY=others.test\n", {}, False),
        # What belongs to one run is not for a machine.
        ("NEXTADDR_RUN=/dev/null\nNEXTADDR_RUN_ENDS=1\n", {}, True),
    ],
)
def test_the_environment_wins(run, text, env, moves_on):
    assert run(text, env).moved_on == moves_on


PROGRAMS = [
    ({}, {}, True),
    ({"SKIP_PROGRAMS": "curl,connect_*"}, {}, False),
    ({"SKIP_PROGRAMS": "curl,connect"}, {}, True),
    ({"ONLY_PROGRAMS": "curl,connect_fir[rs]t"}, {}, True),
    ({"ONLY_PROGRAMS": "curl"}, {}, False),
    ({"ONLY_PROGRAMS": "*", "SKIP_PROGRAMS": "connect_first"}, {}, False),
    ({"SKIP_PROGRAMS": "*"}, {"SKIP_PROGRAMS": ""}, True),
    ({"SKIP_PROGRAMS": "*"}, {"SKIP_PROGRAMS": "wget"}, True),
    ({"OFF": "0"}, {}, True),
]


def named(settings):
    return {f"NEXTADDR_{name}": value for name, value in settings.items()}


@pytest.mark.parametrize("inherited, own, moves_on", PROGRAMS)
@pytest.mark.parametrize("where", ["environment", "file"])
def test_programs(machine, namespace, where, inherited, own, moves_on):
    # Names are libc's here, because a program that is left alone has none of --resolve.
    text = "".join(f"{name}={value}\n" for name, value in named(inherited).items())
    before = machine.with_file(text) if where == "file" else []
    env = {**preload(), **(named(inherited) if where == "environment" else {}), **named(own)}
    with namespace.scenario("refused-first") as host:
        run = start(namespace, "connect_first", env, before, host=host.host, port=host.port).finish()
        expected = ("0", "0", host.live[0]) if moves_on else ("-1", "ECONNREFUSED", "none")
    assert run.values("result", "error", "peer") == expected, run


@pytest.mark.parametrize("value, result", [(None, "-1"), ("0", "0"), ("", "0"), ("1", "-1")])
def test_off_in_the_file(machine, namespace, value, result):
    env = {**preload(), **({} if value is None else {"NEXTADDR_OFF": value})}
    with namespace.scenario("refused-first") as host:
        before = machine.with_file("NEXTADDR_OFF=1\n")
        run = start(namespace, "connect_first", env, before, host=host.host, port=host.port).finish()
    assert run.first["result"] == result, run


# ---- What is wrong with it ----


@pytest.mark.parametrize(
    "text, line",
    [
        ("NEXTADDR_SKPI=*\n", "NEXTADDR_SKPI=*"),
        ("NEXTADDR_NO_FAILOVER = 1\n", "NEXTADDR_NO_FAILOVER = 1"),
        ("export NEXTADDR_NO_FAILOVER=1\n", "export NEXTADDR_NO_FAILOVER=1"),
        ("NEXTADDR_SKIP=others.test\nNEXTADDR_SKIP=*\n", "NEXTADDR_SKIP=*"),
        ("NEXTADDR_RUN_ENDS=1\n", "NEXTADDR_RUN_ENDS=1"),
        ("LD_PRELOAD=/other.so\n", "LD_PRELOAD=/other.so"),
        ("\x1b[2J\x01\x7f\n", "?[2J??"),
    ],
)
def test_a_line_that_is_no_setting_is_told(run, text, line):
    ended = run(text, ERRORS)
    assert ended.moved_on and problems(ended) == [f"ignored in {FILE}: {line}"], ended


@pytest.mark.parametrize("value", ["DELAY=9", "LOG_FORMAT=xml", "SEED=x", "PARKING=-1"])
def test_a_bad_value_is_told_as_that_of_a_variable(run, value):
    ended = run(f"NEXTADDR_{value}\n", ERRORS)
    name = f"NEXTADDR_{value.partition('=')[0]}"
    assert ended.moved_on and problems(ended) == [f"bad value ignored in {name}"], ended


def test_an_empty_value_is_the_default(run):
    ended = run("NEXTADDR_DELAY=\nNEXTADDR_LOG_FORMAT= \n", ERRORS)
    assert ended.moved_on and problems(ended) == [], ended


NO_FILE_OF_ROOT = "it is not a regular file of root that nobody else may write"
A_LINK = "it is a symbolic link"
IN_ITS_PLACE = {
    "a FIFO": (f"mkfifo {FILE}", NO_FILE_OF_ROOT),
    "a directory": (f"mkdir {FILE}", NO_FILE_OF_ROOT),
    "a loop of links": (f"ln -s nextaddr.conf {FILE}", A_LINK),
    "a link to a file": (f"echo NEXTADDR_NO_FAILOVER=1 >f; ln -s $PWD/f {FILE}", A_LINK),
    "a link to a FIFO": (f"mkfifo f; ln -s $PWD/f {FILE}", A_LINK),
    "a link to nothing": (f"ln -s nothing {FILE}", A_LINK),
    "more than 4096 bytes": (f"head -c 4097 /dev/zero | tr '\\0' '#' >{FILE}", "it has more than 4096 bytes"),
    "a huge file": (f"truncate -s 1T {FILE}", "it has more than 4096 bytes"),
    "one the group may write": (f"echo NEXTADDR_NO_FAILOVER=1 >{FILE}; chmod 664 {FILE}", NO_FILE_OF_ROOT),
    "one all may write": (f"echo NEXTADDR_NO_FAILOVER=1 >{FILE}; chmod 646 {FILE}", NO_FILE_OF_ROOT),
}


def assert_ignored(run, prepare, told):
    ended = run(None, ERRORS, prepare=prepare)
    assert ended.moved_on and problems(ended) == [f"ignored in {FILE}: {told}"], ended
    assert run(None, prepare=prepare).stderr == ""


@pytest.mark.parametrize("what", IN_ITS_PLACE)
def test_what_is_no_file_of_root_is_ignored(run, what):
    assert_ignored(run, *IN_ITS_PLACE[what])


@root_only
@pytest.mark.parametrize(
    "prepare",
    [f"echo NEXTADDR_NO_FAILOVER=1 >{FILE}; chown 65534 {FILE}", f"mknod {FILE} c 1 5"],
    ids=["of another user", "a device without end"],
)
def test_what_is_of_somebody_else_or_a_device_is_ignored(run, prepare):
    assert_ignored(run, prepare, NO_FILE_OF_ROOT)


@root_only
def test_what_may_not_be_read_is_ignored(several, machine, public, require):
    host = several("refused", "live")
    prepare = f"umask 077; echo NEXTADDR_NO_FAILOVER=1 >{FILE}"
    before = [*machine.before(prepare), require("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups"]
    program = shutil.copy(NATIVE.program("connect_first"), public)
    env = {**preload(shutil.copy(LIBRARY, public)), "NEXTADDR_RESOLVE": host.resolve, **ERRORS}
    ended = start(host.lab, program, env, before, host=HOST, port=host.port).finish(within=10)
    assert ended.values("result", "peer") == ("0", host.live[0]), ended
    assert problems(ended) == [f"ignored in {FILE}: it cannot be opened"], ended


def test_any_bytes_are_no_harm(run):
    # 4096 are as many as are read.
    for _ in range(5):
        assert run(None, prepare=f"head -c 4096 /dev/urandom >{FILE}").moved_on


@pytest.mark.parametrize("size", [0, 1, 22, 4095, 4096])
def test_every_size_that_is_read(run, size):
    # The setting is at the very end.
    setting = "NEXTADDR_NO_FAILOVER=1"
    assert run(setting.rjust(size, "\n") if size >= len(setting) else "#" * size).moved_on == (size < len(setting))


@root_only
@pytest.mark.parametrize("owner, shown", [("0", True), ("65534", False)])
def test_the_memory_that_is_shown_is_the_one_that_is_used(machine, tmp_path, owner, shown):
    named = tmp_path / "named"
    before = machine.before(f"{written(FILE, f'NEXTADDR_MEMORY={named}')}; chown {owner} {FILE}")
    env = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(tmp_path)}
    result = subprocess.run([*before, labs.LAUNCHER, "--status"], env=env, capture_output=True, text=True, timeout=20)
    used = named if shown else tmp_path / "nextaddr-memory"
    assert (result.returncode, result.stdout) == (0, f"nothing is remembered in {used}\n"), result


# ---- What it costs ----


@pytest.fixture
def calls(require, tmp_path):
    """calls(WORDS BEFORE, ENVIRONMENT): the system calls at the start of a program."""
    strace = require("strace")

    def listed(before, env):
        trace = tmp_path / "trace"
        words = [*before, strace, "-qq", "-o", str(trace), "env", *(f"{name}={value}" for name, value in env.items())]
        subprocess.run([*words, "/bin/true"], check=True, timeout=20)
        # env has become the program.
        return trace.read_text().partition('execve("/bin/true"')[2].splitlines()

    return listed


def naming_it(lines):
    return [line for line in lines if FILE in line]


def test_without_a_file_it_is_one_failed_open(machine, calls):
    [only] = naming_it(calls(machine.before(), preload()))
    assert "ENOENT" in only


def test_off_in_the_environment_is_before_the_file(machine, calls):
    off = {**preload(), "NEXTADDR_OFF": "1"}
    assert naming_it(calls(machine.with_file("NEXTADDR_LOG=info"), off)) == []


def test_a_file_is_opened_looked_at_and_read_once(machine, calls):
    lines = calls(machine.with_file("NEXTADDR_LOG=info"), preload())
    [opened] = naming_it(lines)
    descriptor = opened.rpartition(" = ")[2]
    after = lines[lines.index(opened) + 1 :][:3]
    assert [re.match(rf"(\w+)\({descriptor}\b", line)[1] for line in after] == ["fstat", "read", "close"]


# ---- The launcher ----


def launch(machine, text, *words, env=None):
    kept = {name: value for name, value in os.environ.items() if not labs.FOREIGN_SETTINGS.fullmatch(name)}
    words = [*machine.with_file(text), str(labs.LAUNCHER), *words]
    return subprocess.run(words, env={**kept, **(env or {})}, capture_output=True, text=True, timeout=30)


def test_a_run_of_the_launcher_is_for_its_command(machine, several):
    # Its own questions to the library are put to a program that the file may leave out.
    host = several("live", "live")
    words = ["--resolve", host.resolve, "--fault", f"{HOST}#1=refuse", "--expect-failover", "-v"]
    command = [NATIVE.program("connect_first"), f"host={HOST}", f"port={host.port}"]
    for text, env in ("NEXTADDR_ONLY_PROGRAMS=connect_*\n", {}), ("NEXTADDR_OFF=1\n", {"NEXTADDR_OFF": "0"}):
        result = launch(machine, text, *words, *command, env=env)
        assert result.returncode == 0 and f"peer={host.live[1]}" in result.stdout, result
    result = launch(machine, "NEXTADDR_SKIP_PROGRAMS=connect_*\n", *words, *command)
    assert "never matched" in result.stderr, result


def test_the_launcher_knows_the_memory_of_the_file(machine, tmp_path):
    memory = tmp_path / "memory"
    result = launch(machine, f"# NEXTADDR_MEMORY=off\n NEXTADDR_MEMORY={memory} \n", "--status")
    assert (result.returncode, result.stdout) == (0, f"nothing is remembered in {memory}\n"), result
    assert launch(machine, "NEXTADDR_MEMORY=off\n", "--status").returncode == 125
    result = launch(machine, "NEXTADDR_MEMORY=off\n", "--status", env={"NEXTADDR_MEMORY": str(memory)})
    assert result.stdout == f"nothing is remembered in {memory}\n", result


@pytest.mark.parametrize(
    "bad, told",
    [
        ("SKPI=*", f"ignored in {FILE}: NEXTADDR_SKPI=*"),
        ("FAULTS=db=refuse;db=lost", "NEXTADDR_FAULTS ignored: column 14: unknown action"),
        ("RESOLVE=db=10.0.0.1;db", f"NEXTADDR_RESOLVE in {FILE}: 'db': must be HOST="),
        ("SKIP=a, b", f"NEXTADDR_SKIP in {FILE}: 'a, b': must have no white space"),
        ("ONLY=:80", f"NEXTADDR_ONLY in {FILE}: ':80': has no host"),
        ("SKIP_PROGRAMS=a,,b", f"NEXTADDR_SKIP_PROGRAMS in {FILE}: 'a,,b': a pattern is empty"),
        ("DELAY=5", f"NEXTADDR_DELAY in {FILE}: '5': must be"),
        ("PARKING=1s", f"NEXTADDR_PARKING in {FILE}: '1s': must be"),
        ("SEED=x", f"NEXTADDR_SEED in {FILE}: 'x': must be"),
        ("OFF=yes", f"NEXTADDR_OFF in {FILE}: 'yes': must be"),
        ("NO_FAILOVER=yes", f"NEXTADDR_NO_FAILOVER in {FILE}: 'yes': must be"),
        ("MEMORY=/nonexistent/m", f"NEXTADDR_MEMORY in {FILE}: '/nonexistent/m': must be"),
        ("DNS_PORTS=dns", f"NEXTADDR_DNS_PORTS in {FILE}: 'dns': must be"),
        ("LOG=yes", f"NEXTADDR_LOG in {FILE}: 'yes': must be"),
        (" LOG_FILE=/nonexistent/log \r", f"NEXTADDR_LOG_FILE in {FILE}: '/nonexistent/log': must be"),
        ("LOG_FORMAT=xml", f"NEXTADDR_LOG_FORMAT in {FILE}: 'xml': must be"),
    ],
)
def test_check_tells_what_is_wrong_with_the_file(machine, bad, told):
    line = re.sub(r"^ *", r"\g<0>NEXTADDR_", bad)
    # What is wrong in the file is told even when the environment has something better.
    for env in {}, {"NEXTADDR_LOG": "off", "NEXTADDR_LOG_FORMAT": "json", "NEXTADDR_OFF": "0"}:
        result = launch(machine, f"NEXTADDR_ONLY_PROGRAMS=sh\n{line}\n", "--check", "sh", env=env)
        assert result.stderr.startswith(f"nextaddr: {told}") and result.stderr.count("\n") == 1, result
        assert result.returncode == ("OFF=yes" in bad and not env), result


def test_check_has_nothing_to_say_about_a_good_file(machine):
    text = "# NEXTADDR_DELAY=5\nNEXTADDR_ONLY_PROGRAMS=sh\nNEXTADDR_LOG=off\nNEXTADDR_DELAY=50\nNEXTADDR_OFF=\n"
    for env, status in ({}, 0), ({"NEXTADDR_ONLY_PROGRAMS": "curl"}, 1):
        result = launch(machine, text, "--check", "sh", env=env)
        assert (result.returncode, result.stderr) == (status, ""), result


@pytest.mark.parametrize("value", [",", "a,,b", "a,"])
@pytest.mark.parametrize("name", ["NEXTADDR_ONLY_PROGRAMS", "NEXTADDR_SKIP_PROGRAMS"])
def test_the_launcher_refuses_empty_patterns(machine, name, value):
    result = launch(machine, "", "echo", "ran", env={name: value})
    assert (result.returncode, result.stdout) == (125, "") and f"{name} '{value}'" in result.stderr, result
