# A client with a steady stream of requests:
#     steady.py curl|process|kept HOST PORT SECONDS
# `curl`: a process for each request; `process`: this one, and a connection for each request; every second one takes the
# server LONG_S. `kept`: short ones, all on one connection, one after the other, and a new connection after a failure.
# Writes a line when it begins, and at the end what became of them, as JSON: [when it was due, how long it took from then
# on, how long of that the server was to take, by whom it was answered or null].
# It must never leave a request out that was due while others waited: nobody would miss those that an outage kept away.
import http.client
import json
import subprocess
import sys
import threading
import time

PER_SECOND = 3
LIMIT_S = 5  # what is not answered by then is lost
LONG_S = 0.5


def by_curl(host, port, seconds):
    words = ["curl", "-s", "--max-time", str(LIMIT_S), f"http://{host}:{port}/{seconds}"]
    return subprocess.run(words, stdout=subprocess.PIPE, text=True).stdout


def by_this_process(host, port, seconds):
    connection = http.client.HTTPConnection(host, port, timeout=LIMIT_S)
    try:
        return ask(connection, seconds)
    except OSError:
        return ""
    finally:
        connection.close()


class Kept:
    def __init__(self, host, port):
        self._connection = http.client.HTTPConnection(host, port, timeout=LIMIT_S)
        self._lock = threading.Lock()

    def __call__(self, _host, _port, seconds):
        with self._lock:
            try:
                return ask(self._connection, seconds)
            except (OSError, http.client.HTTPException):
                self._connection.close()
                return ""


def ask(connection, seconds):
    connection.request("GET", f"/{seconds}")
    return connection.getresponse().read().decode()


def take(way, host, port, seconds, found):
    begun = time.monotonic()
    answer = way(host, port, seconds)
    took = time.monotonic() - begun
    found.append((begun, took, seconds, answer if answer and took <= LIMIT_S else None))


def main():
    kind, host, port, seconds = sys.argv[1:]
    way = {"curl": by_curl, "process": by_this_process, "kept": Kept(host, int(port))}[kind]
    found, threads = [], []
    print("begun", flush=True)
    begin = time.monotonic()
    for number in range(int(float(seconds) * PER_SECOND)):
        time.sleep(max(0, begin + number / PER_SECOND - time.monotonic()))
        by_server = LONG_S if number % 2 and kind != "kept" else 0
        threads.append(threading.Thread(target=take, args=(way, host, int(port), by_server, found)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    print(json.dumps(sorted(found)))


if __name__ == "__main__":
    main()
