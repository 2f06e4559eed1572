# Modules that are loaded with RTLD_DEEPBIND, as PHP loads its extensions: they are bound to the library, and nothing
# else is otherwise than without it.
# No module here may be found by any other path than that which a test is about.
import itertools
import os
import re
import shutil
import subprocess

import pytest

from programs.harness import LIBRARY, NATIVE, ROOT, address_lab, preload, run_bare, run_shim, several, start  # noqa: F401

SOURCES = ROOT / "tests/programs/libraries"
pytestmark = pytest.mark.skipif("asan" in str(NATIVE.runtime), reason="ASan ends a program that uses RTLD_DEEPBIND")
# When what a module takes from others is bound: when it is first called, or when it is loaded, and made read-only.
BOUND = {"lazily": ["-Wl,-z,lazy"], "partly-sealed": ["-Wl,-z,lazy,-z,relro"], "sealed": ["-Wl,-z,now,-z,relro"]}
FLAGS = ["+".join(words) for words in itertools.product(("lazy", "now"), ("local", "global"), ("deepbind", "deepbind+nodelete"))]


class Modules:
    """Shared objects made in a directory of their own."""

    def __init__(self, directory):
        self.directory = directory

    def make(self, name, *options, source="plugin", before=()):
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        words = ["g++", "-std=c++20", "-O1", "-fPIC", "-shared", *before, SOURCES / f"{source}.cc", *options, "-ldl", "-o", path]
        subprocess.run(words, check=True)
        return path


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    return Modules(tmp_path_factory.mktemp("modules"))


@pytest.fixture(scope="module", params=BOUND)
def bound(request):
    return BOUND[request.param]


@pytest.fixture
def loads(address_lab):
    """Runs loads.cc, bare or with the library: what it says, without and with whose functions a module has."""

    def run(library=None, env=None, **arguments):
        ours = preload(library) if library else {}
        done = start(address_lab, "loads", {**ours, **(env or {})}, **arguments).finish()
        lines = done.stdout.splitlines()
        return [line for line in lines if not line.startswith("bound=")], [line for line in lines if line.startswith("bound=")]

    return run


@pytest.fixture
def same(loads):
    """What the bindings are with the library, when all else is as bare."""

    def compare(**arguments):
        bare, bound_bare = loads(**arguments)
        ours, bound_ours = loads(LIBRARY, **arguments)
        # Who is preloaded is whom the program itself finds.
        ours = [re.sub(r"default=libnextaddr\.so", "default=libc.so.6", line) for line in ours]
        ours = [re.sub(r"^next: libnextaddr\.so ", "next: libc.so.6 ", line) for line in ours]
        assert ours == bare and any(line.startswith("loaded=") for line in bare)
        assert all("libnextaddr" not in line for line in bound_bare)
        return bound_ours

    return compare


OURS = ["bound=libnextaddr.so table=libnextaddr.so,libnextaddr.so"]
LIBCS = ["bound=libc.so.6 table=libc.so.6,libc.so.6"]


@pytest.fixture(scope="module")
def connects(modules, bound):
    return modules.make(f"connects-{len(''.join(bound))}.so", *bound, source="connects")


@pytest.mark.parametrize("kinds", [("refused", "live"), ("silent", "live")], ids=lambda kinds: kinds[0])
@pytest.mark.parametrize("nonblocking", [0, 1])
def test_a_connect_of_a_module_moves_on(several, connects, nonblocking, kinds):
    host = several(*kinds)
    arguments = {"module": connects, "nonblocking": nonblocking}
    for flags in ("lazy+global+deepbind", "now+local+deepbind", "lazy+local"):
        run = run_shim(host, "loaded_module", flags=flags, **arguments)
        assert run.first["peer"] == host.live[0], run
    if kinds[0] == "refused":
        bare = run_bare(host, "loaded_module", flags=FLAGS[0], **arguments)
        off = run_shim(host, "loaded_module", env={"NEXTADDR_DEEPBIND": "0"}, flags=FLAGS[0], **arguments)
        assert bare.first["peer"] == "none" and off.stdout == bare.stdout


@pytest.mark.parametrize("flags", FLAGS)
def test_a_module_is_bound_to_the_library_and_all_else_is_as_bare(same, modules, bound, flags):
    module = modules.make(f"plugin-{len(''.join(bound))}.so", *bound)
    assert same(file=module, flags=flags) == OURS
    # Once more it is the same object, or has been loaded anew.
    assert same(file=module, flags=flags, rounds=3) == OURS * 3


def test_without_the_flag_all_is_as_ever(same, modules):
    module = modules.make("ordinary.so")
    assert same(file=module, flags="lazy+local") == OURS
    assert same(file=module, flags="now+global") == OURS


def test_what_is_only_asked_for_is_not_loaded(loads, modules):
    module = modules.make("absent.so")
    arguments = {"file": module, "flags": "lazy+deepbind+noload"}
    assert loads(LIBRARY, **arguments) == loads(**arguments) == (["error=(null)"], [])


def test_a_switch_turns_it_off(loads, modules):
    module = modules.make("off.so")
    for env in ({"NEXTADDR_DEEPBIND": "0"}, {"NEXTADDR_OFF": "1"}):
        assert loads(LIBRARY, env=env, file=module, flags="now+deepbind")[1] == LIBCS
    assert loads(LIBRARY, env={"NEXTADDR_DEEPBIND": "1"}, file=module, flags="now+deepbind")[1] == OURS


