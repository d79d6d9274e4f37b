"""How the times of SPP-net and R-CNN grow with windows and with scales, drawn from a job's growth.csv beside the paper.

Text is mid-grey on nothing, so that the drawing can stand on light and on dark pages; colours are told apart by colour-
blind readers too. Same file, same bytes.
"""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from spprepro import folders
from spprepro.errors import DataError
from spprepro.paper.tables import load

JOB, FILE = "table9_times", "growth.csv"
ALT = "Seconds an image against the number of windows and of scales: R-CNN's grow with windows, SPP-net's hardly."
GREY = "#808080"
METHODS = {"spp": ("SPP-net", "#1f8ac9", "spp_1sc"), "rcnn_zf5": ("R-CNN", "#d55e00", "rcnn")}
PARTS = {"conv": ("convolution", "-", "o", None), "fc": ("fc layers", "--", "s", "none")}
WINDOWS = 2000  # of an image, in the paper
PAPER_SCALES = {"spp_1sc": 1, "spp_5sc": 5}
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "growth",
    "svg.fonttype": "none",
    "font.size": 10,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), GREY),
}

Row = dict[str, Any]


def growth(path: Path) -> str:
    """growth.csv as SVG: seconds an image against windows (left, both methods) and scales (right, SPP-net).

    Raises DataError for a file that is not such a table.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    rows = _read(path)
    out = io.StringIO()
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 4.6), layout="constrained")
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
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Title": ALT})
    return out.getvalue()


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
        own = sorted((row for row in rows if row["method"] == method), key=lambda row: int(row[against]))
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
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set(xscale="log", yscale="log", xlabel=name)
    axis.set_xticks(sorted({*ticks, *([WINDOWS] if name == "windows" else PAPER_SCALES.values())}))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.minorticks_off()
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.grid(color=GREY, alpha=0.25, linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
