# Programs that go through the addresses of a host because they judge the servers themselves, as libpq does for
# target_session_attrs: each must reach every server that lives, whatever is remembered of it, and ask none twice.
import subprocess
import sys

import pytest

from programs.harness import HOST, address_lab, preload, run_shim, several

# Connects to one address after the other until the server that answers is the wanted one. A line for each connect: the
# address that was asked for, and who answered. "asked-again": the result is what a second connect(2) tells, as for Qt.
WALKER = """
import errno, select, socket, sys
host, port, wanted, blocking = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4] == "blocking"
for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
    with socket.socket(family, kind, protocol) as connection:
        if not blocking:
            connection.setblocking(False)
            connection.connect_ex(address)
            select.select([], [connection], [])
            if sys.argv[4] == "asked-again":
                error = connection.connect_ex(address)
            else:
                error = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            connection.setblocking(True)
        else:
            error = connection.connect_ex(address)
        answered = errno.errorcode[error] if error else connection.makefile().readline().split()[-1]
    print(address[0], answered, flush=True)
    if answered == wanted:
        break
"""


def walk(host, wanted, how, memory, addresses=None, log=None):
    """What it was told: pairs of the address asked for and the one that answered."""
    resolve = f"{HOST}={','.join(addresses or host.addresses)}"
    env = {**host.lab.environment(), **preload(), "NEXTADDR_RESOLVE": resolve, "NEXTADDR_MEMORY": str(memory)}
    if log:
        env |= {"NEXTADDR_LOG": "info", "NEXTADDR_LOG_FILE": str(log)}
    words = [sys.executable, "-c", WALKER, HOST, str(host.port), wanted, how]
    process = host.lab.spawn(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and not errors, errors
    return [tuple(line.split()) for line in output.splitlines()]


def park(host, address, memory):
    """A program finds this address refusing, and reaches another one."""
    others = [other for other in host.addresses if other != address]
    env = {
        "NEXTADDR_RESOLVE": f"{HOST}={address},{others[0]}",
        "NEXTADDR_FAULTS": f"{HOST}#1=refuse",
        "NEXTADDR_MEMORY": str(memory),
    }
    assert run_shim(host, "connect_first", env=env).first["peer"] == others[0]


HOWS = pytest.mark.parametrize("how", ["blocking", "nonblocking", "asked-again"])


@HOWS
def test_every_server_is_reached_when_the_first_refuses(several, tmp_path, how):
    host = several("refused", "live", "live", "live")
    for wanted in host.live:
        answered = [answer for _, answer in walk(host, wanted, how, tmp_path / f"memory-{wanted}")]
        assert answered[-1] == wanted
        assert len(set(answered)) == len(answered), "a server was given twice"


@HOWS
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_primary_that_is_back_is_reached_by_a_new_process(several, tmp_path, how, place):
    host = several("live", "live", "live")
    primary = host.addresses[place]
    memory = tmp_path / "memory"
    park(host, primary, memory)
    told = walk(host, primary, how, memory)
    assert told[-1][1] == primary, told
    assert len(told) <= 3


@HOWS
def test_what_nothing_speaks_against_is_what_was_asked_for(several, tmp_path, how):
    host = several("live", "live", "live")
    assert walk(host, "no such server", how, tmp_path / "memory") == [(each, each) for each in host.addresses]


@HOWS
def test_dead_ones_are_not_asked_again_and_again(several, tmp_path, how):
    host = several(*["refused"] * 4)
    answers = [answer for _, answer in walk(host, "no such server", how, tmp_path / "memory")]
    assert answers == ["ECONNREFUSED"] * 4


@HOWS
@pytest.mark.parametrize("kinds", [("silent", "live"), ("live", "silent"), ("live", "silent", "live")])
def test_what_was_silent_a_moment_ago_is_not_waited_for_again(several, tmp_path, how, kinds):
    """As wrk does, which tries every address and begins with the last."""
    host = several(*kinds)
    silent = host.addresses[kinds.index("silent")]
    memory, log = tmp_path / "memory", tmp_path / "log"
    for _ in range(2):
        log.unlink(missing_ok=True)
        told = walk(host, "no such server", how, memory, log=log)
        assert len(told) == len(kinds) and {answer for _, answer in told} == set(host.live), told
    assert f" {silent} silent " not in log.read_text() and f" {silent} parked, " in log.read_text(), log.read_text()
