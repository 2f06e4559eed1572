# What is none of the library's business is plain libc: the same results, and from the first socket on the same system
# calls. And a connect never goes to an address that is not known to be the same host's.
# Nothing here may be compared with what a run of another day said: both runs are made side by side.
import os
import re
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from programs.harness import AS_NOBODY, HOST, LIBRARY, ROOT, address_lab, preload, run_shim, several, start, start_shim


@pytest.fixture
def calls_of(require, tmp_path):
    """calls_of(run, NAME, ..): the system calls of a program since it made its own socket, and what it printed."""
    strace = require("strace")

    def traced(lab, name, env, **arguments):
        trace = tmp_path / "trace"
        run = start(lab, name, env, before=[strace, "-qq", "-o", str(trace)], **arguments).finish()
        calls = trace.read_text().splitlines()
        begin = max(number for number, call in enumerate(calls) if call.startswith("socket("))
        # Where memory is mapped differs from run to run, and how many digits a time has.
        changing = r"0x[0-9a-f]{6,}|(?<=ms=\"\.\.\., )\d+\) = \d+"
        return [re.sub(changing, "DIFFERENT", call) for call in calls[begin:]], run.stdout

    return traced


@pytest.fixture
def assert_same_calls(calls_of):
    """A program connects to the first address of a host: bare, given the address alone, and with the library, given
    `name` by --resolve and `env`."""

    def compare(host, name, env=None, program="plain_calls", **arguments):
        arguments = {"port": host.port, **arguments}
        ours = {**preload(), "NEXTADDR_RESOLVE": host.resolve, **(env or {})}
        bare = calls_of(host.lab, program, {}, host=host.addresses[0], **arguments)
        shim = calls_of(host.lab, program, ours, host=name, **arguments)
        assert len(bare[0]) > 2
        assert shim == bare

    return compare


# ---- Not a TCP connect ----


@pytest.mark.parametrize("kinds", [("refused", "live"), ("live", "refused")], ids="-".join)
def test_udp(several, calls_of, kinds):
    # That it is no TCP socket only the kernel knows; nothing is changed to find out.
    host = several(*kinds)
    bare = calls_of(host.lab, "plain_calls", {}, what="udp", host=host.addresses[0], port=host.port)
    env = {**preload(), "NEXTADDR_RESOLVE": host.resolve}
    calls, said = calls_of(host.lab, "plain_calls", env, what="udp", host=HOST, port=host.port)
    asked = [call for call in calls if call.startswith("getsockopt(3, SOL_SOCKET, SO_PROTOCOL,")]
    assert len(asked) == 1
    assert ([call for call in calls if call not in asked], said) == bare


def test_taking_back_a_connect(several, assert_same_calls):
    assert_same_calls(several("refused", "live"), HOST, what="disconnect")


@pytest.mark.parametrize("listening", [True, False])
def test_unix_sockets(several, calls_of, tmp_path, listening):
    host = several("refused", "live")
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        if listening:
            listener.listen()
        bare = calls_of(host.lab, "plain_calls", {}, what="unix", path=path)
        shim = calls_of(host.lab, "plain_calls", preload(), what="unix", path=path)
    assert bare[1] == f"connect={'0' if listening else 'ECONNREFUSED'} \n"
    assert shim == bare


@pytest.mark.parametrize("what", ["null", "error_pointer", "short"])
def test_bad_addresses(several, assert_same_calls, what):
    assert_same_calls(several("refused", "live"), HOST, what=what)


def test_what_is_no_socket(several):
    # To find out takes a system call, so only the results are the same.
    host = several("refused", "live")
    shim = run_shim(host, "plain_calls", what="no_socket")
    bare = start(host.lab, "plain_calls", {}, what="no_socket", host=host.addresses[0], port=host.port).finish()
    assert shim.stdout == bare.stdout == "connect=EBADF connect=EBADF connect=ENOTSOCK \n"


# ---- A TCP connect, but not to a host with several addresses ----

WAYS = ["blocking", "nonblocking"]
FIRST = ["live", "refused", "unreachable"]


@pytest.mark.parametrize("what", WAYS)
@pytest.mark.parametrize("first", FIRST)
def test_a_host_with_one_address(several, assert_same_calls, first, what):
    host = several(first, "live")
    env = {"NEXTADDR_RESOLVE": f"{HOST}={host.addresses[0]}"}
    assert_same_calls(host, HOST, env, what=what)


