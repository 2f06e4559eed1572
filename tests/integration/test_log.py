# The JSON log: every line of every run is one object as libnextaddr(7) documents it, whatever programs and hosts are called,
# and however many write to it. What the events of faults say is tested where these are.
# Nothing here may read a line by itself: tests/log_schema.py checks all of it.
import contextlib
import os
import re
import shutil
import socket
import subprocess
import time

import pytest

import log_schema
from programs.faults import events_of, faults
from programs.harness import HOST, NATIVE, address_lab, preload, run_shim, several, start_shim


def logged(path, **more):
    return {**preload(), "NEXTADDR_LOG": "info", "NEXTADDR_LOG_FORMAT": "json", "NEXTADDR_LOG_FILE": str(path), **more}


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


# ---- What it says of a connect ----


def test_a_failover(several, log):
    host = several("refused", "silent", "unreachable", "live")
    run_shim(host, "connect_first", env=logged(log))
    [event] = events_of(log)
    assert (event["program"], event["event"], event["host"], event["port"]) == ("connect_first", "connect", HOST, host.port)
    assert (event["asked"], event["used"]) == (host.addresses[0], host.addresses[3])
    assert event["failover"] and event["error"] is None
    expected = [("refused", "ECONNREFUSED"), ("network unreachable", "ENETUNREACH"), ("silent", None), ("connected", None)]
    # In the order in which they have ended.
    attempts = event["attempts"]
    assert [(each["outcome"], each["error"]) for each in attempts] == expected
    assert [each["address"] for each in attempts] == [host.addresses[place] for place in (0, 2, 1, 3)]
    assert attempts[2]["ms"] >= 90 and event["total_ms"] >= 90
    assert all(each["ms"] <= event["total_ms"] + 3 for each in attempts)


@pytest.mark.parametrize("kinds, error", [(("refused", "refused"), "ECONNREFUSED"), (("silent", "refused"), "ETIMEDOUT")], ids=str)
@pytest.mark.parametrize("nonblocking", [0, 1])
def test_all_have_failed(several, log, kinds, error, nonblocking):
    run_shim(several(*kinds), "steps", env=logged(log), nonblocking=nonblocking, syncnt=1, steps="connect,poll:9000,so_error")
    [event] = events_of(log)
    assert (event["used"], event["error"], event["failover"]) == (None, error, False)
    # In the order in which they have ended: that of the silent one by the kernel's own time.
    outcomes = [each["outcome"] for each in event["attempts"]]
    assert outcomes == ["refused", "timed out" if "silent" in kinds else "refused"]


def test_a_connect_that_worked_at_once_is_no_event(several, log):
    run_shim(several("live", "refused"), "connect_first", env=logged(log))
    assert not log.exists()


def test_of_many_attempts_the_middle_is_left_out(several, log):
    host = several(*["refused"] * 30, "live")
    run_shim(host, "connect_first", env=logged(log))
    [event] = events_of(log)
    assert event["attempts_left_out"] == 31 - 13
    assert [each["address"] for each in event["attempts"]] == host.addresses[:12] + host.addresses[-1:]


def test_ipv6_has_no_brackets(several, log):
    host = several("refused6", "live")
    run_shim(host, "connect_first", env=logged(log))
    [event] = events_of(log)
    assert (event["asked"], event["used"]) == ("::1", host.live[0])


# ---- At level debug: lookups, and connects of one attempt ----


def debug_events(host, log, program="steps", failover=True, **arguments):
    env = logged(log, NEXTADDR_LOG="debug", **({} if failover else {"NEXTADDR_NO_FAILOVER": "1"}))
    run_shim(host, program, env=env, **arguments)
    return [event for event in events_of(log) if event["event"] != "debug"]


@pytest.mark.parametrize("failover", [True, False])
@pytest.mark.parametrize("nonblocking", [0, 1])
@pytest.mark.parametrize("kinds", [("live",), ("live", "refused")], ids=str)
def test_a_healthy_connect_is_told_at_level_debug(several, log, kinds, nonblocking, failover):
    host = several(*kinds)
    steps = "connect,poll:9000,so_error" if nonblocking else "connect"
    [lookup, connect] = debug_events(host, log, failover=failover, nonblocking=nonblocking, steps=steps)
    assert (lookup["event"], lookup["host"], lookup["addresses"]) == ("lookup", HOST, host.addresses)
    assert (connect["host"], connect["port"], connect["asked"], connect["used"]) == (HOST, host.port, *[host.addresses[0]] * 2)
    assert [attempt["outcome"] for attempt in connect["attempts"]] == ["connected"] and not connect["failover"]


