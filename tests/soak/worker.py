# A program of the soak that runs for long and connects again and again, in one of the WAYS below. It only notes what
# happened; soak.py judges that.
#     worker.py WAY SEED WARM_UP UNTIL LIMIT PORT RECORDS HOST..
# Works for WARM_UP seconds, says "ready", and when it has read a line works on UNTIL this time of CLOCK_MONOTONIC; then
# it says "done", and ends after one more line.
# RECORDS gets a line of JSON for each connect: [BEGIN, END, HOST, ASKED, OUTCOME], OUTCOME the address that answered or
# "!" and what went wrong; or ["complaint", TEXT]. It must never keep a socket when it says that it is ready or done.
import asyncio
import errno
import json
import os
import random
import re
import select
import socket
import struct
import sys
import threading
import time

WAY, SEED, WARM_UP, UNTIL, LIMIT, PORT, RECORDS, *HOSTS = sys.argv[1:]
LIMIT, PORT = float(LIMIT), int(PORT)
records = os.open(RECORDS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
choice = random.Random(SEED)


def some_host():
    # The one that is always silent, and keeps a program to its limit, is asked now and then.
    return choice.choices(HOSTS, [1 if host == "dark.test" else 20 for host in HOSTS])[0]


def look_up(host):
    return socket.getaddrinfo(host, PORT, socket.AF_INET, socket.SOCK_STREAM)[0][4]


def write(*words):
    os.write(records, (json.dumps(words) + "\n").encode())


def name_of(error):
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)) and error.errno is None:
        return "!timeout"
    number = error.errno
    if number is None:  # asyncio, of several attempts
        numbers = set(re.findall(r"\[Errno (\d+)\]", str(error)))
        number = int(numbers.pop()) if len(numbers) == 1 else None
    return f"!{errno.errorcode.get(number, error)}"


def answer_in(data):
    found = re.match(rb"HTTP/1.0 200 nextaddr-live ([\d.]+)\r\n", data)
    return found[1].decode() if found else f"!no answer but {data[:50]}"


def limit_of(connection):
    return struct.unpack("ll", connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16))


class Attempt:
    """One connect."""

    def __init__(self, kind=0):
        self.host = some_host()
        self.asked = look_up(self.host)
        self.socket = socket.socket(type=socket.SOCK_STREAM | kind)
        self.limit = (0, 0)
        if choice.random() < 0.3 or (kind == 0 and WAY != "looping"):
            # A blocking connect gives up by it.
            self.limit = (int(LIMIT) if kind == 0 else choice.randrange(1, 9), 4000 * choice.randrange(200))
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", *self.limit))
        self.flags = self.socket.getblocking()
        self.told = threading.Event()
        self.begin = time.monotonic()

    def connect(self):
        return self.socket.connect_ex(self.asked)

    def is_late(self):
        return time.monotonic() - self.begin > LIMIT

    def ask(self):
        """After an event: what the connect has come to, or None while it is under way."""
        error = self.connect() if choice.random() < 0.4 else self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error == 0:
            try:
                self.socket.getpeername()
            except OSError:
                return None
        return {errno.EISCONN: 0, errno.EALREADY: None, errno.EINPROGRESS: None}.get(error, error)

    def end(self, error):
        """`error` as a number, or what else became of it."""
        if error == 0:
            outcome = self.read()
        else:
            outcome = error if isinstance(error, str) else f"!{errno.errorcode[error]}"
        if limit_of(self.socket) != self.limit:
            found = limit_of(self.socket)
            write("complaint", f"SO_SNDTIMEO of {self.host} ({outcome}): {self.limit} has become {found}")
        if (os.get_blocking(self.socket.fileno())) != self.flags:
            write("complaint", f"O_NONBLOCK of {self.host} ({outcome}) is another one")
        self.socket.close()
        write(self.begin, time.monotonic(), self.host, self.asked[0], outcome)

    def read(self):
        waiting = select.poll()
        waiting.register(self.socket, select.POLLIN)
        data = b""
        try:
            peer = self.socket.getpeername()[0]
            while b"\r\n" not in data and waiting.poll(10_000):
                more = self.socket.recv(4096)
                data += more
                if not more:
                    break
        except OSError as error:
            return f"!no answer but {name_of(error)}"
        answer = answer_in(data)
        return answer if answer == peer else f"!{peer} has answered {answer}"


# ---- The ways: each makes a few connects ----


def blocking():
    attempt = Attempt()
    error = attempt.connect()
    attempt.end("!timeout" if error == errno.EINPROGRESS else error)


