# What a stranger gets: `make install`, the Debian package, the manual pages and the completion. What is installed must run
# where it is, agree with --help and the library, and go away again without a trace.
# Nothing here may write outside temporary directories, or build the library: what is installed is what is tested.
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import tarfile

import pytest

from lab import LAUNCHER, ROOT
from programs.harness import BUILDS, HOST, LIBRARY, PROGRAMS, address_lab, several

PAGES = [ROOT / "scripts" / "man" / name for name in ("nextaddr.1", "libnextaddr.7", "nextaddr-drill.1")]
DRILL = ROOT / "scripts" / "nextaddr-drill"
COMPLETION = ROOT / "scripts" / "completion.bash"
COMMANDS = ["nextaddr", "nextaddr-drill"]
SHARED = [
    *(f"bin/{name}" for name in COMMANDS),
    *(f"share/bash-completion/completions/{name}" for name in COMMANDS),
    *(f"share/man/man1/{name}.1" for name in COMMANDS),
    "share/man/man7/libnextaddr.7",
]
LIBDIRS = ["lib", "lib/x86_64-linux-gnu", "lib64"]


def output_of(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, **options)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def make(*words, **options):
    return output_of("make", "-s", "-C", ROOT, "-o", "all", *words, **options)


def files_below(directory):
    """All but directories, as paths relative to it."""
    found = [path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir()]
    return sorted(str(path.relative_to(directory)) for path in found)


@pytest.fixture
def i386():
    """What make is to be told for the library of that architecture."""
    library = BUILDS["i386"].library
    return "ARCH=i386" if library.is_file() else pytest.skip(f"{library} is not built")


def version():
    return output_of(LAUNCHER, "--version").split()[1]


# ---- make install, make uninstall ----


@pytest.mark.parametrize("libdir", LIBDIRS)
def test_what_is_installed_runs_from_there(several, tmp_path, libdir):
    where = [f"PREFIX={tmp_path}", f"LIBDIR={tmp_path / libdir}"]
    make("install", *where)
    library = f"{libdir}/nextaddr/libnextaddr.so"
    assert files_below(tmp_path) == sorted([library, *SHARED])
    host = several("refused", "live")
    launcher = tmp_path / "bin" / "nextaddr"
    program = [PROGRAMS / "connect_first", f"host={HOST}", f"port={host.port}"]
    said = output_of(launcher, "--resolve", host.resolve, *program, env=host.lab.environment())
    assert f"peer={host.live[0]}" in said.split()
    assert output_of(launcher, "printenv", "LD_PRELOAD") == f"{tmp_path / library}\n"
    make("uninstall", *where)
    assert files_below(tmp_path) == []
    assert not (tmp_path / libdir / "nextaddr").exists()


def test_destdir_is_only_put_before(tmp_path):
    where = [f"DESTDIR={tmp_path}/staged", "PREFIX=/usr", "LIBDIR=/usr/lib/x86_64-linux-gnu"]
    make("install", *where)
    library = "lib/x86_64-linux-gnu/nextaddr/libnextaddr.so"
    assert files_below(tmp_path / "staged" / "usr") == sorted([library, *SHARED])
    make("uninstall", *where)
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("libdir", LIBDIRS)
def test_uninstall_takes_other_architectures_and_nothing_else(tmp_path, i386, libdir):
    where = [f"PREFIX={tmp_path}", f"LIBDIR={tmp_path / libdir}"]
    ours = tmp_path / libdir / "nextaddr"
    others = ["bin/other", "share/man/man1/other.1", f"{libdir}/nextaddr/notes", f"{libdir}/nextaddr/other/libnextaddr.so"]
    make("install", *where)
    make(i386, "install", *where)
    assert (ours / "platform" / "i686" / "libnextaddr.so").samefile(ours / "i386" / "libnextaddr.so")
    for name in others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("not installed by make\n")
    make("uninstall", *where)
    assert files_below(tmp_path) == sorted(others)
    assert sorted(path.name for path in ours.iterdir()) == ["notes", "other"]


