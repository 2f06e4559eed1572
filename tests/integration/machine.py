# Programs that see an /etc of their own, to try what is for a whole machine: /etc/nextaddr.conf and /etc/ld.so.preload.
# The /etc of the machine must never be written: everything is done in a mount namespace that ends with the program.
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

FILE = "/etc/nextaddr.conf"
PRELOAD = "/etc/ld.so.preload"

# machine DIRECTORY PREPARE COMMAND..: the copy is on a file system that is the namespace's alone. What only root may
# read is not in it, when somebody else runs the tests.
ENTER = """
set -eu
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir "$1/etc"
cp -a /etc/. "$1/etc" 2>/dev/null || :
rm -rf "$1/etc/nextaddr.conf" "$1/etc/ld.so.preload"
mount --bind "$1/etc" /etc
cd "$1"
eval "$2"
cd /
shift 2
exec "$@"
"""


class Machine:
    """before(PREPARE) are the words that run a command where a shell has prepared /etc."""

    def __init__(self, directory):
        self._directory = directory
        root = os.geteuid() == 0
        self._unshare = ["unshare", "-m" if root else "-rm", "--propagation", "private"]

    def before(self, prepare=":"):
        return [*self._unshare, "/bin/sh", "-c", ENTER, "machine", str(self._directory), f"umask 022; {prepare}"]

    def with_file(self, text):
        return self.before(written(FILE, text))


def written(path, text):
    """The shell command that writes a file."""
    quoted = text.replace("'", "'\\''")
    return f"printf '%s' '{quoted}' >{path}"


@pytest.fixture
def machine():
    if not shutil.which("unshare"):
        pytest.skip("unshare is not installed")
    with tempfile.TemporaryDirectory(prefix="nextaddr-") as name:
        os.chmod(name, 0o755)
        machine = Machine(Path(name))
        trial = subprocess.run([*machine.before(), "true"], capture_output=True, text=True)
        if trial.returncode != 0:
            pytest.skip(f"no /etc of its own for a program: {trial.stderr.strip()}")
        yield machine