@pytest.mark.parametrize("what", WAYS)
@pytest.mark.parametrize("first", FIRST)
def test_a_numeric_destination(several, assert_same_calls, first, what):
    host = several(first, "live")
    assert_same_calls(host, host.addresses[0], what=what)


def test_an_address_that_was_never_looked_up(several, calls_of):
    host = several("refused", "live")
    arguments = {"to": host.lab.unused(), "port": host.port}
    bare = calls_of(host.lab, "after_lookups", {}, **arguments)
    shim = calls_of(host.lab, "after_lookups", {**preload(), "NEXTADDR_RESOLVE": host.resolve}, names=HOST, **arguments)
    assert "ECONNREFUSED" in bare[1]
    assert [re.sub(r"ms=\d+", "", said) for said in shim[0]] == [re.sub(r"ms=\d+", "", said) for said in bare[0]]


# ---- Told to leave it alone ----

LEFT_ALONE = [
    {"NEXTADDR_SKIP": "*"},
    {"NEXTADDR_SKIP": HOST},
    {"NEXTADDR_SKIP": f"other.test,{HOST.upper()}"},
    {"NEXTADDR_SKIP": "SEVERAL.*:PORT"},
    {"NEXTADDR_ONLY": "other.test"},
    {"NEXTADDR_ONLY": "*:1"},
    {"NEXTADDR_ONLY": HOST, "NEXTADDR_SKIP": "s*"},
]
FAILED_OVER = [
    {},
    {"NEXTADDR_SKIP": "other.test,several"},
    {"NEXTADDR_SKIP": f"{HOST}:1"},
    {"NEXTADDR_ONLY": "other.test,*.test"},
    {"NEXTADDR_ONLY": "*:PORT"},
    {"NEXTADDR_OFF": "0"},
]


def settings(env, host):
    return {name: value.replace("PORT", str(host.port)) for name, value in env.items()}


def words_of(env):
    return " ".join(f"{name[9:]}={value}" for name, value in env.items()) or "nothing"


@pytest.mark.parametrize("what", WAYS)
@pytest.mark.parametrize("env", LEFT_ALONE, ids=words_of)
def test_left_alone(several, assert_same_calls, env, what):
    host = several("refused", "live")
    assert_same_calls(host, HOST, settings(env, host), what=what)


@pytest.mark.parametrize("env", FAILED_OVER, ids=words_of)
def test_failed_over(several, env):
    host = several("refused", "live")
    run = start_shim(host, "connect_first", env=settings(env, host)).finish()
    assert run.values("result", "peer") == ("0", host.live[0]), run


@pytest.mark.parametrize("what", WAYS)
def test_off(namespace, calls_of, what):
    # Without --resolve either, so the names are libc's.
    with namespace.scenario("refused-first") as host:
        arguments = {"what": what, "host": host.host, "port": host.port}
        bare = calls_of(namespace, "plain_calls", {}, **arguments)
        shim = calls_of(namespace, "plain_calls", {**preload(), "NEXTADDR_OFF": "1"}, **arguments)
    assert "ECONNREFUSED" in bare[1]
    assert shim == bare


# ---- Privileged programs ----


