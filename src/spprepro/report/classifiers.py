"""Pictures of classifiers: how they learn, what more views are worth, what they confuse."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.ticker import MaxNLocator

from spprepro.paper.claims import Place
from spprepro.paper.tables import Cell
from spprepro.records import Found
from spprepro.report.sheets import Sheet
from spprepro.report.style import BLUE, GREY, LOOKS, RED, Drawing, Picture, draw, dress
from spprepro.traces import Epoch, read_confusion, read_curves

VIEWS = {
    "crop": "1 crop",
    "full": "1 full",
    "": "10",
    "ten_maps": "10 on maps",
    "multiview": "96 on maps",
    "multiview_full": "96 on maps + 2 full",
}
"""Test -> its views."""
TIMES = 4  # larger areas of what is wrong, which would be hard to see
MAIN = "table1_zf5_multisize"  # whose confusions are shown, where it has run
_Errors = dict[tuple[str, int], float]
"""(test, k) -> top-k error in %."""
_Runs = list[list[Epoch]]
"""Of several seeds."""


def curves(sheet: Sheet) -> Iterator[Drawing]:
    """Training curves of Table 2's jobs: a column a network, a line a way of training; errors, and the size below."""
    runs: dict[str, dict[str, _Runs]] = defaultdict(dict)
    for key, cell in sheet.table.cells.items():
        found = [read_curves(item.path.parent) for item in sheet.used if item.record.experiment == cell.job]
        _, _, network, mode = sheet.labels[Place(sheet.table.number, *key)]
        if there := [epochs for epochs in found if epochs]:
            runs[network][mode.removeprefix("in the text: ")] = there
    if not runs:
        return
    looks = dict(zip(dict.fromkeys(mode for modes in runs.values() for mode in modes), LOOKS, strict=False))

    def paint(figure: Any) -> None:
        axes = figure.subplots(3, len(runs), sharex="col", sharey="row", squeeze=False, height_ratios=(3, 3, 1.4))
        for column, (network, modes) in zip(axes.T, runs.items(), strict=True):
            for mode, seeds in modes.items():
                for axis, value in zip(column, ("error", "test_error", "size"), strict=True):
                    _line(axis, seeds, value, {**looks[mode], "label": mode})
            column[0].set_title(network)
            column[-1].set_xlabel("epoch")
            for axis in column:
                axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
                dress(axis)
        for axis, name in zip(axes[:, 0], ("training error, %", "test error, %", "input, pixels"), strict=True):
            axis.set_ylabel(name)
        handles = {
            label: line for axis in axes[0] for line, label in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=min(3, len(runs)), frameon=False)

    every = [seeds[0] for modes in runs.values() for seeds in modes.values()]
    ends = "; ".join(
        f"{network}: " + ", ".join(f"{mode} {fmean(s[-1].error for s in seeds):.1f} %" for mode, seeds in modes.items())
        for network, modes in runs.items()
    )
    sizes = "; ".join(
        f"{mode} {_span(seeds[0])}"
        for mode, seeds in {m: s for modes in runs.values() for m, s in modes.items()}.items()
    )
    last = max(len(epochs) for epochs in every)
    rates = [epoch.rate for epochs in every for epoch in epochs]
    picture = Picture(
        2,
        Path("plots", "training.svg"),
        "How the networks learn",
        f"Below: the size of the training images in each epoch, in pixels: {sizes}. The learning rate falls from "
        f"{max(rates):g} to {min(rates):g}. Test error: one crop of a part of the test images, a curve to look at, by "
        "which nothing is chosen. Bands: from the lowest to the highest seed, where there are several.",
        f"Training error, test error and input size over {last} epochs. Training error at the end: {ends}.",
    )
    yield draw(picture, max(6.5, 1.2 + 2 * len(runs)), 6, paint)


