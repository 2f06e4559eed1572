# /etc/ld.so.preload, by which every program of a machine has the library: each does what it did, those with privileges
# are left alone, and what is wrong in that file holds nobody up.
# Nothing here may write the /etc of the machine (see machine.py), nor open a connection outside loopback.
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

import lab as labs
from machine import FILE, PRELOAD, machine, written
from programs.harness import HOST, LIBRARY, NATIVE, NOBODY, address_lab, public, several, start

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a program that is another user's")


@pytest.fixture
def wide(machine):
    """wide(LIBRARY, FILE'S TEXT): the words that run a command on a machine where all programs have the library."""

    def before(library=LIBRARY, text=None):
        prepare = f"{written(FILE, text)}; " if text is not None else ""
        return machine.before(prepare + written(PRELOAD, f"{library}\n"))

    return before


def run(words):
    kept = {name: value for name, value in os.environ.items() if not labs.FOREIGN_SETTINGS.fullmatch(name)}
    env = {**kept, "LC_ALL": "C"}
    return subprocess.run(words, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


COMMANDS = [
    "sh -c 'echo $0; echo a | cat'",
    "bash -lc 'shopt login_shell; echo $(echo a) <(:)'",
    "env -i /usr/bin/env",
    "env -i PATH=/usr/bin:/bin sh -c 'ls / | head -n 3'",
    "su nobody -s /bin/sh -c 'id -u'",
    "sudo -n -u nobody id -u",
    "passwd -S root",
    "/usr/sbin/sshd -t",
    "ssh -V",
    "apt-get --version",
    "apt-get -s check",
    "dpkg -s dpkg",
    "systemctl --version",
    "crontab -l",
    "python3 -c 'import subprocess, threading; print(subprocess.check_output([\"echo\", \"a\"]))'",
    "perl -e 'print `echo a`'",
    "node -e 'console.log(1)'",
    "java -version",
    "git --version",
    "tar cf - -C /etc passwd | tar tf -",
    "printf 'int main(void) { return 7; }' | gcc -x c - -o program && ./program",
    "printf 'int main(void) { return 7; }' | gcc -static -x c - -o program && ./program",
    "busybox echo a",
    "strace -V",
    "valgrind -q true",
    "getent hosts localhost",
    "openssl version",
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[:30])
def test_every_program_is_as_without(machine, wide, public, command):
    tool = (command.partition("| ")[2] if command.startswith("printf") else command).split()[0]
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not installed")
    ended = []
    library = shutil.copy(LIBRARY, public)
    for before in (machine.before(), wide(library), wide(library, "NEXTADDR_LOG=info\nNEXTADDR_DELAY=100\n")):
        with tempfile.TemporaryDirectory(prefix="nextaddr-") as directory:
            result = run([*before, "sh", "-c", f"cd {directory} && {command}"])
        said = [re.sub(r"/dev/fd/\d+|0x[0-9a-f]+", "", stream) for stream in (result.stdout, result.stderr)]
        ended.append((result.returncode, *said))
    assert ended[1] == ended[0] and ended[2] == ended[0]


def test_every_program_has_it(wide):
    result = run([*wide(), "env", "-i", "/bin/sh", "-c", "exec /bin/cat /proc/self/maps"])
    assert str(LIBRARY) in result.stdout, result


@pytest.mark.parametrize("words", ["env -i", "exec"])
def test_a_program_moves_on(several, wide, words):
    host = several("refused", "live")
    before = [*wide(text=f"NEXTADDR_RESOLVE={host.resolve}\nNEXTADDR_MEMORY=off\n"), "sh", "-c", f'{words} "$@"', "sh"]
    ended = start(host.lab, "connect_first", {}, before, host=HOST, port=host.port).finish()
    assert ended.values("result", "peer") == ("0", host.live[0]), ended


@root_only
@pytest.mark.parametrize("privileged", [False, True], ids=["plain", "setuid"])
def test_privileged_programs_are_left_alone(several, wide, public, require, tmp_path, privileged):
    # The loader does load it into them. It reads no file, and does nothing.
    host = several("refused", "live")
    program = Path(shutil.copy(NATIVE.program("connect_first"), public))
    library = shutil.copy(LIBRARY, public)
    if privileged:
        os.chown(program, NOBODY, NOBODY)
        program.chmod(0o4755)
    trace = tmp_path / "trace"
    before = [*wide(library, "NEXTADDR_FAULTS=*=unreachable\n"), require("strace"), "-qq", "-o", str(trace)]
    ended = start(host.lab, program, {}, before, host=host.addresses[0], port=host.port).finish()
    assert library in trace.read_text()
    expected = ("ECONNREFUSED", False) if privileged else ("EHOSTUNREACH", True)
    assert (ended.first["error"], FILE in trace.read_text()) == expected, ended


# ---- What is wrong in /etc/ld.so.preload ----


@pytest.mark.parametrize("text", [None, "", "no library\n"], ids=["missing", "empty", "text"])
def test_a_library_that_is_none_is_left_out(wide, tmp_path, text):
    library = tmp_path / "libnextaddr.so"
    reason = "cannot open shared object file"
    if text is not None:
        library.write_text(text)
        reason = "file too short"
    result = run([*wide(library), "/bin/echo", "as ever"])
    assert (result.returncode, result.stdout) == (0, "as ever\n"), result
    assert f"ERROR: ld.so: object '{library}' from {PRELOAD} cannot be preloaded ({reason}): ignored." in result.stderr


def test_one_line_for_programs_of_all_architectures(wide, tmp_path):
    for platform in ("x86_64", "haswell", "xeon_phi", "aarch64"):
        (tmp_path / "platform" / platform).mkdir(parents=True)
        (tmp_path / "platform" / platform / "libnextaddr.so").symlink_to(LIBRARY)
    result = run([*wide(tmp_path / "platform/$PLATFORM/libnextaddr.so"), "/bin/cat", "/proc/self/maps"])
    assert result.stderr == "" and str(LIBRARY) in result.stdout, result
