"""Reading a VOC2007 folder: generated, real, and with everything wrong."""

import pytest

from spprepro.data import mini
from spprepro.data.decode import decode
from spprepro.data.voc import CLASSES, read_labels, read_split
from spprepro.errors import DataError
from tests.conftest import write_picture

OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
SIZE = "<size><width>80</width><height>60</height><depth>3</depth></size>"


def annotate(root, image, *objects, size=SIZE, filename=None):
    body = "".join(each if isinstance(each, str) else OBJECT.format(*each) for each in objects)
    text = f"<annotation><filename>{filename or image + '.jpg'}</filename>{size}{body}</annotation>"
    (root / "Annotations" / f"{image}.xml").write_text(text)


def label(root, stem, lines):
    (root / "ImageSets" / "Main" / f"{stem}.txt").write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture
def voc(tmp_path):
    """Three images of 80x60 pixels: a cat and a difficult dog, a difficult cat, nothing."""
    root = tmp_path / "VOC2007"
    for folder in ("Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for seed, image in enumerate(("000001", "000002", "2008_000003")):
        write_picture(root / "JPEGImages" / f"{image}.jpg", 60, 80, seed)
    difficult = "<name>{}</name><truncated>1</truncated><difficult>1</difficult>"
    dog, cat = (OBJECT.replace("<name>{}</name>", difficult).format(name, 1, 1, 80, 60) for name in ("dog", "cat"))
    annotate(root, "000001", ("cat", 2, 3, 11, 23), dog)
    annotate(root, "000002", cat)
    annotate(root, "2008_000003")
    label(root, "test", ("000001", "000002", "2008_000003"))
    label(root, "cat_test", ("000001  1", "000002  0", "2008_000003 -1"))
    label(root, "dog_test", ("000001  0", "000002 -1", "2008_000003 -1"))
    return root


def faults_of(read, *arguments):
    with pytest.raises(DataError) as error:
        read(*arguments)
    return error.value.faults


def test_objects_are_0_based_with_their_marks(voc):
    split = read_split(voc, "test")
    assert [(image.id, image.height, image.width) for image in split.images] == [
        ("000001", 60, 80),
        ("000002", 60, 80),
        ("2008_000003", 60, 80),
    ]
    first, second, empty = split.images
    assert first.boxes.tolist() == [[1, 2, 10, 22], [0, 0, 79, 59]]
    assert [CLASSES[k] for k in first.labels] == ["cat", "dog"]
    assert (first.difficult.tolist(), first.truncated.tolist()) == ([False, True], [False, True])
    assert second.difficult.tolist() == [True]
    assert empty.boxes.shape == (0, 4) and empty.labels.shape == empty.difficult.shape == (0,)
    assert split.path(2) == voc / "JPEGImages" / "2008_000003.jpg"


def test_labels_of_the_lists_agree_with_the_annotations(voc):
    split = read_split(voc, "test", ("cat", "dog"))
    assert read_labels(split).tolist() == [[1, 0], [0, -1], [-1, -1]]


def test_parts_of_a_person_are_not_objects(voc):
    part = "<part><name>head</name><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part>"
    annotate(voc, "000001", OBJECT.format("person", 1, 2, 30, 40).replace("</object>", f"{part}</object>"))
    person = read_split(voc, "test").images[0]
    assert person.boxes.tolist() == [[0, 1, 29, 39]]


def test_all_faults_of_a_split_are_named_at_once(voc):
    label(voc, "test", ("000001", "000002", "000002", "2008_000003", "../../secret", "000009"))
    annotate(
        voc,
        "000001",
        ("unicorn", 1, 1, 9, 9),
        ("cat", 9, 1, 5, 9),
        ("cat", 5, 1, 5, 9),
        ("cat", 0, 1, 5, 9),
        ("cat", 1, 1, 81, 9),
        ("cat", 1, 1, "x", 9),
        OBJECT.replace("<bndbox>", "<difficult>perhaps</difficult><bndbox>").format("cat", 1, 1, 9, 9),
        filename="../../etc/passwd",
        size="<size><width>60</width><height>80</height></size>",
    )
    (voc / "Annotations" / "000002.xml").write_text("<annotation><object></annotation>")
    (voc / "JPEGImages" / "2008_000003.jpg").write_bytes(b"no picture")
    found = faults_of(read_split, voc, "test")
    expected = [
        ("test.txt", "'../../secret' is no id"),
        ("test.txt", "000002 is there 2 times"),
        ("000001.xml", "size 60x80, but the image has 80x60"),
        ("000001.xml", "filename '../../etc/passwd' instead of 000001.jpg"),
        ("000001.xml", "object 1: class 'unicorn'"),
        ("000001.xml", "object 2: box 9 1 5 9 is reversed"),
        ("000001.xml", "object 3: box 5 1 5 9 has no area"),
        ("000001.xml", "object 4: box 0 1 5 9 reaches out"),
        ("000001.xml", "object 5: box 1 1 81 9 reaches out of the image of 80x60"),
        ("000001.xml", "object 6: box 1 1 nan 9 lacks a number"),
        ("000001.xml", "object 7: difficult 'perhaps'"),
        ("000002.xml", "cannot be read as an annotation"),
        ("000002.xml", "cannot be read as an annotation"),  # the id is there twice
        ("2008_000003.jpg", "cannot be read as an image"),
        ("000009.jpg", "not found"),
        ("000009.xml", "not found"),
    ]
    assert len(found) == len(expected)
    for fault, (path, reason) in zip(found, expected, strict=True):
        assert path in fault and reason in fault


def test_a_missing_or_empty_list_is_named(voc):
    assert "val.txt: not found" in faults_of(read_split, voc, "val")[0]
    label(voc, "val", ())
    assert "holds no id" in faults_of(read_split, voc, "val")[0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_document_types_are_refused(voc, tmp_path, encoding):
    secret = tmp_path / "secret"
    secret.write_text("cat")
    text = (
        f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE annotation [<!ENTITY x SYSTEM "{secret.as_uri()}">'
        f'<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
        f"<annotation><filename>000002.jpg</filename>{SIZE}{OBJECT.format('&b;', 1, 1, 9, 9)}</annotation>"
    )
    (voc / "Annotations" / "000002.xml").write_bytes(text.encode(encoding))
    found = faults_of(read_split, voc, "test")
    assert len(found) == 1 and "000002.xml: cannot be read as an annotation" in found[0]
    assert "aaaa" not in found[0]


def test_all_wrong_lists_of_labels_are_named(voc):
    split = read_split(voc, "test", ("cat", "dog", "cow", "sheep", "bird"))
    label(voc, "cat_test", ("000001  1", "000002  1", "2008_000003 -1"))
    label(voc, "dog_test", ("000002 -1", "000001  0", "2008_000003 -1"))
    label(voc, "cow_test", ("000001 -1", "000002 -1", "2008_000003  2"))
    label(voc, "bird_test", ("000001 -1", "000002 -1"))
    found = faults_of(read_labels, split)
    reasons = ("000002 is 1, but by its annotation 0", "another order", "is not an id and", "not found", "other images")
    for fault, name, reason in zip(found, split.classes, reasons, strict=True):
        assert f"{name}_test.txt" in fault and reason in fault


def test_the_generated_set_reads(tmp_path):
    assert tuple(each.name for each in mini.CLASSES) == CLASSES
    amounts = mini.Amounts(voc_trainval=20, voc_test=4)
    root = mini.generate(tmp_path, part="voc", seed=0, amounts=amounts, workers=1) / "VOC2007"
    split = read_split(root, "trainval")
    assert (len(split.images), len(read_split(root, "test").images)) == (20, 4)
    assert read_labels(split).shape == (20, 20)
    for number, image in enumerate(split.images):
        assert decode(split.path(number)).shape[1:] == (image.height, image.width)
    assert sum(len(image.boxes) for image in split.images) >= 20


def test_real_photos_read(real_photos):
    root = real_photos("VOCdevkit") / "VOC2007"
    for name in ("trainval", "test"):
        split = read_split(root, name)
        table = read_labels(split)
        assert (table == 1).any(0).all()
        assert (table == 0).any()
