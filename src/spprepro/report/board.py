"""TensorBoard beside the records: settings with final metrics, and the paper's numbers as lines.

A job writes its event file when it ends; `python -m spprepro.report.board` writes those of all records under results/,
so that a fresh clone, which has the records alone, shows them too.
"""

import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from spprepro import folders, records
from spprepro.config import Config, check, flatten
from spprepro.errors import Faults
from spprepro.paper.tables import Table, load_all
from spprepro.records import Record

SUFFIX = ".record"  # of the event files made here; those of training have none
_NUMBERS = ("seed", "width", "training.epochs", "training.batch", "training.lr", "training.dropout")
_ALWAYS = ("tier", "name", "seed", "kind", "backbone.name", "width", "pyramid.levels", "models")
_TRAINED = ("data.name", "training.mode", *_NUMBERS[2:])
_DETECTS = ("protocol.name", "proposals.method", "detection.method", "detection.scales")


def show(run_folders: Iterable[Path]) -> None:
    """Writes an event file beside each of these folders' records, in the place of an earlier one.

    `final/<metric>`: what was measured; `tableNN/<metric>/ours` and `/paper`: for each printed cell that the job fills,
    both numbers from the first to the last step of training (0 and 1 where nothing is trained), so that they are lines;
    with the layout of Custom Scalars (a category for each table, a chart for each metric) and, for HParams, the
    settings. A fault is told on stderr: the records are there, and hold all that these files show.
    """
    tables = [table for table in load_all(folders.experiments()) if table.number > 1]  # its sizes of layers are settings
    for folder in run_folders:
        try:
            record = records.read(folder / records.NAME)
            config = check(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")))
            for path in folder.glob(f"events.out.tfevents.*{SUFFIX}"):
                path.unlink()
            _write(folder, record, config, tables)
        except (OSError, yaml.YAMLError, AttributeError, Faults) as error:
            print(f"{folder}: TensorBoard does not show its record: {error}", file=sys.stderr)


def _write(folder: Path, record: Record, config: Config, tables: list[Table]) -> None:
    t = config.training
    last = t.epochs * (int(record.data["train"]) // t.batch) - 1 if config.kind == "train" else 1
    with SummaryWriter(str(folder), filename_suffix=SUFFIX) as writer:
        for key, metric in record.metrics.items():
            if "_ap_" not in key:
                writer.add_scalar(f"final/{key}", metric.value, last)
        for table in tables:
            for cell in table.cells.values():
                if cell.job != record.experiment or cell.printed is None or cell.metric not in record.metrics:
                    continue
                for step in (0, last):
                    writer.add_scalar(f"{table.name}/{cell.metric}/ours", record.metrics[cell.metric].value, step)
                    writer.add_scalar(f"{table.name}/{cell.metric}/paper", cell.printed, step)
        writer.add_custom_scalars({f"Table {table.number}. {table.title}": _charts(table) for table in tables})
        for summary in (_columns(tables), *hparams(_settings(config), {})[1:]):
            writer.file_writer.add_summary(summary)


def _settings(config: Config) -> dict[str, float | str]:
    """What distinguishes jobs, by the keys of the command line; only what the job uses."""
    keys = _ALWAYS + (_TRAINED if config.kind == "train" else ()) + (_DETECTS if config.detects else ())
    values = flatten(asdict(config))
    return {key: values[key] if key in _NUMBERS else str(values[key]).strip("[]") for key in keys}


def _columns(tables: list[Table]) -> Any:
    """All columns of HParams: TensorBoard takes those of any one run for those of all, and else every scalar there is."""
    keys = {key: 0.0 if key in _NUMBERS else "" for key in _ALWAYS + _TRAINED + _DETECTS}
    metrics = {f"final/{metric}": 0.0 for table in tables for metric in _printed(table) if "_ap_" not in metric}
    return hparams(keys, metrics)[0]


def _charts(table: Table) -> dict[str, list[Any]]:
    """A chart for each metric with a printed cell; the errors of one crop have the curve of training, too."""
    return {
        f"{metric} ({unit})": [
            "Multiline",
            [f"^{table.name}/{metric}/", *(["^val/error$"] if metric == "crop_top1_error" else [])],
        ]
        for metric, unit in _printed(table).items()
    }


def _printed(table: Table) -> dict[str, str]:
    """The metrics that jobs measure for cells with a printed number, with their units."""
    return {
        cell.metric: cell.measure.unit for cell in table.cells.values() if cell.metric and cell.printed is not None
    }


if __name__ == "__main__":
    show(found.path.parent for found in records.find(Path("results")))
