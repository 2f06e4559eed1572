# Nothing is told that is not so: who learns of the end of a connect in a way that the library does not see, or in an unlucky
# moment, gets a true account of the socket. It is connected to a live address, or it has failed as without the library.
# Nothing here may look at a socket before the program has been told, and no program may be asked twice.
import fcntl
import shutil
import subprocess

import pytest

import lab as labs
from clients import fetch, plain, script
from programs.events import assert_same, hosts, side_by_side, together
from programs.harness import ROOT, address_lab, several, start_shim
from programs.moments import late_calls


def assert_true(bare, shim):
    """Each told connection is one to a live address of the host; whatever else is told is told as without the library."""
    for line in shim.lines:
        if line["so_error"] == "0":
            assert line["peer"] != "none" and line["write"] in ("0", "EAGAIN"), (bare, shim)
        else:
            expected = bare.first
            assert (line["so_error"], line["peer"]) == (expected["so_error"], expected["peer"]), (bare, shim)
            assert line.get("events") == expected.get("events"), (bare, shim)
    assert len(shim.lines) > 0, shim


# ---- How long a wait lasts ----

# Another thread begins a connect while this one sleeps in a wait that is about something else.
LIMITED = """
import select, socket, sys, threading, time
host, port = sys.argv[1:]
where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4]
connection = socket.socket()
connection.setblocking(False)
epoll = select.epoll()
epoll.register(connection, select.EPOLLOUT | select.EPOLLET)
epoll.poll(0)
poll = select.poll()
poll.register(epoll, select.POLLIN)
waits = {
    "select": lambda: select.select([epoll], [], [], 1.5),
    "poll": lambda: poll.poll(1500),
    "epoll": lambda: nested.poll(1.5),
}
nested = select.epoll()
nested.register(epoll, select.EPOLLIN)
def sleep():
    began = time.monotonic()
    found = waits[HOW]()
    print(len(found) if HOW != "select" else len(found[0]), time.monotonic() - began)
HOW = "{how}"
thread = threading.Thread(target=sleep)
thread.start()
time.sleep(1)
connection.connect_ex(where)
thread.join()
"""


@pytest.mark.parametrize("how", ["select", "poll", "epoll"])
def test_a_wait_that_a_connect_begins_beside_lasts_as_long_as_it_was_told(several, how):
    host = several("silent", "silent")
    result = host.run(["/usr/bin/python3", "-c", LIMITED.replace("{how}", how), host.host, str(host.port)])
    found, seconds = result.stdout.split()
    assert found == "0" and 1.49 <= float(seconds), result


# ---- Ways that the library does not see ----

FAILING = hosts(("refused", "refused"), ("refused", "silent", "live"), ("refused",) * 4)
RAW = [{"wait": wait, "trigger": trigger} for wait in ("raw", "raw-ctl") for trigger in ("level", "edge")]
DUPLICATED = [
    {"wait": wait, "trigger": trigger, "others": others}
    for wait in ("dup", "dup-wait")
    for trigger in ("level", "edge")
    for others in (0, 1, 3)
]


@FAILING
@pytest.mark.parametrize("others", [0, 2])
def test_an_epoll_set_that_libc_has_not_heard_of(several, kinds, others):
    for bare, shim in side_by_side(several(*kinds), "unseen_waits", [{**case, "others": others} for case in RAW]):
        assert_true(bare, shim)


@FAILING
def test_a_duplicate_of_an_epoll_set(several, kinds):
    for bare, shim in side_by_side(several(*kinds), "unseen_waits", DUPLICATED):
        assert_true(bare, shim)


@pytest.mark.parametrize("cases", [RAW, DUPLICATED], ids=["raw", "duplicate"])
def test_a_refusal_that_was_held_back_is_told_at_last(several, cases):
    for bare, shim in side_by_side(several("refused", "silent"), "unseen_waits", cases):
        assert_true(bare, shim)


@hosts(("refused", "refused"), ("refused", "silent"), ("refused", "silent", "live"), ("refused",) * 4)
def test_sigio(several, kinds):
    for bare, shim in side_by_side(several(*kinds), "unseen_waits", [{"wait": "sigio"}]):
        assert_true(bare, shim)


@hosts(("refused", "silent"), ("refused", "silent", "live"), ("refused", "refused"))
def test_select_of_more_descriptors_than_the_library_keeps(several, kinds):
    for bare, shim in side_by_side(several(*kinds), "unseen_waits", [{"wait": "select-many"}]):
        if "limit" in bare.first:
            pytest.skip(f"at most {bare.first['limit']} descriptors")
        assert_true(bare, shim)