def test_uninstall_of_nothing_is_no_error(tmp_path):
    make("uninstall", f"PREFIX={tmp_path}")
    assert files_below(tmp_path) == []


def test_every_user_may_use_what_root_installs(tmp_path, i386):
    # Whatever the umask is.
    for arch in ("ARCH=", i386):
        make(arch, "install", f"PREFIX={tmp_path}/made", umask=0o077)
    for path in (tmp_path / "made").rglob("*"):
        wanted = 0o755 if path.is_dir() or path.parent == tmp_path / "made" / "bin" else 0o644
        assert path.stat().st_mode & 0o777 == wanted, path


def test_to_install_needs_make_and_coreutils_alone(tmp_path, i386):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("make", "sh", "install", "ln", "mv", "uname", "rm", "rmdir"):
        (tools / name).symlink_to(shutil.which(name))
    prefix = f"PREFIX={tmp_path}/made"
    for words in (["install"], [i386, "install"], ["uninstall"]):
        command = [tools / "make", "-s", "-C", ROOT, "-o", "all", *words, prefix]
        done = subprocess.run(command, env={"PATH": str(tools)}, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, ""), done
    assert files_below(tmp_path / "made") == []


# ---- The manual pages ----


def help_text(command=LAUNCHER):
    return output_of(command, "--help")


def options_of_help(command=LAUNCHER):
    # A line may have two of them.
    found = re.findall(r"^  (--?[a-z-]+)(?:, (--[a-z-]+))?", help_text(command), re.MULTILINE)
    return {option for options in found for option in options if option}


def heads(page):
    """What the paragraphs of a page are about: the lines after .TP and .TQ, without fonts."""
    lines = re.findall(r"^\.T[PQ]\n(.*)$", page.read_text(), re.MULTILINE)
    return [re.sub(r"\\f.|^\.\w+ ", "", line).replace("\\-", "-") for line in lines]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_is_well_made(page, require):
    assert output_of(require("mandoc"), "-T", "lint", page) == ""


def test_the_page_of_the_command_has_the_options_of_the_help():
    described = {head.split()[0] for head in heads(PAGES[0]) if head.startswith("-")}
    assert {"--resolve", "-v", "--version"} <= described
    assert described == options_of_help()


def cases_of_help():
    return set(" ".join(help_text(DRILL).split()).partition("The cases: ")[2].partition(".")[0].split(", "))


def test_the_page_of_the_drill_has_the_options_and_cases_of_the_help():
    described = {head.split()[0] for head in heads(PAGES[2])}
    assert {head for head in described if head.startswith("-")} == options_of_help(DRILL) > {"--cases", "--version"}
    assert {head for head in described if head.count("-") > 0 and not head.startswith("-")} == cases_of_help()


def test_the_page_of_the_drill_has_the_members_of_its_json():
    page = PAGES[2].read_text().partition("\n.SH JSON\n")[2].partition("\n.SH ")[0]
    source = DRILL.read_text().partition("def as_json")[2].partition("\n\n\n")[0]
    members = set(re.findall(r'"(\w+)":', source)) | {"by_itself", "with_nextaddr"}
    assert members == {word for word in re.findall(r"^\.BR? (\w+)", page, re.MULTILINE) if word != "nextaddr"}


def test_the_page_of_the_command_has_the_exit_statuses_of_the_help():
    said = help_text().partition("Exit status:")[2].partition("\n\n")[0]
    wanted = set(re.findall(r"\b1\d\d\b", said))
    assert wanted and {head for head in heads(PAGES[0]) if head.isdigit()} == wanted


# ---- The documents ----