def _span(epochs: Sequence[Epoch]) -> str:
    """The sizes of a training: "224", "224 and 180" or "200 to 218"."""
    sizes = list(dict.fromkeys(epoch.size for epoch in epochs))
    return " and ".join(map(str, sizes)) if len(sizes) < 3 else f"{min(sizes)} to {max(sizes)}"


def _line(axis: Any, seeds: _Runs, value: str, look: Mapping[str, Any]) -> None:
    """The mean of the seeds, and a band from the lowest to the highest; sizes are those of the first seed."""
    table = [[getattr(epoch, value) for epoch in epochs] for epochs in zip(*seeds, strict=False)]
    epochs = [epoch.epoch for epoch, _ in zip(seeds[0], table, strict=False)]
    few = look if len(epochs) < 15 else {**look, "marker": ""}
    if value == "size":
        axis.plot(epochs, [row[0] for row in table], drawstyle="steps-mid", **few)
        return
    axis.plot(epochs, list(map(fmean, table)), **few)
    if len(seeds) > 1:
        axis.fill_between(epochs, list(map(min, table)), list(map(max, table)), color=look["color"], alpha=0.2, lw=0)


def views(sheets: Mapping[int, Sheet], found: Sequence[Found]) -> Iterator[Drawing]:
    """Error of the multi-size networks against the number of views, ours and (Tables 2 to 4) the paper's."""
    printed = [cell for number in (2, 3, 4) for cell in sheets[number].table.cells.values()]
    networks = {head.key: head.label for head in sheets[2].table.columns}
    jobs = {networks[c.column]: str(c.job) for c in sheets[2].table.cells.values() if str(c.job).endswith("_multisize")}
    both = {name: _errors(job, printed, found) for name, job in jobs.items()}
    both = {name: each for name, each in both.items() if each[0]}
    if not both:
        return
    tests = [test for test in VIEWS if any((test, 1) in ours for ours, _ in both.values())]

    def paint(figure: Any) -> None:
        axes = figure.subplots(2, 2, sharex=True)
        for row, k in zip(axes, (1, 5), strict=True):
            for side, axis in enumerate(row):
                for (name, errors), look in zip(both.items(), LOOKS, strict=False):
                    there = [(at, errors[side][test, k]) for at, test in enumerate(tests) if (test, k) in errors[side]]
                    axis.plot(*zip(*there, strict=True), label=name, **look) if there else None
                axis.set_xticks(
                    range(len(tests)), [VIEWS[test].replace(" on", "\non").replace(" +", "\n+") for test in tests]
                )
                axis.set_xlim(-0.3, len(tests) - 0.7)
                dress(axis)
            height = max(axis.get_ylim()[1] - axis.get_ylim()[0] for axis in row)
            for axis in row:  # other levels, but the same span: a gain looks alike
                axis.set_ylim(sum(axis.get_ylim()) / 2 - height / 2, sum(axis.get_ylim()) / 2 + height / 2)
            row[0].set_ylabel(f"top-{k} error, %")
        for axis, name in zip(axes[0], ("ours", "paper"), strict=True):
            axis.set_title(name)
        for axis in axes[1]:
            axis.set_xlabel("views")
        handles = axes[0][0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=len(both), frameon=False)

    said = "; ".join(
        f"{name}: " + ", ".join(f"{ours[test, 1]:.1f} with {VIEWS[test]}" for test in tests if (test, 1) in ours)
        for name, (ours, _) in both.items()
    )
    picture = Picture(
        4,
        Path("plots", "views.svg"),
        "Error against the number of views",
        "Multi-size trained networks. The two sides have other levels but the same span, so that a gain looks alike. "
        "Maps: views cut out of the feature maps, not out of the image. The paper prints some of the points only.",
        f"Errors of our networks and the paper's by number of views. Our top-1 errors in %: {said}.",
    )
    yield draw(picture, 9, 5.6, paint)


