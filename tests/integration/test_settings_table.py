# src/config.inc is the only place that lists the settings: the launcher and every document have those of the table, no
# others, and say of each what the table says.
# Nothing here may know a setting by its name.
import re
import shutil
import subprocess

import pytest

from lab import LAUNCHER, ROOT
from test_install import COMPLETION, PAGES, complete, heads, help_text
from test_launcher import run

# The name, the option, the default, where it may be, the help.
ROW = re.compile(r'^NEXTADDR_SETTING\((\w+), "(.*?)", "(.*?)", (\w+), (.*), "(.*)"\)', re.MULTILINE)
SETTINGS = ROW.findall((ROOT / "src" / "config.inc").read_text())
NAMES = {f"NEXTADDR_{name}" for name, *_ in SETTINGS}
OPTIONS = {option: f"NEXTADDR_{name}" for name, option, *_ in SETTINGS if option}
READ_BY_THE_LIBRARY = {f"NEXTADDR_{name}" for name, _, _, where, *_ in SETTINGS if where != "kLauncher"}
OF_THE_USER = {f"NEXTADDR_{name}" for name, _, _, where, *_ in SETTINGS if where == "kAnywhere"}


def one_line(text):
    return " ".join(text.split())


def names_in(text):
    return set(re.findall(r"\bNEXTADDR_[A-Z_]+", text))


def test_the_table_is_read_whole():
    assert len(SETTINGS) == (ROOT / "src" / "config.inc").read_text().count("\nNEXTADDR_SETTING(") == len(NAMES)
    assert {where for _, _, _, where, *_ in SETTINGS} == {"kAnywhere", "kProcess", "kLauncher"}


def test_the_help_has_the_variables_and_says_what_the_table_says():
    text = help_text()
    assert names_in(text) == NAMES
    for *_, said in SETTINGS:
        assert one_line(said) in one_line(text)


def test_the_help_says_what_an_option_is_for_beside_it():
    paragraphs = re.split(r"\n(?=  -)", help_text())
    for _, option, *_, said in SETTINGS:
        if option:
            assert any(re.match(rf"  {option}\b(?!-)", each) and said in one_line(each) for each in paragraphs), option


def test_the_page_of_the_command_has_the_variables():
    assert {name for name in heads(PAGES[0]) if name.startswith("NEXTADDR_")} == NAMES


def test_the_page_of_the_library_has_the_variables_that_it_reads():
    assert {name for name in heads(PAGES[1]) if name.startswith("NEXTADDR_")} == READ_BY_THE_LIBRARY


def test_options_are_in_every_document():
    described = {head.split()[0] for head in heads(PAGES[0]) if head.startswith("-")}
    readme = set(re.findall(r"`(--?[a-z-]+)", (ROOT / "README.md").read_text()))
    for found in described, readme, set(complete("nextaddr -")):
        assert set(OPTIONS) <= found
    assert {OPTIONS[option] for option in OPTIONS} <= names_in((ROOT / "README.md").read_text())


def test_the_documents_have_no_variable_that_is_none():
    for page in [ROOT / "README.md", COMPLETION, LAUNCHER, ROOT / "src" / "README.md"]:
        assert names_in(page.read_text()) <= NAMES | {"NEXTADDR_"}, page


def test_an_option_sets_the_variable_of_the_table():
    assigned = re.findall(r"^    (--[a-z-]+)\) (?:take|switch) (NEXTADDR_\w+)", LAUNCHER.read_text(), re.MULTILINE)
    assert dict(assigned) == OPTIONS


def test_the_launcher_has_every_variable_checked():
    # The rules of faults are asked about when there is a run.
    doubtful = re.search(r"^na_doubtful=(.*?[^\\])$", LAUNCHER.read_text(), re.MULTILINE | re.DOTALL)[1]
    assert names_in(doubtful) == OF_THE_USER - {"NEXTADDR_FAULTS"}


@pytest.mark.parametrize("name, usual", [(f"NEXTADDR_{row[0]}", row[2]) for row in SETTINGS if row[2] and row[3] == "kAnywhere"])
def test_a_default_is_a_good_value(name, usual):
    assert run("--log=error", "printenv", name, env={name: usual}).returncode == 0


# ---- The answers ----


ASK = 'NEXTADDR_ASK="$%s $2" LD_PRELOAD=$1; export NEXTADDR_ASK LD_PRELOAD; exec "$3"'
LIBRARY = ROOT / "build" / "libnextaddr.so"


def answer(question, process="$", program="true", env=None):
    words = ["sh", "-c", ASK % process, "sh", LIBRARY, question, program]
    return subprocess.run(words, env={"PATH": "/usr/bin:/bin", **(env or {})}, capture_output=True, text=True, timeout=10)


def test_a_question_is_answered():
    assert (answer("settings").returncode, answer("settings").stdout) == (100, "")
    bad = answer("settings", env={"NEXTADDR_RESOLVE": "a=::1;b=1.2.3"})
    assert (bad.returncode, bad.stderr) == (124, "")
    assert bad.stdout == "NEXTADDR_RESOLVE 'b=1.2.3': '1.2.3' is not an IPv4 or IPv6 address (column 9)\n"


def test_it_is_answered_where_true_is_a_script_of_a_program_for_all_commands(tmp_path):
    script = tmp_path / "true"
    script.write_text(f"#!{shutil.which('cat')}\n")  # as of coreutils, #!/usr/bin/coreutils --coreutils-prog-shebang=true
    script.chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    bad = answer("settings", env={"PATH": path, "NEXTADDR_DELAY": "5"})
    assert (bad.returncode, bad.stderr, bad.stdout[:18]) == (124, "", "NEXTADDR_DELAY '5'")
    assert run("--delay", "50", "printenv", "NEXTADDR_DELAY", env={"PATH": path}).stdout == "50\n"


@pytest.mark.parametrize("question", ["settings", "status", "forget", "check true", "end", "nonsense", ""])
def test_nobody_answers_a_question_that_was_put_to_another(question, tmp_path):
    memory = tmp_path / "memory"
    memory.write_text("nextaddr memory 2")
    env = {"NEXTADDR_MEMORY": str(memory), "NEXTADDR_DELAY": "bad"}
    # PPID: the question has been inherited.
    for process in ("PPID", "{NOBODY-1}", "{NOBODY-}", "{NOBODY-x}", "{NOBODY--}$"):
        ended = answer(question, process, env=env)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", ""), process
    assert memory.exists()


def test_no_other_program_answers(tmp_path):
    ended = answer("settings", program="env", env={"NEXTADDR_DELAY": "bad"})
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "NEXTADDR_DELAY=bad" in ended.stdout
