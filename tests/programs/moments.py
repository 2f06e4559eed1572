# What the tests of unlucky moments share: strace makes some system calls late, so that what would meet in a window of
# microseconds meets every time; and networks of one program's own.
# It must never change anything outside the program that is started.
import os
import shutil
import subprocess

import pytest


def late_calls(calls, ms, when="enter", counted="1+"):
    """The words that run a program in which these system calls begin, or return, so much later."""
    strace = shutil.which("strace") or pytest.skip("strace is not installed")
    trial = [strace, "-o", "/dev/null", "-e", "trace=none", "true"]
    if subprocess.run(trial, capture_output=True).returncode != 0:
        pytest.skip("strace may trace nothing here")
    inject = f"inject={calls}:delay_{when}={1000 * ms}:when={counted}"
    return [strace, "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e", "signal=none", "-e", inject]


def own_mounts():
    """The words that run a program in a mount namespace of its own."""
    return _unshared("-m", "--propagation", "private")


def own_network(*commands):
    """The words that run a program in a network namespace of its own, in which ip(8) has been given these."""
    if not shutil.which("ip"):
        pytest.skip("ip is not installed")
    text = "ip link set lo up && printf '%s' \"$1\" | ip -batch - && shift && exec \"$@\""
    return [*_unshared("-n"), "/bin/sh", "-c", text, "sh", "".join(f"{command}\n" for command in commands)]


def _unshared(what, *more):
    if not shutil.which("unshare"):
        pytest.skip("unshare is not installed")
    words = ["unshare", what if os.geteuid() == 0 else f"-r{what[1:]}", *more]
    trial = subprocess.run([*words, "true"], capture_output=True, text=True)
    if trial.returncode != 0:
        pytest.skip(f"no namespaces: {trial.stderr.strip()}")
    return words
