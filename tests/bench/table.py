# The benchmark's results as files: a table to read, plots, and JSON to compare runs by.
# It must never round a difference away, nor leave out how far the values spread.
import json
from pathlib import Path


def number(value):
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def ratio_text(ratio):
    if ratio is None:
        return "-", "-"
    middle, quartiles = ratio
    return f"{middle:.3f}", " ".join(f"{each:.3f}" for each in quartiles)


def table(rows, subjects):
    """Markdown. Ratios are to the bare program, and of the newer library to the older."""
    names = [subject.name for subject in subjects]
    comparisons = [(name, names[0]) for name in names[1:]] + ([(names[2], names[1])] if len(names) > 2 else [])
    head = ["what", "unit", *names]
    for name, base in comparisons:
        head += [f"{name} : {base}", "quartiles of pairs"]
    lines = [[*head, "note"]]
    last = None
    for row in rows:
        if row.section != last:
            lines.append([f"**{row.section}**"])
            last = row.section
        if row.reason:
            lines.append([row.name, *["-"] * (len(head) - 1), f"not measured: {row.reason}"])
            continue
        cells = [row.name, row.unit, *(number(row.median(name)) for name in names)]
        for name, base in comparisons:
            cells += ratio_text(row.ratio(name, base))
        notes = ["more is better"] if row.more_is_better else []
        lines.append([*cells, "; ".join([*notes, *([row.note] if row.note else [])])])
    return aligned(lines)


def grid_table(grid):
    """Markdown."""
    if grid.reason:
        return f"{grid.title}\n\nnot measured: {grid.reason}\n"
    texts = [[name, *(cell_text(cell) for cell in cells)] for name, cells in grid.lines.items()]
    return f"{grid.title}\n\n{aligned([['', *grid.columns], *texts])}"


def cell_text(cell):
    if isinstance(cell, str):
        return cell
    if isinstance(cell, tuple):
        middle, low, high = (number(each) for each in cell)
        return f"{middle} ({low} .. {high})"
    return number(cell)


def aligned(lines):
    width = len(lines[0])
    lines = [line + [""] * (width - len(line)) for line in lines]
    widths = [max(len(line[column]) for line in lines) for column in range(width - 1)] + [0]
    lines.insert(1, ["-" * max(each, 3) for each in widths])
    texts = [" | ".join(cell.ljust(size) for cell, size in zip(line, widths)) for line in lines]
    return "".join(f"| {text} |\n" for text in texts)


def write_json(path, rows, grids, header):
    found = [{**vars(row), "median": {name: row.median(name) for name in row.values}} for row in rows]
    text = json.dumps({"header": header, "rows": found, "grids": [vars(grid) for grid in grids]}, indent=1)
    Path(path).write_text(text + "\n")


def draw(directory, rows, grids, subjects):
    """SVG files. Returns why there are none, or None."""
    try:
        import matplotlib
    except ImportError:
        return "python3-matplotlib is not installed"
    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"font.size": 8, "svg.fonttype": "none"})
    for section in dict.fromkeys(row.section for row in rows):
        of_section = [row for row in rows if row.section == section]
        draw_ratios(pyplot, file_of(directory, section), of_section, subjects)
    for grid in grids:
        if grid.plot and not grid.reason:
            path = file_of(directory, grid.section)
            grid.draw(pyplot, path) if grid.draw else draw_grid(pyplot, path, grid)
    return None


def file_of(directory, section):
    return directory / f"{section.replace(' ', '-')}.svg"


def draw_grid(pyplot, path, grid):
    """A curve for each line, over the columns that are numbers; who was given up is drawn at how long that took."""
    figure, axes = pyplot.subplots(figsize=(8, 4))
    columns = [(place, int(name)) for place, name in enumerate(grid.columns) if name.isdigit()]
    for turn, (name, cells) in enumerate(grid.lines.items()):
        points = []
        for place, at in columns:
            cell = cells[place] if place < len(cells) else ""
            if isinstance(cell, str) and cell.startswith("> "):
                cell = float(cell[2:])
            cell = cell[0] if isinstance(cell, tuple) else cell
            if not isinstance(cell, str):
                # Side by side, because those that hang do so for equally long. Less than 1 ms is noise.
                points.append((at + 0.03 * turn, max(cell, 1)))
        if points:
            style = {"color": f"C{turn - 1}", "marker": "o"} if turn > 0 else {"color": "black", "linestyle": "--"}
            axes.plot(*zip(*points), markersize=3, label=name, **style)
    axes.set_yscale("log")
    axes.set_xticks([at for _, at in columns])
    axes.set_xlabel("dead addresses first")
    axes.set_ylabel("ms (1: none)")
    axes.set_title(grid.title, fontsize=6)
    axes.legend(fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, bbox_inches="tight")
    pyplot.close(figure)


def draw_ratios(pyplot, path, rows, subjects):
    base, *others = [subject.name for subject in subjects]
    drawn = [row for row in rows if any(row.ratio(name, base) for name in others)]
    if not drawn:
        return
    figure, axes = pyplot.subplots(figsize=(8, 0.8 + 0.22 * len(drawn)))
    for number_of, name in enumerate(others):
        for place, row in enumerate(drawn):
            ratio = row.ratio(name, base)
            if ratio is None:
                continue
            middle, (low, _, high) = ratio
            at = place + (number_of - (len(others) - 1) / 2) * 0.3
            axes.plot([low, high], [at, at], color=f"C{number_of}", linewidth=1)
            axes.plot([middle], [at], "o", color=f"C{number_of}", markersize=4, label=name if place == 0 else None)
    axes.axvline(1, color="gray", linewidth=0.8)
    if max(row.ratio(name, base)[0] for row in drawn for name in others if row.ratio(name, base)) > 4:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yticks(range(len(drawn)), [row.name for row in drawn])
    axes.invert_yaxis()
    axes.set_xlabel(f"ratio to {base}: medians, quartiles of the pairs")
    axes.legend()
    figure.savefig(path, bbox_inches="tight")
    pyplot.close(figure)
