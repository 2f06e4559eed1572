# No connect to an address that its own host does not have, nor to another service of one it has: not when memory is
# short, not when processes die in the middle of a lookup, not when they have given up their rights.
# The programs are short scripts for Python, which makes libc's calls; what each is given is in its environment.
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
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
    argv = [*before, PYTHON, "-S", "-c", PRELUDE + dedent(script).lstrip()]
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


# ---- Another service ----


class FtpServer:
    """X accepts the control connection, and its passive port refuses; Y, of the same name, has that port open for
    another client."""

    def __init__(self, x, y):
        self.control = socket.create_server((x, 0))
        self.port = self.control.getsockname()[1]
        self.other = socket.create_server((y, 0))
        self.passive = self.other.getsockname()[1]
        self.taken = 0
        for serve in (self._serve_control, self._serve_other):
            threading.Thread(target=serve, daemon=True).start()

    def close(self):
        for listening in (self.control, self.other):
            listening.shutdown(socket.SHUT_RDWR)
            listening.close()

    def _serve_control(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.control.accept()
                threading.Thread(target=self._talk, args=[connection], daemon=True).start()

    def _talk(self, connection):
        high, low = divmod(self.passive, 256)
        address = connection.getsockname()[0].replace(".", ",")
        answers = {
            "USER": "331 password", "PASS": "230 in", "PWD": '257 "/"', "TYPE": "200 type", "SIZE": "213 5", "CWD": "250 there",
            "SYST": "215 UNIX Type: L8", "EPSV": f"229 passive (|||{self.passive}|)", "QUIT": "221 bye", "OPTS": "200 done",
            "PASV": f"227 passive ({address},{high},{low})", "RETR": "425 no data connection", "LIST": "425 no data connection",
        }  # fmt: skip
        with contextlib.suppress(OSError), connection, connection.makefile("rw", encoding="latin-1", newline="\r\n") as lines:
            print("220 ready", file=lines, flush=True)
            for line in lines:
                word = line.split()[0].upper()
                print(answers.get(word, "226 given up" if "ABOR" in word else "502 unknown"), file=lines, flush=True)
                if word == "QUIT":
                    return

    def _serve_other(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.other.accept()
                self.taken += 1
                connection.sendall(b"the other client's data\n")
                connection.close()


FTP_CLIENTS = {
    "curl-epsv": ["curl", "-sS", "--max-time", "10", "ftp://{host}:{port}/file"],
    "curl-pasv": ["curl", "-sS", "--max-time", "10", "--disable-epsv", "ftp://{host}:{port}/file"],
    "wget": ["wget", "-q", "-O", "-", "-t", "1", "-T", "10", "ftp://{host}:{port}/file"],
    "lftp": ["lftp", "-c", "set net:max-retries 1; set net:timeout 10; set cmd:fail-exit true; cat ftp://{host}:{port}/file"],
    "python": [PYTHON, "-c", "import ftplib, sys; f = ftplib.FTP(); f.connect('{host}', {port}); f.login(); f.retrbinary('RETR file', print)"],
}


@pytest.mark.parametrize("client", FTP_CLIENTS)
def test_a_passive_port_is_that_servers_alone(several, require, client):
    require(FTP_CLIENTS[client][0])
    host = several("refused", "refused")
    x, y = host.addresses
    server = FtpServer(x, y)
    try:
        argv = [word.format(host=HOST, port=server.port) for word in FTP_CLIENTS[client]]
        result = host.run(argv, timeout=10)
    finally:
        server.close()
    assert "the other client's data" not in result.stdout, result
    assert server.taken == 0
    # lftp says so, too, but then waits for more.
    assert result.returncode != 0 and (client == "lftp" or not result.timed_out), result


def test_a_control_connection_that_has_moved_on_is_asked_where_it_is(several, require):
    # The name's first address is dead, and the server that accepts has its passive port open.
    host = several("refused", "refused")
    x, y = host.addresses
    server = FtpServer(y, y)
    try:
        result = host.run([require("curl"), "-sS", "--max-time", "10", f"ftp://{HOST}:{server.port}/file"], timeout=40)
    finally:
        server.close()
    assert server.taken == 1, result


# What a script with two services of one host does: where the first is connected the second refuses, and moves on.
TWO_SERVICES = """
    first = socket.create_server((given["addresses"][0], 0))
    second = socket.create_server((given["addresses"][1], 0))
    ports = [each.getsockname()[1] for each in (first, second)]
    {before}
    look_up(given["host"])
    a = connect(given["addresses"][0], ports[0], stay=True)
    peer = first.accept()[0]
    if given["speaks"]:
        peer.sendall(b"hello")
        a.recv(5)
    if not given["stays"]:
        a.close()
    say(answer=connect(given["addresses"][0], ports[1]))
"""


@pytest.mark.parametrize(
    "before, speaks, stays, moves",
    [
        ("", True, True, False),
        ("", False, True, True),
        ("", True, False, True),
        ("look_up(given['host'], ports[1])", True, True, True),
        ("look_up(given['host'], ports[0])", True, True, False),
        ("look_up('other.test', ports[1])", True, True, False),
        ("connect(given['addresses'][0], ports[1])", True, True, False),
        ("look_up(given['host']); connect(given['addresses'][0], ports[1])", True, True, True),
    ],
    ids=["learnt", "silent", "closed", "looked up", "another looked up", "of another host", "unknown then", "first connected to"],
)
def test_two_services_of_one_host(several, before, speaks, stays, moves):
    host = several("refused", "refused")
    x, y = host.addresses
    resolve = {host.host: [x, y], "other.test": [host.lab.unused()]}
    said = run_script(host, TWO_SERVICES.format(before=before), resolve, speaks=speaks, stays=stays)
    assert said == {"answer": y if moves else "ECONNREFUSED"}


# ---- Numbers ----


NUMBERS = {
    # What is done between the lookup of the name and that of its first address as a number, and whether that is then
    # the name's.
    "handed on": ("", True),
    "handed on as v4-mapped": ("number = '::ffff:' + number", True),
    "in another thread": ("thread(look_up, given['host'])", True),
    "twice": ("look_up(number)", True),
    "twice, and connected between": ("look_up(number); connect(number)", True),
    "for the same service": ("look_up(given['host'], port); service = port", True),
    "the name for none": ("service = port", True),
    "for another service": ("look_up(given['host'], port + 1); service = port", False),
    "another of its addresses before": ("look_up(other)", False),
    "another of its addresses long before": ("look_up(other); look_up(given['host'])", False),
    "another of its addresses connected": ("s = connect(other, stay=True)", False),
    "another of its addresses was connected": ("connect(other)", True),
    "another host connected": ("s = connect(given['strange'], stay=True)", True),
    "of two names": ("look_up('same.test')", True),
    "of another name as well": ("look_up('alone.test')", False),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_a_number_that_repeats_what_was_found(several, case):
    before, moves = NUMBERS[case]
    host = several("refused", "live", "live")
    first, live, strange = host.addresses
    resolve = {host.host: [first, live], "same.test": [first, live], "alone.test": [first]}
    script = dedent("""
        import threading
        def thread(*call):
            other = threading.Thread(target=call[0], args=call[1:])
            other.start()
            other.join()
        number, other, *_ = given["addresses"]
        service = None
        look_up(given["host"])
        BEFORE
        look_up(number, service)
        say(answer=connect(given["addresses"][0]))
    """).replace("BEFORE", before)
    said = run_script(host, script, resolve, strange=strange)
    assert said == {"answer": live if moves else "ECONNREFUSED"}


def test_a_number_that_was_found_long_ago(several):
    host = several("refused", "live")
    script = """
        look_up(given["host"])
        time.sleep(10.5)
        look_up(given["addresses"][0])
        say(answer=connect(given["addresses"][0]))
    """
    assert run_script(host, script) == {"answer": "ECONNREFUSED"}


def test_a_number_that_another_process_was_given(several):
    # A child has looked the name up. The parent's number is a host of its own.
    host = several("refused", "live")
    script = """
        if os.fork() == 0:
            look_up(given["host"])
            os._exit(0)
        os.wait()
        look_up(given["addresses"][0])
        say(answer=connect(given["addresses"][0]))
    """
    assert run_script(host, script) == {"answer": "ECONNREFUSED"}


def test_members_that_are_addressed_by_number(several):
    # As of a Redis Cluster: the name leads to one of them, and that one tells of the others by their numbers.
    host = several("live", "refused", "live")
    seed, dead, other = host.addresses
    script = """
        seed, dead, other = look_up(given["host"], port)
        first = connect(seed, stay=True)
        first.recv(1)
        answers = []
        for member in (seed, dead, other):
            look_up(member, port)
            answers.append(connect(member))
        say(answers=answers)
    """
    assert run_script(host, script) == {"answers": [seed, "ECONNREFUSED", other]}


@pytest.mark.parametrize("node", ["number", "name"])
@pytest.mark.parametrize("order", [1, -1])
def test_a_lookup_made_to_bind_counts_for_nothing(several, node, order):
    host = several("refused", "live")
    script = """
        lookups = [lambda: look_up(given["host"]), lambda: look_up(given["to_bind"], port, flags=socket.AI_PASSIVE)]
        for each in lookups[:: given["order"]]: each()
        say(answer=connect(given["addresses"][0]))
    """
    first, live = host.addresses
    to_bind = first if node == "number" else "to-bind.test"
    said = run_script(host, script, {host.host: [first, live], "to-bind.test": [first]}, order=order, to_bind=to_bind)
    assert said == {"answer": live}
