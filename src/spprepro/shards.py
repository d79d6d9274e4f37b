"""Which jobs can be done in parts, each by a command of its own. Part of config.py; imports no torch."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from spprepro.detection import MatFiles

if TYPE_CHECKING:
    from spprepro.config import Config


def faults(c: "Config") -> Iterator[str]:
    """What is wrong with the settings shard and shards."""
    if not (0 <= c.shard < c.shards if c.shard is not None else c.shards == 1):
        yield f"shard: {c.shard}, shards: {c.shards}; with shards=4 each command has one shard of 0 to 3"
    if c.shard is None:
        return
    if c.tables or c.task not in ("run", "validate") or c.kind not in ("detect", "transfer"):
        yield f"shard: {c.shard}; only one job of kind=detect (windows) or transfer (features), with task=run, has any"
    if c.kind == "detect" and isinstance(c.proposals, MatFiles):
        yield f"shard: {c.shard} with proposals=mat; there is nothing to compute, the file has the windows"
    if c.overwrite:
        yield f"shard: {c.shard} with overwrite=true would undo the others; remove the run folder, or set name=..."
