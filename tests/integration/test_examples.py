# The examples for those who test with faults, run as their first lines say. The Dockerfile needs an engine and an image,
# which CI has not: here only what it copies and installs is looked at.
import os
import re
import subprocess

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
