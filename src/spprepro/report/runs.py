"""The records behind a report as a reader needs them: where each lies, and what else must be known to judge it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spprepro.config import Config, config_of
from spprepro.errors import ConfigError
from spprepro.records import Found, Record


@dataclass(frozen=True)
class Run:
    """A record. `record`, `config` ("": none) and `events` (the folder of TensorBoard's files, which every kind of job
    leaves: see report.board) are relative to the tier's folder; it took `seconds`; `facts` are label -> text."""

    job: str
    name: str
    status: str
    record: str
    config: str
    events: str
    seconds: int
    facts: Mapping[str, str]


def runs(found: Sequence[Found], tier_dir: Path) -> list[Run]:
    """The same records, in the same order."""
    return [_run(item, tier_dir) for item in found]


def settings(item: Found) -> Config | None:
    """The configuration beside a record; None where there is none, or one that this version does not know.

    DataError where it is damaged.
    """
    try:
        return config_of(item.path.parent)
    except (FileNotFoundError, ConfigError):
        return None


def _run(item: Found, tier_dir: Path) -> Run:
    record, folder = item.record, item.path.parent.relative_to(tier_dir).as_posix()
    return Run(
        job=record.experiment,
        name=f"{record.experiment}, seed {record.seed}",
        status=record.status if record.status == "ok" else f"{record.status}: fills no cell",
        record=f"{folder}/{item.path.name}",
        config=f"{folder}/config.yaml" if item.path.with_name("config.yaml").is_file() else "",
        events=folder,
        seconds=round(record.wall_s),
        facts=_facts(record),
    )


def _facts(record: Record) -> dict[str, str]:
    amounts = [f"{key} {record.data[key]}" for key in ("train", "test", "classes", "split") if key in record.data]
    seconds = round(record.wall_s)
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return {
        "data": f"{record.data['name']} ({', '.join(amounts)})",
        "fingerprint": str(record.data["fingerprint"])[:10],
        "run on": f"{record.device}, {record.precision}",
        "time": f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds % 60:02d} s",
        "commit": record.git["commit"][:10] + (" + uncommitted changes" if record.git["dirty"] else ""),
        "overrides": " ".join(f"{key}={value}" for key, value in record.overrides.items()),
    }
