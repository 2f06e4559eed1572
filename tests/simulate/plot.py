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
DASHES = ("-", "--")  # in turn, so that of two lines that coincide both are seen
MARKERS = "osD^v<>ph*PX"


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
    """What the address that dies and comes back is met by, in fair shares; what: SYNs (0) or connections (1)."""
    figure, axes = pyplot.subplots(len(groups), 1, figsize=(9, 2.6 * len(groups)), sharex=True, squeeze=False)
    for axis, group in zip(axes[:, 0], groups):
        for number, (case, addresses) in enumerate(timeline[group].items()):
            fair = float(results[group][case]["fair_per_s"])
            shares = smoothed([second[what] / fair for second in addresses[0]])
            axis.plot(shares, label=case, linewidth=1, linestyle=DASHES[number % len(DASHES)])
        axis.set_title(group, fontsize=9)
        axis.set_ylabel(("SYNs", "connections")[what] + ", in fair shares", fontsize=8)
        axis.legend(fontsize=7)
        axis.grid(alpha=0.3)
    axes[-1, 0].set_xlabel("seconds (it dies at 60 and is back at 420)")
    save(figure, path)


def plot_latencies(groups, results, path):
    columns = [("p50_ms", "p50"), ("p90_ms", "p90"), ("p99_ms", "p99"), ("p999_ms", "p99.9")]
    figure, axes = pyplot.subplots(1, len(groups), figsize=(5 * len(groups), 4), sharey=True, squeeze=False)
    for axis, group in zip(axes[0], groups):
        for number, (case, row) in enumerate(results[group].items()):
            # A failure is drawn where the kernel gives up.
            values = [127_000 if row[column] == "fail" else float(row[column]) for column, _ in columns]
            names = [name for _, name in columns]
            dashes = DASHES[number % len(DASHES)]
            axis.plot(names, values, marker="o", markersize=4, label=case, linewidth=1, linestyle=dashes)
        axis.set_yscale("log")
        axis.set_title(group, fontsize=9)
        axis.legend(fontsize=7)
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("ms until connected (top: failed, or after 127 s)")
    save(figure, path)


def plot_delays(pairs, results, path):
    """What moving on sooner gains with a silent address, and what it costs with none."""
    figure, axes = pyplot.subplots(1, len(pairs), figsize=(4.2 * len(pairs), 4), sharex=True, squeeze=False)
    cases = [case for case in results[pairs[0][0]] if case.startswith(("always", "unknown", "overdue")) or case == "nextaddr"]
    for axis, (healthy, silent) in zip(axes[0], pairs):
        for number, case in enumerate(cases):
            x, y = float(results[healthy][case]["needless_per_1000"]), float(results[silent][case]["p99_ms"])
            # Hollow, each of a shape of its own: many lie on the same point. Whole: at 0 half of it is beyond the axis.
            axis.plot(x, y, MARKERS[number % len(MARKERS)], label=case, fillstyle="none", markersize=7, clip_on=False)
        axis.set_xscale("symlog", linthresh=0.1)
        axis.set_title(healthy.removesuffix(", all live"), fontsize=9)
        axis.set_xlabel("needlessly left, of 1000 connects, all live", fontsize=8)
        axis.grid(alpha=0.3)
    axes[0, 0].set_xlim(left=0)  # of all, and not before all are drawn: it ends the scaling
    axes[0, 0].set_xticks([0, 0.1, 1, 10, 100, 1000])
    # One for all, beside them: the points are too close for names of their own.
    axes[0, -1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.02, 0.5))
    axes[0, 0].set_ylabel("p99 with one of four silent, ms")
    save(figure, path)


def main():
    directory = Path(sys.argv[1])
    results = read_results(directory / "results.csv")
    timeline = read_timeline(directory / "timeline.csv")

    def named(*parts):
        return [group for group in results if any(part in group for part in parts)]

    plot_latencies(named("million"), results, directory / "latency.svg")
    plot_latencies(named("350 and", "420 and", "then 300"), results, directory / "unequal.svg")
    plot_first_address(named("one each"), timeline, results, directory / "parking.svg", 1)
    plot_first_address(named("whole site"), timeline, results, directory / "site.svg", 0)
    plot_first_address(named("room for"), timeline, results, directory / "overload.svg", 0)
    healthy = named(", all live")
    plot_delays([(group, group.replace("all live", "1 of 4 silent")) for group in healthy], results, directory / "delay.svg")


if __name__ == "__main__":
    main()
