# That the benchmark (tests/bench) measures all that it is there for, and what it makes of the values.
# Nothing here may ask that a figure be good: only that it is there, and stands beside the right one.
import json
import subprocess
import sys

import pytest

from distant_lab import DistantLab
from lab import ROOT, Namespace
from programs.harness import LIBRARY

BENCH = ROOT / "tests" / "bench"
sys.path.insert(0, str(BENCH))

from calls import FEWER, SORTS  # noqa: E402
from floating import WAYS, Request, numbers, summary  # noqa: E402
from samples import Grid, Row, Subject, interleaved, not_measured  # noqa: E402
from table import grid_table, table  # noqa: E402

# Why a row may have no values: what comes with packages that the other tests do not need, and what takes too long.
PACKAGES = (BENCH / "packages.txt").read_text().split()
GHOSTS = "connections that no program made (nextaddr)"
WITH_THE_LIBRARY_ALONE = ["object, stripped", GHOSTS]
ACCEPTED = [*(f"{package} is not installed" for package in PACKAGES), "not in a quick run", DistantLab.obstacle()]


def run_bench(directory, *words):
    command = [sys.executable, BENCH / "bench.py", "--quick", "--output", directory, *words]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, f"{run.stdout}{run.stderr}"
    assert (directory / "table.md").read_text() == run.stdout
    return json.loads((directory / "results.json").read_text())


def test_every_sort_of_row_is_measured(tmp_path):
    obstacle = Namespace.obstacle()
    if obstacle:
        pytest.skip(obstacle)
    found = run_bench(tmp_path)
    rows = {(row["section"], row["name"]): row for row in found["rows"]}
    assert {section for section, _ in rows} == {
        "call",
        "instructions",
        "system calls",
        "start",
        "memory",
        "throughput",
        "distance",
    }
    for sort in SORTS:
        assert ("call", sort.among(FEWER).name) in rows
    for (section, name), row in rows.items():
        if row["reason"]:
            assert row["reason"] in ACCEPTED, row
            continue
        bare = [] if name in WITH_THE_LIBRARY_ALONE else ["bare"]
        assert set(row["values"]) == {*bare, "nextaddr"}, row
        if name == GHOSTS:
            assert "of 10: " in row["note"], row
            continue
        assert row["median"]["nextaddr"] > 0, row
        assert all(values[0] > 0 for values in row["values"].values()) or section == "instructions", row
    if not DistantLab.obstacle():
        # As the case says: a round trip and a delay at least, and no delay.
        cold, warm = (rows["distance", f"silent, then 20 ms, {heat}"] for heat in ("cold", "warm"))
        assert cold["median"]["nextaddr"] > 100 and warm["median"]["nextaddr"] >= 20 <= cold["median"]["bare"]
    grids = {grid["section"]: grid["lines"] for grid in found["grids"]}
    assert set(grids) == {"dead refused", "dead silent", "others blocking", "floating"}
    asked_first = "blocking connect to the first address, bare"
    assert grids["dead refused"][asked_first][1] == "fails"
    assert grids["dead silent"][asked_first][1].startswith("> ")
    # A delay, less what the program took longer to start when it had nothing to wait for.
    assert grids["dead silent"]["the same, nextaddr, knows nothing yet"][1][0] > 50
    # As long as the address is dead, bare programs have trouble.
    assert grids["floating"]["two addresses, one process, bare"][4][0] > 1
    for lines in grids.values():
        for name, cells in lines.items():
            reason = str(cells[0]).partition("not measured: ")[2]
            assert reason in ["", *ACCEPTED], (name, cells)


def test_two_libraries_beside_each_other(tmp_path):
    obstacle = Namespace.obstacle()
    if obstacle:
        pytest.skip(obstacle)
    older = tmp_path / "older.so"
    words = [sys.executable, BENCH / "bench.py", "--against", older]
    assert "is not there" in subprocess.run(words, capture_output=True, text=True).stderr
    older.write_bytes(LIBRARY.read_bytes())
    found = run_bench(tmp_path, "--only", "instructions,system-calls", "--against", older)
    assert found["rows"]
    for row in found["rows"]:
        assert not row["reason"], row
        # A copy of the same: but the memory file is read and written now and then.
        assert row["median"]["old"] == pytest.approx(row["median"]["new"], rel=0.2), row
        assert row["median"]["new"] >= row["median"]["bare"], row


# ---- What is made of the values ----

SUBJECTS = [Subject("bare", {}), Subject("old", {}), Subject("new", {})]


def test_pairs_are_measured_by_turns():
    order = []
    values = interleaved(SUBJECTS, 3, lambda subject: order.append(subject.name) or len(order))
    assert order == ["bare", "old", "new", "old", "new", "bare", "new", "bare", "old"]
    assert values == {"bare": [1, 6, 8], "old": [2, 4, 9], "new": [3, 5, 7]}


def test_ratios_are_of_medians_and_quartiles_of_pairs():
    row = Row("call", "name", "ns", {"bare": [10, 20, 100, 30, 40], "new": [20, 20, 110, 60, 44]})
    assert row.ratio("new", "bare") == (pytest.approx(44 / 30), pytest.approx((1.1, 1.1, 2)))
    assert row.ratio("old", "bare") is None
    assert Row("call", "name", "", {"bare": [0], "new": [5]}).ratio("new", "bare") is None


def test_a_death_and_a_return():
    requests = [
        Request(-0.4, 0.5, 0, "a"),  # nothing is seen of what it lost after its answer
        Request(-0.1, 5, 0, None),
        Request(0.3, 1.5, 0.5, "b"),
        *(Request(at, 0.1, 0, "b") for at in range(1, 10)),
        Request(9.5, 5, 0, None),  # well until the return
        Request(9.6, 0.1, 0, "b"),
        Request(11, 0.1, 0, "b"),
        Request(12, 0.1, 0, "a"),
    ]
    bare, moved = (next(way for way in WAYS if way.bare == bare) for bare in (True, False))
    assert numbers(requests, moved, 10) == pytest.approx([1, 1, 1, 1, 0.3, 1.4, 1, 0, 2])
    assert numbers(requests, bare, 10) == pytest.approx([1.4, 2, 1, 5, 9.5, 1, 0, 0, 2])
    assert summary([3, 1, 2]) == (2, 1, 3)
    assert summary([3, None, 1]) == "in 2 of 3: 1.0 .. 3.0" and summary([None]) == "not seen"


def test_the_table():
    values = {"bare": [100], "old": [300], "new": [150]}
    rows = [Row("call", "a connect", "ns", values, more_is_better=True), not_measured("call", "b", "no strace")]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table(rows, SUBJECTS).splitlines()]
    assert lines[0][:8] == ["what", "unit", "bare", "old", "new", "old : bare", "quartiles of pairs", "new : bare"]
    measured = next(line for line in lines if line[0] == "a connect")
    assert measured[2:6] + measured[7:8] + measured[9:10] == ["100", "300", "150", "3.000", "1.500", "0.500"]
    assert measured[-1].strip(" |") == "more is better"
    assert any(line[0] == "b" and "not measured: no strace" in line[-1] for line in lines)
    grid = Grid("dead", "title", ["1"], {"curl": [(5.25, 5, 6)], "Go": ["> 8000"]})
    assert "5.25 (5 .. 6)" in grid_table(grid) and "> 8000" in grid_table(grid)
