"""The archives in which data sets are published: names, md5 sums, where they are, and how many pictures they hold."""

from dataclasses import dataclass
from typing import Literal

Name = Literal["imagenet", "imagenette", "voc07", "caltech101"]


@dataclass(frozen=True)
class Archive:
    """A file as published; `url` is None where only registered users get it."""

    name: str
    md5: str
    url: str | None = None


_IMAGENETTE = "https://s3.amazonaws.com/fast-ai-imageclas"
_VOC = "https://thor.robots.ox.ac.uk/pascal/VOC/voc2007"
_CALTECH = "https://data.caltech.edu/records/mzrjq-6wc02/files"

TRAIN, VAL, DEVKIT = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"
TEST = "ILSVRC2012_img_test_v10102019.tar"

# of imagenette any one; else all, but ILSVRC's test pictures (for submissions) and Caltech's second form
ARCHIVES: dict[Name, tuple[Archive, ...]] = {
    "imagenet": (
        Archive(TRAIN, "1d675b47d978889d74fa0da5fadfb00e"),
        Archive(VAL, "29b22e2961454d5413ddabcf34fc5622"),
        Archive(DEVKIT, "fa75699e90414af021442c21a62c3abf"),
        Archive(TEST, "e1b8681fff3d63731c599df9b4b6fc02"),
    ),
    "imagenette": (
        Archive("imagenette2.tgz", "fe2fc210e6bb7c5664d602c3cd71e612", f"{_IMAGENETTE}/imagenette2.tgz"),
        Archive("imagenette2-320.tgz", "3df6f0d01a2c9592104656642f5e78a3", f"{_IMAGENETTE}/imagenette2-320.tgz"),
        Archive("imagenette2-160.tgz", "e793b78cc4c9e9a4ccc0c1155377a412", f"{_IMAGENETTE}/imagenette2-160.tgz"),
    ),
    "voc07": (
        Archive(
            "VOCtrainval_06-Nov-2007.tar", "c52e279531787c972589f7e41ab4ae64", f"{_VOC}/VOCtrainval_06-Nov-2007.tar"
        ),
        Archive("VOCtest_06-Nov-2007.tar", "b6e924de25625d8de591ea690078ad9f", f"{_VOC}/VOCtest_06-Nov-2007.tar"),
    ),
    "caltech101": (
        Archive("caltech-101.zip", "3138e1922a9193bfa496528edbbc45d0", f"{_CALTECH}/caltech-101.zip"),
        Archive("101_ObjectCategories.tar.gz", "b224c7392d521a49829488ab0f1120d9"),
    ),
}


def _table(text: str) -> dict[str, int]:
    words = text.split()
    return {name: int(count) for name, count in zip(words[::2], words[1::2], strict=True)}


IMAGENETTE = _table(
    """
    train/n01440764 963 train/n02102040 955 train/n02979186 993 train/n03000684 858 train/n03028079 941
    train/n03394916 956 train/n03417042 961 train/n03425413 931 train/n03445777 951 train/n03888257 960
    val/n01440764 387 val/n02102040 395 val/n02979186 357 val/n03000684 386 val/n03028079 409
    val/n03394916 394 val/n03417042 389 val/n03425413 419 val/n03445777 399 val/n03888257 390
    """
)
"""Pictures of each class folder."""

VOC07_IMAGES = {"trainval": 5011, "test": 4952}
VOC07_OBJECTS = {
    "trainval": _table(
        """
        aeroplane 306 bicycle 353 bird 486 boat 290 bottle 505 bus 229 car 1250 cat 376 chair 798 cow 259
        diningtable 215 dog 510 horse 362 motorbike 339 person 4690 pottedplant 514 sheep 257 sofa 248 train 297
        tvmonitor 324
        """
    ),
    "test": _table(
        """
        aeroplane 285 bicycle 337 bird 459 boat 263 bottle 469 bus 213 car 1201 cat 358 chair 756 cow 244
        diningtable 206 dog 489 horse 348 motorbike 325 person 4528 pottedplant 480 sheep 242 sofa 239 train 282
        tvmonitor 308
        """
    ),
}
"""Objects of each class that are not difficult, as the devkit's documentation counts them."""

CALTECH101 = _table(
    """
    BACKGROUND_Google 467 Faces 435 Faces_easy 435 Leopards 200 Motorbikes 798 accordion 55 airplanes 800 anchor 42
    ant 42 barrel 47 bass 54 beaver 46 binocular 33 bonsai 128 brain 98 brontosaurus 43 buddha 85 butterfly 91
    camera 50 cannon 43 car_side 123 ceiling_fan 47 cellphone 59 chair 62 chandelier 107 cougar_body 47
    cougar_face 69 crab 73 crayfish 70 crocodile 50 crocodile_head 51 cup 57 dalmatian 67 dollar_bill 52 dolphin 65
    dragonfly 68 electric_guitar 75 elephant 64 emu 53 euphonium 64 ewer 85 ferry 67 flamingo 67 flamingo_head 45
    garfield 34 gerenuk 34 gramophone 51 grand_piano 99 hawksbill 100 headphone 42 hedgehog 54 helicopter 88 ibis 80
    inline_skate 31 joshua_tree 64 kangaroo 86 ketch 114 lamp 61 laptop 81 llama 78 lobster 41 lotus 66 mandolin 43
    mayfly 40 menorah 87 metronome 32 minaret 76 nautilus 55 octopus 35 okapi 39 pagoda 47 panda 38 pigeon 45
    pizza 53 platypus 34 pyramid 57 revolver 82 rhino 59 rooster 49 saxophone 40 schooner 63 scissors 39 scorpion 84
    sea_horse 57 snoopy 35 soccer_ball 64 stapler 45 starfish 86 stegosaurus 59 stop_sign 64 strawberry 35
    sunflower 85 tick 49 trilobite 86 umbrella 75 watch 239 water_lilly 37 wheelchair 59 wild_cat 34
    windsor_chair 56 wrench 39 yin_yang 60
    """
)
"""Pictures of each category."""
