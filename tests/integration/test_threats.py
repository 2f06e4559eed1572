# What libnextaddr(7) says of those who control the answers of DNS, the environment, the memory file, the path of the log
# or the file of a run: that they gain nothing here that they would not have without the library. What is here is what
# other tests do not hold already: see test_passthrough.py (strangers, privileged programs), test_memory.py (whatever
# is in the place of the file), test_log.py (JSON) and test_launcher_parent.py (the run's file).
# Nothing here may reach an address outside loopback: those that are not of it are refused by the kernel itself.
import os
import re
import shutil
from pathlib import Path

import pytest

from programs.faults import faults
from programs.harness import (
    HOST, NATIVE, NOBODY, address_lab, preload, public, run_as_nobody, run_shim, several, start, start_shim,
)  # fmt: skip

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a program as another user")


# ---- Answers of DNS ----


@pytest.fixture
def asked_by(require, tmp_path):
    """asked_by(host, ANSWER, ..): the addresses that a program with this answer has sent connects to, in turn, and
    what it printed."""
    strace = require("strace")

    def run(host, answer, name="connect_first", **arguments):
        trace = tmp_path / "trace"
        env = {"NEXTADDR_RESOLVE": f"{HOST}={','.join(answer)}"}
        before = [strace, "-f", "-qq", "-s", "0", "-e", "trace=connect,sendto,sendmsg", "-o", str(trace)]
        ended = start_shim(host, name, env=env, before=before, **arguments).finish()
        calls = trace.read_text()
        assert not re.search(r"MSG_FASTOPEN", calls)
        return re.findall(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"', calls), ended

    return run


ODD_ONES = ["0.0.0.0", "255.255.255.255", "224.0.0.1", "240.0.0.1", "127.255.255.255", "0.1.2.3"]


@pytest.mark.parametrize("name, arguments", [("connect_first", {}), ("events_poll", {"how": "poll"})], ids=["blocking", "poll"])
@pytest.mark.parametrize("what", ["odd addresses", "duplicates", "many"])
def test_only_addresses_of_the_answer_are_asked(several, asked_by, what, name, arguments):
    host = several("refused", "live")
    first, live = host.addresses
    if what == "odd addresses":
        answer = [first, *ODD_ONES, live]
    elif what == "duplicates":
        answer = [first, first, live, first, live, first]
    else:
        # More than are ever kept of a host.
        answer = [first, *(f"127.{200 + n // 250}.9.{n % 250 + 1}" for n in range(2000))]
        answer.insert(900, live)
    asked, run = asked_by(host, answer, name, **arguments)
    assert run.first["peer"] in (live, "127.0.0.1"), run
    asked = [ipv4 for ipv4, _ in asked]
    assert asked[0] == first and set(asked) <= set(answer)
    assert len(asked) <= 2 * len(set(answer)) + 1


def test_an_address_that_is_no_hosts_is_asked_alone(several, asked_by):
    # The program takes an address from somewhere else than the answer: that is all it gets.
    host = several("refused", "live")
    to = host.lab.unused()
    asked, run = asked_by(host, host.addresses, "after_lookups", names=HOST, to=to)
    assert {ipv4 for ipv4, _ in asked} == {to} and run.first["error"] == "ECONNREFUSED"


# ---- Names in the log ----

ODD = b"\x1b[2J\rnextaddr: sshd[1]\nevil\x7f\x01"


@pytest.mark.parametrize("where", ["program", "host"])
def test_a_line_of_text_is_one_line_of_text(several, tmp_path, where):
    # No name can clear a terminal, nor pretend to be another line.
    host = several("refused", "live")
    name = ODD.decode("latin-1") if where == "host" else HOST
    program = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), ODD if where == "program" else b"plain")))
    shutil.copy(NATIVE.program("connect_first"), program)
    log = tmp_path / "log"
    resolve = f"{name}={','.join(host.addresses)}"
    env = {**preload(), "NEXTADDR_RESOLVE": resolve, "NEXTADDR_LOG": "info", "NEXTADDR_LOG_FILE": str(log)}
    run = start(host.lab, program, env, host=name, port=host.port).finish()
    assert run.first["peer"] == host.live[0], run
    said = log.read_bytes()
    assert said.count(b"\n") == 1 and said.endswith(b"\n")
    assert not re.search(rb"[\x00-\x1f\x7f]", said[:-1]), said
    assert b"evil" in said


# ---- The path of the log ----


def logged(path):
    return {"NEXTADDR_LOG": "info", "NEXTADDR_LOG_FILE": str(path)}


def test_a_log_is_followed_as_a_shell_does_and_only_ever_appended_to(several, tmp_path):
    # O_APPEND without O_NOFOLLOW, as >> has it: whoever may set the path may as well name the file itself.
    other = tmp_path / "other"
    other.write_text("before\n")
    other.chmod(0o640)
    (tmp_path / "log").symlink_to("other")
    run_shim(several("refused", "live"), "connect_first", env=logged(tmp_path / "log"))
    assert re.fullmatch(r"before\nnextaddr: .* connected \d+ ms\n", other.read_text())
    assert other.stat().st_mode & 0o777 == 0o640


def test_a_new_log_is_the_users_alone(several, tmp_path):
    before = ["sh", "-c", 'umask 0 && exec "$@"', "sh"]
    run_shim(several("refused", "live"), "connect_first", env=logged(tmp_path / "log"), before=before)
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name, arguments", [("connect_first", {}), ("events_poll", {"how": "poll"})], ids=["blocking", "poll"])
def test_a_fifo_that_nobody_reads_does_not_hold_the_program_up(several, tmp_path, name, arguments):
    os.mkfifo(tmp_path / "log")
    host = several("refused", "live")
    run = start_shim(host, name, env=logged(tmp_path / "log"), **arguments).finish(within=10)
    assert run.first["peer"] == host.live[0], run


@root_only
def test_a_log_is_written_with_the_programs_own_rights(several, public):
    host = several("refused", "live")
    log = public / "log"
    log.write_text("of root\n")
    run = run_as_nobody(public, host, "connect_first", logged(log))
    assert run.first["peer"] == host.live[0], run
    assert log.read_text() == "of root\n"


# ---- The file of a run ----


@root_only
@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_a_run_file_of_somebody_else_is_not_used(several, public, mode):
    # He could cut it off while it is mapped, or say what has been counted.
    path = public / "run"
    path.write_bytes(bytes(8192))
    path.chmod(mode)
    os.chown(path, NOBODY, NOBODY)
    host = several("live", "live")
    run_shim(host, "connect_first", env=faults(f"{HOST}#1=refuse", RUN=path))
    assert path.read_bytes() == bytes(8192)


def test_the_launcher_takes_no_directory_that_is_there(several, tmp_path):
    # The name is a random one; should somebody have guessed it, nothing runs, and what is there stays.
    tools = tmp_path / "tools"
    tools.mkdir()
    guessed = tmp_path / "guessed"
    guessed.mkdir()
    (guessed / "kept").touch()
    (tools / "mktemp").write_text(f"#!/bin/sh\necho {guessed}\n")
    (tools / "mktemp").chmod(0o755)
    host = several("live", "live")
    result = host.run(["touch", str(tmp_path / "ran")], options=["--fault", "*=refuse"], env={"PATH": f"{tools}:{os.environ['PATH']}"})
    assert result.returncode == 125, result
    assert not (tmp_path / "ran").exists() and [path.name for path in guessed.iterdir()] == ["kept"]