def _errors(job: str, printed: Sequence[Cell], found: Sequence[Found]) -> tuple[_Errors, _Errors]:
    """Ours (means over seeds) and the paper's of a network: of its training, and of jobs that test it alone on val."""
    its = [i.record for i in found if i.record.experiment == job or i.record.needs == [job]]
    its = [record for record in its if "split" not in record.data]
    names = {job, *(record.experiment for record in its)}
    ours: _Errors = {}
    paper: _Errors = {}
    for test in VIEWS:
        for k in (1, 5):
            metric = f"{test}_top{k}_error".removeprefix("_")
            if values := [record.metrics[metric].value for record in its if metric in record.metrics]:
                ours[test, k] = fmean(values)
            for cell in printed:
                if cell.job in names and cell.metric == metric and cell.printed is not None:
                    paper[test, k] = cell.printed
    return ours, paper


def confusion(sheet: Sheet) -> Iterator[Drawing]:
    """What one network takes for what: a square for what is right, circles for what is not."""
    there = [(item.record, table) for item in sheet.used if (table := read_confusion(item.path.parent))]
    if not there:
        return
    record, table = min(there, key=lambda each: (each[0].experiment != MAIN, each[0].seed))
    names, shares = table.classes, [[count / max(1, sum(row)) for count in row] for row in table.counts]
    tested = [k for k, row in enumerate(table.counts) if any(row)]
    columns = [*names, *(["other"] if table.total > len(names) else [])]
    cells = [(y, x, shares[y][x]) for y in range(len(names)) for x in range(len(columns)) if shares[y][x]]

    def paint(figure: Any) -> None:
        axis, side = figure.subplots(), 1.6 + 0.24 * len(names)
        cell = 0.8 * 72 * 0.24
        for right, look in ((True, {"marker": "s", "color": BLUE}), (False, {"marker": "o", "color": RED})):
            sizes = defaultdict(list)  # a line a size: a marker of its own for each cell makes a large file
            for y, x, share in cells:
                if (x == y) == right:
                    sizes[round(share, 2) * (1 if right else TIMES)].append((x, y))
            for area, places in sizes.items():
                axis.plot(*zip(*places, strict=True), ls="", ms=cell * max(area, 0.004) ** 0.5, mew=0, **look)
        axis.set(xlim=(-0.6, len(columns) - 0.4), ylim=(len(names) - 0.4, -0.6), aspect="equal", ylabel="truth")
        axis.set_xticks(range(len(columns)), columns, rotation=90)
        axis.set_yticks(range(len(names)), names)
        axis.set_title("predicted")
        axis.secondary_yaxis("right").set_yticks(tested, [f"{100 * shares[k][k]:.0f} %" for k in tested])
        axis.grid(color=GREY, alpha=0.2, linewidth=0.6)
        axis.set_axisbelow(True)
        figure.set_size_inches(side + 1, side)

    wrong = sorted(((share, names[y], columns[x]) for y, x, share in cells if x != y), reverse=True)[:3]
    worst = ", ".join(f"{truth} taken for {said} ({100 * share:.0f} %)" for share, truth, said in wrong) or "none"
    right = sorted((shares[k][k], names[k]) for k in tested)
    of = f" Of {table.total:,} classes these are the most confused." if table.total > len(names) else ""
    picture = Picture(
        2,
        Path("plots", "confusion.svg"),
        "What is taken for what",
        f"{record.experiment}, seed {record.seed}, ten views. Areas are shares of the true class's images, those "
        f"of mistakes {TIMES} times as large; at the right the share that is right. Most frequent "
        f"confusions: {worst}.{of}",
        f"Confusion matrix of {len(names)} classes, mostly on its diagonal: from {100 * right[0][0]:.0f} % right "
        f"({right[0][1]}) to {100 * right[-1][0]:.0f} % ({right[-1][1]}). Most frequent confusions: {worst}.",
    )
    yield draw(picture, 6, 6, paint)
