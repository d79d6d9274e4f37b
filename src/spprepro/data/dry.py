"""The set of tier=dry: 1000 class folders in ILSVRC's layout, as its networks have outputs, with drawn pictures."""

from dataclasses import replace
from pathlib import Path

from spprepro.data.imagenet import Image, Survey
from spprepro.data.layouts import CLASSES, Task, draw
from spprepro.data.manifest import put
from spprepro.files import locked

COUNT = 1000


def generate(root: Path, *, test: int, seed: int) -> Path:
    """Make the set in `root` unless it is there: a training and a val picture a class, `test` unlabelled ones.

    Only one training and one val picture of each of the generator's kinds are drawn; classes share them.
    """
    wnids = [f"n{91000001 + k}" for k in range(COUNT)]
    listed = root / "synsets.txt"  # written last
    with locked(root.with_name(f".{root.name}.lock")):
        if listed.is_file():
            return root
        for split, name in enumerate(("train", "val")):
            pictures = [draw(Task("imagenet", seed, split, k, k, ""))[""] for k in range(len(CLASSES))]
            for k, wnid in enumerate(wnids):
                (root / name / wnid).mkdir(parents=True, exist_ok=True)
                put(root / name / wnid / f"{wnid}.JPEG", pictures[k % len(CLASSES)])
        (root / "test").mkdir(exist_ok=True)
        for k in range(test):
            put(root / "test" / f"dry_test_{k + 1:08d}.JPEG", draw(Task("imagenet", seed, 2, k, k % len(CLASSES), ""))[""])
        put(root / "test_ground_truth.txt", "".join(f"{k % len(CLASSES) + 1}\n" for k in range(test)).encode())
        put(listed, "".join(f"{wnid}\n" for wnid in wnids).encode())
    return root


def thinned(survey: Survey, train: int, val: int) -> Survey:
    """So many images of each split, evenly spread; all classes stay, and so does the mean image of the whole."""

    def some(images: list[Image], count: int) -> list[Image]:
        return images[:: max(1, len(images) // count)][:count]

    return replace(survey, train=some(survey.train, train), val=some(survey.val, val))
