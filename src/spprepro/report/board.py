"""TensorBoard beside the records: settings with final metrics, and the paper's numbers as lines.

A job writes its event file when it ends; `python -m spprepro.report.board` writes those of all records under results/,
so that a fresh clone, which has the records alone, shows them too.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import custom_scalars, hparams

from spprepro import folders, records
from spprepro.config import Config
from spprepro.errors import Faults
from spprepro.identity import flatten
from spprepro.paper.tables import Table, load_all
from spprepro.records import Found
from spprepro.report.runs import settings

SUFFIX = ".record"  # of the event files made here; those of training have none
_NUMBERS = ("seed", "width", "training.epochs", "training.batch", "training.lr", "training.dropout")
_ALWAYS = ("tier", "seed", "experiment", "kind", "backbone.name", "width", "pyramid.levels")
_TRAINED = ("training.mode", *_NUMBERS[2:])
_DETECTS = ("detection.method", "detection.scales")


def show(folder: Path) -> None:
    """Writes an event file beside the record in a run's folder, in the place of an earlier one.

    `final/<metric>`: what was measured; `tableNN/<metric>/ours` and `/paper`: for each printed cell that the job fills,
    both numbers from the first to the last step of training (0 and 1 where nothing is trained), so that they are lines;
    with the layout of Custom Scalars (a category for each table, a chart for each metric) and, for HParams, the
    settings. A fault is told on stderr: the record is there, and holds all that this file shows.
    """
    try:
        item = Found(folder / records.NAME, records.read(folder / records.NAME))
        for path in folder.glob(f"events.out.tfevents.*{SUFFIX}"):
            path.unlink()
        _write(item)
    except (OSError, Faults) as error:
        print(f"{folder}: TensorBoard does not show its record: {error}", file=sys.stderr)


def _write(item: Found) -> None:
    record, config, tables = item.record, settings(item), _tables()
    last = 1
    if config and config.kind == "train":
        last = max(1, config.training.epochs * (record.data["train"] // config.training.batch) - 1)
    measured = {key: metric.value for key, metric in record.metrics.items() if _shown(key)}
    with SummaryWriter(str(item.path.parent), filename_suffix=SUFFIX) as writer:
        for key, value in measured.items():
            writer.add_scalar(f"final/{key}", value, last)
        for table in tables:
            for cell in table.cells.values():
                if cell.job == record.experiment and cell.printed is not None and cell.metric in measured:
                    for step in (0, last):
                        writer.add_scalar(f"{table.name}/{cell.metric}/ours", measured[cell.metric], step)
                        writer.add_scalar(f"{table.name}/{cell.metric}/paper", cell.printed, step)
        _, start, end = hparams(_chosen(config) if config else {}, {})  # type: ignore[no-untyped-call]
        for summary in (_layout(tables), _columns(tables), start, end):
            writer.file_writer.add_summary(summary)


def _chosen(config: Config) -> dict[str, float | str]:
    """What distinguishes jobs, by the keys of the command line; only what the job uses."""
    keys = _ALWAYS + (_TRAINED if config.kind == "train" else ()) + (_DETECTS if config.detects else ())
    values = flatten(asdict(config)) | {"experiment": config.name}
    return {key: values[key] if key in _NUMBERS else str(values[key]).strip("[]") for key in keys}


def _columns(tables: Sequence[Table]) -> Any:
    """All columns of HParams, as TensorBoard takes one run's for those of all, and without any each scalar there is."""
    keys = {key: 0.0 if key in _NUMBERS else "" for key in _ALWAYS + _TRAINED + _DETECTS}
    metrics = {f"final/{metric}": 0.0 for table in tables for metric in _printed(table)}
    return hparams(keys, metrics)[0]  # type: ignore[no-untyped-call]


def _layout(tables: Sequence[Table]) -> Any:
    """Of Custom Scalars, the same in each run; two are open, as many open charts take a minute to draw."""
    charts = {f"Table {table.number}. {table.title}": _charts(table) for table in tables}
    summary = custom_scalars(charts)  # type: ignore[no-untyped-call]
    packed = summary.value[0].tensor.string_val
    layout = Layout.FromString(packed[0])
    for category in layout.category[2:]:
        category.closed = True
    packed[0] = layout.SerializeToString()
    return summary


def _charts(table: Table) -> dict[str, list[Any]]:
    """A chart for each metric with a printed cell; that of the errors of one crop has the curve of training, too."""
    curve = {"crop_top1_error": ["^val/error$"]}
    return {
        f"{metric} ({unit})": ["Multiline", [f"^{table.name}/{metric}/", *curve.get(metric, [])]]
        for metric, unit in _printed(table).items()
    }


@cache
def _tables() -> list[Table]:
    """Those with numbers of ours beside printed ones, but Table 1, whose sizes of layers follow from the settings."""
    return [table for table in load_all(folders.experiments()) if table.number > 1 and _printed(table)]


def _printed(table: Table) -> dict[str, str]:
    """The metrics of the table's cells that have a printed number and a job, with their units."""
    cells = (cell for cell in table.cells.values() if cell.printed is not None)
    return {cell.metric: cell.measure.unit for cell in cells if cell.metric and _shown(cell.metric)}


def _shown(metric: str) -> bool:
    """Without the AP of single classes: a detector's are under `ap/` and `pr/`, and a page of their charts is slow."""
    return "_ap_" not in metric


if __name__ == "__main__":
    for found in records.find(Path("results")):
        show(found.path.parent)
