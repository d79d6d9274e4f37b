"""The set of tier=dry: 1000 class folders in ILSVRC's layout, as its networks have outputs, with drawn pictures."""

import shutil
from dataclasses import replace
from pathlib import Path

from spprepro.data.imagenet import Image, Survey
from spprepro.data.layouts import CLASSES, TRUTH, Task, draw
from spprepro.files import locked

COUNT = 1000


def generate(root: Path, *, test: int, seed: int) -> Path:
    """Make the set as `root` unless there is such a folder: a training and a val picture a class, `test` without label.

    Only one picture of each of the generator's 20 kinds is drawn for a split; classes share them.
    """
    wnids, kinds = [f"n{91000001 + k}" for k in range(COUNT)], len(CLASSES)
    made = root.with_name(f".{root.name}.tmp")

    def picture(split: int, k: int) -> bytes:
        return draw(Task("imagenet", seed, split, k, k % kinds, ""))[""]

    def write(name: str, content: bytes) -> None:
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(content)

    with locked(root.with_name(f".{root.name}.lock")):
        if root.is_dir():
            return root
        shutil.rmtree(made, ignore_errors=True)
        for split, name in enumerate(("train", "val")):
            pictures = [picture(split, k) for k in range(kinds)]
            for k, wnid in enumerate(wnids):
                write(f"{name}/{wnid}/{wnid}.JPEG", pictures[k % kinds])
        for k in range(test):
            write(f"test/{k + 1:08d}.JPEG", picture(2, k))
        write(TRUTH, "".join(f"{k % kinds + 1}\n" for k in range(test)).encode())
        write("synsets.txt", "".join(f"{wnid}\n" for wnid in wnids).encode())
        made.rename(root)
    return root


def thinned(survey: Survey, train: int, val: int) -> Survey:
    """So many images of each split, evenly spread; all classes stay, and so does the mean image of the whole."""

    def some(images: list[Image], count: int) -> list[Image]:
        return images[:: max(1, len(images) // count)][:count]

    return replace(survey, train=some(survey.train, train), val=some(survey.val, val))
