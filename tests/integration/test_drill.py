# nextaddr-drill: what it finds out, says and leaves behind. Its verdicts have to be those of the same networks made by hand.
# Nothing here may open a connection outside loopback, or take the time of a run for more than this machine can promise.
import importlib.machinery
import importlib.util
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor

import pytest

import lab as labs
from clients import CLIENTS
from programs.harness import HOST, address_lab, several

DRILL = labs.ROOT / "scripts" / "nextaddr-drill"
PYTHON = [sys.executable, "-SE"]

# Connects to the first address that each HOST:PORT has, and says what it is told there.
FIRST = """
import socket, sys
def ask(place, timeout=None):
    host, port = place.rsplit(":", 1)
    family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as connection:
        connection.settimeout(timeout)
        connection.connect(address)
        return connection.recv(99).decode()
"""
ASK = FIRST + "for place in sys.argv[1:]: print(ask(place), flush=True)\n"
IMPATIENT = FIRST + "for place in sys.argv[1:]: print(ask(place, 1), flush=True)\n"
CRASH = FIRST + "import os\ntry: ask(sys.argv[1])\nexcept OSError: os.abort()\n"


def asking(host, program=ASK):
    return [*PYTHON, "-c", program, f"{host.host}:{host.port}"]


def start(host, *words, **options):
    given = ["--resolve", host.resolve] if host else []
    env = {**(host.lab.environment() if host else os.environ), **options.pop("env", {})}
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen([DRILL, *given, *words], env=env, **options)


def drill(host, *words, input=None, **options):
    if input is not None:
        options["stdin"] = subprocess.PIPE
    process = start(host, *words, **options)
    try:
        stdout, stderr = process.communicate(input, 300)
    finally:
        process.kill()
    return subprocess.CompletedProcess(words, process.returncode, stdout, stderr)


def drilled(host, tmp_path, *words, status=0, **options):
    """The results of a drill: by case, the verdicts in both columns; all of the JSON; how it ended. What is slow depends on
    the machine as well, but for what is made so."""
    path = tmp_path / "drill.json"
    result = drill(host, "--json", path, *words, **options)
    assert result.returncode == status, result
    report = json.loads(path.read_text())
    verdicts = {}
    for target in report["targets"]:
        for each in target["results"]:
            found = (each[column]["verdict"] for column in ("by_itself", "with_nextaddr"))
            verdicts[each["case"]] = tuple(verdict.removesuffix(" slowly") for verdict in found)
    return verdicts, report, result


@pytest.fixture(scope="session")
def module():
    """The program itself, for what it decides without running anything."""
    loader = importlib.machinery.SourceFileLoader("nextaddr_drill", str(DRILL))
    made = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    sys.modules[loader.name] = made
    # No byte code beside the program.
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    loader.exec_module(made)
    sys.dont_write_bytecode = before
    return made


# ---- What breaks ----


def cases_of(module, *addresses):
    target = module.Target("h.test", 80, addresses)
    return {case.id: case.rules(target) for case in module.CASES if case.rules(target)}


ALL_DEAD = {
    "all-refuse": ["h.test:80=refuse"],
    "all-silent": ["h.test:80=silent"],
    "no-such-name": ["h.test=nxdomain"],
    "name-server-in-trouble": ["h.test=tryagain"],
}


def test_what_breaks_of_one_address(module):
    assert cases_of(module, "192.0.2.1") == ALL_DEAD


def test_what_breaks_of_three_addresses(module):
    assert cases_of(module, "192.0.2.1", "192.0.2.2", "192.0.2.3") == {
        "first-refuses": ["h.test#1:80=refuse"],
        "second-refuses": ["h.test#2:80=refuse"],
        "third-refuses": ["h.test#3:80=refuse"],
        "first-silent": ["h.test#1:80=silent"],
        "first-unreachable": ["h.test#1:80=unreachable"],
        "first-resets": ["h.test#1:80=reset"],
        "first-slow": ["h.test#1:80=delay(2000)"],
        "all-but-the-last-silent": ["h.test#3:80=off", "h.test:80=silent"],
        **ALL_DEAD,
    }


