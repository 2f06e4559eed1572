# The shared object as the loader sees it: anything it needs too much, or exports too much, would end or change every
# process it is preloaded into.
# Nothing here may depend on the compiler's version.
import re
import subprocess

import pytest

from programs.harness import BUILDS, LIBRARY, ROOT


def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def names_of_map(text):
    return sorted(re.findall(r"(\w+);", re.search(r"global:(.*)local:", text, re.DOTALL)[1]))


@pytest.fixture
def listed():
    """The names of the export map, those of 32-bit machines included."""
    source = ROOT / "src" / "hooks" / "exports.map"
    return names_of_map(output_of("c++", "-E", "-P", "-x", "c", "-D__i386__", "-I", ROOT / "src", source))


@pytest.fixture
def dynamic_section(require):
    return output_of(require("readelf"), "-dW", LIBRARY)


@pytest.fixture
def undefined(require):
    """The names it takes from other objects."""
    lines = output_of(require("nm"), "-D", "--undefined-only", LIBRARY).splitlines()
    return [line.split()[-1].split("@")[0] for line in lines]


@pytest.fixture(params=["native", "i386", "aarch64"])
def each_library(request):
    library = BUILDS[request.param].library
    return library if library.is_file() else pytest.skip(f"{library} is not built")


def test_needs_libc_alone(each_library, require):
    # Each further object costs a process as much at its start as all else we do.
    assert re.findall(r"\(NEEDED\).*\[(.*)\]", output_of(require("readelf"), "-dW", each_library)) == ["libc.so.6"]


def test_dlsym_may_be_missing(each_library, require):
    # Before glibc 2.34 it is in libdl. What fetches it there is private to those versions, and may have no version.
    symbols = output_of(require("readelf"), "--dyn-syms", "-W", each_library)
    found = dict(re.findall(r" WEAK +DEFAULT +UND (\w*dl(?:sym|open_mode))(.*)", symbols))
    assert re.match(r"@GLIBC_2\.(0|2\.5|17) ", found.pop("dlsym")), symbols
    assert found == {"__libc_dlopen_mode": "", "__libc_dlsym": ""}


def test_exports_what_the_map_lists(require):
    # The preprocessed one: some names are those of 32-bit machines only.
    symbols = output_of(require("nm"), "-D", "--defined-only", LIBRARY).splitlines()
    assert sorted(line.split()[-1] for line in symbols) == names_of_map((LIBRARY.parent / "exports.map").read_text())


def test_every_listed_name_is_a_hook(listed):
    hooks = "".join(path.read_text() for path in (ROOT / "src" / "hooks").glob("*.cc"))
    assert sorted(re.findall(r"NEXTADDR_HOOK[^;{]*?(\w+)\(", hooks)) == listed


def test_takes_no_fortified_names(undefined):
    # musl has none of them, and older versions of glibc not all.
    assert [name for name in undefined if name.endswith("_chk")] == []


def test_takes_nothing_of_the_cxx_runtime(undefined):
    # __cxa_finalize is libc's, and weak.
    mine = re.compile(r"_Z|__cxa_(?!finalize)|__gxx|_Unwind")
    assert [name for name in undefined if mine.match(name)] == []


def test_takes_no_name_it_exports(undefined, listed):
    # Such a call would come back to itself.
    assert set(undefined) & set(listed) == set()


def test_is_bound_at_load_time_and_its_code_is_never_written(dynamic_section, require):
    # Binding a name later takes a lock, which a signal handler may not.
    assert "BIND_NOW" in dynamic_section
    assert "TEXTREL" not in dynamic_section
    segments = output_of(require("readelf"), "-lW", LIBRARY)
    flags = re.findall(r"^ *(\S+) (?: *0x\w+){5} ([RWE ]{3}) ", segments, re.MULTILINE)
    assert ("GNU_STACK", "RW ") in flags
    assert [name for name, flag in flags if "W" in flag and "E" in flag] == []


def test_thread_local_storage_is_small_and_needs_no_allocation(dynamic_section, require):
    # A preloaded object shares the few kilobytes that libc keeps for this, and __tls_get_addr may call malloc.
    assert "__tls_get_addr" not in output_of(require("readelf"), "-rW", LIBRARY)
    size = re.search(r"^ *TLS +\S+ \S+ \S+ \S+ (0x\w+)", output_of(require("readelf"), "-lW", LIBRARY), re.MULTILINE)
    assert size is None or int(size[1], 16) <= 512


def test_loads_on_every_glibc_since_2_17(each_library, require):
    needed = output_of(require("readelf"), "-VW", each_library)
    versions = {tuple(map(int, found.split("."))) for found in re.findall(r"Name: GLIBC_([\d.]+)", needed)}
    assert versions and max(versions) <= (2, 17)
    # Those of musl and of a libc to come have no private ones.
    assert "GLIBC_PRIVATE" not in needed


@pytest.mark.parametrize("name", ["i386", "aarch64"])
def test_needs_no_helpers_of_the_compiler(name, require):
    # 64-bit atomics on 32-bit machines, and those of aarch64: nothing that preloading would have to bring along.
    library = BUILDS[name].library
    if not library.is_file():
        pytest.skip(f"{library} is not built")
    names = output_of(require("nm"), "-D", "--undefined-only", library)
    assert re.findall(r"__atomic_\w+|__aarch64_\w+|__getauxval|___tls_get_addr", names) == []
    assert "TEXTREL" not in output_of(require("readelf"), "-dW", library)
