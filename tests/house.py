#!/usr/bin/env python3
# The rules of src that no compiler holds: `make lint`. Includes run downwards through the folders, and a file that is
# long, or a function, says why in its first lines ("Longer than ..").
# It must never know an exception by its name: what may break a rule says so itself.
import re
import sys
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[1] / "src"
# From above to below (src/README.md). lifecycle is the only one that knows all, and nothing includes it but hooks.
FOLDERS = ["hooks", "wait", "connect", "lookup", "memory", "fault", "log", "process", "config", "os", "engine"]
LONGEST = 450
LONGEST_FUNCTION = 50


def folder_of(name):
    """The folder of a file, or, of a file beside the folders, its name."""
    return name.split("/")[0].split(".")[0]


def may_include(name, included):
    above, below = folder_of(name), folder_of(included)
    if above == "lifecycle":
        return True
    if below == "lifecycle":
        return above == "hooks"
    return FOLDERS.index(above) <= FOLDERS.index(below)


def functions(lines):
    """The first line and the length of each function, as .clang-format has them."""
    begun = None
    for number, line in enumerate(lines, 1):
        if begun is None and re.match(r"(  )?(?!class|struct)\w.*\).*\{$", line):
            begun = number, " " * (len(line) - len(line.lstrip())) + "}"
        elif begun is not None and line.startswith(begun[1]):
            yield begun[0], number - begun[0] + 1
            begun = None


def complaints():
    for path in sorted(SOURCES.rglob("*.[ch]*")):
        name = str(path.relative_to(SOURCES))
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines, 1):
            included = re.match(r'#include "(.*)"', line)
            if included and not may_include(name, included[1]):
                yield f"src/{name}:{number}: includes {included[1]}, which is above it"
        for number, length in functions(lines):
            above = "".join(lines[max(0, number - 10) : number + 3])
            if length > LONGEST_FUNCTION and "Longer than" not in above:
                yield f"src/{name}:{number}: a function of {length} lines that does not say why"
        head = "".join(line for line in lines[:20] if line.startswith("//"))
        if len(lines) > LONGEST and "Longer than" not in head:
            yield f"src/{name}: {len(lines)} lines, and its first lines do not say why it is longer than {LONGEST}"


if __name__ == "__main__":
    found = list(complaints())
    print("\n".join(found), end="\n" if found else "")
    sys.exit(bool(found))
