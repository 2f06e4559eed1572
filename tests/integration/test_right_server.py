# No connect to an address that its own host does not have, nor to another service of one it has: not when memory is
# short, not when processes die in the middle of a lookup, not when they have given up their rights.
# The programs are short scripts for Python, which makes libc's calls; what each is given is in its environment.
import json
import os
import subprocess
import sys
from textwrap import dedent

import pytest

from programs.harness import HOST, Run, address_lab, preload, several

PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable

# What the scripts share. A line of output is an object; the last one counts.
PRELUDE = """
import ctypes, errno, json, os, select, signal, socket, sys, time
given = json.loads(os.environ["GIVEN"])
port = given["port"]
def look_up(name, service=None, **hints):
    return [each[4][0] for each in socket.getaddrinfo(name, service, type=socket.SOCK_STREAM, **hints)]
def connect(to, to_port=None, stay=False):
    s = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET)
    try:
        s.connect((to, to_port or port))
        return s if stay else s.getpeername()[0]
    except OSError as error:
        return errno.errorcode[error.errno]
    finally:
        stay or s.close()
def say(**what):
    print(json.dumps(what), flush=True)
"""


def start_script(host, script, resolve=None, shim=True, env=None, before=(), as_user=None, **given):
    given = {"port": host.port, "addresses": host.addresses, "live": host.live, "host": host.host, **given}
    ours = preload() if shim else {}
    resolve = {host.host: host.addresses} if resolve is None else resolve
    if shim and host.lab.needs_resolve:
        ours["NEXTADDR_RESOLVE"] = ";".join(f"{name}={','.join(to)}" for name, to in resolve.items())
    env = {**host.lab.environment(), **ours, "GIVEN": json.dumps(given), **(env or {})}
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    argv = [*before, PYTHON, "-S", "-c", PRELUDE + dedent(script)]
    return Run(host.lab.spawn(argv, env=env, **streams, **(as_user or {})))


def run_script(host, script, resolve=None, within=60, **arguments):
    """What the script has said last."""
    run = start_script(host, script, resolve, **arguments).finish(within)
    return json.loads(run.stdout.splitlines()[-1])


def assert_untouched(host, *addresses):
    assert {address: host.connections(address) for address in addresses} == dict.fromkeys(addresses, 0)


# ---- Strangers, when memory is short ----

OTHERS = """
def look_up_others(first, count):
    for i in range(first, first + count):
        look_up(f"127.{200 + i // 62500}.{i // 250 % 250}.{i % 250}")
"""


@pytest.mark.parametrize("order", [["a.test", "b.test"], ["b.test", "a.test"]])
def test_a_host_that_was_forgotten(several, order):
    # More names than there is room for. b.test's address is used all the time.
    host = several("refused", "live")
    shared, of_a = host.addresses
    script = OTHERS + dedent("""
        for name in given["order"]: look_up(name)
        for first in range(0, 140000, 20000):
            look_up_others(first, 20000)
            connect(given["addresses"][0])
        say(answer=connect(given["addresses"][0]), then=connect(given["live"][0]))
    """)
    said = run_script(host, script, {"a.test": [shared, of_a], "b.test": [shared]}, order=order)
    assert said == {"answer": "ECONNREFUSED", "then": of_a}


def test_a_host_that_is_looked_up_after_the_other_was_forgotten(several):
    host = several("refused", "live")
    shared, of_a = host.addresses
    script = OTHERS + dedent("""
        look_up("b.test")
        look_up_others(0, 130000)
        look_up("a.test")
        say(answer=connect(given["addresses"][0]))
    """)
    said = run_script(host, script, {"a.test": [shared, of_a], "b.test": [shared]})
    assert said == {"answer": "ECONNREFUSED"}
    assert_untouched(host, of_a)


def test_a_host_that_was_forgotten_and_comes_again_is_helped(several):
    host = several("refused", "live")
    script = OTHERS + dedent("""
        look_up(given["host"])
        look_up_others(0, 130000)
        look_up(given["host"])
        say(answer=connect(given["addresses"][0]))
    """)
    assert run_script(host, script) == {"answer": host.live[0]}


@pytest.mark.parametrize("order", [["a", "b"], ["b", "a"]])
def test_an_address_that_was_cut_off(namespace, order):
    # b has 1,100 addresses, and a's refusing one is behind the 1,024th of them.
    with namespace.scenario("refused-first") as host:
        name = f"cut-off-{'-'.join(order)}.nextaddr.test"
        many = [f"198.18.{200 + n // 250}.{n % 250}" for n in range(1, 1100)]
        with open(namespace.directory / "hosts", "a") as hosts:
            hosts.write("".join(f"{address} {name}\n" for address in [*many, host.addresses[0]]))
        script = """
            names = {"a": given["host"], "b": given["name"]}
            for each in given["order"]: found = look_up(names[each])
            say(answer=connect(given["addresses"][0]), behind=look_up(given["name"]).index(given["addresses"][0]))
        """
        said = run_script(host, script, order=order, name=name)
        assert said["behind"] >= 1024
        assert said["answer"] == "ECONNREFUSED"
        assert_untouched(host, *host.live)


