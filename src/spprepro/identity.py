"""Which settings a job's result depends on; where and how fast it runs is not among them."""

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spprepro.config import Config

# the folders of data are not among the identity either: the data's fingerprint is
_INCIDENTAL = re.compile(
    r"(results_dir|task|overwrite|tables|bench|name|image|a|b|shards?)$|widths|(voc|caltech)\.root$"
    r"|(backbone\.weights|weights\.(mean_)?file)$|data\.(root|source|test|workers|keep_gib)$|(backbone|data)\.(title|name)$"
    r"|trainer\.(devices|num_nodes|threads|accelerator)$|training\.snapshot_steps$"
)
_DETECTION = r"(protocol|proposals|detection|voc)\."
_TRAINING = r"(training|data|views)\."
_TRANSFER = r"(transfer|caltech)\."
_WEIGHTS = r"weights\."
_FOREIGN = {  # of each kind: settings that only others read
    **dict.fromkeys(("train", "layers", "test"), f"{_DETECTION}|{_TRANSFER}|{_WEIGHTS}"),
    **dict.fromkeys(("detect", "combine", "times"), f"{_TRAINING}|{_TRANSFER}|{_WEIGHTS}"),
    "import": rf"{_DETECTION}|{_TRANSFER}|(views|trainer)\.|training\.(?!init\.|input_scale$)|data\.(?!crop$)",
    "caltech101": rf"{_TRAINING}|{_DETECTION}|{_WEIGHTS}",
    "voc07": rf"{_TRAINING}|{_WEIGHTS}|(protocol|proposals|detection|caltech)\.|voc\.unusable$"
    r"|transfer\.(splits|train|test)$",
}


def identity(config: "Config") -> dict[str, Any]:
    """The settings that the result depends on, by dotted key."""
    foreign = _FOREIGN[config.transfer.set if config.kind == "transfer" else config.kind]
    own_schedule = f"protocol.finetune.{config.detection.method if config.kind == 'detect' else 'none'}."
    found = {
        key: value
        for key, value in flatten(asdict(config)).items()
        if not (_INCIDENTAL.match(key) or re.match(foreign, key))
        and (not key.startswith("protocol.finetune.") or key.startswith(own_schedule))
    }
    if not config.multiscale:
        found.pop("views.scales", None)
    if config.data.cache != "jpeg":  # other copies have the pixels of the files, to the bit
        found.pop("data.cache", None)
    return found


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}; lists stay whole."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
