"""What the paper's scale would take, job by job, and the rates that the hours rest on: measured here, or assumed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from spprepro import plan
from spprepro.config import Config
from spprepro.records import Found
from spprepro.report.runs import settings

# assumptions: fp32 TFLOP/s at most, as in the makers' data sheets, and the share of it that training gets
PEAKS = {"GTX Titan (the paper's)": 4.5, "A100": 19.5, "H100 SXM": 67.0}
SHARE = 0.35
IMAGE_BYTES = {"ILSVRC-2012": 110_000, "VOC 2007": 90_000}  # assumptions: a photo on disk, in the mean
HEADS = (
    *("job", "kind", "learning, 10¹⁵ operations", "testing, 10¹⁵", "images learned, 10⁶", "images tested, 10³"),
    "disk, GB",
)
RATE_HEADS = ("device", "kind of job", "GFLOP/s", "what it is")


@dataclass(frozen=True)
class Cost:
    """Texts of the section: a row a job under `heads`, the total, and a row a rate under `rate_heads`."""

    about: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    total: Sequence[str]
    note: str
    rate_heads: Sequence[str]
    rates: Sequence[Sequence[str]]


@dataclass(frozen=True)
class _Job:
    """Floating-point operations, images and bytes of one job."""

    name: str
    kind: str
    learning: float
    testing: float
    learned: int
    tested: int
    disk: float


@dataclass(frozen=True)
class _Measured:
    """Operations a second of the jobs of one kind on one device."""

    device: str
    kind: str
    rates: Sequence[float]

    @property
    def rate(self) -> float:
        return median(self.rates)


def cost(jobs: Sequence[Config], found: Sequence[Found]) -> Cost:
    """The section for `jobs` (at the paper's scale, with all that they need), with the rates that `found` measured."""
    by_name = {job.name: job for job in jobs}
    costs = [_job(job, by_name) for job in jobs if job.kind not in ("layers", "import")]
    measured = _measured(found)
    devices = list(dict.fromkeys(each.device for each in measured))
    columns = {name: {"": SHARE * peak * 1e12} for name, peak in PEAKS.items()}
    columns |= {device: {each.kind: each.rate for each in measured if each.device == device} for device in devices}
    hours = [[_hours(each, rates) for rates in columns.values()] for each in costs]
    rows = [[*_texts(each), *map(_hour_text, own)] for each, own in zip(costs, hours, strict=True)]
    total = _Job(
        "all",
        "",
        *(sum(getattr(each, name) for each in costs) for name in ("learning", "testing", "learned", "tested", "disk")),
    )
    in_all = [None if None in column else sum(hour or 0.0 for hour in column) for column in zip(*hours, strict=True)]
    return Cost(
        about=(
            f"{len(rows)} jobs at tier=paper fill every table, one seed each: "
            f"{(total.learning + total.testing) / 1e18:,.0f} × 10¹⁸ floating-point operations, "
            f"{total.disk / 1e9:,.0f} GB of checkpoints and scores. Computed from the configurations."
        ),
        heads=(*HEADS, *(f"hours, {name}" for name in columns)),
        rows=rows,
        total=[*_texts(total), *map(_hour_text, in_all)],
        note=_note(),
        rate_heads=RATE_HEADS,
        rates=_rate_rows(measured),
    )


def _job(config: Config, by_name: Mapping[str, Config]) -> _Job:
    amount = plan.ILSVRC  # not of folders here: the same records give the same page everywhere
    learning, testing = plan.operations(config, by_name, amount)
    learned, tested = plan.images(config, amount)
    return _Job(config.name, config.kind, learning, testing, learned, tested, plan.disk_bytes(config, amount))


def _measured(found: Sequence[Found]) -> list[_Measured]:
    """By device, then kind of job, from the records whose operations can be counted."""
    configs = {item.path: config for item in found if item.record.status == "ok" and (config := settings(item))}
    by_name = {config.name: config for config in configs.values()}
    rates: dict[tuple[str, str], list[float]] = {}
    for path, record in found:
        config = configs.get(path)
        if config is None or not record.wall_s or not _countable(config, by_name):
            continue
        train, test = record.data["train"], record.data["test"]
        amount = {"train": train, "val": test, "test": test, "classes": record.data.get("classes", 0)}
        voc = replace(config.voc, root=None, images=0, trainval=train, test=test)
        done = sum(plan.operations(replace(config, voc=voc), by_name, amount))
        rates.setdefault((f"{record.device}, {record.precision}", config.kind), []).append(done / record.wall_s)
    return [_Measured(device, kind, values) for (device, kind), values in sorted(rates.items())]


def _countable(config: Config, by_name: Mapping[str, Config]) -> bool:
    """Whether the operations of a job follow from its record and the configurations of what it needs."""
    if not {model.partition(":")[0] for model in config.models} <= by_name.keys():
        return False
    if config.kind == "transfer" and config.transfer.set == "caltech101" and not config.caltech.per_class:
        return False  # how many images is not in the record
    return config.kind in ("train", "test", "detect", "transfer") and bool(config.backbone.layers)


def _hours(job: _Job, rates: Mapping[str, float]) -> float | None:
    """None where no job of its kind was measured; combining detectors is testing them."""
    kind = "detect" if job.kind in ("combine", "times") else job.kind
    rate = rates.get("", rates.get(kind))
    return (job.learning + job.testing) / rate / 3600 if rate else None


def _texts(job: _Job) -> list[str]:
    return [
        job.name,
        job.kind,
        f"{job.learning / 1e15:,.1f}",
        f"{job.testing / 1e15:,.1f}",
        f"{job.learned / 1e6:,.2f}",
        f"{job.tested / 1e3:,.1f}",
        f"{job.disk / 1e9:,.2f}",
    ]


def _hour_text(hours: float | None) -> str:
    return "not measured" if hours is None else f"{hours:,.1f}"


def _note() -> str:
    sizes = {"ILSVRC-2012": sum(plan.ILSVRC[key] for key in ("train", "val", "test"))}
    sizes["VOC 2007"] = sum(plan.VOC2007.values())
    data = " and ".join(f"{name} {sizes[name] * size / 1e9:,.0f} GB" for name, size in IMAGE_BYTES.items())
    each = " and ".join(f"{size / 1e3:.0f}" for size in IMAGE_BYTES.values())
    return (
        "An operation is a multiplication or an addition; training counts three forward passes an image. Convolutions "
        "and fc layers are counted, the search for windows, SVMs and decoding are not, which the measured rates of "
        f"detection jobs include. The data sets come on top: about {data}, taking {each} kB a photo. Hours on one "
        "device; the paper reports two to four weeks for a network on a GTX Titan."
    )


def _rate_rows(measured: Sequence[_Measured]) -> list[list[str]]:
    rows = [
        [name, "all", f"{SHARE * peak * 1e3:,.0f}", f"assumed: {SHARE:.0%} of {peak:g} TFLOP/s in fp32"]
        for name, peak in PEAKS.items()
    ]
    for each in measured:
        spread = f"{min(each.rates) / 1e9:,.1f} to {max(each.rates) / 1e9:,.1f}"
        what = f"measured: the median of {len(each.rates)} records of this page ({spread})"
        rows.append([each.device, each.kind, f"{each.rate / 1e9:,.1f}", what])
    return rows