@pytest.mark.parametrize("kinds", [("live", "refused"), ("refused", "live")], ids=str)
def test_a_connect_that_is_asked_for_its_result_is_told_once(several, log, kinds):
    """Ruby and ab call connect(2) once more, as another one would be called."""
    host = several(*kinds)
    [_, connect] = debug_events(host, log, nonblocking=1, steps="connect,poll:9000,connect")
    assert (connect["asked"], connect["used"]) == (host.addresses[0], host.addresses[kinds.index("live")])


@pytest.mark.parametrize("failover", [True, False])
def test_an_only_attempt_that_fails(several, log, failover):
    host = several("refused") if failover else several("refused", "live")
    [_, connect] = debug_events(host, log, failover=failover, steps="connect")
    assert (connect["used"], connect["error"]) == (None, "ECONNREFUSED")
    assert [attempt["outcome"] for attempt in connect["attempts"]] == ["refused"]


def test_a_failure_that_is_the_programs_to_read_is_not_told(several, log):
    # Of an only address we do not look at the error of a connect that does not block, and it is not called silent.
    [_] = debug_events(several("refused"), log, nonblocking=1, steps="connect,poll:9000,so_error")


@pytest.mark.parametrize("nonblocking", [0, 1])
def test_what_is_left_to_the_kernel_is_told_as_well(several, log, nonblocking):
    # Its end is not ours to see, but it is known by then where it goes.
    steps = "connect,poll:9000,so_error" if nonblocking else "connect"
    [_, connect] = debug_events(several("silent"), log, nonblocking=nonblocking, steps=steps, syncnt=1)
    assert (connect["used"], connect["error"]) == (None, None)
    assert [attempt["outcome"] for attempt in connect["attempts"]] == ["silent"]


def test_of_many_addresses_the_last_are_left_out(several, log):
    host = several(*["live"] * 40)
    [lookup, _] = debug_events(host, log, steps="connect")
    assert lookup["addresses"] == host.addresses[:32] and lookup["addresses_left_out"] == 8


def test_a_lookup_as_text(several):
    host = several("live", "live6")
    said = run_shim(host, "steps", env={**preload(), "NEXTADDR_LOG": "debug"}, steps="connect").stderr
    assert f"] lookup {HOST}: {host.addresses[0]}, [::1]\n" in said
    assert re.search(rf"\] {HOST}:{host.port} {re.escape(host.addresses[0])} connected \d+ ms$", said, re.MULTILINE)


# ---- Times, processes, levels ----


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "<+11>-11", "America/St_Johns"])
def test_times_are_utc(several, log, zone):
    began = time.time()
    run_shim(several("refused", "live"), "connect_first", env=logged(log, TZ=zone))
    [event] = events_of(log)
    # It has milliseconds.
    assert began - 0.001 <= log_schema.time_of(event) <= time.time()


@pytest.mark.parametrize(
    "level, expected",
    [
        ("off", []),
        ("error", ["unmatched"]),
        ("info", ["fault", "connect", "unmatched"]),
        ("debug", ["debug", "lookup", "fault", "connect", "unmatched"]),  # the memory first
    ],
)
def test_levels(several, log, level, expected):
    host = several("live", "live")
    env = {**logged(log), **faults(f"{HOST}#1=refuse", "typo.test=refuse", LOG=level, LOG_FILE=log)}
    run_shim(host, "connect_first", env=env)
    assert [event["event"] for event in (events_of(log) if log.exists() else [])] == expected


def test_a_format_that_is_unknown_is_told_as_text(several, log):
    run = run_shim(several("refused", "live"), "connect_first", env={"NEXTADDR_LOG": "error", "NEXTADDR_LOG_FORMAT": "xml"})
    assert run.stderr.endswith("] bad value ignored in NEXTADDR_LOG_FORMAT\n") and run.stderr.count("\n") == 1


@pytest.mark.parametrize("what", ["directory", "missing directory", "full"])
def test_a_file_that_cannot_be_written(several, tmp_path, what):
    path = {"directory": tmp_path, "missing directory": tmp_path / "no" / "log", "full": "/dev/full"}[what]
    host = several("live", "live")
    run = run_shim(host, "connect_first", env=faults(f"{HOST}#1=refuse", LOG_FILE=path))
    assert run.first["peer"] == host.addresses[1] and run.stderr == ""


