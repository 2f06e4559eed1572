# Addresses that a firewall of this machine rejects (`REJECT`, a route that is unreachable): its ICMP error comes while
# connect(2) still has the socket. Then the kernel does not end the attempt, but calls the socket one with an error until
# its error queue is read. Programs in a container or pod behind such a host meet it.
# A network namespace is the host, and another one the container. What a bare program is told is what is right.
import json
import subprocess
import sys

import pytest

import lab as labs
from programs.harness import preload

REJECTED, REJECTED_TOO, LIVE = "198.18.4.1", "198.18.4.2", "198.18.1.1"
NO_SETTINGS = 77

HOST = f"""
set -e
ip link set lo up
ip address add {LIVE}/32 dev lo
ip route add unreachable 198.18.4.0/24
echo 1 >/proc/sys/net/ipv4/ip_forward && echo 0 >/proc/sys/net/ipv4/icmp_ratelimit || exit {NO_SETTINGS}
mkfifo "$1/ready"
unshare -n sh -c 'echo >"$1/ready"; exec sleep 30' container "$1" &
container=$!
trap 'kill $container' EXIT
read -r _ <"$1/ready"
ip link add outside type veth peer name inside netns $container
ip address add 198.18.0.1/30 dev outside
ip link set outside up
nsenter -n -t $container sh -c 'ip link set lo up; ip address add 198.18.0.2/30 dev inside; ip link set inside up
    ip route add default via 198.18.0.1'
"$2" -c 'import socket, sys, time
with socket.create_server((sys.argv[1], 4000)):
    print(flush=True)
    time.sleep(30)' {LIVE} >"$1/listening" &
server=$!
trap 'kill $container $server' EXIT
while [ ! -s "$1/listening" ]; do sleep 0.02; done
shift
shift
nsenter -n -t $container env "$@"
"""

PROGRAM = """
import errno, json, select, socket, sys, time
how, *names = sys.argv[1:]
OUT, IN = select.POLLOUT, select.POLLIN
for name in names:
    address = socket.getaddrinfo(name, 4000, socket.AF_INET, socket.SOCK_STREAM)[0][4]
    began = time.monotonic(), time.process_time()
    with socket.socket() as connection:
        events = None
        if how == "blocking":
            error = connection.connect_ex(address)
        else:
            connection.setblocking(False)
            connection.connect_ex(address)
            waiting = select.epoll() if how == "epoll" else select.poll()
            waiting.register(connection, IN | OUT)
            events = [event for _, event in waiting.poll(8 if how == "epoll" else 8000)]
            error = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        # What a wait says from then on.
        after = select.poll()
        after.register(connection, OUT)
        later = [event for _, event in after.poll(0)]
        took, busy = time.monotonic() - began[0], time.process_time() - began[1]
        peer = connection.getpeername()[0] if error == 0 else None
    print(json.dumps([errno.errorcode.get(error, error), events, later, peer, took, busy]))
"""


@pytest.fixture(scope="session", autouse=True)
def namespaces():
    obstacle = labs.Namespace.obstacle()
    if obstacle:
        pytest.skip(obstacle)


def run(directory, how, *names, env=None):
    """For each name: its error, the events, those later, the peer, and seconds of time and of a processor."""
    settings = [f"{name}={value}" for name, value in (env or {}).items()]
    program = [*settings, sys.executable, "-c", PROGRAM, how, *names]
    result = subprocess.run(
        ["unshare", "-rnm", "sh", "-c", HOST, "host", str(directory), sys.executable, *program],
        capture_output=True,
        text=True,
        timeout=30,
    )
    if result.returncode == NO_SETTINGS:
        pytest.skip(f"a network namespace cannot be set up: {result.stderr.strip()}")
    assert result.returncode == 0 and not result.stderr, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def run_both(tmp_path, how, bare, addresses):
    """What the bare program finds at this address, and the one with the library, by a name with all of these."""
    found = []
    for kind, names, env in (
        ("bare", [bare], {}),
        ("shim", ["a.test"], {**preload(), "NEXTADDR_RESOLVE": f"a.test={','.join(addresses)}"}),
    ):
        directory = tmp_path / kind
        directory.mkdir()
        found += run(directory, how, *names, env={**env, "NEXTADDR_MEMORY": "off"})
    return found


HOWS = pytest.mark.parametrize("how", ["blocking", "poll", "epoll"])


@HOWS
def test_a_connection_made_elsewhere_has_no_error(tmp_path, how):
    bare, shim = run_both(tmp_path, how, LIVE, [REJECTED, LIVE])
    assert shim[:4] == bare[:4]
    assert shim[4] < 0.5, "the address has answered at once"


@HOWS
def test_when_all_are_rejected_that_is_told_at_once(tmp_path, how):
    bare, shim = run_both(tmp_path, how, REJECTED, [REJECTED, REJECTED_TOO])
    assert shim[0] == bare[0] == "EHOSTUNREACH"
    assert shim[4] < bare[4] + 0.5
    assert shim[5] < bare[5] + 0.2, "a wait spins"
