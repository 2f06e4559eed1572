# The recipes of README.md, as they stand there: what they run is run, and what they configure is checked by what reads it,
# as far as that can be had without a container engine. Only the host's port is another one.
# Nothing here may write /etc or /usr/local of the machine (see machine.py), start a service, or open a connection
# outside loopback.
import os
import re
import shlex
import socket
import subprocess
import textwrap

import pytest

import lab as labs
from machine import FILE, PRELOAD, machine, written

HOST = "api.example.org"
LIBRARY = "/usr/local/lib/nextaddr/libnextaddr.so"


def recipe(title):
    """The block of text that is the recipe."""
    section = labs.ROOT.joinpath("README.md").read_text().partition("\n## Recipes\n")[2].partition("\n## ")[0]
    [found] = [part for part in section.split("\n### ")[1:] if part.startswith(f"{title}\n")]
    blocks = re.findall(r"(?:^(?:    .*)?\n)+", found, re.MULTILINE)
    [block] = [textwrap.dedent(block).strip("\n") for block in blocks if block.strip()]
    return block


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """What `make install` puts into /usr/local."""
    directory = tmp_path_factory.mktemp("installed")
    # Not -s: it would build a library that is not there, and the log is wanted then.
    subprocess.run(["make", "-C", labs.ROOT, "install", f"DESTDIR={directory}"], check=True, capture_output=True)
    return directory / "usr/local"


@pytest.fixture
def where(machine, installed):
    """where(PREPARE): the words that run a command on a machine where it is installed."""
    mount = f"mount --bind {installed} /usr/local"
    return lambda prepare=":": machine.before(f"{mount}; {prepare}")


@pytest.fixture
def site(loopback):
    """The host of the recipes: its first address refuses."""
    with loopback.scenario("refused-first") as host:
        yield host


def at(site, text):
    assert f"{HOST}:8080" in text
    return text.replace(":8080", f":{site.port}")


def environment(site, **more):
    kept = {name: value for name, value in site.lab.environment().items() if name != "PATH"}
    path = "/usr/local/bin:/usr/bin:/bin"
    return {**kept, "PATH": path, "NEXTADDR_RESOLVE": f"{HOST}={','.join(site.addresses)}", **more}


