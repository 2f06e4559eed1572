# What the benchmark measures with (bare, with the library, with a second one), and what it makes of the values: rows of
# a table, ratios of medians over interleaved samples, and how far the single ratios spread.
# It must never leave a row out: what could not be measured is a row that says why.
import dataclasses
import statistics
import sys


@dataclasses.dataclass(frozen=True)
class Subject:
    """One of the things compared, as what it adds to the environment."""

    name: str
    env: dict[str, str]
    library: str | None = None


@dataclasses.dataclass
class Row:
    section: str
    name: str
    unit: str
    values: dict[str, list[float]]  # by the name of the subject; equal indices were measured one after the other
    note: str = ""
    more_is_better: bool = False
    reason: str = ""  # why it was not measured

    def median(self, name):
        values = self.values.get(name)
        return statistics.median(values) if values else None

    def ratio(self, name, base):
        """(RATIO, (LOWER, MIDDLE, UPPER)): of the medians, and the quartiles of the ratios of single pairs; or None."""
        ours, theirs = self.values.get(name), self.values.get(base)
        if not ours or not theirs or self.median(base) == 0:
            return None
        pairs = [a / b for a, b in zip(ours, theirs) if b != 0]
        quartiles = statistics.quantiles(pairs, n=4, method="inclusive") if len(pairs) > 1 else pairs * 3
        return self.median(name) / self.median(base), tuple(quartiles)


@dataclasses.dataclass
class Grid:
    """What is not bare beside preloaded: a table of its own."""

    section: str
    title: str
    columns: list[str]
    # By name: numbers, (MEDIAN, LOWEST, HIGHEST), or texts.
    lines: dict[str, list] = dataclasses.field(default_factory=dict)
    samples: dict[str, list] = dataclasses.field(default_factory=dict)  # what they are the medians of
    plot: bool = False
    reason: str = ""  # why it was not measured

    draw = None  # of one that is no set of curves: draws itself, by pyplot, to a path


def not_measured(section, name, reason):
    return Row(section, name, "", {}, reason=str(reason))


def interleaved(subjects, count, measure):
    """`count` values of each: by turns, and each time another one begins."""
    values = {subject.name: [] for subject in subjects}
    for turn in range(count):
        first = turn % len(subjects)
        for subject in subjects[first:] + subjects[:first]:
            values[subject.name].append(measure(subject))
    return values


def say(text):
    print(text, file=sys.stderr, flush=True)
