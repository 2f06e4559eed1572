# The library for other architectures and libcs: programs of 32 bits, with 32- and 64-bit time, those of aarch64 in an
# emulator, and those of musl. Each does in its own way what the other tests have in every detail, and all of them
# share what is shared between processes.
# Where a compiler or an emulator is missing a test says so; nothing may be skipped because a build has failed.
import re
import shutil
import struct
import subprocess

import pytest

from programs.events import assert_connected, assert_same
from programs.harness import (
    BUILDS,
    HOST,
    LIBRARY,
    PROGRAMS,
    ROOT,
    Run,
    address_lab,
    preload,
    several,
    start_bare,
    start_shim,
)

PACKAGES = {"i386": "g++-multilib", "aarch64": "clang, lld and libstdc++-12-dev-arm64-cross"}
HOSTS = [("refused", "live"), ("silent", "refused", "live")]
LATE = 2500
# Functions with a time of their own, with which 32-bit programs differ. qemu-user has no epoll_pwait2.
WAITS = {
    "events_poll": ["poll", "ppoll", "select", "pselect"],
    "events_epoll": ["epoll_wait", "epoll_pwait", "epoll_pwait2"],
}


def build_for(name):
    build = BUILDS[name]
    if not build.library.is_file() and (build.directory / "no-compiler").is_file():
        pytest.skip(f"no compiler for {build.directory.name} ({PACKAGES[build.directory.name]})")
    if build.emulator and not shutil.which(build.emulator):
        pytest.skip(f"{build.emulator} is not installed (qemu-user)")
    assert build.library.is_file(), f"{build.library} is not built: run make reach"
    return build


@pytest.fixture(params=["i386", "i386-time64", "aarch64"])
def build(request):
    return build_for(request.param)


def waits(build, program):
    return [how for how in WAITS[program] if not (build.emulator and how == "epoll_pwait2")]


def all_waits(build, host, begin, **arguments):
    """A run for each way to wait, all at the same time: program, run."""
    started = [
        (program, begin(host, program, build=build, how=how, **arguments))
        for program in WAITS
        for how in waits(build, program)
    ]
    return [(program, run.finish()) for program, run in started]


# ---- One architecture ----


@pytest.mark.parametrize("kinds", HOSTS, ids="-".join)
def test_a_blocking_connect_reaches_the_live_address(several, build, kinds):
    host = several(*kinds)
    times = (0, 20_000, 2_000_000_000)
    started = [start_shim(host, "connect_first", build=build, transfer=1, timeout=ms) for ms in times]
    for run, ms in zip(started, times):
        run.finish()
        assert run.values("result", "error", "peer", "transfer") == ("0", "0", host.live[0], host.live[0]), run
        assert run.values("timeout", "state") == (str(ms), "ESTABLISHED"), run
        assert run.lines[-1] == {"descriptors_left": "0"}, run
        assert int(run.first["ms"]) < 250 * kinds.count("silent") + LATE, run


def test_a_blocking_connect_that_fails_is_the_programs_own(several, build):
    for kinds, arguments in ((("refused", "unreachable"), {}), (("silent", "silent"), {"timeout": 500})):
        host = several(*kinds)
        bare, shim = (begin(host, "connect_first", build=build, **arguments) for begin in (start_bare, start_shim))
        bare.finish(), shim.finish()
        keys = ("result", "error", "peer", "state", "timeout", "so_error")
        assert shim.values(*keys) == bare.values(*keys)
        assert abs(int(shim.first["ms"]) - int(bare.first["ms"])) < LATE, (bare, shim)


@pytest.mark.parametrize("timeout", [-1, 7, 20_000])
@pytest.mark.parametrize("kinds", HOSTS, ids="-".join)
def test_every_wait_has_one_event(several, build, kinds, timeout):
    host = several(*kinds)
    for program, run in all_waits(build, host, start_shim, timeout=timeout):
        assert run.first["events"] == "OUT", run
        assert_connected(run, host.live[0])
        assert int(run.first["ms"]) < 250 * kinds.count("silent") + LATE, run
        if program == "events_epoll":
            assert run.first["data_kept"] == "1", run
        elif timeout == 7 and "silent" in kinds:
            assert int(run.first["timeouts"]) >= 10 and run.first["too_early"] == "0", run


def test_refused_by_all_is_told_as_by_one(several, build):
    host = several("refused", "refused", "refused")
    bare = all_waits(build, host, start_bare)
    shim = all_waits(build, host, start_shim)
    for (_, expected), (_, got) in zip(bare, shim):
        assert_same(expected, got, "events", "so_error", "peer", "transfer", "changed", "descriptors_left")
        assert got.first["so_error"] == "ECONNREFUSED", got


def test_select_leaves_the_time_not_slept(several, build):
    run = start_shim(several("silent", "live"), "events_poll", build=build, how="select", timeout=20_000).finish()
    slept = 20_000 - int(run.first["left"])
    assert 180 <= slept <= int(run.first["longest"]) + 20, run


# ---- What all of them share ----


@pytest.mark.parametrize("names", [("native", "i386"), ("i386-time64", "native"), ("native", "aarch64")], ids="-".join)
def test_what_one_has_learned_the_other_knows(several, names, tmp_path):
    first, second = (build_for(name) for name in names)
    if bool(first.emulator) != bool(second.emulator):
        pytest.skip("the emulator does not know SO_NETNS_COOKIE, by which what is remembered is kept apart")
    host = several("refused", "live")
    env = {"NEXTADDR_MEMORY": str(tmp_path / "memory"), "NEXTADDR_LOG": "info"}
    learns = start_shim(host, "connect_first", build=first, env=env).finish()
    assert re.search(rf"{host.addresses[0]} refused .* {host.live[0]} connected", learns.stderr), learns
    knows = start_shim(host, "connect_first", build=second, env=env).finish()
    assert knows.first["peer"] == host.live[0], knows
    assert "refused" not in knows.stderr, knows


