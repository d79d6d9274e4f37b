"""task=prepare and task=verify: data sets from archives, surveys, resized copies, and what has changed since."""

from collections import Counter
from pathlib import Path, PurePosixPath
from typing import cast

from spprepro.config import Config
from spprepro.data import mini, official
from spprepro.data.kept import copy_all
from spprepro.data.layouts import FOLDERS, VERSION
from spprepro.data.manifest import faults
from spprepro.data.prepare import prepare, root_of
from spprepro.data.published import Name
from spprepro.errors import DataError
from spprepro.files import full_disk_told
from spprepro.folders import cache_home, data_home
from spprepro.terminal import bars


def prepare_data(config: Config) -> None:
    """Unpack the archives in data.source, survey a classification set, copy it resized where data.cache says so."""
    data, root = config.data, root_of(config.data)
    with bars() as tell:
        if data.source:
            official.install(cast(Name, data.name), root, data.source, tell)
        elif data.name in ("imagenette", "voc07", "caltech101") and not root.is_dir():
            raise DataError(f"{root}: not there; name the archives to unpack: {official.hint(cast(Name, data.name))}")
        if data.name in ("voc07", "caltech101"):
            found = _counts(root)
        else:
            with full_disk_told(cache_home()):
                survey = prepare(data, tell)
                if data.cache:
                    copy_all(survey, data, tell)
            found = (
                f"{len(survey.train)} training and {len(survey.val)} test images of {len(survey.classes)} classes, "
                f"fingerprint {survey.fingerprint[:12]}"
            )
            root = survey.root
    print(f"{root}: {found}")


def _counts(root: Path) -> str:
    """What the manifest of a prepared folder lists."""
    paths = official.read_manifest(root)["files"]
    folders = Counter(str(PurePosixPath(path).parent) for path in paths)
    return f"{len(paths)} files in {len(folders)} folders, listed with their hashes in {official.MANIFEST}"


def verify_data(config: Config) -> None:
    """Compare every file of a prepared or generated set with its manifest; raises DataError naming all that differ."""
    data, root = config.data, root_of(config.data)
    if data.name == "mini":
        roots = [root] if data.root else sorted(data_home().glob(f"mini-v{VERSION}-*"))
        parts = [(each, part) for each in roots for part in FOLDERS if mini.manifest_path(each, part).is_file()]
        if not parts:
            raise DataError(f"{root}: no generated set there; task=prepare data=mini makes it")
        found = [fault for each, part in parts for fault in mini.verify(each, part)]
        what = ", ".join(str(each / FOLDERS[part]) for each, part in parts)
    else:
        known, what = official.read_manifest(root), str(root)
        with bars() as tell:
            again = "unpack it again with task=prepare and the same data.source"
            have = official.own_sizes(root)
            found = list(faults(root, known["files"], have, again, lambda done, n: tell("comparing files", done, n)))
    if found:
        raise DataError(found)
    print(f"{what}: every file is as its manifest says")