@pytest.fixture
def public(require):
    """A directory in which everybody may run programs."""
    if os.geteuid() != 0:
        pytest.skip("not root: cannot run a program as somebody else")
    with tempfile.TemporaryDirectory(prefix="nextaddr-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture
def linked(public, require):
    """after_lookups, linked to the library: then the loader, which drops what is preloaded into such programs, loads
    it even so."""
    library = shutil.copy(LIBRARY, public)
    source = ROOT / "tests/programs/after_lookups.cc"
    options = ["-std=c++20", "-Wl,--no-as-needed", library, f"-Wl,-rpath,{public}", "-pthread"]
    subprocess.run([require("g++"), source, *options, "-o", public / "linked"], check=True)
    return public / "linked"


@pytest.mark.parametrize("privilege", ["none", "setuid", "capabilities"])
def test_privileged_programs_are_left_alone(several, linked, require, privilege):
    if privilege == "setuid":
        linked.chmod(0o4755)
    if privilege == "capabilities":
        subprocess.run([require("setcap"), "cap_net_bind_service=+ep", linked], check=True)
    host = several("refused", "live")
    env = {"NEXTADDR_RESOLVE": f"localhost={','.join(host.addresses)}"}
    arguments = {"names": "localhost", "to": host.addresses[0], "port": host.port}
    run = start(host.lab, linked, env, as_user=AS_NOBODY, **arguments).finish()
    expected = ("0", "0", host.live[0]) if privilege == "none" else ("-1", "ECONNREFUSED", "none")
    assert run.values("result", "error", "peer") == expected, run
    faulted = start(host.lab, linked, {"NEXTADDR_FAULTS": "*=unreachable"}, as_user=AS_NOBODY, **arguments).finish()
    assert faulted.first["error"] == ("EHOSTUNREACH" if privilege == "none" else "ECONNREFUSED"), faulted


# ---- Never to a stranger ----


def connect_after(host, names, resolve, **env):
    """Looks these names up, then connects to the first address of `host`."""
    env = {**preload(), "NEXTADDR_RESOLVE": ";".join(f"{name}={','.join(to)}" for name, to in resolve.items()), **env}
    arguments = {"names": ",".join(names), "to": host.addresses[0], "port": host.port}
    return start(host.lab, "after_lookups", env, **arguments).finish()


def assert_went_nowhere(host, run):
    assert run.values("result", "error", "peer") == ("-1", "ECONNREFUSED", "none"), run
    assert [host.connections(address) for address in host.live] == [0] * len(host.live)


@pytest.mark.parametrize("names", [["a.test", "b.test"], ["b.test", "a.test"], ["a.test", "b.test", "a.test"]])
def test_two_hosts_that_share_but_the_requested_address(several, names):
    host = several("refused", "live", "live")
    shared, of_a, of_b = host.addresses
    run = connect_after(host, names, {"a.test": [shared, of_a], "b.test": [of_b, shared]})
    assert_went_nowhere(host, run)


@pytest.mark.parametrize("names", [["a.test", "b.test"], ["b.test", "a.test"]])
def test_two_hosts_that_share_another_address(several, names):
    host = several("refused", "live", "live", "live")
    shared, of_a, of_b, shared_too = host.addresses
    resolve = {"a.test": [shared, of_a, shared_too], "b.test": [shared, of_b, shared_too]}
    run = connect_after(host, names, resolve)
    assert run.values("result", "error", "peer") == ("0", "0", shared_too), run
    assert [host.connections(address) for address in (of_a, of_b)] == [0, 0]


def test_what_two_hosts_share_is_not_enough_when_a_third_has_not(several):
    host = several("refused", "live", "live")
    shared, of_two, of_one = host.addresses
    resolve = {"a.test": [shared, of_two], "b.test": [shared, of_two], "c.test": [shared, of_one]}
    assert_went_nowhere(host, connect_after(host, resolve, resolve))


def test_a_host_that_does_not_hold_the_requested_address_does_not_matter(several):
    host = several("refused", "live")
    first, live = host.addresses
    run = connect_after(host, ["a.test", "b.test"], {"a.test": [first, live], "b.test": [live]})
    assert run.values("result", "error", "peer") == ("0", "0", live), run


@pytest.mark.parametrize("numeric", ["{}", "::ffff:{}"])
def test_a_numeric_lookup_is_a_host_with_one_address(several, numeric):
    # Whether one after that of the name repeats it: test_right_server.py.
    host = several("refused", "live")
    names = [numeric.format(host.addresses[0]), HOST]
    assert_went_nowhere(host, connect_after(host, names, {HOST: host.addresses}))


def test_a_name_with_one_of_the_addresses_alone(several):
    host = several("refused", "live")
    resolve = {HOST: host.addresses, "one.test": host.addresses[:1]}
    assert_went_nowhere(host, connect_after(host, resolve, resolve))


def test_a_host_that_is_left_alone_holds_back_the_others(several):
    host = several("refused", "live")
    resolve = {"a.test": host.addresses, "b.test": host.addresses}
    assert_went_nowhere(host, connect_after(host, resolve, resolve, NEXTADDR_SKIP="b.test"))


def test_lookups_are_forgotten_with_the_process(several):
    host = several("refused", "live")
    run = run_shim(host, "after_lookups", names=HOST, to=host.addresses[0], exec=1)
    assert_went_nowhere(host, run)