def test_what_breaks_of_both_families(module):
    mixed = cases_of(module, "2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3")
    assert mixed["all-ipv6-silent"] == ["h.test#1:80=silent", "h.test#3:80=silent"]
    assert "fourth-refuses" in mixed and "fifth-refuses" not in mixed
    mostly_ipv6 = cases_of(module, *(f"2001:db8::{number}" for number in range(1, 9)), "192.0.2.1")
    assert mostly_ipv6["all-ipv6-silent"] == ["h.test#9:80=off", "h.test:80=silent"]
    assert "all-ipv6-silent" not in cases_of(module, "2001:db8::1", "2001:db8::2")


def test_what_breaks_of_more_addresses_than_the_log_names(module):
    target = module.Target("h.test", 80, tuple(f"192.0.2.{number}" for number in range(32)), left_out=8)
    assert module.all_but_the_last(target) == ["h.test#40:80=off", "h.test:80=silent"]


def test_the_library_takes_all_rules(module):
    many = [f"192.0.2.{number}" for number in range(200)]
    mixed = [address for number in range(100) for address in (f"192.0.2.{number}", f"2001:db8::{number}")]
    longest = cases_of(module, *mixed)["all-ipv6-silent"]
    others = [rule for rules in cases_of(module, *many).values() for rule in rules]
    for rules in (longest, others):
        done = subprocess.run([labs.LAUNCHER, "--fault", ";".join(rules), "true"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert len(longest) == 64


# ---- Verdicts ----


def test_each_verdict(several, tmp_path):
    host = several("live", "live", "live")
    cases = "first-refuses,first-silent,first-slow,all-refuse,no-such-name"
    verdicts, report, result = drilled(host, tmp_path, "--cases", cases, "--timeout", "8", "--jobs", "2", "--", *asking(host))
    assert verdicts == {
        "healthy": ("survives", "survives"),
        "first-refuses": ("fails cleanly", "survives"),
        "first-silent": ("hangs", "survives"),
        "first-slow": ("survives", "survives"),
        # With nobody left alive, that is what passes.
        "all-refuse": ("fails cleanly", "fails cleanly"),
        "no-such-name": ("fails cleanly", "fails cleanly"),
    }
    [target] = report["targets"]
    assert (target["host"], target["port"], target["addresses"]) == (HOST, host.port, host.addresses)
    assert report["passes"] and report["timeout"] == 8
    by_case = {each["case"]: each for each in target["results"]}
    assert by_case["first-silent"]["faults"] == [f"{HOST}#1:{host.port}=silent"]
    hangs = by_case["first-silent"]["by_itself"]
    assert (hangs["exit_status"], hangs["passes"], hangs["met"]) == (None, False, True) and hangs["seconds"] >= 8
    assert by_case["first-slow"]["by_itself"]["verdict"] == "survives slowly"
    fails = by_case["all-refuse"]["with_nextaddr"]
    assert (fails["exit_status"], fails["passes"]) == (1, True) and "refused" in fails["said"][-1]
    # The table has the same.
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80 and "\033" not in result.stdout and result.stderr == ""
    assert f"{HOST}:{host.port}, 3 addresses" in result.stdout
    assert re.search(r"^  first silent {22}hangs +\d+\.\d s +(ok|slow) +\d+\.\d s$", result.stdout, re.MULTILINE)
    assert re.search(r"^  first refuses {21}fails +\d+\.\d s \(1\)   (ok|slow) +\d+\.\d s$", result.stdout, re.MULTILINE)
    assert re.search(r"^  first slow {24}slow +\d+\.\d s ", result.stdout, re.MULTILINE)
    assert lines[-1] == "5 of 5 pass with nextaddr, 3 by itself"


def test_a_crash_is_no_clean_failure(several, tmp_path):
    host = several("live")
    verdicts, _, result = drilled(host, tmp_path, "--cases", "all-refuse", "--", *asking(host, CRASH), status=1)
    assert verdicts["all-refuse"] == ("crashes", "crashes")
    assert re.search(r"^  all refuse +crash +\d+\.\d s ABRT +crash +\d+\.\d s ABRT$", result.stdout, re.MULTILINE)
    assert "crashes: was ended by SIGABRT" in result.stdout


def test_what_was_never_met_is_told(several, tmp_path):
    host = several("live", "live")
    _, report, result = drilled(host, tmp_path, "--cases", "second-refuses", "--", *asking(host))
    [_, second] = report["targets"][0]["results"]
    assert (second["by_itself"]["passes"], second["by_itself"]["met"]) == (True, False)
    assert re.search(r"^  second refuses +(?:ok|slow) +\d+\.\d s \* ", result.stdout, re.MULTILINE)
    assert "\n* the command never came to what was broken\n" in result.stdout


def test_a_drill_takes_little_beside_its_runs(several, tmp_path):
    host = several("live", "live", "live")
    began = time.monotonic()
    verdicts, report, _ = drilled(host, tmp_path, "--require", "both", "--", *asking(host, IMPATIENT), status=1)
    took = time.monotonic() - began
    assert len(verdicts) == 1 + 12
    survived = {case for case, (_, verdict) in verdicts.items() if verdict == "survives"}
    dead = {"all-refuse", "all-silent", "no-such-name", "name-server-in-trouble", "first-resets"}
    assert survived == verdicts.keys() - dead
    runs = [each[column]["seconds"] for each in report["targets"][0]["results"] for column in ("by_itself", "with_nextaddr")]
    assert took - sum(runs) < 10


# ---- What is tried: --cases, --hosts, --runs, --require ----


def test_cases_are_globs(several, tmp_path):
    host = several("live", "live")
    verdicts, *_ = drilled(host, tmp_path, "--cases", "*-refuses,all-refuse", "--cases", "!second-*", "--", *asking(host))
    assert list(verdicts) == ["healthy", "first-refuses", "all-refuse"]


def test_hosts_and_ports_are_chosen(several, tmp_path):
    host, other = several("live", "live"), several("live")
    words = [*asking(host), f"other.test:{other.port}"]
    options = ["--resolve", f"other.test={other.addresses[0]}", "--cases", "no-such-name", "--jobs", "2"]
    _, report, _ = drilled(host, tmp_path, *options, "--hosts", f"*.test:{other.port}", "--", *words)
    assert [each["host"] for each in report["targets"]] == ["other.test"]
    wrong = drill(host, *options, "--hosts", "third.test", "--", *words)
    assert wrong.returncode == 125 and f"{HOST}:{host.port} other.test:{other.port}" in wrong.stderr


def test_a_name_breaks_once_for_all_ports(several, tmp_path):
    host, other = several("live"), several("live")
    both = f"{HOST}={host.addresses[0]},{other.addresses[0]}"
    # Two ports of one name, each at an address of its own.
    text = FIRST + f"""
for number, port in enumerate(({host.port}, {other.port})):
    with socket.socket() as connection:
        connection.connect(socket.getaddrinfo("{HOST}", port, type=socket.SOCK_STREAM)[number][4])
"""
    _, report, _ = drilled(None, tmp_path, "--resolve", both, "--cases", "no-such-name,all-refuse", "--", *PYTHON, "-c", text)
    assert [[each["case"] for each in target["results"]] for target in report["targets"]] == [
        ["healthy", "all-refuse", "no-such-name"],
        ["healthy", "all-refuse"],
    ]


@pytest.mark.parametrize("require, status", [("with-nextaddr", 0), ("by-itself", 1), ("both", 1)])
def test_the_required_column_decides(several, require, status):
    host = several("live", "live")
    result = drill(host, "--require", require, "--cases", "first-refuses", "--", *asking(host))
    assert result.returncode == status, result
    command = re.findall(r"^  \$ (.*)$", result.stdout, re.MULTILINE)
    assert len(command) == status
    for again in command:
        assert "--no-failover" in again and "ConnectionRefusedError" in result.stdout


# Fails in every second run in which it is refused, or in every second run at all.
SECOND = FIRST + """
import os
def is_second():
    open(sys.argv[2], "a").write("x")
    return os.path.getsize(sys.argv[2]) % 2 == 0
if "always" in sys.argv and is_second(): sys.exit(3)
try: ask(sys.argv[1])
except OSError: sys.exit(3 if is_second() else 0)
"""


def test_a_flaky_case_is_told(several, tmp_path):
    host = several("live", "live")
    words = ["--cases", "first-refuses", "--require", "by-itself", "--runs", "2", "--", *asking(host, SECOND), tmp_path / "count"]
    verdicts, report, result = drilled(host, tmp_path, *words, status=1)
    assert verdicts["first-refuses"] == ("fails cleanly", "survives")
    runs = report["targets"][0]["results"][1]["by_itself"]["runs"]
    assert [run["verdict"].removesuffix(" slowly") for run in runs] == ["survives", "fails cleanly"]
    assert re.search(r"^  first refuses +fails +\d+\.\d s 1/2 ", result.stdout, re.MULTILINE)
    assert "fails cleanly in 1 of 2 runs: ended with exit status 3" in result.stdout


@pytest.mark.parametrize("runs", [1, 2])
def test_a_flaky_command_is_told(several, tmp_path, runs):
    host = several("live", "live")
    count = tmp_path / "count"
    count.write_text("x" if runs == 1 else "")
    result = drill(host, "--runs", str(runs), "--", *asking(host, SECOND), count, "always")
    assert result.returncode == 125
    assert result.stderr == (
        "nextaddr-drill: the command is not repeatable: without any fault it ended with exit status 3 in 1 of 2 runs (by itself)\n"
    )


# ---- The healthy run ----


def test_a_command_that_fails_by_itself_ends_the_drill(several):
    host = several("live", "live")
    result = drill(host, "--", "sh", "-c", "echo it is broken; exit 7")
    assert (result.returncode, result.stdout) == (125, "")
    first, *said = result.stderr.splitlines()
    assert first == "nextaddr-drill: the command fails without any fault (by itself): it ended with exit status 7"
    assert said == ["    it is broken"]


def test_a_command_that_connects_nowhere(several):
    result = drill(several("live"), "--", "true")
    assert (result.returncode, result.stdout) == (125, "")
    assert result.stderr == "nextaddr-drill: the command has connected to no host by name, as far as can be seen\n"


def test_a_command_that_cannot_be_helped_is_told(several, tmp_path):
    source = tmp_path / "static.c"
    source.write_text("int main(void) { return 0; }\n")
    if subprocess.run(["cc", "-static", "-o", tmp_path / "static", source], capture_output=True).returncode:
        pytest.skip("cc -static does not work here")
    result = drill(several("live"), "--", tmp_path / "static")
    assert result.returncode == 125 and "cannot be helped: it is statically linked" in result.stderr


def test_a_server_without_its_options_is_told(several):
    result = drill(several("live"), "--timeout", "1", "--", "sleep", "1000")
    assert result.returncode == 125
    assert "did not end within 1.0 s; a server needs --ready or --probe" in result.stderr


def test_no_run_learns_of_another(several, tmp_path):
    host = several("live", "live")
    memory = tmp_path / "mine"
    env = {"NEXTADDR_MEMORY": str(memory), "NEXTADDR_FAULTS": f"{HOST}=refuse", "NEXTADDR_OFF": "1", "NEXTADDR_NO_FAILOVER": "1"}
    kept = tmp_path / "kept"
    words = ["--output", kept, "--cases", "first-refuses,second-refuses", "--", *asking(host)]
    verdicts, *_ = drilled(host, tmp_path, *words, env=env)
    # What the caller has set for other programs counts for none of the runs.
    assert verdicts["first-refuses"] == ("fails cleanly", "survives")
    assert not memory.exists()
    memories = sorted(kept.glob("**/memory"))
    assert len(memories) == 3 and all("with-nextaddr" in str(path) for path in memories)
    texts = [path.read_text(errors="replace") for path in memories]
    assert sum(host.addresses[0] in text for text in texts) >= 1


# ---- Results ----


def test_each_failure_can_be_had_again(several, tmp_path):
    host = several("live", "live")
    kept = tmp_path / "kept"
    options = ["--output", kept, "--require", "both", "--cases", "first-refuses,first-resets", "--jobs", "3"]
    _, report, result = drilled(host, tmp_path, *options, "--", *asking(host), status=1)
    [_, refuses, resets] = report["targets"][0]["results"]
    commands = [each["command"] for each in (refuses["by_itself"], resets["by_itself"], resets["with_nextaddr"])]
    assert result.stdout.count("\n  $ ") == len(commands)
    for command in commands:
        assert f"\n  $ {command}\n  | " in result.stdout
        again = subprocess.run(["sh", "-c", command], env=host.lab.environment(), capture_output=True, text=True)
        assert again.returncode == 1 and re.search(r"nextaddr: python3\S* fault ", again.stderr), again
        assert re.search("ConnectionRefusedError|ConnectionResetError", again.stderr)
    [directory] = [path for path in kept.iterdir() if path.name != "healthy"]
    run = directory / "first-refuses" / "by-itself-1"
    assert run.joinpath("command").read_text().strip() == commands[0]
    assert "ConnectionRefusedError" in run.joinpath("output").read_text()
    assert '"event":"fault"' in run.joinpath("log").read_text()
    assert '"event":"lookup"' in kept.joinpath("healthy", "by-itself-1", "log").read_text()


def test_junit(several, tmp_path):
    host = several("live", "live")
    path = tmp_path / "drill.xml"
    shouts = FIRST + "try: ask(sys.argv[1])\nexcept OSError: sys.exit('<&>\\033[2J\\x00 \\u20ac')\n"
    words = ["--junit", path, "--cases", "first-refuses,first-resets", "--", *asking(host, shouts)]
    assert drill(host, *words).returncode == 1
    root = ElementTree.parse(path).getroot()
    assert root.tag == "testsuites"
    by_itself, with_nextaddr = root
    for suite, counts in ((by_itself, ("2", "0", "2")), (with_nextaddr, ("2", "1", "0"))):
        assert (suite.tag, suite.get("errors")) == ("testsuite", "0")
        assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == counts
        assert all((test.tag, test.get("classname")) == ("testcase", f"{HOST}:{host.port}") for test in suite)
        assert float(suite.get("time")) == pytest.approx(sum(float(test.get("time")) for test in suite), abs=0.01)
    assert [test.get("name") for test in with_nextaddr] == ["first refuses, with nextaddr", "first resets, with nextaddr"]
    [result] = with_nextaddr[1]
    assert result.tag == "failure" and result.get("message") == "fails cleanly: ended with exit status 1"
    assert result.text.startswith("$ ") and result.text.endswith("\n| <&>?[2J? \u20ac")
    assert [each.tag for test in by_itself for each in test] == ["skipped"] * 2
    assert by_itself[0][0].get("message") == "not required: fails cleanly: ended with exit status 1"


def test_on_a_terminal_it_is_in_colour_and_tells_what_it_does(several):
    host = several("live", "live")
    ours, theirs = pty.openpty()
    takes_time = FIRST + "import time; time.sleep(0.3); ask(sys.argv[1])"
    words = ["--require", "both", "--cases", "first-refuses", "--", *asking(host, takes_time)]
    process = start(host, *words, stdout=theirs, stdin=theirs)
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 4096):
            said += part
    except OSError:  # how a terminal ends
        pass
    os.close(ours)
    assert process.wait(60) == 1 and process.stderr.read() == ""
    text = said.decode()
    assert re.search(r"\r\033\[K\033\[2mhealthy, by itself +\.\. 0 s\033\[0m", text)
    assert re.search(r"\033\[31mfails .*\033\[0m(\033\[32mok|\033\[33mslow) .*\033\[0m", text)
    # What is left on the screen.
    lines = [re.sub(r"\033\[[\d;]*[mK]", "", line.rstrip("\r").rpartition("\r")[2]) for line in text.split("\n")]
    table = lines[: lines.index("", 2)]
    assert len(table) == 5 and max(map(len, table)) <= 80
    assert not [line for line in lines if ".. " in line]


def test_who_reads_no_more_ends_it(several, tmp_path):
    host = several("live", "live")
    process = start(host, "--", *asking(host), env={"TMPDIR": str(tmp_path)})
    process.stdout.close()
    assert process.wait(60) == -signal.SIGPIPE and process.stderr.read() == ""
    assert list(tmp_path.iterdir()) == []


# ---- Standard input ----

READS = FIRST + """
text = sys.stdin.read()
ask(sys.argv[1])
print("read", len(text))
sys.exit(text != "x" * 100000)
"""


@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_each_run_reads_the_same(several, tmp_path, kind):
    host = several("live", "live")
    text = "x" * 100000
    words = ["--cases", "first-refuses", "--jobs", "3", "--", *asking(host, READS)]
    if kind == "pipe":
        verdicts, *_ = drilled(host, tmp_path, *words, input=text)
    else:
        (tmp_path / "input").write_text(text)
        with open(tmp_path / "input") as file:
            verdicts, *_ = drilled(host, tmp_path, *words, stdin=file)
    assert verdicts == {"healthy": ("survives",) * 2, "first-refuses": ("fails cleanly", "survives")}


def test_an_input_that_nobody_ends_holds_nothing_up(several):
    host = several("live", "live")
    reader, writer = os.pipe()
    result = drill(host, "--cases", "first-refuses", "--", *asking(host), stdin=reader)
    os.close(reader)
    os.close(writer)
    assert result.returncode == 0
    assert result.stderr == "nextaddr-drill: standard input stays open and silent: the command gets what has come so far\n"


# ---- Servers ----

# Asks the first address of the host before it is ready, and again for each request.
SERVICE = FIRST + """
import time
with socket.create_server(("127.0.0.1", 0)) as server:
    if "lazy" not in sys.argv: ask(sys.argv[1])
    print("listens on port", server.getsockname()[1], flush=True)
    while True:
        connection, _ = server.accept()
        with connection:
            try: connection.sendall(ask(sys.argv[1]).encode())
            except OSError as error: connection.sendall(str(error).encode())
"""
REQUEST = """
exec 3<>/dev/tcp/127.0.0.1/$NEXTADDR_DRILL_READY; read -r line <&3
echo "$line"; case $line in nextaddr-live*) ;; *) exit 9 ;; esac
"""
PROBE = f"exec bash -c {shlex.quote(REQUEST)}"


def test_a_server_under_test(several, tmp_path):
    host = several("live", "live")
    words = ["--ready", r"port (\d+)", "--probe", PROBE, "--cases", "first-refuses,all-refuse", "--jobs", "2"]
    _, report, result = drilled(host, tmp_path, *words, "--require", "both", "--", *asking(host, SERVICE), "lazy", status=1)
    [_, first, dead] = report["targets"][0]["results"]
    assert (first["by_itself"]["verdict"], first["by_itself"]["exit_status"]) == ("fails cleanly", 9)
    assert first["with_nextaddr"]["passes"]
    assert (dead["by_itself"]["verdict"], dead["with_nextaddr"]["verdict"]) == ("fails cleanly",) * 2
    assert "ended with exit status 9 (of --probe)" in result.stdout and "| listens on port" in result.stdout


def test_a_server_that_is_not_ready(several, tmp_path):
    host = several("live", "live")
    words = ["--ready", "listens", "--cases", "first-refuses,all-silent", "--timeout", "6", "--jobs", "2"]
    verdicts, _, result = drilled(host, tmp_path, *words, "--require", "both", "--", *asking(host, SERVICE), status=1)
    assert verdicts["first-refuses"] == ("fails cleanly", "survives") and verdicts["all-silent"] == ("hangs", "hangs")
    assert "ended with exit status 1 before it was ready" in result.stdout
    assert re.search(r"hangs: did not end within 6\.\d s: it has not said that it is ready", result.stdout)


# ---- Its end ----

# Leaves a process in a session of its own behind, and waits for somebody who is silent.
STAYS = FIRST + """
import os, signal
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open(sys.argv[2], "a").write(f"{os.getpid()}\\n")
    signal.pause()
ask(sys.argv[1])
"""


def is_running(process):
    try:
        with open(f"/proc/{process}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def started(path):
    return [int(line) for line in path.read_text().split()] if path.exists() else []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing_behind(several, tmp_path, number):
    host = several("live", "live")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    pids = tmp_path / "pids"
    words = ["--cases", "all-silent", "--jobs", "2", "--timeout", "100", "--", *asking(host, STAYS), pids]
    process = start(host, *words, env={"TMPDIR": str(temporary)})
    # Two healthy runs, then the two of the case, which are going to stay.
    deadline = time.monotonic() + 60
    while len(started(pids)) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    healthy, hanging = started(pids)[:2], started(pids)[2:]
    assert len(hanging) == 2 and not any(map(is_running, healthy))
    process.send_signal(number)
    assert process.wait(60) == -number
    assert process.stderr.read() == ""
    assert not any(map(is_running, hanging)) and list(temporary.iterdir()) == []


def test_what_hangs_is_ended_with_all_it_has_started(several, tmp_path):
    host = several("live", "live")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    pids = tmp_path / "pids"
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + STAYS
    words = ["--cases", "all-silent", "--jobs", "2", "--timeout", "6", "--", *asking(host, stubborn), pids]
    verdicts, *_ = drilled(host, tmp_path, *words, env={"TMPDIR": str(temporary)}, status=1)
    assert verdicts["all-silent"] == ("hangs", "hangs")
    assert len(started(pids)) == 4 and not any(map(is_running, started(pids)))
    assert list(temporary.iterdir()) == []


# ---- Wrong usage ----


@pytest.mark.parametrize(
    "words, says",
    [
        ([], "no command"),
        (["--"], "no command"),
        (["--nonsense", "1", "true"], "--nonsense"),
        (["--cases", "first-explodes", "true"], "'first-explodes': there is no such case; these are: first-refuses "),
        (["--cases", "a,,b", "true"], "an entry is empty"),
        (["--runs", "0", "true"], "--runs"),
        (["--jobs", "many", "true"], "--jobs"),
        (["--timeout", "-1", "true"], "--timeout"),
        (["--require", "luck", "true"], "--require"),
        (["--ready", "(", "true"], "--ready '('"),
        (["--junit", "/no/such/directory/x", "true"], "--junit"),
        (["--output", "/proc/nonsense", "true"], "--output"),
        (["--output", "/", "true"], "must be a new directory"),
        (["--resolve", "nonsense", "true"], "--resolve 'nonsense': must be HOST=ADDR"),
        (["--delay=1", "true"], "--delay '1': must be a plain decimal number"),
        (["no-such-command"], "'no-such-command' is not found"),
        (["--fault", "x=refuse", "true"], "--fault"),
    ],
)
def test_wrong_usage(words, says):
    result = drill(None, *words)
    assert (result.returncode, result.stdout) == (125, ""), result
    assert re.fullmatch(r"nextaddr-drill: [^\n]+\n", result.stderr) and says in result.stderr, result.stderr


def test_the_version_is_the_launchers():
    assert drill(None, "--version").stdout == subprocess.run([labs.LAUNCHER, "--version"], capture_output=True, text=True).stdout


# ---- Real programs: the verdicts are those of a network that is made by hand ----

NODE_RETRY = """
const net = require("net"), [host, port] = process.argv.slice(1);
function attempt(left) {
  // The first address only, and again when it is not there.
  const socket = net.connect({host, port, autoSelectFamily: false});
  socket.setTimeout(1500, () => socket.destroy(new Error("timeout")));
  socket.on("data", (data) => { console.log(data.toString()); process.exit(0); });
  socket.on("error", (error) => {
    if (left > 0) return setTimeout(attempt, 100, left - 1);
    console.error(error.message);
    process.exit(1);
  });
}
attempt(2);
"""
BY_HAND = {"first-refuses": "refused-first", "first-silent": "silent-first", "all-refuse": "all-refused"}


def client(name):
    [found] = [client for client in CLIENTS if client.name == name]
    return found.protocol, found.words


REACH = {
    "curl": ("curl", *client("curl")),
    "psql": ("psql", *client("psql")),
    "java": ("javac", *client("java Socket")),
    "node": ("node", "greeting", lambda host, port: ["node", "-e", NODE_RETRY, host, str(port)]),
}


@pytest.mark.parametrize("name", REACH)
def test_verdicts_agree_with_what_is_done_by_hand(loopback, require, tmp_path, name):
    tool, protocol, words = REACH[name]
    require(tool)
    timeout = 9

    def by_hand(case, failover):
        with loopback.scenario(BY_HAND[case], protocol) as host:
            result = host.run(words(host.host, host.port), failover=failover, timeout=timeout)
        return "hangs" if result.timed_out else "fails cleanly" if result.returncode else "survives"

    with ThreadPoolExecutor(3) as pool, loopback.scenario("live-first", protocol) as host:
        expected = {case: [pool.submit(by_hand, case, failover) for failover in (False, True)] for case in BY_HAND}
        options = ["--cases", ",".join(BY_HAND), "--timeout", str(timeout), "--jobs", "3", "--require", "by-itself"]
        path = tmp_path / "drill.json"
        result = drill(host, *options, "--json", path, "--", *words(host.host, host.port))
        assert result.returncode in (0, 1), result
        found = {each["case"]: each for each in json.loads(path.read_text())["targets"][0]["results"]}
        for case, futures in expected.items():
            # Nobody has said how long it may take by hand.
            said = [found[case][column]["verdict"].removesuffix(" slowly") for column in ("by_itself", "with_nextaddr")]
            assert said == [future.result() for future in futures], (case, result.stdout)
    assert found["first-silent"]["with_nextaddr"]["verdict"].startswith("survives")


# Starts a service and makes the request of the drill, by hand.
SERVED = """
"$@" >port &
until [ -s port ]; do sleep 0.05; done
export NEXTADDR_DRILL_READY=$(sed "s/.* //" port)
sh -c "$PROBE"
status=$?
kill $!
exit $status
"""


def test_the_verdict_about_a_service_agrees_too(loopback, tmp_path):
    """A service in Python that asks a database for each request."""

    def by_hand(kind, failover):
        directory = tmp_path / f"{kind}-{failover}"
        directory.mkdir()
        with loopback.scenario(kind, "greeting") as host:
            words = ["env", "-C", str(directory), "sh", "-c", SERVED, "sh", *asking(host, SERVICE), "lazy"]
            result = host.run(words, failover=failover, env={"PROBE": PROBE}, timeout=60)
        return "fails cleanly" if result.returncode else "survives"

    with loopback.scenario("live-first", "greeting") as host:
        options = ["--ready", r"port (\d+)", "--probe", PROBE, "--cases", "first-refuses,all-refuse", "--jobs", "2"]
        verdicts, *_ = drilled(host, tmp_path, *options, "--", *asking(host, SERVICE), "lazy")
    for case in ("first-refuses", "all-refuse"):
        expected = tuple(by_hand(BY_HAND[case], failover) for failover in (False, True))
        assert verdicts[case] == expected