# ---- Odd names ----

ODD = b'o"d\\d\n\x01 \x7f\xff\xc3\xa9\xe2\x82\xac{}'


def copy_of(name, directory):
    """connect_first under this name."""
    path = os.path.join(os.fsencode(directory), name)
    shutil.copy(NATIVE.program("connect_first"), path)
    return path


def run_as(host, path, env):
    words = [path, f"host={host.host}", f"port={host.port}"]
    process = host.lab.spawn(words, env={**host.lab.environment(), "NEXTADDR_RESOLVE": host.resolve, **env})
    assert process.wait(30) == 0
    return process.pid


@pytest.mark.parametrize("name", [ODD, b"\xff" * 255, b'"' * 255, b"\n" * 255, b"\\" * 200])
def test_a_program_with_an_odd_name(several, tmp_path, log, name):
    host = several("live", "live", "live")
    env = faults(f"{HOST}=2*refuse->off", "typo.test=refuse", LOG_FILE=log, LOG="debug")
    pid = run_as(host, copy_of(name, tmp_path), env)
    events = events_of(log)
    # A byte stands for itself as in Latin-1.
    assert {(event["pid"], event["program"]) for event in events} == {(pid, name.decode("latin-1"))}
    assert {event["event"] for event in events} == {"debug", "lookup", "fault", "connect", "unmatched"}


def test_the_longest_line(several, tmp_path, log):
    # A name of 255 bytes for the program, each of which takes six, and of 250 for the host; long addresses and words.
    name, longest = b"\xff" * 255, ".".join(["n" * 61] * 4) + ".te"
    addresses = [f"2001:db8:1111:2222:3333:4444:5555:{number:x}" for number in range(0x6000, 0x6000 + 40)]
    host = several("live", "live")
    env = faults("*=unreachable", LOG_FILE=log, RESOLVE=f"{longest}={','.join(addresses)}")
    path = copy_of(name, tmp_path)
    words = [path, f"host={longest}", f"port={host.port}"]
    assert host.lab.spawn(words, env={**host.lab.environment(), **env}).wait(30) == 0
    events = events_of(log)
    [event] = log_schema.of_kind(events, "connect")
    assert (event["program"], event["host"]) == (name.decode("latin-1"), longest)
    assert event["attempts_left_out"] == 40 - 13 and len(event["attempts"]) == 13
    assert len(events) == 41


@pytest.mark.parametrize("name", ['a"b', "a\\b", "b\u00fccher.example", "<x>", "a{b}"])
def test_a_host_with_an_odd_name(several, log, name):
    host = several("live", "live")
    env = faults("*#1=refuse", LOG_FILE=log, RESOLVE=f"{name}={','.join(host.addresses)}")
    run = start_shim(host, "connect_first", env=env, host=name).finish()
    assert run.first["peer"] == host.addresses[1]
    seen = name.encode().decode("latin-1")
    assert [event["host"] for event in events_of(log)] == [seen, seen]


def test_a_rule_that_is_very_long_or_odd(several, log):
    host = several("live")
    rules = ["x" * 400 + "=refuse", '"\\\u00fc=silent', f"{HOST}=" + "->".join(["1*refuse"] * 60)]
    run_shim(host, "connect_first", env=faults(*rules, LOG_FILE=log))
    events = events_of(log)
    said = [rules[2][:255], "x" * 255, rules[1].encode().decode("latin-1")]
    assert [event["rule"] for event in events] == said


# ---- Many writers ----


@pytest.mark.parametrize("threads, times", [(1, 200), (8, 25)])
def test_many_processes_write_one_file(several, log, threads, times):
    host = several("live", "live")
    env = faults(f"{HOST}#1=refuse", LOG_FILE=log)
    arguments = {"processes": 2, "threads": threads, "times": times, "steps": "connect,peer"}
    runs = [start_shim(host, "steps", env=env, **arguments) for _ in range(4)]
    for run in runs:
        run.finish()
        assert {line["peer"] for line in run.lines[:-1]} == {host.addresses[1]}, run
    events = events_of(log)
    connects = log_schema.of_kind(events, "connect")
    assert len(connects) == len(log_schema.of_kind(events, "fault")) == 1600 and len(events) == 3200
    by_process = {pid: sum(event["pid"] == pid for event in connects) for pid in {event["pid"] for event in connects}}
    assert list(by_process.values()) == [200] * 8


