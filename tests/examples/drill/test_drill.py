"""With pytest: the drill of a server, each case a test. An example to copy; here the server is one of Python.

    DRILL=scripts/nextaddr-drill pytest tests/examples/drill/test_drill.py

Nothing leaves this machine: its database is served here, and --resolve gives that two addresses of loopback.
"""
import json
import os
import socket
import subprocess
import sys
import threading

import pytest

DRILL = os.environ.get("DRILL", "nextaddr-drill")
CASES = ["first-refuses", "first-silent", "all-refuse"]

# Our server: each request is answered by its database, by the first address of that.
SERVER = """
import http.server, socket, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        address = socket.getaddrinfo("db.example", int(sys.argv[1]), type=socket.SOCK_STREAM)[0][4]
        try:
            with socket.socket() as database:
                database.settimeout(3)
                database.connect(address)
                database.recv(99)
            self.send_response(200)
        except OSError:
            self.send_response(503)
        self.end_headers()
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
print("listening on", server.server_port, flush=True)
server.serve_forever()
"""
PROBE = """
import os, urllib.request
urllib.request.urlopen("http://127.0.0.1:" + os.environ["NEXTADDR_DRILL_READY"]).read()
"""


@pytest.fixture(scope="session")
def database():
    with socket.create_server(("0.0.0.0", 0)) as listener:

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:  # it was closed
                    return
                with connection:
                    connection.sendall(b"here I am\n")

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="session")
def results(database, tmp_path_factory):
    """One drill for all tests: what has come of each case with nextaddr."""
    report = tmp_path_factory.mktemp("drill") / "drill.json"
    (report.parent / "probe.py").write_text(PROBE)
    drill = [DRILL, "--resolve", "db.example=127.0.0.1,127.0.0.2", "--cases", ",".join(CASES), "--jobs", "4", "--json", report]
    drill += ["--ready", r"listening on (\d+)", "--probe", f"{sys.executable} {report.parent}/probe.py"]
    done = subprocess.run([*drill, "--", sys.executable, "-c", SERVER, str(database)], capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    [target] = json.loads(report.read_text())["targets"]
    return {result["case"]: result["with_nextaddr"] for result in target["results"]}


@pytest.mark.parametrize("case", CASES)
def test_it_survives(results, case):
    assert results[case]["met"]
    assert results[case]["passes"], "\n".join([results[case]["command"], *results[case]["said"]])