def test_what_a_module_brings_along_stays_its_own(same, modules, bound):
    own = modules.make("own.so", "-DOWN", *bound)
    lines = same(file=own, flags="lazy+deepbind")
    assert lines == OURS  # its connect; that its poll says -77 is compared


def test_what_a_module_finds_in_another_that_it_brings_along_stays_so(same, modules, bound):
    directory = modules.directory / f"brought-{len(''.join(bound))}"
    directory.mkdir(exist_ok=True)
    modules.make(f"{directory.name}/libpoll.so", "-DOWN", "-Wl,-soname,libpoll.so")
    needs = ["-Wl,--no-as-needed", f"-L{directory}", "-lpoll", f"-Wl,-rpath,{directory}"]
    module = modules.make(f"{directory.name}/module.so", *needs, *bound)
    assert same(file=module, flags="lazy+local+deepbind") == OURS


def test_what_a_module_brings_along_is_bound_too(several, modules, bound):
    """As libcurl is, by PHP's extension of that name. The module itself has nothing but that it needs it."""
    directory = modules.directory / f"chain-{len(''.join(bound))}"
    directory.mkdir(exist_ok=True)
    modules.make(f"{directory.name}/libinner.so", *bound, "-Wl,-soname,libinner.so.1", source="connects")
    shutil.copy(directory / "libinner.so", directory / "libinner.so.1")
    link = ["-Wl,--no-as-needed", f"-L{directory}", f"-Wl,-rpath,{directory}"]
    empty = directory / "empty.cc"
    empty.write_text("int nothing_of_middle;\n")
    for name, needed in (("libmiddle.so", "inner"), ("module.so", "middle")):
        subprocess.run(["g++", "-fPIC", "-shared", empty, *link, f"-l{needed}", "-o", directory / name], check=True)
    host = several("refused", "live")
    run = run_shim(host, "loaded_module", module=directory / "module.so", flags="lazy+global+deepbind")
    assert run.first["peer"] == host.live[0], run
    again = run_shim(host, "loaded_module", module=directory / "module.so", flags="now+local+deepbind", again=1)
    assert again.first["peer"] == host.live[0], again


# ---- Who the loader finds to have called dlopen(3) ----


@pytest.mark.parametrize("tag", ["--enable-new-dtags", "--disable-new-dtags"], ids=["runpath", "rpath"])
def test_a_name_is_looked_for_in_the_callers_own_directories(same, modules, tag):
    """Where that may be, the module stays as it is bare."""
    directory = modules.directory / "theirs"
    modules.make("theirs/only_here.so")
    opener = modules.make(f"opener{tag}.so", f"-Wl,{tag},-rpath,$ORIGIN/theirs")
    assert same(file="only_here.so", opener=opener, flags="now+deepbind") == LIBCS
    # A path is the same whoever names it.
    assert same(file=directory / "only_here.so", opener=opener, flags="now+deepbind") == OURS


def test_a_name_is_looked_for_where_all_look(same, modules, monkeypatch):
    modules.make("for-all/everywhere.so")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(modules.directory / "for-all"))
    assert same(file="everywhere.so", flags="lazy+deepbind") == OURS
    opener = modules.make("opener.so")
    assert same(file="everywhere.so", opener=opener, flags="lazy+deepbind") == OURS


def test_origin_is_the_callers(same, modules):
    modules.make("beside/beside.so")
    opener = modules.make("beside/opener.so")
    assert same(file="$ORIGIN/beside.so", opener=opener, flags="now+deepbind") == LIBCS


def test_another_namespace_is_the_callers(same, modules):
    module = modules.make("elsewhere.so")
    opener = modules.make("elsewhere_opener.so")
    assert same(file=module, opener=opener, namespace="new", flags="now+deepbind") == LIBCS


def test_what_cannot_be_loaded_is_told_as_ever(loads, tmp_path):
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"\x7fELF, and no more")
    for file in (broken, tmp_path / "none.so", "none.so", ""):
        arguments = {"file": file, "flags": "now+deepbind"}
        ours, bare = loads(LIBRARY, **arguments), loads(**arguments)
        assert [re.sub("libnextaddr", "libc.so.6", line) for line in ours[0] if "default=" not in line] == [
            line for line in bare[0] if "default=" not in line
        ]


# ---- Threads ----


def test_threads_load_and_unload_with_every_flag(address_lab, modules):
    """A short run; make programs && build/tests/loads_in_threads takes as many rounds as one likes."""
    paths = [
        modules.make("threads-lazy.so", *BOUND["lazily"]),
        modules.make("threads-sealed.so", *BOUND["sealed"]),
        modules.make("threads-own.so", "-DOWN"),
        modules.make("threads-kept.so"),
    ]
    arguments = {"modules": ":".join(map(str, paths)), "threads": 8, "rounds": 500, "seed": os.getpid()}
    run = start(address_lab, "loads_in_threads", preload(LIBRARY), **arguments).finish(within=120)
    assert int(run.first["used"]) == int(run.first["loaded"]) > 3000, run
