"""How the times of SPP-net and R-CNN grow with windows and with scales: a job's growth.csv beside the paper."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from matplotlib.ticker import FuncFormatter, NullFormatter

from spprepro import folders
from spprepro.errors import DataError
from spprepro.paper.tables import load
from spprepro.records import Found
from spprepro.report.style import BLUE, RED, Drawing, Picture, draw, dress

JOB, FILE = "table9_times", "growth.csv"
METHODS = {"spp": ("SPP-net", BLUE, "spp_1sc"), "rcnn_zf5": ("R-CNN", RED, "rcnn")}
PARTS = {"conv": ("convolution", "-", "o", None), "fc": ("fc layers", "--", "s", "none")}
WINDOWS = 2000  # of an image, in the paper
PAPER_SCALES = {"spp_1sc": 1, "spp_5sc": 5}

Row = dict[str, Any]


def growth(found: Iterable[Found]) -> Iterator[Drawing]:
    """Of the first growth.csv: seconds an image against windows (left, both methods) and scales (right, SPP-net).

    Raises DataError for a file that is not such a table.
    """
    files = [item.path.with_name(FILE) for item in found if item.record.experiment == JOB]
    path = next((path for path in files if path.is_file()), None)
    if path is None:
        return
    rows = _read(path)

    def paint(figure: Any) -> None:
        left, right = figure.subplots(1, 2, sharey=True)
        _draw(left, [row for row in rows if row["against"] == "windows"], "windows", METHODS)
        _draw(right, [row for row in rows if row["against"] == "scales"], "scales", ["spp"])
        _paper(left, right)
        left.set(ylabel="seconds an image", title="against windows, 1 scale")
        windows = {row["windows"] for row in rows if row["against"] == "scales"}
        right.set(title="against scales" + "".join(f", {count:,} windows" for count in windows))
        for axis, name in ((left, "windows"), (right, "scales")):
            _dress(axis, name, sorted({row[name] for row in rows if row["against"] == name}))
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)

    picture = Picture(
        9,
        Path("plots", "growth.svg"),
        "How the times grow with windows and scales",
        "Both axes are logarithmic. The paper's points were measured on a GPU: their ratios compare with ours, not "
        "their level.",
        f"Seconds an image, convolution and fc layers. {_said(rows)}.",
    )
    yield draw(picture, 9, 4.6, paint)


def _said(rows: list[Row]) -> str:
    """How each line begins and ends, in words."""
    parts = []
    for against, methods in (("windows", METHODS), ("scales", ["spp"])):
        for method in methods:
            own = [row for row in rows if (row["against"], row["method"]) == (against, method)]
            ends = [f"{row['conv'] + row['fc']:.2g} s at {row[against]:,}" for row in own]
            if own:
                parts.append(f"{METHODS[method][0]} against {against}: {ends[0]}, {ends[-1]}")
    return "; ".join(parts)


def _read(path: Path) -> list[Row]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                {
                    "against": row["against"],
                    "method": row["method"],
                    "windows": int(row["windows"]),
                    "scales": int(row["scales"]),
                    "conv": float(row["conv_s"]),
                    "fc": float(row["fc_s"]),
                }
                for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: missing or damaged ({error!r}); run {JOB} again with overwrite=true") from error


def _draw(axis: Any, rows: list[Row], against: str, methods: Iterable[str]) -> None:
    """Our lines; a method without rows still has its place in the legend."""
    for method in methods:
        name, colour, _ = METHODS[method]
        own = sorted((row for row in rows if row["method"] == method), key=lambda row: row[against])
        for part, (label, line, marker, fill) in PARTS.items():
            axis.plot(
                [row[against] for row in own],
                [row[part] for row in own],
                color=colour,
                linestyle=line,
                marker=marker,
                markersize=5,
                markerfacecolor=fill or colour,
                label=f"{name}, {label}",
            )


def _paper(left: Any, right: Any) -> None:
    """The points that Table 10 prints; they were of a GPU: their ratios compare with ours, not their level."""
    cells = load(folders.experiments() / "table10.yaml").cells
    for name, colour, column in METHODS.values():
        for part, (label, _, _, fill) in PARTS.items():
            style: dict[str, Any] = {
                "color": colour,
                "linestyle": "none",
                "marker": "*",
                "markersize": 13,
                "markerfacecolor": fill or colour,
            }
            left.plot([WINDOWS], [cells[part, column].printed], **style,
                      label=f"paper's GPU: {name}, {label}")  # fmt: skip
            if name == METHODS["spp"][0]:
                for key, scales in PAPER_SCALES.items():
                    right.plot([scales], [cells[part, key].printed], **style)


def _dress(axis: Any, name: str, ticks: list[int]) -> None:
    axis.set(xscale="log", yscale="log", xlabel=name)
    axis.set_xticks(sorted({*ticks, *([WINDOWS] if name == "windows" else PAPER_SCALES.values())}))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.minorticks_off()
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    dress(axis)