@hosts(("live", "refused"), ("silent", "live"))
def test_a_duplicate_of_an_epoll_set_reaches_a_live_address(several, kinds):
    host = several(*kinds)
    for shim in together(host, "unseen_waits", DUPLICATED):
        assert shim.values("events", "so_error", "peer") == ("OUT", "0", host.live[0]), shim


# ---- One fd_set for several of select's ----

SHARED = [{"wait": sets} for sets in ("we", "rw", "re", "rwe")]


@hosts(
    ("refused", "live"),
    ("refused",) * 5 + ("live",),
    ("refused", "silent", "live"),
)
def test_select_with_one_set_for_several(several, kinds):
    # As if only the live address had been asked, but for the greeting, which may have come by then.
    host = several(*kinds)
    for bare, shim in side_by_side(host, "unseen_waits", SHARED[:1], bare_host=several("live", "refused")):
        assert_same(bare, shim, "found", "set", "so_error", "write")
        assert shim.first["peer"] == host.live[0], (bare, shim)
    for shim in together(host, "unseen_waits", SHARED[1:]):
        assert shim.values("found", "so_error", "peer", "write") == ("1", "0", host.live[0], "0"), shim


@hosts(("refused", "refused"), ("refused",) * 6)
def test_select_with_one_set_for_several_tells_of_a_refusal(several, kinds):
    for bare, shim in side_by_side(several(*kinds), "unseen_waits", SHARED):
        assert_same(bare, shim, "found", "set", "so_error", "peer", "write")


PERL_LWP = """
    my $answer = LWP::UserAgent->new(timeout => 6)->get(shift);
    print $answer->status_line, "\\n", $answer->content;
    exit !$answer->is_success;
"""
PERL_IP = """
    my $connection = IO::Socket::IP->new(PeerHost => $ARGV[0], PeerPort => $ARGV[1], Timeout => 6) or die "$@\\n";
    print <$connection>;
"""
PERL = {
    "LWP": ("http", fetch("perl", "-MLWP::UserAgent", "-e", PERL_LWP), ["-MLWP::UserAgent"]),
    "IO::Socket::IP": ("greeting", plain("perl", "-MIO::Socket::IP", "-e", PERL_IP), ["-MIO::Socket::IP"]),
}
FIVE_REFUSED, SILENT_BETWEEN = ("refused",) * 5 + ("live",), ("refused", "silent", "live")
PERL_CASES = [(module, kinds) for module in PERL for kinds in (FIVE_REFUSED, SILENT_BETWEEN)]


@pytest.mark.parametrize("module, kinds", PERL_CASES, ids=lambda value: value if isinstance(value, str) else "-".join(value))
def test_perl(namespace, require, monkeypatch, module, kinds):
    protocol, words, loads = PERL[module]
    if subprocess.run([require("perl"), *loads, "-e", "1"], capture_output=True).returncode != 0:
        pytest.skip(f"perl has no {module}")
    with scenario(namespace, monkeypatch, kinds, protocol) as host:
        # Bare both leave a silent address only after their own time.
        assert_reaches(host, words(host.host, host.port), bare="silent" not in kinds)


# ---- Runtimes that reach their epoll set in other ways: a duplicate (Deno), io_uring (Node 22) ----

DENO = """
const [hostname, port] = Deno.args;
try {
  const connection = await Deno.connect({ hostname, port: Number(port) });
  const buffer = new Uint8Array(99);
  const size = await connection.read(buffer) ?? 0;
  console.log(new TextDecoder().decode(buffer.subarray(0, size)));
} catch (error) {
  console.error(String(error));
  Deno.exit(1);
}
"""

NODE = """
const [host, port, addresses] = process.argv.slice(1);
require("net").connect({ host, port, autoSelectFamily: addresses === "all" })
    .on("connect", () => console.log("connect"))
    .on("error", (error) => { console.error(error.code); process.exitCode = 1; })
    .on("data", (data) => console.log(data.toString()));
"""


