# A lab in which one of two servers dies, for floating.py: a bridge, and on it two servers and a host of clients, each in a
# network namespace of its own. A name has the addresses of both servers, and keepalived moves two more addresses
# between them.
#     unshare -rnm floating_lab.py DIRECTORY < ROUND      plays one round, which is an object of JSON; see play()
#     floating_lab.py serve NAME                          is one of the servers
# It must never change anything outside its namespaces, and never outlive its standard input: what it starts ends with it.
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import lab_server  # noqa: E402

PORT = 8080
SERVERS = {"a": "198.18.0.1", "b": "198.18.0.2"}
# By name: its addresses. To the clients' own one no server's is closer than the other's, so that getaddrinfo leaves them
# in this order.
NAMES = {
    "pair.nextaddr.test": list(SERVERS.values()),
    "floating.nextaddr.test": ["198.18.0.51"],
    "tuned.nextaddr.test": ["198.18.0.52"],
}
NETWORK = """
    link add bridge0 type bridge
    link set bridge0 up
"""
HOST = """
    link add to-{name} type veth peer name eth0 netns {name}
    link set to-{name} master bridge0 up
"""
INSIDE = """
    link set lo up
    link set eth0 up
    addr add {address}/24 dev eth0
"""
KEEPALIVED = """
vrrp_instance floating {{
    state {state}
    interface eth0
    virtual_router_id 51
    priority {priority}
    virtual_ipaddress {{
        198.18.0.51/24
    }}
}}
vrrp_instance tuned {{
    version 3
    advert_int 0.1
    state {state}
    interface eth0
    virtual_router_id 52
    priority {priority}
    virtual_ipaddress {{
        198.18.0.52/24
    }}
}}
"""


# ---- A server ----


class Handler(http.server.BaseHTTPRequestHandler):
    """Says which server it is, after as many seconds as the path says."""

    name = ""
    protocol_version = "HTTP/1.1"  # connections can be kept

    def do_GET(self):  # noqa: N802
        time.sleep(float(self.path[1:]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.name)))
        self.end_headers()
        self.wfile.write(self.name.encode())

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, *_):
        pass  # a client has gone


def serve(name):
    Handler.name = name
    Server(("", PORT), Handler).serve_forever()


# ---- The network ----


def set_up(directory):
    lab_server.set_up_names(directory)
    lines = "".join(f"{address} {name}\n" for name, addresses in NAMES.items() for address in addresses)
    (directory / "hosts").write_text(lab_server.FILES["hosts"] + lines)
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)  # namespaces get their names there
    lab_server.set_up_networks(NETWORK)
    for name, address in {**SERVERS, "clients": "198.18.0.129"}.items():
        subprocess.run(["ip", "netns", "add", name], check=True)
        lab_server.set_up_networks(HOST.format(name=name))
        enter = ["nsenter", f"--net=/run/netns/{name}", "ip", "-batch", "-"]
        subprocess.run(enter, input=INSIDE.format(address=address), text=True, check=True)


def spawn(namespace, words, env=None, **popen_kwargs):
    """Ends with the thread that calls this."""
    enter = ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net=/run/netns/{namespace}", "--"]
    words = [str(word) for word in words]
    return subprocess.Popen([*enter, *words], env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, **popen_kwargs)


def start_servers(directory):
    started = []
    for name in SERVERS:
        started.append(spawn(name, [sys.executable, __file__, "serve", name]))
        chief = name == "a"
        settings = directory / f"keepalived-{name}.conf"
        state, priority = ("MASTER", 150) if chief else ("BACKUP", 100)
        settings.write_text(KEEPALIVED.format(state=state, priority=priority))
        files = [f"--{kind}={directory}/{name}.{kind}" for kind in ("pid", "vrrp_pid")]
        words = ["keepalived", "--vrrp", "--dont-fork", "--log-console", "--log-detail", f"--use-file={settings}", *files]
        with (directory / f"keepalived-{name}.log").open("w") as log:
            started.append(spawn(name, words, stdout=log, stderr=log))
    return started


def await_servers(names):
    """Until all are served by the first server."""
    for name in names:
        for _ in range(100):
            words = ["curl", "-s", "--max-time", "1", f"http://{name}:{PORT}/0"]
            if spawn("clients", words, stdout=subprocess.PIPE, text=True).communicate()[0] == "a":
                break
            time.sleep(0.2)
        else:
            raise RuntimeError(f"{name} is not served by the first server")


# ---- A round ----


def play(directory, asked):
    """`streams`: by name, the words of a client and what it has in its environment. `settle`, `healthy`, `dead` and `after`:
    how many seconds nothing is asked, the servers are in health, the first one is dead, and it is back. Returns when it
    died, and what the clients have written."""
    set_up(directory)
    started = start_servers(directory)
    await_servers({words[-2] for words, _ in asked["streams"].values()})
    time.sleep(asked["settle"])  # 5 s after it has got an address keepalived tells once more who has it
    seconds = asked["healthy"] + asked["dead"] + asked["after"]
    clients = {}
    begin = time.monotonic()
    for number, (name, (words, env)) in enumerate(asked["streams"].items()):
        # Not all at once.
        time.sleep(max(0, begin + 0.03 * number - time.monotonic()))
        clients[name] = spawn("clients", [*words, seconds], env, stdout=subprocess.PIPE, text=True)
    for client in clients.values():
        client.stdout.readline()  # on a busy machine it takes some time to begin
    begin = time.monotonic()
    readers = {name: Reader(client) for name, client in clients.items()}
    time.sleep(max(0, begin + asked["healthy"] - time.monotonic()))
    died = time.monotonic()
    lab_server.set_up_networks("link set to-a down")
    time.sleep(asked["dead"])
    lab_server.set_up_networks("link set to-a up")
    found = {name: json.loads(reader.text()) for name, reader in readers.items()}
    for each in started:
        each.send_signal(signal.SIGTERM)
    for each in started:
        each.wait()
    return {"died": died, "requests": found}


class Reader(threading.Thread):
    """Reads what a client writes, while others do."""

    def __init__(self, client):
        super().__init__(daemon=True)
        self._client = client
        self._text = ""
        self.start()

    def run(self):
        self._text = self._client.communicate()[0]

    def text(self):
        self.join()
        return self._text


def end_with(stream):
    stream.read()
    os._exit(1)


def main():
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
        return
    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=end_with, args=(sys.stdin,), daemon=True).start()
    print(json.dumps(play(Path(sys.argv[1]), asked)), flush=True)
    os._exit(0)  # not before: the thread holds standard input


if __name__ == "__main__":
    main()
