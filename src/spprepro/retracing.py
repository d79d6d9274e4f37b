"""The traces of finished jobs that lack them, made from what their folders still hold."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from spprepro import records, traces
from spprepro.config import Config, config_of
from spprepro.errors import DataError, Faults
from spprepro.records import Found


def retrace(results_dir: Path, voc_root: str | None) -> Iterator[str]:
    """Writes the traces that can be made of every record's job; yields, in words, why others cannot.

    A training needs its event files and predictions.npz, a detector its detections/ and the images that it was tested
    on: those of `voc_root`, else of the folder that the job named. Where the files are gone nothing is said.
    """
    for found in records.find(results_dir):
        folder = found.path.parent
        try:
            config = config_of(folder)
            rows = [row for row in config.detection.rows if (folder / "detections" / row).is_dir()]
            if config.kind == "train":
                from spprepro.classify.traced import trace

                trace(config, folder)
            elif rows and not (folder / traces.EXAMPLES).exists():  # written last
                here = config if voc_root is None else replace(config, voc=replace(config.voc, root=voc_root))
                _detector(here, found, rows[-1])
        except FileNotFoundError:
            continue
        except Faults as error:
            yield f"{folder}: no pictures from it: {error}"


def _detector(config: Config, found: Found, row: str) -> None:
    from spprepro.data.voc import fingerprint
    from spprepro.detect.evaluate import saved
    from spprepro.detect.traced import trace
    from spprepro.pretrained import read_voc

    folder, split = found.path.parent, read_voc(config, "test")
    if fingerprint(split) != found.record.data["fingerprint"]:
        raise DataError(f"{split.root}: other images than the job was tested on; name theirs: voc.root=DIR")
    trace(folder, split, saved(folder, split, [row])[row])