def program_of_npm(package, name):
    """The path of a program that npm has, which is put into build/npm when first needed."""
    npm = shutil.which("npm") or pytest.skip("npm is not installed")
    directory = ROOT / "build" / "npm" / package.replace("@", "")
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "node_modules" / ".bin" / name
    with open(directory / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not works(path):
            words = [npm, "install", "--no-audit", "--no-fund", "--fetch-retries=1", "--prefix", directory, package]
            try:
                subprocess.run(words, capture_output=True, timeout=240)
            except subprocess.TimeoutExpired:
                pytest.skip(f"npm does not come to an end with {package}")
    return str(path) if works(path) else pytest.skip(f"npm cannot get {package}")


def works(program):
    return program.exists() and subprocess.run([program, "--version"], capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def deno():
    program = program_of_npm("deno@2.9", "deno")

    def words(host, port):
        return [program, "run", "--allow-net", "--no-prompt", script("connect.ts", DENO), host, str(port)]

    return words


@pytest.fixture(scope="module", params=["first", "all"])
def node22(request):
    program = program_of_npm("node@22", "node")
    return lambda host, port: [program, "-e", NODE, host, str(port), request.param]


def scenario(namespace, monkeypatch, kinds, protocol="greeting"):
    name = "-".join(kinds)
    monkeypatch.setitem(labs.SCENARIOS, name, list(kinds))
    return namespace.scenario(name, protocol)


def bare_and_shim(host, words):
    return host.run(words, shim=False), host.run(words, timeout=8)


def assert_reaches(host, words, bare=True):
    without, result = bare_and_shim(host, words) if bare else (None, host.run(words, timeout=8))
    for each in (without, result) if bare else (result,):
        assert f"nextaddr-live {host.live[0]}" in each.stdout and each.returncode == 0, (without, result)
    assert result.seconds < 5, result


def assert_ends_alike(host, words):
    bare, result = bare_and_shim(host, words)
    assert (result.returncode, result.stdout, result.stderr) == (bare.returncode, bare.stdout, bare.stderr)


@hosts(("refused", "refused"), ("refused",) * 4)
def test_deno_is_told_of_a_refusal(namespace, monkeypatch, deno, kinds):
    with scenario(namespace, monkeypatch, kinds) as host:
        assert_ends_alike(host, deno(host.host, host.port))


@hosts(("refused", "live"), ("refused", "silent", "live"))
def test_deno_reaches_what_it_reaches_without(namespace, monkeypatch, deno, kinds):
    with scenario(namespace, monkeypatch, kinds) as host:
        assert_reaches(host, deno(host.host, host.port))


@hosts(("refused", "refused"), ("refused",) * 4)
def test_node_22_is_told_of_a_refusal(namespace, monkeypatch, node22, kinds):
    with scenario(namespace, monkeypatch, kinds) as host:
        assert_ends_alike(host, node22(host.host, host.port))


@hosts(("refused", "live"), ("refused", "silent", "live"))
def test_node_22_reaches_a_live_address(namespace, monkeypatch, node22, kinds):
    with scenario(namespace, monkeypatch, kinds) as host:
        assert_reaches(host, node22(host.host, host.port), bare=False)


# ---- Unlucky moments ----

# Each connect(2) takes effect so much later than it is called.
LATENESS = 400
# With which the answer, 1 s after the first packet, comes while an attempt is being taken back: one by a library that leaves
# an address for its silence, and one by a library that has asked the next one before.
MOMENTS = [1150, 750]


@hosts(("silent", "silent"), ("silent", "live"))
def test_an_answer_while_another_thread_takes_the_attempt_back(several, kinds):
    host = several(*kinds)
    for late, run in answered_late(host):
        *threads, end = run.lines
        for line in threads:
            assert line["events"] == "OUT" and line["peer"] in (late, *host.live), run
        assert end["so_error"] == "0" and end["peer"] in (late, *host.live), run


def answered_late(host):
    """What each run came to, and the address before all those of the host that was late to answer in it."""
    before = late_calls("connect", LATENESS)
    runs = []
    for moment in MOMENTS:
        for wait in ("poll", "epoll"):
            late = host.lab.unused()
            env = {"NEXTADDR_DELAY": str(moment), "NEXTADDR_RESOLVE": f"{host.host}={late},{','.join(host.addresses)}"}
            arguments = {"late": late, "answers": LATENESS + 400, "joins": moment + 30, "wait": wait}
            runs.append((late, start_shim(host, "answered_late", env=env, before=before, **arguments)))
    return [(late, run.finish()) for late, run in runs]


# What is late, the way to wait, and how long after it has accepted the server resets.
RESETS = [("getsockopt", "epoll", 10), ("getsockopt", "so_error", 10), ("getsockopt", "recv", 10)]
RESETS += [("poll", "select", 10), ("poll,ppoll", "poll", 0), ("pselect6", "select", 0), ("epoll_wait,epoll_pwait", "epoll", 0)]


def test_a_reset_between_what_the_kernel_said_and_what_it_is_asked(several):
    host = several("live", "live")
    runs = []
    for calls, way, after in RESETS:
        server = host.lab.unused()
        env = {"NEXTADDR_DELAY": "2500", "NEXTADDR_RESOLVE": f"{host.host}={server},{host.live[0]}"}
        arguments = {"way": way, "after": after, "server": server}
        runs.append(start_shim(host, "reset_at_once", env=env, before=late_calls(calls, 30), **arguments))
    for run in runs:
        told = run.finish().first
        # It is connected still, or the reset has been told.
        assert told["peer"] != "none" or "ECONNRESET" in (told["so_error"], told["recv"], told.get("first")), run
        assert told["accepted"] == "1", run
    assert host.connections(host.live[0]) == 0