def in_threads(way, count):
    def run():
        threads = [threading.Thread(target=way) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return run


def forks():
    """As a server that serves each request in a process of its own."""
    seeds = [choice.random() for _ in range(3)]
    children = []
    for seed in seeds:
        child = os.fork()
        if child == 0:
            choice.seed(seed)
            choice.choice([blocking, with_timeout, polls])()
            os._exit(0)
        children.append(child)
    for child in children:
        status = os.waitpid(child, 0)[1]
        if status:
            write("complaint", f"a child has ended with {status}")


def with_timeout():
    attempt = Attempt()
    attempt.socket.settimeout(LIMIT)
    attempt.flags = False
    try:
        attempt.socket.connect(attempt.asked)
    except OSError as error:
        attempt.end(name_of(error))
    else:
        attempt.end(0)


def looping():
    """Goes through the addresses by itself."""
    host = some_host()
    begin = time.monotonic()
    try:
        with socket.create_connection((host, PORT), LIMIT) as connection:
            connection.settimeout(10)
            outcome = answer_in(connection.recv(4096))
    except OSError as error:
        outcome = name_of(error)
    write(begin, time.monotonic(), host, None, outcome)


def several(most=6):
    attempts = {}
    for _ in range(choice.randint(1, most)):
        attempt = Attempt(socket.SOCK_NONBLOCK)
        attempts[attempt.socket.fileno()] = attempt
    return attempts


def settle(attempts, fd, forget=lambda fd: None):
    result = attempts[fd].ask()
    if result is not None:
        forget(fd)
        attempts.pop(fd).end(result)


def begin(attempt):
    """True when there is something to wait for."""
    error = attempt.connect()
    if error == errno.EINPROGRESS:
        return True
    attempt.end(error)
    return False


def end_late(attempts):
    for fd, attempt in list(attempts.items()):
        if attempt.is_late():
            attempts.pop(fd).end("!timeout")
        elif choice.random() < 0.002:
            attempts.pop(fd).end("!abandoned")


def some_time():
    return choice.choice([0.001, 0.02, 0.4, LIMIT])


def polls():
    attempts = {fd: attempt for fd, attempt in several().items() if begin(attempt)}
    while attempts:
        waiting = select.poll()
        for fd in attempts:
            waiting.register(fd, select.POLLOUT)
        for fd, _ in waiting.poll(some_time() * 1000):
            settle(attempts, fd)
        end_late(attempts)


def selects():
    attempts = {fd: attempt for fd, attempt in several().items() if begin(attempt)}
    while attempts:
        for fd in select.select([], list(attempts), [], some_time())[1]:
            settle(attempts, fd)
        end_late(attempts)


def epolls():
    with select.epoll() as waiting:
        trigger = choice.choice([0, select.EPOLLET])
        attempts = several()
        for fd, attempt in list(attempts.items()):
            early = choice.random() < 0.5
            if early:
                waiting.register(fd, select.EPOLLOUT | trigger)
            if not begin(attempt):
                del attempts[fd]
            elif not early:
                waiting.register(fd, select.EPOLLOUT | trigger)
        while attempts:
            for fd, _ in waiting.poll(some_time(), choice.randint(1, 4)):
                if fd in attempts:
                    settle(attempts, fd, waiting.unregister)
            end_late(attempts)


class Sleepers:
    """Threads that wait without a limit while another one connects."""

    def __init__(self, count):
        self.count = count
        self.threads = []

    def run(self):
        self.waiting = select.epoll()
        # Mostly alone in its set: the event of another one would wake them as well.
        self.attempts = several(choice.choice([1, 1, 4]))
        stop = os.eventfd(0)
        self.waiting.register(stop, select.EPOLLIN)
        self.threads = [threading.Thread(target=self.sleep, args=(stop,)) for _ in range(self.count)]
        for thread in self.threads:
            thread.start()
        began = []
        for fd, attempt in self.attempts.items():
            # Registered afterwards, so that the event is of the connect.
            if begin(attempt):
                self.waiting.register(fd, select.EPOLLOUT | select.EPOLLONESHOT)
                began.append(attempt)
        for attempt in began:
            told = attempt.told.wait(max(attempt.begin + LIMIT - time.monotonic(), 0))
            self.waiting.unregister(attempt.socket)
            attempt.end(attempt.result if told else "!timeout")
        os.eventfd_write(stop, 1)
        for thread in self.threads:
            thread.join()
        os.close(stop)
        self.waiting.close()

    def sleep(self, stop):
        while True:
            for fd, _ in self.waiting.poll(-1, 1):
                if fd == stop:
                    return
                attempt = self.attempts[fd]
                attempt.result = attempt.ask()
                if attempt.result is None:
                    self.waiting.modify(fd, select.EPOLLOUT | select.EPOLLONESHOT)
                else:
                    attempt.told.set()


async def one_asynchronous():
    host = some_host()
    begin = time.monotonic()
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(host, PORT), LIMIT)
        outcome = answer_in(await asyncio.wait_for(reader.readline(), 10))
        writer.close()
    except (OSError, asyncio.TimeoutError) as error:
        outcome = "!timeout" if isinstance(error, asyncio.TimeoutError) else name_of(error)
    write(begin, time.monotonic(), host, None, outcome)


def asynchronous():
    async def all_of_them():
        await asyncio.gather(*(one_asynchronous() for _ in range(choice.randint(1, 8))))

    asyncio.run(all_of_them())


WAYS = {
    "blocking": in_threads(blocking, 4),
    "forks": forks,
    "timeout": in_threads(with_timeout, 4),
    "looping": looping,
    "poll": polls,
    "select": selects,
    "epoll": epolls,
    "threads": in_threads(lambda: choice.choice([blocking, polls, epolls, selects, with_timeout])(), 4),
    "sleepers": in_threads(lambda: Sleepers(2).run(), 4),
    "asyncio": asynchronous,
}


def work(until):
    while time.monotonic() < until:
        WAYS[WAY]()


def let_probes_end():
    """A probe may outlive its connect by 2 s, and ends with the next call of the program."""
    time.sleep(2.2)
    os.close(os.dup(0))


# Twice, because the first of a name's numbers is taken for what was found under the name; asyncio looks no number up.
for each in HOSTS * 2:
    look_up(each)
work(time.monotonic() + float(WARM_UP))
for word, until in ("ready", float(UNTIL)), ("done", 0):
    let_probes_end()
    print(word, flush=True)
    sys.stdin.readline()
    work(until)
