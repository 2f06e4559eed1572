# The suites that run.py knows: how to get each, what to run, and how to read how its tests ended.
# No entry may depend on whether the library is preloaded: the same command runs on both sides.
import dataclasses
import itertools
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON = "/usr/bin/python3"


class Unavailable(Exception):
    """Why a suite cannot be had on this machine."""


@dataclasses.dataclass
class Ran:
    """A job that has ended: `status` is None when it took too long."""

    status: int | None
    output: str
    results: Path


@dataclasses.dataclass
class Job:
    """One command that runs one or more tests. `only` makes a job of one test, if the suite can run one alone."""

    name: str
    command: list
    parse: Callable[[Ran], dict]
    directory: Path | None = None
    seconds: int = 600
    environment: dict = dataclasses.field(default_factory=dict)
    only: Callable | None = None


def run(*command, directory):
    log = Path(directory) / "prepare.log"
    with open(log, "ab") as output:
        status = subprocess.run([str(word) for word in command], cwd=directory, stdout=output, stderr=output,
                                stdin=subprocess.DEVNULL).returncode
    if status != 0:
        raise Unavailable(f"{command[0]} failed, see {log}")


def once(work, name, make):
    """A directory that is made once, or not at all."""
    place = work / name
    if not (place / ".complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        make(place)
        (place / ".complete").touch()
    return place


# Sources with lists of their own: the machine's need not have deb-src, and are left alone.
APT = """Dir::Etc::sourcelist "{place}/deb-src.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::lists "{place}/lists";
Dir::Cache "{place}/cache";
APT::Sandbox::User "root";
"""
# The archives of Debian that the machine has its packages from.
ARCHIVES = ["apt-get", "indextargets", "--format", "$(ORIGIN) deb-src $(REPO_URI) $(CODENAME) $(COMPONENT)", "Created-By: Packages"]


def debian_source(work, package):
    """The unpacked source of a Debian package. A version the mirror has given up is passed over for an older one."""

    def fetch(place):
        apt = place / "apt"
        (apt / "lists" / "partial").mkdir(parents=True)
        (apt / "cache").mkdir()
        archives = subprocess.run(ARCHIVES, capture_output=True, text=True).stdout.splitlines()
        sources = {archive.removeprefix("Debian ") for archive in archives if archive.startswith("Debian ")}
        # The main archive, which keeps its files longest, before that of security.
        (apt / "deb-src.list").write_text("".join(f"{source}\n" for source in sorted(sources, reverse=True)))
        (apt / "apt.conf").write_text(APT.format(place=apt))
        with_lists = ["env", f"APT_CONFIG={apt}/apt.conf"]
        run(*with_lists, "apt-get", "-q", "update", directory=place)
        shown = subprocess.run([*with_lists, "apt-cache", "showsrc", package], capture_output=True, text=True).stdout
        versions = re.findall(r"^Version: (.*)", shown, re.MULTILINE)
        for version in reversed(versions):
            try:
                run(*with_lists, "apt-get", "-q", "--download-only", "source", f"{package}={version}", directory=place)
                run("dpkg-source", "--no-check", "--extract", next(place.glob("*.dsc")), "source", directory=place)
                return
            except Unavailable:
                for archive in place.glob("*.dsc"):
                    archive.unlink()
        raise Unavailable(f"no source of {package} to be had, see {place}/prepare.log")

    return once(work, f"source-{package}", fetch) / "source"


def cmake(work, source, *options):
    def build(place):
        run("cmake", "-DCMAKE_BUILD_TYPE=Release", *options, source, directory=place)
        run("make", "-j2", directory=place)

    return once(work, "build", build)


class Suite:
    name = ""
    # Programs it runs, or files it needs.
    needs = ()
    source = None

    def missing(self):
        """What it needs and the machine has not, or None."""
        needs = (*self.needs, *(("apt-get", "dpkg-source") if self.source else ()))
        lacking = [need for need in needs if not (Path(need).exists() if "/" in need else shutil.which(need))]
        return f"not installed: {', '.join(lacking)}" if lacking else None

    def prepare(self, work):
        self.work = work
        self.directory = debian_source(work, self.source) if self.source else None

    def jobs(self):
        raise NotImplementedError


def job_of_one(name, command, **rest):
    """A test that is a program: it says with its exit status how it ended. 7: skipped (libuv)."""

    def parse(ran):
        ends = {0: "passed", 7: "skipped", None: "took too long"}
        return {name: "skipped" if re.search("SKIPPED|^1..0", ran.output) and ran.status == 0
                else ends.get(ran.status, "failed")}

    return Job(name, [str(word) for word in command], parse, **({"seconds": 90} | rest))


class Recorded(Suite):
    """Python tests, through recording.py."""

    kind = "unittest"
    environment = {}

    def job(self, name, tests=None):
        def parse(ran):
            ends = {}
            lines = ran.results.read_text().splitlines() if ran.results.exists() else []
            for status, test in (line.split("\t", 1) for line in lines):
                # One test may say more than one thing: a failure is what counts, of subtests and of tearDown too.
                if ends.get(test) != "failed":
                    ends[test] = status
            # The process itself, which has to come to its end.
            return ends | {f"{name} as a whole": "ended" if ran.status == 0 else f"status {ran.status}"}

        def only(test):
            return whole if test.endswith("as a whole") or "(" in test else self.job(name, [test])

        command = [PYTHON, str(HERE / "recording.py"), self.kind, "{results}", *(tests or [name])]
        whole = Job(name, command, parse, environment=self.environment, only=only)
        return whole


class CPython(Recorded):
    name = "cpython"
    needs = ("/usr/lib/python3.11/test/test_socket.py",)
    modules = ("fork1", "poll", "epoll", "select", "selectors", "socketserver", "socket", "ftplib", "smtplib", "httplib",
               "urllib2_localnet", "ssl", "subprocess", "threading", "asyncore", "asynchat", "poplib", "imaplib", "signal")

    def jobs(self):
        asyncio = sorted(path.stem for path in Path("/usr/lib/python3.11/test/test_asyncio").glob("test_*.py"))
        return [self.job(f"test.test_{module}") for module in self.modules] + [
            self.job(f"test.test_asyncio.{module}") for module in asyncio]


class Tornado(Recorded):
    name = "tornado"
    needs = ("/usr/lib/python3/dist-packages/tornado/test/runtests.py",)
    environment = {"ASYNC_TEST_TIMEOUT": "20"}

    def jobs(self):
        modules = sorted(path.stem for path in Path(self.needs[0]).parent.glob("*_test.py"))
        return [self.job(f"tornado.test.{module}") for module in modules]


class Twisted(Recorded):
    name = "twisted"
    kind = "trial"
    needs = ("/usr/lib/python3/dist-packages/twisted/internet/test/test_tcp.py",)
    more = ("tcp", "tcp_internals", "ssl", "sslverify", "udp", "unix", "process", "internet", "protocols", "ftp", "threads",
            "iutils", "abstract", "application")

    def jobs(self):
        modules = sorted(path.stem for path in Path(self.needs[0]).parent.glob("test_*.py"))
        return [self.job(f"twisted.internet.test.{module}") for module in modules] + [
            self.job(f"twisted.test.test_{module}") for module in self.more] + [
            self.job(f"twisted.web.test.test_{module}") for module in ("agent", "http", "webclient", "wsgi")]


class Libuv(Suite):
    name = "libuv"
    source = "libuv1"
    needs = ("cmake", "cc")

    def prepare(self, work):
        super().prepare(work)
        self.build = cmake(work, self.directory, "-DLIBUV_BUILD_TESTS=ON")

    def jobs(self):
        program = self.build / "uv_run_tests"
        as_root = {"UV_RUN_AS_ROOT": "1"}
        listed = subprocess.run([program, "--list"], capture_output=True, text=True, env=as_root).stdout.split()
        return [job_of_one(test, [program, test], directory=self.directory, environment=as_root) for test in listed]


class Libevent(Suite):
    name = "libevent"
    source = "libevent"
    needs = ("cmake", "cc")

    def prepare(self, work):
        super().prepare(work)
        self.build = cmake(work, self.directory, "-DEVENT__LIBRARY_TYPE=STATIC", "-DEVENT__DISABLE_BENCHMARK=ON",
                           "-DEVENT__DISABLE_SAMPLES=ON", "-DEVENT__DISABLE_MBEDTLS=ON")

    def jobs(self):
        program = self.build / "bin" / "regress"
        listed = subprocess.run([program, "--list-tests"], capture_output=True, text=True)
        tests = re.findall(r"^ {4}(\S+/\S+)", listed.stdout + listed.stderr, re.MULTILINE)
        # The loop waits by epoll; the same tests once more with the other two waits.
        others = {"poll": {"EVENT_NOEPOLL": "1"}, "select": {"EVENT_NOEPOLL": "1", "EVENT_NOPOLL": "1"}}
        return [job_of_one(test, [program, test]) for test in tests] + [
            job_of_one(f"{test} by {wait}", [program, test], environment=setting)
            for wait, setting in others.items() for test in tests if re.match("bufferevent/|dns/|listener/", test)]


class Node(Suite):
    """A test is a script that throws when it fails. Those that the installed Node is too new or too old for fail bare."""

    name = "node"
    source = "nodejs"
    needs = ("node",)
    areas = "net|tls|https|http-(agent|client|connect|keep|timeout|abort|dns|local)|dgram-connect|child-process-fork|cluster|pipe"

    def jobs(self):
        node = shutil.which("node")
        for number, path in enumerate(sorted((self.directory / "test" / "parallel").glob("test-*.js"))):
            if not re.match(f"test-({self.areas})-", path.name):
                continue
            flags = re.search(r"^// Flags: (.*)", path.read_text(errors="replace"), re.MULTILINE)
            yield job_of_one(path.stem, [node, *(flags[1].split() if flags else []), path], directory=self.directory,
                             seconds=60)


class Redis(Suite):
    """The tests of the source with the server and the tools of the package."""

    name = "redis"
    source = "redis"
    needs = ("redis-server", "redis-cli", "tclsh")
    units = ("unit/auth", "unit/networking", "unit/pubsub", "unit/querybuf", "unit/introspection", "unit/limits",
             "unit/protocol", "unit/quit", "unit/pause", "unit/wait", "unit/obuf-limits", "unit/tracking", "unit/shutdown",
             "unit/cluster", "unit/multi", "unit/other", "unit/type/list", "integration/redis-cli", "integration/redis-benchmark",
             "integration/block-repl", "integration/failover", "integration/replication-2", "integration/shutdown")

    def prepare(self, work):
        super().prepare(work)
        for tool in ("server", "cli", "benchmark", "check-aof", "check-rdb", "sentinel"):
            link = self.directory / "src" / f"redis-{tool}"
            link.unlink(missing_ok=True)
            link.symlink_to(shutil.which(f"redis-{tool}") or shutil.which("redis-server"))

    def jobs(self):
        return [self.job(unit) for unit in self.units]

    def job(self, unit):
        def parse(ran):
            plain = re.sub(r"\x1b\[[0-9;]*m", "", ran.output)
            ends = {}
            for status, test in re.findall(r"^\[(ok|err|exception|ignore|skip)\]: (.*)", plain, re.MULTILINE):
                # Times, ports and what was measured are not part of a test's name.
                name = re.sub(r" \(\d+ ms\)$| in tests/.*| \(.*", "", test)
                ends[f"{unit}: {name}"] = {"ok": "passed", "ignore": "skipped", "skip": "skipped"}.get(status, "failed")
            return ends | {f"{unit} as a whole": "ended" if ran.status == 0 else f"status {ran.status}"}

        return Job(unit, ["./runtest", "--clients", "1", "--single", unit], parse, directory=self.directory)


class Curl(Suite):
    name = "curl"
    source = "curl"
    needs = ("cc", "perl", "openssl")
    # Numbers of tests, a part at a time. More than these need more servers, or look at curl only.
    parts = ((1, 100), (500, 560), (700, 720), (1500, 1570))

    def prepare(self, work):
        super().prepare(work)

        def build(place):
            run(self.directory / "configure", "--with-openssl", "--disable-ldap", "--disable-manual",
                "--without-libpsl", "--without-brotli", "--without-zstd", "--without-librtmp", "--without-libssh2",
                "CFLAGS=-O1 -w", directory=place)
            run("make", "-j2", directory=place)
            run("make", "-j2", "-C", "tests", directory=place)

        self.build = once(work, "build", build)

    def jobs(self):
        return [self.job(f"{first} to {last}", [str(first), "to", str(last)]) for first, last in self.parts]

    def job(self, name, chosen):
        def parse(ran):
            ends = {}
            for status, number, test in re.findall(r"^(PASS|FAIL|SKIP): (\d+) - (.*)", ran.output, re.MULTILINE):
                ends[f"{number} {test}"] = {"PASS": "passed", "FAIL": "failed", "SKIP": "skipped"}[status]
            return ends if name.startswith("only") else ends | {
                f"{name} as a whole": "took too long" if ran.status is None else "ended"}

        def only(test):
            return self.job(f"only {test}", [test.split()[0]]) if not test.endswith("as a whole") else whole

        # A test that needs valgrind or takes very long is none of these.
        whole = Job(name, [str(self.directory / "tests" / "runtests.pl"), "-n", "-am", "-a", *chosen], parse,
                    directory=self.build / "tests", seconds=1200, only=only)
        return whole


class Tap(Suite):
    """Scripts that print a line for each test (the Test Anything Protocol)."""

    def tap_job(self, name, command, directory, environment=()):
        def parse(ran):
            ends = {f"{name} as a whole": "passed" if ran.status == 0 else f"status {ran.status}"}
            for negated, number, text in re.findall(r"^(not )?ok (\d+)(.*)", ran.output, re.MULTILINE):
                ends[f"{name}{text.partition('#')[0].rstrip() or ' ' + number}"] = "failed" if negated else "skipped" if "# skip" in text.lower() else "passed"
            return ends

        return Job(name, command, parse, directory=directory, seconds=120, environment=dict(environment))


class Perl(Tap):
    """The tests of perl's own modules, with the installed perl."""

    name = "perl"
    source = "perl"
    needs = ("perl",)
    places = ("cpan/IO-Socket-IP", "cpan/Socket", "cpan/libnet", "cpan/HTTP-Tiny", "dist/IO", "dist/Net-Ping", "ext/IPC-Open3")

    def jobs(self):
        return [self.tap_job(f"{place}/t/{path.name}", ["perl", "-I.", f"t/{path.name}"], self.directory / place,
                             {"PERL_HASH_SEED": "0", "PERL_PERTURB_KEYS": "0"})
                for place in self.places for path in sorted((self.directory / place / "t").glob("*.t"))]


class Ruby(Suite):
    name = "ruby"
    source = "ruby3.1"
    needs = ("ruby",)

    def jobs(self):
        tests = self.directory / "test"
        files = itertools.chain.from_iterable(
            sorted((tests / place).rglob("test_*.rb")) for place in ("socket", "net", "drb", "io", "open-uri"))
        more = [tests / "ruby" / f"test_{name}.rb" for name in ("io", "io_timeout", "process", "thread", "fiber/test_scheduler")]
        more += sorted((tests / "fiber").glob("test_*.rb"))
        return [self.job(str(path.relative_to(tests))) for path in (*files, *more) if path.exists()]

    def job(self, name):
        def parse(ran):
            ends = {}
            for test, mark in re.findall(r"^\[ *\d+/\d+\] (\S+) = [\d.]+ s(?:\s*\n?\s*\d+\) (\w+):)?", ran.output, re.MULTILINE):
                ends[test] = "passed"
            for kind, test in re.findall(r"^ *\d+\) (Failure|Error|Skipped):\n(\S+?)[: ]", ran.output + " ", re.MULTILINE):
                ends[test.rstrip(":")] = "skipped" if kind == "Skipped" else "failed"
            return ends | {f"{name} as a whole": "took too long" if ran.status is None else f"status {ran.status}"}

        return Job(name, ["ruby", "-I", "tool/lib", "-I", "test/lib", "test/runner.rb", "-v", "--show-skip", f"test/{name}"],
                   parse, directory=self.directory, seconds=400)


class Tcl(Suite):
    name = "tcl"
    source = "tcl8.6"
    needs = ("tclsh",)
    files = ("socket", "http", "http11", "httpcookie", "io", "chanio", "ioCmd", "ioTrans", "exec", "event", "thread", "process")

    def jobs(self):
        return [self.job(name) for name in self.files if (self.directory / "tests" / f"{name}.test").exists()]

    def job(self, name):
        def parse(ran):
            ends = {f"{name} as a whole": "took too long" if ran.status is None else f"status {ran.status}"}
            for test, status in re.findall(r"^(?:\+\+\+\+|====) (\S+) .*?(PASSED|FAILED|SKIPPED)?$", ran.output, re.MULTILINE):
                ends[test] = {"PASSED": "passed", "SKIPPED": "skipped"}.get(status, "failed")
            for test in re.findall(r"^\+\+\+\+ (\S+) SKIPPED", ran.output, re.MULTILINE):
                ends[test] = "skipped"
            return ends

        return Job(name, ["tclsh", f"{name}.test", "-verbose", "pse"], parse, directory=self.directory / "tests", seconds=300)


ALL = [CPython(), Node(), Curl(), Libevent(), Libuv(), Redis(), Twisted(), Tornado(), Perl(), Ruby(), Tcl()]
