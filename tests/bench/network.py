# Where the benchmark's programs run: the network namespace of the tests, in which a hosts file gives the names; plain
# loopback where there can be no namespace.
# It must never measure with a name that other names stand beside: libc reads the whole file in every lookup.
import contextlib
import subprocess

import lab as labs
import lab_server


class Failed(Exception):
    """A program did not do what it was started for."""


class Runs:
    """For labs: runs programs to their end."""

    def environment_with(self, env):
        """What a user's programs have: addresses are remembered. Nothing but `env` differs between what is compared."""
        return {**self.environment(), "NEXTADDR_MEMORY": str(self.directory / "memory"), **env}

    def run(self, words, env, timeout=60):
        """Its standard output."""
        process = self.spawn(
            [str(word) for word in words],
            env=self.environment_with(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            errors="replace",
        )
        stdout, stderr, timed_out = labs.communicate(process, timeout)
        if timed_out:
            raise Failed(f"{words[0]} has not ended within {timeout} s")
        if process.returncode != 0:
            raise Failed(f"{words[0]} ended with {process.returncode}: {stderr.strip()[-200:]}")
        return stdout

    def forget(self):
        """All that programs have remembered of addresses."""
        with contextlib.suppress(FileNotFoundError):
            (self.directory / "memory").unlink()


# Ports enough for many short connections in a row.
PORTS = "echo 1 > tcp_tw_reuse && echo 10000 65535 > ip_local_port_range"


class Network(Runs, labs.Namespace):
    def __init__(self):
        super().__init__()
        self.run(["sh", "-c", f"cd /proc/sys/net/ipv4 && {PORTS}"], {})

    def only_host(self, host, addresses):
        lines = "".join(f"{address} {host}\n" for address in addresses)
        (self.directory / "hosts").write_text(lab_server.FILES["hosts"] + lines)


class Loopback(Runs, labs.Loopback):
    pass