def test_many_threads_write_to_stderr(several):
    host = several("live", "live")
    env = faults(f"{HOST}#1=refuse")
    run = start_shim(host, "steps", env=env, processes=4, threads=4, times=25, steps="connect").finish()
    events = events_of(run)
    assert len(log_schema.of_kind(events, "connect")) == 400 and len(events) == 800


# ---- The system's log ----

# $1: a socket, the rest: a command, which has it as /dev/log. Of the devices of the machine it has but one.
WITH_DEV_LOG = """
mount -t tmpfs dev "$0" && touch "$0/null" && mount --bind /dev/null "$0/null" && ln -s "$1" "$0/log" &&
mount --rbind "$0" /dev && shift && exec "$@"
"""


class Receiver(socket.socket):
    words = ()


@contextlib.contextmanager
def system_log(tmp_path, kind):
    """A socket in the place of that of the system's log, and the words that run a command with it."""
    trial = subprocess.run(["unshare", "-rm", "true"], capture_output=True, text=True)
    if trial.returncode:
        pytest.skip(f"no mount namespaces: {trial.stderr.strip()}")
    devices = tmp_path / "dev"
    devices.mkdir()
    path = tmp_path / "log.socket"
    with Receiver(socket.AF_UNIX, kind) as receiver:
        receiver.bind(str(path))
        receiver.setblocking(False)
        receiver.words = ["unshare", "-rm", "sh", "-c", WITH_DEV_LOG, str(devices), str(path)]
        yield receiver


@pytest.fixture
def syslog(tmp_path):
    with system_log(tmp_path, socket.SOCK_DGRAM) as receiver:
        yield receiver


def received(receiver):
    messages = []
    with contextlib.suppress(BlockingIOError):
        while True:
            messages.append(receiver.recv(8192).decode())
    return messages


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_systems_log(several, syslog, form):
    host = several("refused", "live")
    env = logged("syslog", NEXTADDR_LOG_FORMAT=form)
    run = run_shim(host, "connect_first", env=env, before=syslog.words)
    assert not run.stderr
    [message] = received(syslog)
    tag = "<14>nextaddr: "
    assert message.startswith(tag) and "\n" not in message
    if form == "text":
        assert re.fullmatch(rf"connect_first\[\d+\] {HOST}:{host.port} \S+ refused \d+ ms, \S+ connected \d+ ms", message[len(tag):])
    else:
        [event] = log_schema.events_of(message[len(tag):].encode() + b"\n")
        assert (event["program"], event["used"]) == ("connect_first", host.addresses[1])


def test_a_systems_log_that_is_a_stream(several, tmp_path):
    """As syslog(3) has it: a connection, and a zero after each message."""
    host = several("refused", "live")
    with system_log(tmp_path, socket.SOCK_STREAM) as listener:
        listener.listen()
        run_shim(host, "connect_first", env=logged("syslog", NEXTADDR_LOG_FORMAT="text"), before=listener.words)
        connection, _ = listener.accept()
        with connection:
            message = connection.recv(8192).decode()
    assert re.fullmatch(rf"<14>nextaddr: connect_first\[\d+\] {HOST}:{host.port} .* connected \d+ ms\0", message), message


def test_a_full_system_log_is_not_waited_for(several, syslog):
    """As many lines as no socket of datagrams has room for: they are lost, and no connect waits for them."""
    host = several("live", "live")
    env = faults(f"{HOST}#1=refuse", LOG_FILE="syslog", LOG_FORMAT="text")
    run = run_shim(host, "steps", env=env, before=syslog.words, times=1000, steps="connect,peer")
    assert {line["peer"] for line in run.lines[:-1]} == {host.addresses[1]}
    assert 1 <= len(received(syslog)) < 2000


def test_without_a_system_log(several, tmp_path, syslog):
    os.unlink(tmp_path / "log.socket")
    host = several("refused", "live")
    run = run_shim(host, "steps", env=logged("syslog"), before=syslog.words, steps="connect,peer")
    assert [line["peer"] for line in run.lines if "peer" in line] == [host.addresses[1]] and not run.stderr
