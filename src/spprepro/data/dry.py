"""The set of tier=dry: 1000 class folders in ILSVRC's layout, as its networks have outputs, with drawn pictures."""

from dataclasses import replace
from pathlib import Path

from spprepro.data.imagenet import Image, Survey
from spprepro.data.layouts import CLASSES, TRUTH, Task, draw
from spprepro.data.manifest import put
from spprepro.files import locked

COUNT = 1000


def generate(root: Path, *, test: int, seed: int) -> Path:
    """Make the set in `root` unless it is there: a training and a val picture a class, `test` unlabelled ones.

    Only one picture of each of the generator's 20 kinds is drawn for a split; classes share them.
    """
    wnids, kinds = [f"n{91000001 + k}" for k in range(COUNT)], len(CLASSES)
    listed = root / "synsets.txt"  # written last

    def picture(split: int, k: int) -> bytes:
        return draw(Task("imagenet", seed, split, k, k % kinds, ""))[""]

    with locked(root.with_name(f".{root.name}.lock")):
        if listed.is_file():
            return root
        for split, name in enumerate(("train", "val")):
            pictures = [picture(split, k) for k in range(kinds)]
            for k, wnid in enumerate(wnids):
                (root / name / wnid).mkdir(parents=True, exist_ok=True)
                put(root / name / wnid / f"{wnid}.JPEG", pictures[k % kinds])
        (root / "test").mkdir(exist_ok=True)
        for k in range(test):
            put(root / "test" / f"test_{k + 1:08d}.JPEG", picture(2, k))
        put(root / TRUTH, "".join(f"{k % kinds + 1}\n" for k in range(test)).encode())
        put(listed, "".join(f"{wnid}\n" for wnid in wnids).encode())
    return root


def thinned(survey: Survey, train: int, val: int) -> Survey:
    """So many images of each split, evenly spread; all classes stay, and so does the mean image of the whole."""

    def some(images: list[Image], count: int) -> list[Image]:
        return images[:: max(1, len(images) // count)][:count]

    return replace(survey, train=some(survey.train, train), val=some(survey.val, val))
