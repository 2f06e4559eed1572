#!/usr/bin/env python3
# Draws what tests/simulate/simulate.cc has written: reads results.csv and timeline.csv of a directory, and
# writes SVGs beside them. Computes nothing but sums and running means.
import collections
import csv
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "nextaddr"  # the same drawing from the same numbers
from matplotlib import pyplot  # noqa: E402

SMOOTH_S = 5


def read_results(path):
    groups = collections.defaultdict(dict)
    with path.open() as file:
        for row in csv.DictReader(file):
            groups[row["group"]][row["case"]] = row
    return groups


def read_timeline(path):
    """{group: {case: {address: [(syns, connections) of each second]}}}"""
    timeline = collections.defaultdict(lambda: collections.defaultdict(lambda: collections.defaultdict(list)))
    with path.open() as file:
        for row in csv.DictReader(file):
            timeline[row["group"]][row["case"]][int(row["address"])].append((int(row["syns"]), int(row["connections"])))
    return timeline


def smoothed(values):
    return [sum(values[i : i + SMOOTH_S]) / SMOOTH_S for i in range(len(values) - SMOOTH_S + 1)]


def save(figure, path):
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
    print(path)


def plot_first_address(groups, timeline, results, path, what):
    """What the address that dies and comes back is met by, in shares of what it should have."""
    figure, axes = pyplot.subplots(len(groups), 1, figsize=(9, 2.6 * len(groups)), sharex=True, squeeze=False)
    for axis, group in zip(axes[:, 0], groups):
        for case, addresses in timeline[group].items():
            fair = float(results[group][case]["fair_per_s"])
            axis.plot(smoothed([second[what] / fair for second in addresses[0]]), label=case, linewidth=1)
        axis.set_title(group, fontsize=9)
        axis.set_ylabel("of its fair share")
        axis.legend(fontsize=7)
        axis.grid(alpha=0.3)
    axes[-1, 0].set_xlabel("seconds (it dies at 60 and is back at 420)")
    save(figure, path)


def plot_latencies(groups, results, path):
    columns = [("p50_ms", "p50"), ("p90_ms", "p90"), ("p99_ms", "p99"), ("p999_ms", "p99.9")]
    figure, axes = pyplot.subplots(1, len(groups), figsize=(5 * len(groups), 4), sharey=True, squeeze=False)
    for axis, group in zip(axes[0], groups):
        for case, row in results[group].items():
            # A failure is drawn where the kernel gives up.
            values = [127_000 if row[column] == "fail" else float(row[column]) for column, _ in columns]
            axis.plot([name for _, name in columns], values, marker="o", label=case, linewidth=1)
        axis.set_yscale("log")
        axis.set_title(group, fontsize=9)
        axis.legend(fontsize=7)
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("ms until connected (top: failed)")
    save(figure, path)


def plot_delays(pairs, results, path):
    """What moving on sooner gains with a silent address, and what it costs with none."""
    figure, axes = pyplot.subplots(1, len(pairs), figsize=(4.5 * len(pairs), 4), squeeze=False)
    for axis, (healthy, silent) in zip(axes[0], pairs):
        for case, row in results[healthy].items():
            if not case.startswith(("always", "auto")):
                continue
            x, y = float(row["needless_per_1000"]), float(results[silent][case]["p99_ms"])
            axis.plot(x, y, "o")
            axis.annotate(case, (x, y), fontsize=6, xytext=(3, 3), textcoords="offset points")
        axis.set_xscale("symlog", linthresh=0.1)
        axis.set_title(healthy.removesuffix(", all live"), fontsize=9)
        axis.set_xlabel("needlessly left, of 1000 connects, all live")
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("p99 with one of four silent, ms")
    save(figure, path)


def main():
    directory = Path(sys.argv[1])
    results = read_results(directory / "results.csv")
    timeline = read_timeline(directory / "timeline.csv")

    def named(*parts):
        return [group for group in results if any(part in group for part in parts)]

    plot_latencies(named("million"), results, directory / "latency.svg")
    plot_first_address(named("one each"), timeline, results, directory / "parking.svg", 1)
    plot_first_address(named("whole site"), timeline, results, directory / "site.svg", 0)
    plot_first_address(named("room for"), timeline, results, directory / "overload.svg", 0)
    healthy = named(", all live")
    plot_delays([(group, group.replace("all live", "1 of 4 silent")) for group in healthy], results, directory / "delay.svg")


if __name__ == "__main__":
    main()