@pytest.mark.parametrize("other", ["i386", "aarch64"])
def test_a_run_counts_over_all_of_them(several, other, tmp_path):
    # The same chances in the same order, whoever draws them.
    alone, mixed = [build_for("native")] * 8, [build_for("native"), build_for(other)] * 4
    host = several("live")
    told = {}
    for who, builds in (("alone", alone), ("mixed", mixed)):
        (tmp_path / who).write_bytes(bytes(8192))
        faults = f"{HOST}=50%3*refuse->2*errno(EPERM)->off"
        env = {"NEXTADDR_RUN": str(tmp_path / who), "NEXTADDR_FAULTS": faults, "NEXTADDR_SEED": "3"}
        runs = [start_shim(host, "connect_first", build=build, env=env).finish() for build in builds]
        told[who] = [run.first["error"] for run in runs]
    assert told["mixed"] == told["alone"]
    assert sorted(told["alone"], key=str) == ["0"] * 3 + ["ECONNREFUSED"] * 3 + ["EPERM"] * 2


# ---- musl ----


@pytest.fixture(scope="session")
def musl_program(tmp_path_factory):
    if not shutil.which("musl-gcc"):
        pytest.skip("musl-gcc is not installed (musl-tools)")
    path = tmp_path_factory.mktemp("musl") / "other_libc"
    source = ROOT / "tests" / "programs" / "other_libc.c"
    subprocess.run(["musl-gcc", "-Wall", "-Wextra", "-Werror", "-o", path, source], check=True)
    return path


def start_plain(host, *words, env):
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return Run(host.lab.spawn(list(words), env={**host.lab.environment(), **env}, **output))


def test_the_same_object_serves_programs_of_musl(several, musl_program):
    host = several("refused", "silent", "live")
    env = {**preload(), "NEXTADDR_RESOLVE": host.resolve}
    ways = ("blocking", "poll", "ppoll", "select", "pselect", "epoll_wait", "epoll_pwait")
    started = [start_plain(host, musl_program, HOST, str(host.port), how, env=env) for how in ways]
    for run in started:
        run.finish()
        assert (run.stdout, run.stderr) == (f"{host.live[0]}\n", ""), run


# ---- glibc before 2.34 ----


def without_dlsym(path):
    """A copy of the library that asks for a dlsym of another name, and so has none, as where libdl is not loaded."""
    contents = bytearray(LIBRARY.read_bytes())
    shown = subprocess.run(["readelf", "-SW", "--dyn-syms", LIBRARY], capture_output=True, text=True, check=True).stdout
    table, size = re.search(r"\.dynsym +DYNSYM +\w+ (\w+) \w+ (\w+)", shown).groups()
    index = re.search(r"(\d+): .* dlsym@", shown)[1]
    entry = int(table, 16) + int(size, 16) * int(index)
    struct.pack_into("<I", contents, entry, struct.unpack_from("<I", contents, entry)[0] + 1)  # "lsym"
    path.write_bytes(contents)
    return path


@pytest.mark.parametrize("program", ["connect_first", *WAITS])
def test_libdl_is_opened_where_dlsym_is_missing(several, program, tmp_path, require):
    require("readelf")
    host = several("refused", "live")
    how = {"how": WAITS[program][0]} if program in WAITS else {}
    for library, opened in ((without_dlsym(tmp_path / LIBRARY.name), 1), (LIBRARY, 0)):
        run = start_shim(host, program, env=preload(library, PROGRAMS / "lib/old_glibc.so"), **how).finish()
        assert run.first["peer"] == host.live[0], run
        assert run.stderr == "opened=1\n" * opened, run


# ---- The launcher, installed for two architectures ----


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    if build_for("i386").emulator:
        pytest.skip("this kernel runs no 32-bit programs")
    prefix = tmp_path_factory.mktemp("installed")
    for arch in ([], ["ARCH=i386"]):
        command = ["make", "-s", "-C", str(ROOT), "-o", "all", *arch, "install", f"PREFIX={prefix}"]
        subprocess.run(command, check=True)
    return prefix / "bin" / "nextaddr"


def test_a_script_may_run_programs_of_either(several, installed, musl_program):
    host = several("refused", "live")
    script = "".join(
        f"{BUILDS[name].program('connect_first')} host={HOST} port={host.port}\n" for name in ("native", "i386", "i386-time64")
    )
    script += f"{musl_program} {HOST} {host.port} blocking\n"
    launch = [installed, "--resolve", host.resolve, "sh", "-ec", script]
    run = start_plain(host, *launch, env={}).finish()
    assert [line["peer"] for line in run.lines if "peer" in line] == [host.live[0]] * 3, run
    assert run.stdout.splitlines()[-1] == host.live[0], run
    assert run.stderr == "", run


def test_a_32_bit_program_is_no_obstacle(several, installed):
    host = several("refused", "live")
    program = BUILDS["i386"].program("connect_first")
    words = [program, f"host={HOST}", f"port={host.port}"]
    for more in ([], ["--no-failover", "--fault", f"{HOST}=1*errno(EPERM)->off"]):
        run = start_plain(host, installed, "--resolve", host.resolve, *more, *words, env={}).finish()
        assert run.first["error"] == ("EPERM" if more else "0"), run
        assert run.stderr == "", run
    check = subprocess.run([installed, "--check", program], capture_output=True, text=True)
    assert check.stdout.endswith("can be helped\n"), check