# ---- The writer's lock ----

# Children that look names up are stopped until one of them is in the middle of writing that down: then a lookup of
# ours takes longer than any other.
HOLDER = """
def hold(in_namespace=False):
    for attempt in range(2000):
        child = fork_in_namespace() if in_namespace else os.fork()
        if child == 0:
            while True:
                for i in range(60000):
                    look_up(f"127.210.{i // 250}.{i % 250}")
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            time.sleep(0.0007)
            os.kill(child, signal.SIGSTOP)
            os.waitid(os.P_PID, child, os.WSTOPPED)
            # Each of several, because one of them may take long on a busy machine.
            if all(timed("127.211.0.1") > 2 for _ in range(4)):
                return child
            os.kill(child, signal.SIGCONT)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    raise SystemExit("nobody could be stopped while he held the lock")
def fork_in_namespace():
    if ctypes.CDLL(None, use_errno=True).unshare(0x20000000) != 0:  # CLONE_NEWPID, for the next child
        raise SystemExit("unshare: " + os.strerror(ctypes.get_errno()))
    return os.fork()
def timed(name):
    began = time.monotonic()
    look_up(name)
    return (time.monotonic() - began) * 1000
"""


def test_who_holds_the_lock_and_is_stopped_is_waited_for_a_few_milliseconds(several):
    host = several("refused", "live")
    script = HOLDER + dedent("""
        look_up("before.test")
        child = hold()
        took = sorted(timed("127.211.0.2") for _ in range(50))
        in_vain = look_up("b.test") and connect(given["addresses"][0])
        os.kill(child, signal.SIGCONT)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        look_up("c.test")
        say(took=took[25], in_vain=in_vain, then=connect(given["addresses"][0]))
    """)
    # before.test has another address than b.test, whose lookup cannot be remembered.
    first, live = host.addresses
    resolve = {"before.test": host.addresses, "b.test": [first], "c.test": host.addresses}
    said = run_script(host, script, resolve)
    assert said["took"] < 5
    assert (said["in_vain"], said["then"]) == ("ECONNREFUSED", "ECONNREFUSED")
    assert_untouched(host, live)


def test_an_event_loop_does_not_wait_for_the_lock(several):
    host = several("silent", "live")
    script = HOLDER + dedent("""
        look_up("a.test")
        child = hold()
        waits = timed("127.211.0.2")
        pending = socket.socket()
        pending.setblocking(False)
        result = errno.errorcode[pending.connect_ex((given["addresses"][0], port))]
        took = sorted(timed("127.211.0.2") for _ in range(21))
        os.kill(child, signal.SIGKILL)
        say(waits=waits, result=result, took=took[10])
    """)
    said = run_script(host, script, {"a.test": host.addresses})
    assert said["waits"] > 2 and said["result"] == "EINPROGRESS"
    assert said["took"] < 1


def test_who_was_killed_with_the_lock_and_is_not_reaped_holds_nobody_up(several):
    host = several("refused", "live")
    script = HOLDER + dedent("""
        child = hold()
        os.kill(child, signal.SIGKILL)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        took = sorted(timed("127.211.0.2") for _ in range(50))
        look_up(given["host"])
        say(took=took[-1], then=connect(given["addresses"][0]), state=open(f"/proc/{child}/stat").read().split()[2])
    """)
    said = run_script(host, script)
    assert said["state"] == "Z"
    assert said["took"] < 2
    assert said["then"] == host.live[0], "what was looked up then is remembered"


def test_what_a_killed_holder_had_remembered_is_not_forgotten(several):
    host = several("refused", "live")
    script = HOLDER + dedent("""
        look_up(given["host"])
        for _ in range(10):
            child = hold()
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        look_up("127.211.0.3")
        say(then=connect(given["addresses"][0]))
    """)
    assert run_script(host, script, within=120) == {"then": host.live[0]}


def test_a_holder_in_another_pid_namespace_is_alive(several):
    host = several("refused", "live")
    script = HOLDER + dedent("""
        look_up("a.test")
        child = hold(in_namespace=True)
        took = timed("127.211.0.2")
        while_held = connect(given["addresses"][0])
        os.kill(child, signal.SIGKILL)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        after = timed("127.211.0.2")
        look_up("b.test")
        say(took=took, while_held=while_held, after=after, then=connect(given["addresses"][0]))
    """)
    if os.geteuid() != 0:
        pytest.skip("only root can make a PID namespace")
    # Were the table cleared because he counts as dead, a.test would be unknown.
    resolve = {"a.test": host.addresses, "b.test": host.addresses}
    said = run_script(host, script, resolve)
    assert 2 < said["took"] < 20, "he is alive, and does hold it"
    assert said["while_held"] == host.live[0]
    assert said["after"] < 2 and said["then"] == host.live[0]
