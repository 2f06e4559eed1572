# The examples for those who test with faults, run as their first lines say. The Dockerfile needs an engine and an image,
# which CI has not: here only what it copies and installs is looked at.
import os
import re
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from lab import LAUNCHER, ROOT

EXAMPLES = ROOT / "tests" / "examples"


def run(*words):
    return subprocess.run(
        words, cwd=ROOT, env={**os.environ, "NEXTADDR": str(LAUNCHER)}, capture_output=True, text=True, timeout=120
    )


def test_pytest():
    result = run("/usr/bin/python3", "-m", "pytest", "-p", "no:cacheprovider", EXAMPLES / "test_survives.py")
    assert result.returncode == 0, result.stdout
    assert re.search(r"\d+ passed", result.stdout) and "skipped" not in result.stdout


def test_shell_job():
    result = run(EXAMPLES / "survives.sh")
    assert (result.returncode, result.stdout) == (0, "survived: 1 fault, 1 failover\n"), result.stderr


def test_shell_job_fails_when_a_rule_is_mistyped(tmp_path):
    mistyped = tmp_path / "survives.sh"
    text = (EXAMPLES / "survives.sh").read_text()
    assert "api.example#1=refuse" in text
    mistyped.write_text(text.replace("api.example#1=refuse", "api.exmaple#1=refuse"))
    result = run("sh", mistyped)
    assert result.returncode == 120
    assert "api.exmaple#1=refuse" in result.stderr


def test_docker(tmp_path):
    dockerfile = (EXAMPLES / "Dockerfile").read_text()
    installed = tmp_path / "installed"
    result = run("make", "install", f"DESTDIR={installed}")
    assert result.returncode == 0, result.stderr
    [library] = re.findall(r"LD_PRELOAD=(\S+)", dockerfile)
    assert (installed / library.lstrip("/")).exists()
    for copied in re.findall(r"^COPY (tests/\S+)", dockerfile, re.MULTILINE):
        assert (ROOT / copied).exists()


# ---- The drill ----

DRILLS = EXAMPLES / "drill"


@pytest.fixture
def job(loopback, require, tmp_path):
    """job(COMMAND): runs a command of a CI job in a directory of its own, where the host of the examples is live."""
    require("curl")
    with loopback.scenario("live-first") as host:
        resolve = f"api.example.org={','.join(host.addresses)}"
        env = {**loopback.environment(), "NEXTADDR_RESOLVE": resolve, "PATH": f"{LAUNCHER.parent}:{os.environ['PATH']}"}

        def run(command):
            assert "api.example.org:8080/" in command
            words = ["sh", "-ec", command.replace(":8080/", f":{host.port}/")]
            return subprocess.run(words, cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)

        yield run


def parsed(name):
    return pytest.importorskip("yaml", reason="python3-yaml is not installed").safe_load((DRILLS / name).read_text())


def test_drill_at_github(job, tmp_path):
    [made] = parsed("github.yml")["jobs"].values()
    install, drill = (step["run"] for step in made["steps"] if "run" in step)
    assert install == "sudo make -C nextaddr install"
    result = job(drill)
    assert result.returncode == 0 and "\n10 of 10 pass with nextaddr, " in result.stdout, result
    kept = made["steps"][-1]["with"]["path"].split()
    assert kept == ["drill.xml", "drill"] and all((tmp_path / name).exists() for name in kept)


def test_drill_at_gitlab(job, tmp_path):
    made = parsed("gitlab.yml")["drill"]
    assert made["before_script"][-1] == "make -C nextaddr install"
    [drill] = made["script"]
    result = job(drill)
    assert result.returncode == 0 and "\n4 of 4 pass with nextaddr, " in result.stdout, result
    suites = ElementTree.parse(tmp_path / made["artifacts"]["reports"]["junit"]).getroot()
    assert [(suite.get("tests"), suite.get("failures")) for suite in suites] == [("4", "0")] * 2


def test_drill_by_make(job):
    # On standard input, so that the port can be another one there too.
    makefile = (DRILLS / "Makefile").read_text()
    result = job(f"make -s -f - drill <<'END'\n{makefile}\nEND\n")
    assert result.returncode == 0, result
    assert re.findall(r"^\d of \d pass with nextaddr", result.stdout, re.MULTILINE) == [
        "2 of 2 pass with nextaddr",
        "1 of 1 pass with nextaddr",
    ]


def test_drill_by_pytest():
    env = {**os.environ, "DRILL": str(LAUNCHER.parent / "nextaddr-drill")}
    words = ["/usr/bin/python3", "-m", "pytest", "-p", "no:cacheprovider", DRILLS / "test_drill.py"]
    result = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout
    assert "3 passed" in result.stdout and "skipped" not in result.stdout