def anchors(page):
    """The names that the headings of a page have where it is shown."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_every_link_leads_somewhere():
    pages = [page for page in ROOT.glob("**/README.md") if "build" not in page.parts]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text())]
    inside = [(page, *link.partition("#")[::2]) for page, link in links if "://" not in link]
    assert len(inside) > 10
    for page, path, anchor in inside:
        target = (page.parent / path).resolve() if path else page
        assert target.is_file() and ROOT in target.parents, (page, path)
        assert not anchor or anchor in anchors(target), (page, path, anchor)


# ---- The completion ----


def complete(line, directory="/", breaks="=:", before=""):
    """What it offers for the last word of a line, divided as bash does it where COMP_WORDBREAKS has `breaks`."""
    words = re.findall(rf"'[^']*'?|(?:\\.|[^\s'{breaks}])+|[=:]+", line)
    if line.endswith(" "):
        words.append("")
    # What bash wants to be completed: nothing yet after = and :.
    current = "" if set(words[-1]) <= set("=:") else words[-1].removeprefix("'")
    script = r"""
        source "$1"; line=$2; current=$3; shift 3
        COMP_LINE=$line COMP_POINT=${#line} COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _nextaddr "$1" "$current" "${COMP_WORDS[COMP_CWORD - 1]}" && printf '%s\n' "${COMPREPLY[@]}"
    """
    command = ["bash", "--norc", "--noprofile", "-c", before + script, "bash", COMPLETION, line, current, *words]
    return output_of(*command, cwd=directory).splitlines()


@pytest.fixture
def files(tmp_path):
    for name in ("odd name", "other", "a:b"):
        (tmp_path / name).touch()
    return tmp_path


def test_bash_is_told_what_completes_nextaddr():
    told = output_of("bash", "--norc", "-c", 'source "$1" && complete -p nextaddr nextaddr-drill', "bash", COMPLETION)
    assert told == "complete -F _nextaddr nextaddr\ncomplete -F _nextaddr nextaddr-drill\n"


def test_the_options_of_the_help_are_offered():
    assert set(complete("nextaddr -")) == options_of_help()
    assert sorted(complete("nextaddr --off --log")) == ["--log", "--log-file", "--log-format"]
    assert complete("nextaddr --resolve db=10.0.0.1,::1 --se") == ["--seed"]
    assert set(complete("nextaddr-drill -")) == options_of_help(DRILL)
    assert set(complete("nextaddr-drill --cases ")) == cases_of_help()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("nextaddr --log ", ["off", "error", "info", "debug"]),
        ("nextaddr --log=", ["off", "error", "info", "debug"]),
        ("nextaddr --log=in", ["info"]),
        ("nextaddr -v --log-format j", ["json"]),
        ("nextaddr --log-format=t", ["text"]),
        ("nextaddr --status --format o", ["openmetrics"]),
        ("nextaddr --delay ", ["auto"]),
        ("nextaddr --memory=of", ["off"]),
        ("nextaddr --memory o", ["off", "odd name", "other"]),
        ("nextaddr --log-file o", ["odd name", "other"]),
        ("nextaddr --log-file odd\\ n", ["odd name"]),
        ("nextaddr --log-file=ot", ["other"]),
        ("nextaddr --log-file 'odd n", ["odd name"]),
        ("nextaddr --log-file a:", ["b"]),
        ("nextaddr --log-file=a:", ["b"]),
        ("nextaddr --seed ", [""]),
        ("nextaddr-drill --cases first-s", ["first-silent", "first-slow"]),
        ("nextaddr-drill --cases first-silent,all-r", ["first-silent,all-refuse"]),
        ("nextaddr-drill --cases=no", ["no-such-name"]),
        ("nextaddr-drill --require b", ["both", "by-itself"]),
        ("nextaddr-drill --junit odd\\ n", ["odd name"]),
        ("nextaddr-drill --seed", [""]),
        ("nextaddr --resolve db=", [""]),
        ("nextaddr --skip 'a b' --log=er", ["error"]),
    ],
)
def test_values_are_offered(line, offered, files):
    assert sorted(complete(line, files)) == sorted(offered)


def test_words_that_bash_does_not_divide_are_offered_whole(files):
    assert complete("nextaddr --log=i", files, breaks="") == ["--log=info"]
    assert complete("nextaddr --log-file=a:", files, breaks="") == ["--log-file=a:b"]


@pytest.mark.parametrize("ahead", ["", "--", "-v --log info", "--resolve db=10.0.0.1,::1 --", "--check", "--delay=100"])
def test_the_command_is_offered(ahead, files):
    assert "printf" in complete(f"nextaddr {ahead} prin", files)
    assert "printf" in complete(f"nextaddr-drill --jobs 4 --ready x --no-probes prin", files)
    assert complete(f"nextaddr {ahead} printf ot", files) == ["other"]


@pytest.mark.parametrize("name", ["_command_offset", "_comp_command_offset"])
def test_bash_completion_completes_the_command_where_it_is(name):
    there = name + '() { COMPREPLY=("${COMP_WORDS[$1]}" "$1"); }\n'
    assert complete("nextaddr --log info psql -", before=there) == ["psql", "3"]
    assert complete("nextaddr --log=info psql -", before=there) == ["psql", "4"]
    assert complete("nextaddr -- ps", before=there) == ["ps", "2"]
    assert complete("nextaddr --log i", before=there) == ["info"]


# ---- The changes, the archive, the package ----


def changes():
    """The versions and dates of the README."""
    section = (ROOT / "README.md").read_text().partition("\n## Changes\n")[2].partition("\n## ")[0]
    return re.findall(r"^### (\S+) \((\d{4}-\d\d-\d\d)\)$", section, re.MULTILINE)


def test_the_newest_change_is_of_this_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+", version())
    assert changes()[0][0] == version()
    assert changes() == sorted(changes(), key=lambda change: [int(part) for part in change[0].split(".")], reverse=True)


def test_the_version_stands_in_one_place():
    sources = [path for name in ("scripts", "src") for path in (ROOT / name).rglob("*") if path.is_file()]
    pattern = rf"(?<![\d.]){re.escape(version())}(?![\d.])"
    assert [path for path in [*sources, ROOT / "Makefile"] if re.search(pattern, path.read_text())] == [LAUNCHER]


def test_the_archive_is_always_the_same(require, tmp_path):
    if subprocess.run([require("git"), "-C", ROOT, "log", "-1"], capture_output=True).returncode != 0:
        pytest.skip("git does not take this for a repository")
    name = f"nextaddr-{version()}"
    archives = [tmp_path / directory / f"{name}.tar.gz" for directory in ("one", "two")]
    for archive in archives:
        make("dist", f"PACKAGES={archive.parent}")
    assert archives[0].read_bytes() == archives[1].read_bytes()
    with tarfile.open(archives[0]) as archive:
        names = archive.getnames()
    assert {f"{name}/Makefile", f"{name}/README.md", f"{name}/src/config.cc"} <= set(names)
    assert all(entry == name or entry.startswith(f"{name}/") for entry in names)


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    """The package, made by somebody with a umask of his own."""
    if not shutil.which("dpkg-deb"):
        pytest.skip("dpkg-deb is not installed")
    directory = tmp_path_factory.mktemp("package")
    make("deb", f"PACKAGES={directory}", umask=0o077)
    [package] = directory.glob("*.deb")
    return package


@pytest.fixture(scope="session")
def unpacked(package):
    """Where it is unpacked."""
    output_of("dpkg-deb", "-x", package, package.parent / "unpacked")
    return package.parent / "unpacked"


@pytest.fixture(scope="session")
def packed_library(unpacked):
    [library] = unpacked.glob("usr/lib/*/nextaddr/libnextaddr.so")
    return library


def test_the_package_has_what_it_should(package, unpacked, packed_library):
    pages = ["share/man/man1/nextaddr.1.gz", "share/man/man7/libnextaddr.7.gz", "share/man/man1/nextaddr-drill.1.gz"]
    documents = ["share/doc/nextaddr/copyright", "share/doc/nextaddr/changelog.Debian.gz"]
    library = str(packed_library.relative_to(unpacked / "usr"))
    others = [*(name for name in SHARED if "/man/" not in name), "share/lintian/overrides/nextaddr"]
    assert files_below(unpacked / "usr") == sorted([library, *pages, *documents, *others])
    for line in output_of("dpkg-deb", "-c", package).splitlines():
        mode, owner, *_, name = line.split()
        if " -> " in line:
            continue
        wanted = "drwxr-xr-x" if name.endswith("/") else "-rwxr-xr-x" if name.startswith("./usr/bin/") else "-rw-r--r--"
        assert (mode, owner) == (wanted, "root/root"), line
    for page, name in zip(PAGES, pages):
        packed = (unpacked / "usr" / name).read_bytes()
        assert gzip.decompress(packed) == page.read_bytes()
        assert packed[4:8] == bytes(4)  # no time, as with gzip -n


def test_the_package_says_what_it_is(package, unpacked):
    control = dict(re.findall(r"^(\S+): (.*)$", output_of("dpkg-deb", "-I", package, "control"), re.MULTILINE))
    architecture = output_of("dpkg", "--print-architecture").strip()
    assert (control["Package"], control["Version"], control["Architecture"]) == ("nextaddr", f"{version()}-1", architecture)
    assert package.name == f"nextaddr_{version()}-1_{architecture}.deb"
    assert re.fullmatch(r"libc6 \(>= 2\.\d+\)", control["Depends"])
    assert 0 < int(control["Installed-Size"]) < 340
    sums = [line.split() for line in output_of("dpkg-deb", "-I", package, "md5sums").splitlines()]
    regular = [name for name in files_below(unpacked / "usr") if not (unpacked / "usr" / name).is_symlink()]
    assert sorted(name for _, name in sums) == [f"usr/{name}" for name in regular]
    for digest, name in sums:
        assert hashlib.md5((unpacked / name).read_bytes()).hexdigest() == digest


def test_the_packages_changelog_is_that_of_the_readme(unpacked):
    text = gzip.decompress((unpacked / "usr/share/doc/nextaddr/changelog.Debian.gz").read_bytes()).decode()
    entry = r"^nextaddr \((\S+)-1\) unstable; urgency=\w+\n\n((?:  [* ] .*\n)+)\n -- .* <.*>  .*$"
    entries = re.findall(entry, text, re.MULTILINE)
    assert [number for number, _ in entries] == [number for number, _ in changes()]
    readme = " ".join((ROOT / "README.md").read_text().split())
    for _, items in entries:
        for item in re.split(r"^  \* ", items, flags=re.MULTILINE)[1:]:
            assert f"- {' '.join(item.split())}" in readme


def test_the_packages_library_is_stripped_and_as_small_as_promised(packed_library, require):
    assert ".debug" not in output_of(require("readelf"), "-SW", packed_library)
    # A page fault for each page that is used is all that size costs; but it must not grow unnoticed.
    assert packed_library.stat().st_size <= 229_376 < LIBRARY.stat().st_size


def test_the_packages_licence_is_ours(unpacked):
    text = (unpacked / "usr/share/doc/nextaddr/copyright").read_text()
    licence = (ROOT / "LICENSE").read_text()
    assert licence.partition("Copyright (c) ")[2].partition("\n")[0] in text
    words = [word for word in text.partition("Permission")[2].split() if word != "."]
    assert words == licence.partition("Permission")[2].split()


def test_the_packages_launcher_finds_its_library(unpacked, packed_library):
    assert output_of(unpacked / "usr" / "bin" / "nextaddr", "printenv", "LD_PRELOAD") == f"{packed_library}\n"


def test_the_package_is_always_the_same(package, tmp_path):
    make("deb", f"PACKAGES={tmp_path}", umask=0o022)
    assert (tmp_path / package.name).read_bytes() == package.read_bytes()


def test_lintian_has_no_objection(package, require, tmp_path):
    command = [require("lintian"), "--allow-root", "-EI", "--pedantic", package]
    env = {**os.environ, "TMPDIR": str(tmp_path)}  # in which it leaves files
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)
    assert (done.returncode, done.stdout) == (0, "")


def test_each_override_has_a_reason():
    assert re.fullmatch(r"(# .+\n(nextaddr: .+\n)+)+", (ROOT / "scripts" / "deb" / "lintian-overrides").read_text())