def run(words, env=None):
    return subprocess.run(words, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def moved_on(result):
    return len(re.findall(rf"nextaddr: curl\[\d+\] {HOST}:\d+ .* refused .* connected ", result.stderr))


def assert_environment_helps(site, where, env):
    """What a container or a unit gives a program."""
    assert env == {"LD_PRELOAD": LIBRARY, "NEXTADDR_LOG": "info"}
    given = [f"{name}={value}" for name, value in {**environment(site), **env}.items()]
    result = run([*where(), "env", "-i", *given, "curl", "-sSf", f"http://{HOST}:{site.port}/"])
    assert (result.returncode, moved_on(result)) == (0, 1), result


@pytest.fixture(autouse=True)
def curl(require):
    require("curl")


def test_shell(site, where):
    result = run([*where(), "sh", "-ec", at(site, recipe("Shell"))], environment(site))
    assert (result.returncode, moved_on(result)) == (0, 2), result


def test_systemd(site, where, require):
    verify = require("systemd-analyze")
    drop_in = recipe("systemd")
    unit = "/etc/systemd/system/app.service"
    service = written(unit, "[Service]\nExecStart=/bin/true\n")

    def verified(text):
        return run([*where(f"{service}; mkdir {unit}.d; {written(f'{unit}.d/override.conf', text)}"), verify, "verify", unit])

    good, bad = verified(f"{drop_in}\n"), verified(f"{drop_in}\n".replace("Environment=NEXT", "Environ=NEXT"))
    assert (good.returncode, good.stderr) == (0, ""), good
    assert "override.conf" in bad.stderr, "what is wrong in it would be told"
    env = dict(re.findall(r"^Environment=(\w+)=(.*)$", drop_in, re.MULTILINE))
    assert_environment_helps(site, where, env)


def test_dockerfile(site, where):
    [copy, environ] = recipe("Dockerfile").splitlines()
    [source, target] = copy.removeprefix("COPY ").split()
    assert target == LIBRARY and (labs.ROOT / source).is_file()
    assert_environment_helps(site, where, dict(word.split("=", 1) for word in shlex.split(environ.removeprefix("ENV "))))


def parsed(text):
    return pytest.importorskip("yaml", reason="python3-yaml is not installed").safe_load(text)


def test_docker_compose(site, where):
    app = parsed(recipe("Docker compose"))["services"]["app"]
    [volume] = app["volumes"]
    source, target, mode = volume.split(":")
    assert source == target == os.path.dirname(LIBRARY) and mode == "ro"
    assert_environment_helps(site, where, app["environment"])


def test_kubernetes(site, where):
    [container] = parsed(recipe("Kubernetes"))["containers"]
    env = {each["name"]: each["value"] for each in container["env"]}
    assert all(set(each) == {"name", "value"} and isinstance(each["value"], str) for each in container["env"])
    assert_environment_helps(site, where, env)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_node_exporter(site, where, require, tmp_path):
    exporter = require("prometheus-node-exporter")
    collected, memory = tmp_path / "collected", tmp_path / "memory"
    collected.mkdir()
    learnt = run([*where(), "nextaddr", "curl", "-sSf", f"http://{HOST}:{site.port}/"], environment(site, NEXTADDR_MEMORY=memory))
    assert learnt.returncode == 0, learnt
    # The sixth word of such a line is the user (crontab(5)).
    job = re.fullmatch(r"(?:[\d*/,-]+ ){5}root (.*)", recipe("node_exporter"))[1]
    assert "%" not in job, "cron would take it for the end of a line"
    for text, here in (("/var/lib/prometheus/node-exporter", collected), ("/dev/shm/nextaddr-memory-33", memory)):
        assert text in job
        job = job.replace(text, str(here))
    bare = ["env", "-i", "HOME=/", "LOGNAME=root", "SHELL=/bin/sh", "PATH=/usr/bin:/bin"]
    for _ in range(2):
        done = run([*where(), *bare, "/bin/sh", "-c", job])
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done
        assert [each.name for each in collected.iterdir()] == ["nextaddr.prom"]
    port = free_port()
    words = [
        exporter, "--collector.disable-defaults", "--collector.textfile", f"--collector.textfile.directory={collected}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as serving:
        try:
            ask = ["curl", "-sSf", "--retry", "20", "--retry-connrefused", "--retry-delay", "1", f"http://127.0.0.1:{port}/metrics"]
            served = run(ask).stdout
        finally:
            serving.terminate()
    assert "\nnode_textfile_scrape_error 0\n" in served
    labels = rf'address="{site.addresses[0]}",host="{HOST}",memory="{memory}",network="\d+",port="{site.port}"'
    assert re.search(rf"^nextaddr_address_parked\{{{labels}\}} 1$", served, re.MULTILINE), served
    # What has been there stays when there is nothing better.
    before = (collected / "nextaddr.prom").read_text()
    memory.write_text("something else")
    assert run([*where(), *bare, "/bin/sh", "-c", job]).returncode == 125
    assert (collected / "nextaddr.prom").read_text() == before


def test_cron(site, where):
    # A crontab has settings and jobs (crontab(5)); cron gives a job these and little else.
    *settings, job = at(site, recipe("cron")).splitlines()
    command = re.fullmatch(r"(?:[\d*/,-]+ ){5}(.*)", job)[1]
    assert "%" not in command, "cron would take it for the end of a line"
    resolve = f"NEXTADDR_RESOLVE={HOST}={','.join(site.addresses)}"
    bare = ["env", "-i", "HOME=/", "LOGNAME=root", "SHELL=/bin/sh", "PATH=/usr/bin:/bin", "NEXTADDR_MEMORY=off", resolve]
    result = run([*where(), *bare, *settings, "/bin/sh", "-c", command])
    assert (result.returncode, moved_on(result)) == (0, 1), result


def test_ci_job(site, where):
    install, test = (step["run"] for step in parsed(recipe("A CI job"))["steps"])
    [*_, directory, target] = install.split()
    assert install == f"sudo make -C {directory} {target}" and directory == "nextaddr"
    assert run(["make", "-n", "-C", labs.ROOT, target]).returncode == 0
    live = environment(site, NEXTADDR_RESOLVE=f"{HOST}={site.live[0]},{site.live[0]}")
    survives = run([*where(), "sh", "-ec", at(site, test)], environment(site))
    assert survives.returncode == 0 and "(fault)" in survives.stderr, survives
    dies = run([*where(), "sh", "-ec", at(site, test)], live)
    assert dies.returncode != 0 and "Failed to connect" in dies.stderr, dies


def test_all_programs_of_a_machine(site, where):
    *prepare, preload = recipe("All programs of a machine").splitlines()
    assert FILE in prepare[0] and preload == f"echo {LIBRARY} >{PRELOAD}"
    env = environment(site, NEXTADDR_LOG="info")
    visit = f"curl -sSf http://{HOST}:{site.port}/ >/dev/null"
    result = run([*where(), "sh", "-ec", "\n".join([*prepare, preload, visit])], env)
    assert (result.returncode, moved_on(result)) == (0, 1) and "can be helped\n" in result.stdout, result
    assert "ignored" not in result.stderr
    # And back.
    [removal] = re.findall(r"`(rm [^`]+)`", labs.ROOT.joinpath("README.md").read_text())
    result = run([*where(), "sh", "-c", "\n".join([*prepare, preload, removal, visit])], env)
    assert result.returncode == 6 and "nextaddr:" not in result.stderr, result
