# What scripts/nextaddr promises: the command runs as if it had been started directly, every setting is
# checked before it starts, and a command that cannot be helped is named with the reason.
# Nothing here may open a connection, write outside a temporary directory, or depend on the engine.
import ipaddress
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = ROOT / "scripts" / "nextaddr"
LIBRARY = ROOT / "build" / "libnextaddr.so"
NOBODY = 65534

# Variables that a shell sets by itself.
SHELL_VARIABLES = {"PWD", "OLDPWD", "SHLVL", "_"}


def clean_environment(**extra):
    """The environment of this test run without any setting of nextaddr, and `extra`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("NEXTADDR_") and k != "LD_PRELOAD"}
    return {**kept, **extra}


def run(*words, launcher=LAUNCHER, env=None, **options):
    options = {"capture_output": True, "text": True, "timeout": 30, **options}
    return subprocess.run([launcher, *words], env=clean_environment(**(env or {})), **options)


def environment_of(*options, env=None, **more):
    """The environment that a command gets."""
    result = run(*options, "env", "-0", env=env, **more)
    assert (result.returncode, result.stderr) == (0, "")
    return dict(entry.split("=", 1) for entry in result.stdout.split("\0") if entry)


def settings_of(*options, env=None):
    return {k: v for k, v in environment_of(*options, env=env).items() if k.startswith("NEXTADDR_")}


def assert_refused(result, *mentions):
    """Exit status 125, and one line that says all of this."""
    assert result.returncode == 125
    assert result.stdout == ""
    assert re.fullmatch(r"nextaddr: [^\n]+\n", result.stderr), result.stderr
    for mention in mentions:
        assert mention in result.stderr


def assert_warned(result, *mentions):
    first, _, rest = result.stderr.partition("\n")
    assert first.startswith("nextaddr: warning: ")
    assert "warning" not in rest
    for mention in mentions:
        assert mention in first


def executable(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture(scope="session", autouse=True)
def library():
    assert LIBRARY.is_file(), "run make first"
    return LIBRARY


# ---- Sample programs ----


def compile_c(path, source, *flags):
    command = ["cc", "-x", "c", "-", "-o", path, *flags]
    done = subprocess.run(command, input=source, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        pytest.skip(f"cc {' '.join(flags)} does not work here: {done.stderr.splitlines()[-1]}")
    return path


EXIT_STATUS = """
#include <stdlib.h>
int main(int argc, char** argv) { return argc > 1 ? atoi(argv[1]) : 0; }
"""
# Written into every Go binary by its linker.
GO_MARKER = r'__attribute__((used)) const char marker[] = "\xff" " Go buildinf:";' "\n"


@pytest.fixture(scope="session")
def samples(tmp_path_factory):
    """sample(kind): a program of that kind, whose exit status is its first argument."""
    directory = tmp_path_factory.mktemp("samples")
    recipes = {
        "dynamic": (EXIT_STATUS,),
        "static": (EXIT_STATUS, "-static"),
        "static-pie": (EXIT_STATUS, "-static-pie"),
        "go": (GO_MARKER + EXIT_STATUS,),
        "static-go": (GO_MARKER + EXIT_STATUS, "-static"),
        "uClibc": (EXIT_STATUS, "-Wl,--dynamic-linker=/lib/ld-uClibc.so.0"),
        "probe": ("", "-shared", "-fPIC"),
    }

    def sample(kind):
        path = directory / kind
        return path if path.exists() else compile_c(path, *recipes[kind])

    return sample


def elf(bits, order, machine, interpreter=None, table=0):
    """The start of an ELF program: header, one PT_LOAD, and PT_INTERP when there is an interpreter."""
    wide = bits == 64
    header_size, entry_size = (64, 56) if wide else (52, 32)
    table = table or header_size
    text = (interpreter or "").encode() + b"\0"
    text_at = table + 2 * entry_size
    entries = [(1, 0, 0x1000), (3, text_at, len(text))] if interpreter else [(1, 0, 0x1000)]
    word = "Q" if wide else "I"
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    header = ident + struct.pack(
        f"{order}HHI{word}{word}{word}IHHHHHH",
        2, machine, 1, 0, table, 0, 0, header_size, entry_size, len(entries), 0, 0, 0,
    )  # fmt: skip
    body = b""
    for kind, offset, size in entries:
        if wide:
            body += struct.pack(f"{order}IIQQQQQQ", kind, 4, offset, 0, 0, size, size, 1)
        else:
            body += struct.pack(f"{order}IIIIIIII", kind, offset, 0, 0, size, size, 4, 1)
    return (header.ljust(table, b"\0") + body.ljust(2 * entry_size, b"\0") + text).ljust(1024, b"\0")


@pytest.fixture
def crafted(tmp_path):
    def make(*args, **options):
        path = tmp_path / "crafted"
        path.write_bytes(elf(*args, **options))
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def public():
    """A directory that every user may enter, with the launcher and the library installed below it."""
    with tempfile.TemporaryDirectory(prefix="nextaddr-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        install(directory)
        yield directory


@pytest.fixture
def nobody():
    """How to run a command as a user without privileges."""
    if os.geteuid() != 0:
        return {}
    return {"user": NOBODY, "group": NOBODY, "extra_groups": [], "cwd": "/"}


def install(prefix, library="lib/nextaddr/libnextaddr.so"):
    for source, target in ((LAUNCHER, prefix / "bin" / "nextaddr"), (LIBRARY, prefix / library)):
        target.parent.mkdir(parents=True)
        shutil.copy(source, target)
    return prefix / "bin" / "nextaddr"


# ---- The command runs as if it had been started directly ----


@pytest.mark.parametrize("status", [0, 1, 42, 125, 126, 127, 255])
def test_the_exit_status_is_the_commands(status):
    result = run("sh", "-c", f"exit {status}")
    assert (result.returncode, result.stdout, result.stderr) == (status, "", "")


def test_a_command_that_kills_itself_is_seen_as_killed():
    assert run("sh", "-c", "kill -KILL $$").returncode == -signal.SIGKILL


def test_the_command_has_the_process_id_of_the_launcher():
    with subprocess.Popen([LAUNCHER, "sh", "-c", "echo $$"], stdout=subprocess.PIPE, text=True) as process:
        assert int(process.communicate(timeout=30)[0]) == process.pid


def test_a_signal_to_the_launcher_reaches_the_command():
    with subprocess.Popen([LAUNCHER, "sleep", "60"]) as process:
        name = Path(f"/proc/{process.pid}/comm")
        while name.read_text() != "sleep\n":
            assert process.poll() is None
            time.sleep(0.01)
        process.terminate()
        assert process.wait(30) == -signal.SIGTERM


def test_arguments_arrive_as_they_are():
    words = [b"", b"a b", b"a\nb", b"\n", b"*", b"$HOME", b"`id`", b"--off", b"--", b"\xff", b"'\"\\"]
    result = run("printf", r"%s\0", *words, text=False)
    assert result.stdout == b"".join(word + b"\0" for word in words)


def test_the_command_sees_its_own_name_as_it_was_given():
    assert run("cat", "/proc/self/cmdline").stdout == "cat\0/proc/self/cmdline\0"


def test_standard_input_is_left_to_the_command():
    data = bytes(range(256)) * 1000
    assert run("cat", input=data, text=False).stdout == data


def test_the_working_directory_stays(tmp_path):
    assert run("pwd", cwd=tmp_path).stdout == f"{tmp_path}\n"


def test_no_variable_of_the_caller_is_changed():
    script = LAUNCHER.read_text()
    assigned = set(re.findall(r"(?:^\s*|; |\bfor |\bread -r )([A-Za-z_]\w*)(?==| in |\s*<)", script, re.M))
    assert {"VERSION", "na_line", "na_entry", "na_check"} <= assigned
    given = {name: "kept" for name in assigned if not name.startswith(("na_", "NEXTADDR_"))}
    # No shell passes IFS on, and LD_PRELOAD is what the launcher is for.
    for name in ("IFS", "LD_PRELOAD"):
        given.pop(name, None)
    before = clean_environment(**given, NEXTADDR_MEMORY="off", EMPTY="", TWO_LINES="a\nb")
    after = environment_of(env=before)
    assert after.pop("LD_PRELOAD") == str(LIBRARY)
    ignored = SHELL_VARIABLES | {"IFS"}
    assert {k: v for k, v in after.items() if k not in ignored} == {
        k: v for k, v in before.items() if k not in ignored
    }


@pytest.mark.parametrize("shell", ["dash", "bash --posix", "busybox sh"])
def test_any_posix_shell_runs_the_launcher(shell, samples):
    words = shell.split()
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    options = ["--resolve", "db=10.0.0.1,[::1],1::2:10.0.0.1", "--only", "a[b-c]*:80,d", "--delay=100"]
    result = subprocess.run(
        [*words, LAUNCHER, *options, samples("dynamic"), "42"],
        env=clean_environment(), capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert (result.returncode, result.stdout, result.stderr) == (42, "", "")
    check = subprocess.run([*words, LAUNCHER, "--check", samples("static")], capture_output=True, text=True)
    assert check.stdout.splitlines()[-1] == "cannot be helped: it is statically linked"
    bad = subprocess.run([*words, LAUNCHER, "--resolve", "a b=::1", "true"], capture_output=True, text=True)
    assert_refused(bad, "--resolve 'a b=::1'")


# ---- LD_PRELOAD ----


def test_the_library_is_really_loaded():
    assert str(LIBRARY) in run("cat", "/proc/self/maps").stdout


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "{lib}"),
        ("{a}", "{lib}:{a}"),
        ("{a} {b}", "{lib}:{a}:{b}"),
        ("{a}::{b}:", "{lib}:{a}:{b}"),
        ("{lib}", "{lib}"),
        ("{a}:{lib}:{b}", "{lib}:{a}:{b}"),
        ("{other}/libnextaddr.so", "{lib}"),
        ("{asan}", "{asan}:{lib}"),
        ("{asan}:{a}:{lib}", "{asan}:{lib}:{a}"),
    ],
)
def test_an_existing_preload_is_kept(samples, tmp_path, before, after):
    names = {"lib": LIBRARY, "other": tmp_path / "other"}
    for key, name in (("a", "first.so"), ("b", "second.so"), ("asan", "libasan.so.8")):
        names[key] = Path(shutil.copy(samples("probe"), tmp_path / name))
    names["other"].mkdir()
    shutil.copy(LIBRARY, names["other"])
    env = {"LD_PRELOAD": before.format(**names)}
    assert environment_of(env=env)["LD_PRELOAD"] == after.format(**names)


def test_the_launcher_below_itself_lists_the_library_once():
    assert environment_of(str(LAUNCHER))["LD_PRELOAD"] == str(LIBRARY)


# ---- Where the library is found ----


@pytest.mark.parametrize(
    "library", ["lib/nextaddr/libnextaddr.so", "lib/x86_64-linux-gnu/libnextaddr.so", "lib/libnextaddr.so"]
)
def test_an_installed_launcher_finds_the_library_beside_it(tmp_path, library):
    launcher = install(tmp_path, library)
    assert environment_of(launcher=launcher)["LD_PRELOAD"] == str(tmp_path / library)


def test_symlinks_to_the_launcher_are_followed(tmp_path):
    (tmp_path / "one").symlink_to(LAUNCHER)
    (tmp_path / "two").symlink_to("one")
    assert environment_of(launcher=tmp_path / "two")["LD_PRELOAD"] == str(LIBRARY)


@pytest.mark.parametrize("name", ["bin/nextaddr", "./bin/nextaddr", "bin/../bin/nextaddr"])
def test_a_relative_launcher_still_preloads_an_absolute_path(tmp_path, name):
    install(tmp_path)
    # With CDPATH, cd(1) could go to another directory and print it.
    (tmp_path / "elsewhere" / "bin").mkdir(parents=True)
    found = environment_of(launcher=name, cwd=tmp_path, env={"CDPATH": str(tmp_path / "elsewhere")})
    assert found["LD_PRELOAD"] == str(tmp_path / "lib/nextaddr/libnextaddr.so")


def test_the_launcher_is_found_through_path(tmp_path):
    install(tmp_path)
    env = clean_environment(PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    done = subprocess.run(["sh", "-c", "nextaddr env"], env=env, capture_output=True, text=True, timeout=30)
    assert f"LD_PRELOAD={tmp_path}/lib/nextaddr/libnextaddr.so\n" in done.stdout


def test_without_a_library_nothing_runs(tmp_path):
    launcher = install(tmp_path)
    shutil.rmtree(tmp_path / "lib")
    assert_refused(run("touch", tmp_path / "ran", launcher=launcher), str(tmp_path), "make", "NEXTADDR_LIB")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["with space", "with:colon", "with\ttab", "with\nnewline"])
def test_a_path_that_ld_preload_cannot_hold_is_refused(tmp_path, name):
    launcher = install(tmp_path / name)
    assert_refused(run("true", launcher=launcher), "LD_PRELOAD")
    assert_refused(run("true", env={"NEXTADDR_LIB": str(tmp_path / name / "lib/nextaddr/libnextaddr.so")}))


def test_nextaddr_lib_names_another_library(samples, tmp_path):
    probe = str(shutil.copy(samples("probe"), tmp_path / "probe.so"))
    assert environment_of(env={"NEXTADDR_LIB": probe})["LD_PRELOAD"] == probe
    relative = environment_of(env={"NEXTADDR_LIB": "probe.so"}, cwd=tmp_path)
    assert relative["LD_PRELOAD"] == probe
    twice = environment_of(env={"NEXTADDR_LIB": probe, "LD_PRELOAD": probe})
    assert twice["LD_PRELOAD"] == probe


@pytest.mark.parametrize("value", ["/nonexistent/libnextaddr.so", "/", "/etc/passwd", "/dev/null"])
def test_a_bad_nextaddr_lib_is_refused(value):
    assert_refused(run("true", env={"NEXTADDR_LIB": value}), value)


# ---- Options and variables ----


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ([], {}),
        (["--resolve", "db=10.0.0.1,::1"], {"RESOLVE": "db=10.0.0.1,::1"}),
        (["--resolve", "a=10.0.0.1", "--resolve=b=[::1]"], {"RESOLVE": "a=10.0.0.1;b=[::1]"}),
        (["--only", "*.example.org"], {"ONLY": "*.example.org"}),
        (["--only=a", "--only", "b:80"], {"ONLY": "a,b:80"}),
        (["--skip", "*", "--only", "*:5432"], {"SKIP": "*", "ONLY": "*:5432"}),
        (["--skip=db-[0-9]?", "--skip=c,d"], {"SKIP": "db-[0-9]?,c,d"}),
        (["--delay", "10"], {"DELAY": "10"}),
        (["--delay=10000"], {"DELAY": "10000"}),
        (["--delay", "20", "--delay=auto"], {"DELAY": "auto"}),
        (["--memory", "off"], {"MEMORY": "off"}),
        (["--memory=/tmp/memory"], {"MEMORY": "/tmp/memory"}),
        (["--memory", "/tmp/memory", "--memory=off"], {"MEMORY": "off"}),
        (["--dns-ports", "53"], {"DNS_PORTS": "53"}),
        (["--dns-ports=1", "--dns-ports=53,8600,65535"], {"DNS_PORTS": "53,8600,65535"}),
        (["-v"], {"LOG": "info"}),
        (["--log", "error"], {"LOG": "error"}),
        (["--log=debug", "-v"], {"LOG": "info"}),
        (["-v", "--log=off"], {"LOG": "off"}),
        (["--log=error"], {"LOG": "error"}),
        (["--log-format=text"], {"LOG_FORMAT": "text"}),
        (["--log-format", "json"], {"LOG_FORMAT": "json"}),
        (["--seed", "0"], {"SEED": "0"}),
        (["--seed=1", "--seed=4294967295"], {"SEED": "4294967295"}),
        (["--no-failover"], {"NO_FAILOVER": "1"}),
        (["--no-probes"], {"PROBES": "0"}),
        (["--no-deepbind"], {"DEEPBIND": "0"}),
        (["--off", "--fault", "a=refuse"], {"OFF": "1", "FAULTS": "a=refuse"}),
        (["--off", "--fault=a=refuse", "--fault", "b = off"], {"OFF": "1", "FAULTS": "a=refuse;b = off"}),
        (["--off"], {"OFF": "1"}),
        (["--off", "--"], {"OFF": "1"}),
    ],
)
def test_an_option_sets_its_variable(options, settings):
    assert settings_of(*options) == {f"NEXTADDR_{name}": value for name, value in settings.items()}


@pytest.mark.parametrize(
    ("variable", "value", "option", "replaced"),
    [
        ("RESOLVE", "a=10.0.0.1;b=10.0.0.2", "--resolve=c=10.0.0.3", "c=10.0.0.3"),
        ("ONLY", "a,b:80", "--only=c", "c"),
        ("SKIP", "a", "--skip=c", "c"),
        ("DELAY", "100", "--delay=auto", "auto"),
        ("MEMORY", "/tmp/memory", "--memory=off", "off"),
        ("DNS_PORTS", "53", "--dns-ports=53,8600", "53,8600"),
        ("LOG", "error", "-v", "info"),
        ("LOG_FILE", "/dev/null", "--log-file=/dev/stderr", "/dev/stderr"),
        ("LOG_FORMAT", "text", "--log-format=json", "json"),
        ("OFF", "0", "--off", "1"),
        ("SEED", "5", "--seed=6", "6"),
        ("NO_FAILOVER", "0", "--no-failover", "1"),
        ("PROBES", "1", "--no-probes", "0"),
        ("DEEPBIND", "1", "--no-deepbind", "0"),
    ],
)
def test_a_variable_is_kept_unless_an_option_replaces_it(variable, value, option, replaced):
    name = f"NEXTADDR_{variable}"
    assert settings_of(env={name: value}) == {name: value}
    assert settings_of(env={name: ""}) == {name: ""}
    assert settings_of(option, env={name: value}) == {name: replaced}
    # What is replaced does not matter any more, not even when it is wrong.
    assert settings_of(option, env={name: "/no such/value"}) == {name: replaced}


def test_patterns_are_not_replaced_by_names_of_files(tmp_path):
    for name in ("bad:port", "bad port", "db=bad"):
        (tmp_path / name).touch()
    options = ["--only", "*,b*", "--skip", "?ad[:-z]port:80"]
    assert environment_of(*options, cwd=tmp_path)["NEXTADDR_ONLY"] == "*,b*"
    assert_refused(run("--resolve", "d*=10.0.0.1", "true", cwd=tmp_path), "--resolve 'd*=10.0.0.1'")


def test_options_end_at_the_first_other_word():
    assert run("--", "printf", "%s,", "--", "-v").stdout == "--,-v,"
    assert run("-v", "printf", "%s,", "-v", "--help", "--delay").stdout == "-v,--help,--delay,"
    assert run("--", "--help").returncode == 127
    assert run("-").returncode == 127


# fmt: off
BAD_RESOLVE = [
    "db", "=10.0.0.1", "db=", "db=,10.0.0.1", "db=10.0.0.1,", "db=10.0.0.1,,10.0.0.2",
    "d b=10.0.0.1", "db=10.0.0.1 10.0.0.2", "db=10.0.0.1, 10.0.0.2", "a\nb=10.0.0.1",
    "db=10.0.0.256", "db=other.example.org", "db=*", "db=10.0.0.1:5432", "db=[10.0.0.1]",
    "db=[::1", "db=::1]", "db=[::1]:80", "db=fe80::1%eth0",
    "db:5432:10.0.0.1", "db:5432=10.0.0.1", "*.db=10.0.0.1", "http://db=10.0.0.1",
    "a=10.0.0.1;b", "a=10.0.0.1;;b=10.0.0.2", ";b=10.0.0.2", "b=10.0.0.2;",
]
BAD_PATTERNS = [
    "a,,b", ",a", "a,", "a b", "a\nb", ":80", "a:", "a:0", "a:65536", "a:http", "a:080", "a:-1", "a:*",
    "a:1,b:x",
]
BAD_DELAYS = ["9", "10001", "0", "-5", "1e3", "200ms", "0200", "+50", " 50", "0x40", "Auto", "9" * 30]
BAD_PORTS = ["0", "65536", "053", "-1", "53,", ",53", "53,,54", "53 54", "dns", "53,x", ",".join(["1"] * 17)]
BAD_VALUES = [
    (option, variable, value)
    for option, variable, values in (
        ("--resolve", "RESOLVE", BAD_RESOLVE),
        ("--only", "ONLY", BAD_PATTERNS),
        ("--skip", "SKIP", BAD_PATTERNS),
        ("--delay", "DELAY", BAD_DELAYS),
        ("--memory", "MEMORY", ["/", ".", "/nonexistent/memory", "nonexistent/memory", "/etc/passwd/memory"]),
        ("--dns-ports", "DNS_PORTS", BAD_PORTS),
        ("--log", "LOG", ["yes", "warning", "INFO", "info ", "*"]),
        ("--log-format", "LOG_FORMAT", ["JSON", "Text", "xml"]),
        (None, "PARKING", ["-1", "120001", "1s", "010"]),
        ("--seed", "SEED", ["4294967296", "-1", "00", "01", "1e3", "0x1", " 1", "9" * 30]),
        ("--log-file", "LOG_FILE", ["/", ".", "/nonexistent/log", "nonexistent/log", "/etc/passwd/log"]),
    )
    for value in values
]
# fmt: on


@pytest.mark.parametrize(("option", "variable", "value"), BAD_VALUES)
def test_a_bad_value_is_refused_before_anything_runs(option, variable, value):
    quoted = value.rpartition(";")[2].rpartition(",")[2].replace("\n", "?")
    by_option = [[option, value], [f"{option}={value}"]] if option else []
    for words in by_option:
        result = run(*words, "echo", "ran")
        assert_refused(result, f"nextaddr: {option} '", quoted)
    name = f"NEXTADDR_{variable}"
    assert_refused(run("echo", "ran", env={name: value}), f"nextaddr: {name} '", quoted)


@pytest.mark.parametrize("value", ["2", "yes", "on", "true"])
@pytest.mark.parametrize("name", ["NEXTADDR_OFF", "NEXTADDR_NO_FAILOVER", "NEXTADDR_DEEPBIND"])
def test_a_switch_is_0_or_1(name, value):
    assert_refused(run("true", env={name: value}), f"{name} '{value}'")


def test_one_bad_value_among_good_options_is_enough():
    assert_refused(run("-v", "--resolve", "a=::1", "--resolve", "b", "true"), "--resolve 'b'")


OPTIONS_WITH_A_VALUE = [
    "--resolve", "--only", "--skip", "--delay", "--memory", "--dns-ports", "--fault", "--seed", "--log", "--log-file", "--log-format",
    "--format",
]  # fmt: skip
OPTIONS_WITHOUT = ["--no-probes", "--no-deepbind", "--off", "--no-failover", "--expect-failover", "--status", "--forget", "--help", "--version"]


@pytest.mark.parametrize("option", OPTIONS_WITH_A_VALUE)
def test_an_option_without_its_value_is_refused(option):
    for words in ([option], [option, "", "true"], [f"{option}=", "true"]):
        assert_refused(run(*words), f"{option} needs a value")


@pytest.mark.parametrize("option", OPTIONS_WITHOUT)
def test_an_option_that_takes_no_value_refuses_one(option):
    assert_refused(run(f"{option}=1", "true"), f"{option} takes no value")


@pytest.mark.parametrize("option", ["--bogus", "--bogus=1", "--dela", "-x", "-vv", "-h", "--Off", "-off"])
def test_an_unknown_option_is_refused(option):
    assert_refused(run(option, "true"), f"unknown option {option.partition('=')[0]}", "--help")


def inet_pton_accepts(text):
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
            return True
        except OSError:
            continue
    return False


def address_texts():
    """Valid addresses in all their spellings, and the same with one character changed."""
    choose = random.Random(8305)
    # fmt: off
    texts = [
        "0.0.0.0", "255.255.255.255", "1.2.3", "1.2.3.4.5", "1.2.3.", ".1.2.3", "1..2.3", "01.2.3.4",
        "1.2.3.00", "1", "::", ":", ":::", "::1", "1::", "1::2::3", ":1::2", "1::2:", "FE80::ABCD",
        "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8::",
        "::1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8:9", "12345::", "::g", "::1.2.3.4", "::ffff:1.2.3.4",
        "::1.2.3.4:5", "1.2.3.4::", "::1.2.3", "::1.2.3.256", "1:2:3:4:5:6:1.2.3.4", "::.", "::1.",
        "1:2:3:4:5:6:7:1.2.3.4", "1::1.2.3.4", "1:2:3:4:5::1.2.3.4",
    ]
    # fmt: on
    for _ in range(40):
        v4 = ipaddress.IPv4Address(choose.getrandbits(32))
        v6 = ipaddress.IPv6Address(choose.getrandbits(128) & ~(0xFFFF0000FFFF << 16 * choose.randrange(6)))
        for text in (str(v4), str(v6), v6.exploded):
            at = choose.randrange(len(text))
            texts += [text, text[:at] + choose.choice(":.0af19") + text[at + choose.randrange(2) :]]
    return texts


def test_addresses_are_those_that_inet_pton_accepts():
    wrong = []
    for text in address_texts():
        accepted = run("--off", "--resolve", f"db={text}", "true").returncode == 0
        if accepted != inet_pton_accepts(text):
            wrong.append((text, accepted))
    assert wrong == []


# ---- The log file and the memory file ----


@pytest.mark.parametrize(("option", "variable"), [("--log-file", "LOG_FILE"), ("--memory", "MEMORY")])
def test_a_relative_file_is_made_absolute(tmp_path, option, variable):
    # The library opens it when it needs it, perhaps in another directory.
    found = environment_of(option, "file", cwd=tmp_path)
    assert found[f"NEXTADDR_{variable}"] == str(tmp_path / "file")


@pytest.mark.parametrize("option", ["--log-file", "--memory"])
def test_a_file_that_cannot_be_written_is_refused(public, nobody, option):
    file = public / "file"
    launcher = public / "bin" / "nextaddr"
    file.write_text("")
    file.chmod(0o444)
    assert_refused(run(option, file, "true", launcher=launcher, **nobody), "can be written")
    file.unlink()
    public.chmod(0o555)
    assert_refused(run(option, file, "true", launcher=launcher, **nobody), "can be created")
    public.chmod(0o777)
    assert run(option, file, "true", launcher=launcher, **nobody).returncode == 0


# ---- --status and --forget: what they do is in test_memory.py ----


@pytest.mark.parametrize("option", ["--status", "--forget"])
def test_of_the_memory_only_one_thing_is_asked_at_a_time(tmp_path, option):
    memory = tmp_path / "memory"
    memory.write_text("nextaddr memory 2")
    assert_refused(run("--memory", memory, option, "echo", "ran"), f"{option} takes no command")
    assert_refused(run("--memory", memory, option, "--", "echo"), f"{option} takes no command")
    for words in (["--memory", "off", option], ["--memory=off", option]):
        assert_refused(run(*words), "the memory is off")
    assert_refused(run(option, env={"NEXTADDR_MEMORY": "off"}), "the memory is off")
    assert_refused(run("--memory", "/nonexistent/memory", option), "--memory '/nonexistent/memory'")
    assert memory.exists()


@pytest.mark.parametrize(
    ("first", "second"), [("--status", "--forget"), ("--status", "--check"), ("--check", "--forget")]
)
def test_status_forget_and_check_cannot_be_combined(tmp_path, first, second):
    memory = tmp_path / "memory"
    memory.write_text("nextaddr memory 2")
    for words in ([first, second], [second, first]):
        assert_refused(run("--memory", memory, *words), first, second)
    assert memory.exists()


def test_a_format_is_one_of_the_status(tmp_path):
    memory = ["--memory", tmp_path / "memory"]
    for words in ([*memory, "--status", "--format", "xml"], [*memory, "--format=JSON", "--status"]):
        assert_refused(run(*words), "--format '", "must be text, json or openmetrics")
    for words in (["--format", "json"], ["--format", "json", "echo", "ran"], [*memory, "--forget", "--format=json"]):
        assert_refused(run(*words), "--format needs --status")


# ---- Help and version ----


@pytest.mark.parametrize("words", [[], ["-v"], ["--"], ["--check"], ["--off"], ["--log-file", "command"]])
def test_without_a_command_it_shows_its_usage(tmp_path, words):
    assert_refused(run(*words, cwd=tmp_path), "no command", "usage: nextaddr [options] [--] command [args..]", "--help")


def test_a_command_that_was_taken_for_a_value_is_named():
    assert_refused(run("--delay", "true"), "--delay 'true'")


def test_the_help_names_everything_and_needs_no_library():
    result = run("--help", env={"NEXTADDR_LIB": "/nonexistent"})
    assert (result.returncode, result.stderr) == (0, "")
    script = LAUNCHER.read_text()
    for name in set(re.findall(r"NEXTADDR_[A-Z_]+", script)) | {"LD_PRELOAD", "120", "125", "126", "127"}:
        assert name in result.stdout
    options = set(re.findall(r"(?<![-\w])(?:--[a-z][a-z-]*|-v)\b", script))
    for option in options - {"--default-signal", "--list"}:  # they are those of env and of the loader
        assert re.search(rf"^  (--help, )?{option}\b", result.stdout, re.M), option
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


def test_the_version_is_the_one_the_makefile_reads():
    command = ["sed", "-n", "s/^VERSION=//p", LAUNCHER]
    version = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", version)
    assert run("--version").stdout == f"nextaddr {version}"


# ---- Commands that cannot be run ----


def test_a_command_that_is_not_found_gives_127(tmp_path):
    for command in ("no-such-command", "/no/such/command", "./no-such-command", "", "/etc/passwd/x"):
        result = run(command, cwd=tmp_path)
        assert (result.returncode, result.stdout) == (127, "")
        assert result.stderr == f"nextaddr: '{command}' is not found\n"


def test_a_command_that_cannot_be_executed_gives_126(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/sh\n")
    for command, path in ((plain, ""), (tmp_path, ""), ("plain", f"{tmp_path}:")):
        result = run(command, env={"PATH": path + os.environ["PATH"]})
        assert (result.returncode, result.stdout) == (126, "")
        assert re.fullmatch(rf"nextaddr: '{command}' cannot be run[^\n]+\n", result.stderr)


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="no setpriv")
def test_a_command_in_a_directory_that_may_not_be_searched_gives_126():
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        command = Path(directory) / "true"
        command.symlink_to("/bin/true")
        Path(directory).chmod(0o600)
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
        # The launcher and its library are where nobody else may look.
        with tempfile.TemporaryDirectory(dir="/tmp") as copy:
            Path(copy).chmod(0o755)
            launcher = shutil.copy(LAUNCHER, copy)
            library = shutil.copy(LIBRARY, copy)
            words = [*nobody, launcher, str(command)]
            env = {**os.environ, "NEXTADDR_LIB": library}
            result = subprocess.run(words, env=env, capture_output=True, text=True, cwd="/")
    assert result.returncode == 126, result


@pytest.mark.parametrize("shell", ["dash", "bash --posix", "busybox sh"])
def test_without_a_path_commands_are_found_as_the_shell_does(shell):
    """By the one that it has by default."""
    for words in (["--", "sh", "-c", "exit 7"], ["--log", "error", "sh", "-c", "exit 7"]):
        command = [*shell.split(), str(LAUNCHER), *words]
        result = subprocess.run(["/usr/bin/env", "-i", *command], capture_output=True, text=True)
        assert (result.returncode, result.stdout, result.stderr) == (7, "", "")
    checked = subprocess.run(["/usr/bin/env", "-i", *shell.split(), str(LAUNCHER), "--check", "sh"], capture_output=True, text=True)
    assert checked.returncode == 0 and "can be helped" in checked.stdout, checked


def test_the_path_is_searched_as_the_shell_does(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        executable(tmp_path / name / "tool", f"#!/bin/sh\necho {name}\n")
    path = f"{tmp_path}/one:{tmp_path}/two:{os.environ['PATH']}"
    assert run("tool", env={"PATH": path}).stdout == "one\n"
    (tmp_path / "one" / "tool").chmod(0o644)
    assert run("tool", env={"PATH": path}).stdout == "two\n"
    # An empty part is the current directory.
    for path in (f":{os.environ['PATH']}", f"{os.environ['PATH']}:", f"/nonexistent::{os.environ['PATH']}"):
        assert run("tool", env={"PATH": path}, cwd=tmp_path / "two").stdout == "two\n"


def test_an_interpreter_that_is_not_there_is_named(samples, tmp_path):
    script = executable(tmp_path / "script", "#!/no/such/interpreter\n")
    outer = executable(tmp_path / "outer", f"#!{script}\n")
    for command, culprit, interpreter in (
        (script, script, "/no/such/interpreter"),
        (outer, script, "/no/such/interpreter"),
        (samples("uClibc"), samples("uClibc"), "/lib/ld-uClibc.so.0"),
    ):
        result = run(command)
        assert (result.returncode, result.stdout) == (127, "")
        assert result.stderr == f"nextaddr: '{culprit}' cannot be run: its interpreter '{interpreter}' is not there\n"
        status, lines = check(command)
        assert status == 1 and f"its interpreter '{interpreter}' " in lines[-1]


# ---- Commands that cannot be helped: the warning ----


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("static", "statically linked"), ("static-pie", "statically linked"), ("static-go", "written in Go")],
)
def test_a_static_program_is_run_with_a_warning(samples, kind, reason):
    result = run(samples(kind), "42")
    assert (result.returncode, result.stdout) == (42, "")
    assert_warned(result, str(samples(kind)), reason)
    assert result.stderr.count("\n") == 1


def test_with_off_there_is_nothing_to_warn_about(samples):
    for words, env in ((["--off"], {}), ([], {"NEXTADDR_OFF": "1"})):
        result = run(*words, samples("static"), "42", env=env)
        assert (result.returncode, result.stderr) == (42, "")
    assert_warned(run(samples("static"), env={"NEXTADDR_OFF": "0"}))


def test_a_program_for_another_machine_is_warned_about(crafted):
    assert_warned(run(crafted(64, "<", 183, "/lib/ld-linux-aarch64.so.1")), "aarch64")


@pytest.mark.parametrize("line", ["#!{}", "#! \t{} -x", "#!/usr/bin/env {}", "#!/usr/bin/env -S A=1 {} -x"])
def test_a_script_is_judged_by_its_interpreter(samples, tmp_path, line):
    for kind, warned in (("dynamic", False), ("static", True)):
        script = executable(tmp_path / kind, line.format(samples(kind)) + "\n")
        outer = executable(tmp_path / f"outer-{kind}", f"#!{script}\n")
        for command in (script, outer):
            result = run(command)
            assert ("nextaddr: warning: " in result.stderr) == warned
            if warned:
                assert_warned(result, str(samples("static")), "statically linked")


def test_ordinary_commands_raise_no_warning(tmp_path):
    plain = executable(tmp_path / "plain", "echo ran\n")
    empty = executable(tmp_path / "empty", "")
    assert (run(plain).stdout, run(plain).stderr) == ("ran\n", "")
    for command in (empty, "env", "sh", "/usr/bin/python3"):
        assert run(command, input="").stderr == ""


def test_a_program_that_cannot_be_read_raises_no_warning(public, nobody):
    secret = Path(shutil.copy(shutil.which("env"), public / "secret"))
    secret.chmod(0o711 if nobody else 0o111)
    result = run(secret, launcher=public / "bin" / "nextaddr", **nobody)
    assert (result.returncode, result.stderr) == (0, "")
    assert "LD_PRELOAD" in result.stdout


def setuid_copy(directory, owner, mode):
    copy = Path(shutil.copy(shutil.which("env"), directory / "copy"))
    os.chown(copy, owner, owner)
    copy.chmod(mode)
    return copy


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")


@needs_root
@pytest.mark.parametrize("mode", [0o4755, 0o2755])
def test_a_setuid_program_is_warned_about_because_the_loader_drops_the_library(public, mode):
    if os.statvfs(public).f_flag & os.ST_NOSUID:
        pytest.skip("the temporary directory is mounted nosuid")
    copy = setuid_copy(public, NOBODY, mode)
    result = run(copy)
    assert_warned(result, str(copy), "privileges")
    assert "LD_PRELOAD" not in result.stdout


@needs_root
def test_a_setuid_program_is_helped_where_it_cannot_gain_anything(public):
    """The launcher and the kernel agree, where one alone might be wrong."""
    if not shutil.which("setpriv"):
        pytest.skip("setpriv is not installed")
    confined = ["setpriv", "--no-new-privs", LAUNCHER]
    for mode, words, helped in ((0o4755, confined, True), (0o2755, confined, True), (0o2745, [LAUNCHER], True), (0o2755, [LAUNCHER], False)):
        if not helped and os.statvfs(public).f_flag & os.ST_NOSUID:
            continue
        copy = setuid_copy(public, NOBODY, mode)
        result = subprocess.run([*words, copy], env=clean_environment(), capture_output=True, text=True, timeout=10)
        assert ("LD_PRELOAD=" in result.stdout, result.stderr == "") == (helped, helped), (oct(mode), result)


@needs_root
def test_a_setuid_program_of_the_same_user_is_helped(public, nobody):
    copy = setuid_copy(public, 0, 0o6755)
    result = run(copy)
    assert result.stderr == ""
    assert "LD_PRELOAD" in result.stdout
    # For another user it is not, whether that user may read it or not.
    for mode in (0o6755, 0o6711):
        copy.chmod(mode)
        verdict = run("--check", copy, launcher=public / "bin" / "nextaddr", **nobody)
        assert verdict.returncode == 1
        assert "setuid" in verdict.stdout.splitlines()[-1]


@needs_root
def test_a_program_with_file_capabilities_is_warned_about(public, nobody):
    copy = setuid_copy(public, 0, 0o755)
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    if not (shutil.which("setcap", path=path) and shutil.which("getcap", path=path)):
        pytest.skip("setcap and getcap are not installed")
    if subprocess.run(["setcap", "cap_net_raw=ep", copy], env={"PATH": path}, capture_output=True).returncode:
        pytest.skip("this file system or user may not set file capabilities")
    # An ordinary user's PATH does not lead to getcap.
    result = run(copy, launcher=public / "bin" / "nextaddr", env={"PATH": "/usr/bin:/bin"}, **nobody)
    assert_warned(result, str(copy), "capabilities")
    assert "LD_PRELOAD" not in result.stdout
    # Root already has all capabilities, so for root nothing changes.
    assert run(copy).stderr == ""


# ---- --check ----


def check(*words, **options):
    """The exit status and the lines of --check."""
    result = run("--check", *words, **options)
    assert result.stderr == ""
    return result.returncode, result.stdout.splitlines()


def test_check_says_that_a_dynamic_program_can_be_helped(samples):
    status, lines = check(samples("dynamic"))
    assert status == 0
    assert lines[0] == f"path:         {samples('dynamic')}"
    assert lines[1] == "kind:         program, dynamically linked"
    assert lines[2].startswith("interpreter:  /")
    assert lines[3].startswith("architecture: ")
    assert lines[4:] == ["can be helped"]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("static", "it is statically linked"),
        ("static-pie", "it is statically linked"),
        ("static-go", "it is statically linked, and written in Go"),
        ("go", "it is written in Go"),
        ("uClibc", "its libc (ld-uClibc.so.0) is not the glibc"),
    ],
)
def test_check_gives_the_reason(samples, kind, reason):
    status, lines = check(samples(kind))
    assert status == 1
    assert lines[-1].startswith(f"cannot be helped: {reason}")


@pytest.mark.parametrize("table", [0, 970, 5000])  # in, across and beyond the first 1024 bytes
@pytest.mark.parametrize(
    ("bits", "order", "machine", "loader", "name"),
    [
        (64, "<", 183, "/lib/ld-linux-aarch64.so.1", "aarch64"),
        (32, "<", 3, "/lib/ld-linux.so.2", "i386"),
        (32, "<", 62, "/libx32/ld-linux-x32.so.2", "x32"),
        (32, "<", 40, "/lib/ld-linux-armhf.so.3", "arm"),
        (64, ">", 22, "/lib/ld64.so.1", "s390x"),
        (32, ">", 8, "/lib/ld.so.1", "mips"),
        (64, ">", 999, "/lib/ld.so.1", "machine 999"),
    ],
)
def test_check_reads_any_elf_file(crafted, bits, order, machine, loader, name, table):
    status, lines = check(crafted(bits, order, machine, loader, table=table))
    assert status == 1
    assert f"interpreter:  {loader}" in lines
    assert f"architecture: {name}" in lines
    assert lines[-1].startswith(f"cannot be helped: it is for {name}, the library for ")
    _, lines = check(crafted(bits, order, machine))
    assert lines[1] == "kind:         program, statically linked"


def test_check_survives_any_header(tmp_path):
    choose = random.Random(8305)
    path = executable(tmp_path / "damaged", "")
    for _ in range(60):
        data = bytearray(elf(choose.choice((32, 64)), "<", 62, "/lib64/ld-linux-x86-64.so.2"))
        for _ in range(choose.randrange(1, 20)):
            data[choose.randrange(4, 116)] = choose.choice((0, 1, 0x7F, 0x80, 0xFF))
        path.write_bytes(data)
        status, lines = check(path)
        assert status in (0, 1)
        assert re.match("can(not)? be helped", lines[-1])
    # Where the program headers are, and where and how long the loader's name is.
    for at in (32, 64 + 56 + 8, 64 + 56 + 32):
        for number in (-1, -256, -(2**63), 2**63 - 1, 2**40):
            data = bytearray(elf(64, "<", 62, "/lib64/ld-linux-x86-64.so.2"))
            data[at : at + 8] = struct.pack("<Q", number % 2**64)
            path.write_bytes(data)
            assert check(path)[1][-1] == "cannot be helped: it is statically linked"


@pytest.mark.parametrize("size", [0, 1, 4, 20, 63, 64, 100])
def test_check_survives_a_file_that_is_cut_off(tmp_path, size):
    path = tmp_path / "cut"
    path.write_bytes(elf(64, "<", 62, "/lib64/ld-linux-x86-64.so.2")[:size])
    path.chmod(0o755)
    status, lines = check(path)
    assert status in (0, 1)
    assert re.match("can(not)? be helped", lines[-1])


def test_check_walks_through_scripts(samples, tmp_path):
    inner = executable(tmp_path / "inner", f"#!{samples('static')}\n")
    outer = executable(tmp_path / "outer", f"#!/usr/bin/env -S {inner} -x\n")
    status, lines = check(outer)
    assert status == 1
    assert [line for line in lines if line.startswith("path:")] == [
        f"path:         {path}" for path in (outer, inner, samples("static"))
    ]
    assert lines.count("kind:         script") == 2
    assert lines[-1] == "cannot be helped: it is statically linked"


def test_check_finds_no_end_in_a_script_that_interprets_itself(tmp_path):
    script = tmp_path / "loop"
    executable(script, f"#!{script}\n")
    status, lines = check(script)
    assert status == 1
    assert lines[-1] == f"cannot be helped: its interpreter '{script}' cannot be run"


@pytest.mark.parametrize(
    ("name", "habit"),
    [
        ("postfix", "import_environment"),
        ("master", "import_environment"),
        ("exim4", "keep_environment"),
        ("php8.2", "RTLD_DEEPBIND"),
        ("php-fpm", "RTLD_DEEPBIND"),
    ],
)
def test_check_knows_the_habits_of_some(samples, tmp_path, name, habit):
    status, lines = check(shutil.copy(samples("dynamic"), tmp_path / name))
    assert status == 0
    assert lines[-2].startswith("note:         ") and habit in lines[-2]
    assert lines[-1] == "can be helped"


@pytest.mark.parametrize(("value", "helped"), [(None, True), ("1", True), ("", True), ("0", False)])
def test_check_tells_whether_extensions_are_helped(samples, tmp_path, value, helped):
    env = {} if value is None else {"NEXTADDR_DEEPBIND": value}
    status, lines = check(shutil.copy(samples("dynamic"), tmp_path / "php"), env=env)
    assert status == 0
    assert ("are helped" in lines[-2], "are not helped" in lines[-2]) == (helped, not helped), lines


@pytest.mark.parametrize(
    ("settings", "told"),
    [({}, False), ({"LOG": "info"}, True), ({"LOG": "info", "LOG_FILE": "syslog"}, False), ({"LOG": "info", "LOG_FILE": "/dev/null"}, False)],
    ids=str,
)
def test_check_tells_where_a_daemon_has_its_log(samples, settings, told):
    status, lines = check(samples("dynamic"), env={f"NEXTADDR_{name}": value for name, value in settings.items()})
    assert status == 0
    assert any(line.startswith("note: ") and "syslog" in line for line in lines) == told, lines


def test_check_knows_a_resolver_that_is_linked(require):
    for tool, library in (("pgbouncer", "libcares"), ("aria2c", "libcares")):
        status, lines = check(require(tool), env={"NEXTADDR_DNS_PORTS": "53,8600"})
        assert status == 0
        notes = [line for line in lines if line.startswith("note: ")]
        assert len(notes) == 1 and library in notes[0] and "53,8600" in notes[0], lines


@pytest.mark.parametrize("name", ["curl", "cu?l"])
def test_check_knows_a_program_that_the_settings_leave_alone(samples, tmp_path, name):
    program = Path(shutil.copy(samples("dynamic"), tmp_path / "curl"))
    script = executable(tmp_path / "a script", f"#!{program}\n")
    for command in (program, script):
        for env, status in (
            ({"NEXTADDR_SKIP_PROGRAMS": f"wget,{name}"}, 1),
            ({"NEXTADDR_ONLY_PROGRAMS": f"wget,{name}"}, 0),
            ({"NEXTADDR_ONLY_PROGRAMS": "wget"}, 1),
            ({"NEXTADDR_SKIP_PROGRAMS": "wget"}, 0),
            ({"NEXTADDR_OFF": "1"}, 1),
            ({"NEXTADDR_OFF": "0"}, 0),
        ):
            found, lines = check(command, env=env)
            assert found == status, (env, lines)
            assert lines[-1].startswith("cannot be helped: the settings leave it alone" if status else "can be helped")


def test_check_names_a_variable_that_is_unknown():
    result = run("--check", "env", env={"NEXTADDR_LOGFILE": "x", "NEXTADDR_LOG_FILE": "/dev/null", "NOT_NEXTADDR_X": "1"})
    assert (result.returncode, result.stderr) == (
        0, "nextaddr: NEXTADDR_LOGFILE is not a variable of nextaddr, and is ignored\n",
    )  # fmt: skip


def test_check_says_what_it_does_not_know(public, nobody):
    secret = executable(public / "secret", "#!/bin/sh\n")
    secret.chmod(0o111)
    status, lines = check(secret, launcher=public / "bin" / "nextaddr", **nobody)
    assert status == 1
    assert lines[-1].startswith("cannot be helped: it cannot be read")


def test_check_says_what_is_wrong_with_a_fault():
    for words, env in ((["--fault", "db=refused"], {}), ([], {"NEXTADDR_FAULTS": "db=refused"})):
        assert_refused(run(*words, "--check", "env", env=env), "db=refused", "column")
        assert run("--off", *words, "--check", "env", env=env).returncode == 1
    assert run("--fault", "db=refuse", "--check", "env").returncode == 0


def test_check_runs_nothing(tmp_path):
    script = executable(tmp_path / "script", f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    for words in (["--check", script, "-v"], [f"--check={script}"], ["-v", "--check", "--", script]):
        result = run(*words)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.splitlines()[-1] == "can be helped"
    assert not (tmp_path / "ran").exists()


def test_check_of_a_command_that_cannot_be_run(tmp_path):
    assert run("--check", "no-such-command").returncode == 127
    assert run("--check", tmp_path).returncode == 126
