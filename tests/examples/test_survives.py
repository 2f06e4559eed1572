"""With pytest: does our software survive dead addresses? An example to copy; here the software is curl.

    NEXTADDR=scripts/nextaddr pytest tests/examples/test_survives.py

Nothing leaves this machine: the service runs here, and --resolve gives its name two addresses of loopback.
"""
import http.server
import json
import os
import subprocess
import threading

import pytest

NEXTADDR = os.environ.get("NEXTADDR", "nextaddr")
HOST = "api.example"
ADDRESSES = ["127.0.0.1", "127.0.0.2"]


class Service(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"alive")

    def log_message(self, *_):
        pass


@pytest.fixture
def url():
    with http.server.ThreadingHTTPServer(("0.0.0.0", 0), Service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{HOST}:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def with_fault(tmp_path):
    """Runs a command with faults: how it ended, and what the log has of it."""

    def run(rules, *command, options=()):
        log = tmp_path / "nextaddr.log"
        result = subprocess.run(
            [NEXTADDR, "--resolve", f"{HOST}={','.join(ADDRESSES)}", "--fault", rules]
            + ["--log", "info", "--log-format", "json", "--log-file", log, *options, "--", *command],
            capture_output=True, text=True, timeout=60,
        )
        return result, [json.loads(line) for line in log.read_text().splitlines()]

    return run


@pytest.mark.parametrize("fault", ["refuse", "silent", "unreachable", "delay(5000)"])
def test_a_dead_first_address(with_fault, url, fault):
    result, events = with_fault(f"{HOST}#1={fault}", "curl", "-sSf", "--max-time", "20", url)
    assert (result.returncode, result.stdout) == (0, "alive"), result.stderr
    [connect] = [event for event in events if event["event"] == "connect"]
    assert connect["failover"]
    assert (connect["asked"], connect["used"]) == tuple(ADDRESSES)
    assert not [event for event in events if event["event"] == "unmatched"]


def test_all_addresses_dead(with_fault, url):
    result, events = with_fault(f"{HOST}=refuse", "curl", "-sSf", "--max-time", "20", url)
    assert result.returncode == 7, "curl's exit status for a connect that failed"
    [connect] = [event for event in events if event["event"] == "connect"]
    assert (connect["used"], connect["error"]) == (None, "ECONNREFUSED")
    assert [attempt["error"] for attempt in connect["attempts"]] == ["ECONNREFUSED"] * 2


def test_our_own_handling(with_fault, url):
    """Without failover: how does the software itself get over two failures?"""
    retries = ["curl", "-sSf", "--retry", "3", "--retry-delay", "1", "--retry-connrefused", url]
    result, events = with_fault(f"{HOST}=4*refuse->off", *retries, options=["--no-failover"])
    assert (result.returncode, result.stdout) == (0, "alive"), result.stderr
    assert len([event for event in events if event["event"] == "fault"]) == 4
