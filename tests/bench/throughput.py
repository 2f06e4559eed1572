# What load generators get out of a small server, bare and preloaded: many connects or many requests in a second.
# It must never preload the server, nor leave it behind.
import contextlib
import functools
import os
import re
import shutil
import signal
import subprocess
import sys

from calls import ADDRESSES, HOST, measured
from network import Failed
from samples import interleaved, not_measured, say

HTTP_PORT, REDIS_PORT = 7780, 7781

NGINX = """
daemon off;
user root;
worker_processes 1;
pid nginx.pid;
error_log /dev/null;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_requests 1000000;
    server {{
        listen {address}:{port};
        location / {{ return 200 "nextaddr-live\\n"; }}
    }}
}}
"""

WAIT = """
import socket, sys, time
while socket.socket().connect_ex((sys.argv[1], int(sys.argv[2]))):
    time.sleep(0.02)
"""


def nginx(directory):
    (directory / "nginx.conf").write_text(NGINX.format(address=ADDRESSES[0], port=HTTP_PORT))
    return ["nginx", "-e", "/dev/null", "-p", str(directory), "-c", "nginx.conf"]


def redis(directory):
    words = ["redis-server", "--bind", ADDRESSES[0], "--port", str(REDIS_PORT), "--protected-mode", "no"]
    return [*words, "--save", "", "--appendonly", "no", "--dir", str(directory)]


def loads(bench):
    """(NAME, TOOL, WORDS, WHAT THE RATE COMES AFTER)"""
    url = f"http://{HOST}:{HTTP_PORT}/"
    seconds, requests = (1, 300) if bench.quick else (2, 6000)
    wrk = ["wrk", "-t1", "-c16", f"-d{seconds}", url]
    ab = ["ab", "-q", "-c8"]
    redis_words = ["redis-benchmark", "-h", HOST, "-p", str(REDIS_PORT), "-c", "16", "-t", "get", "--csv"]
    of_wrk, of_ab, of_redis = r"Requests/sec: +([\d.]+)", r"Requests per second: +([\d.]+)", r'"GET","([\d.]+)"'
    http = [
        ("wrk", "wrk", wrk, of_wrk),
        ("wrk, a connect for each request", "wrk", [*wrk, "-H", "Connection: close"], of_wrk),
        ("ab, a connect for each request", "ab", [*ab, f"-n{requests}", url], of_ab),
        ("ab -k", "ab", [*ab, "-k", f"-n{requests * 5}", url], of_ab),
    ]
    of_redis_benchmark = [
        ("redis-benchmark", "redis-benchmark", [*redis_words, "-n", str(requests * 10)], of_redis),
        (
            "redis-benchmark, a connect for each request",
            "redis-benchmark",
            [*redis_words, "-k", "0", "-n", str(requests)],
            of_redis,
        ),
    ]
    return [("nginx", nginx, HTTP_PORT, http), ("redis-server", redis, REDIS_PORT, of_redis_benchmark)]


def all_rows(bench):
    section = "throughput"
    for server, words, port, clients in loads(bench):
        reason = bench.no_namespace or ("" if shutil.which(server) else f"{server} is not installed")
        if reason:
            yield from (not_measured(section, name, reason) for name, *_ in clients)
            continue
        bench.network.only_host(HOST, ADDRESSES[:2])
        with serving(bench, words(bench.network.directory), port):
            for name, tool, client, pattern in clients:
                say(f"{section}: {name}")
                if not shutil.which(tool):
                    yield not_measured(section, name, f"{tool} is not installed")
                    continue

                def rate(subject):
                    found = re.search(pattern, bench.network.run(client, subject.env))
                    if not found:
                        raise Failed(f"{tool} says no rate")
                    return float(found[1])

                pairs = max(bench.pairs // 2, 1)
                rates = functools.partial(interleaved, bench.subjects, pairs, rate)
                yield measured(section, name, "1/s", rates, note=f"{pairs} samples", more_is_better=True)


@contextlib.contextmanager
def serving(bench, words, port):
    nothing = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = bench.network.spawn(words, env=bench.network.environment(), **nothing)
    try:
        bench.network.run([sys.executable, "-c", WAIT, ADDRESSES[0], port], {}, timeout=20)
        yield
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
