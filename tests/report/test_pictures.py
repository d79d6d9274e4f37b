"""The pictures of a report: each from its traces alone, with what it says in words, and the same bytes each time."""

import base64
import io
import re
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from PIL import Image

from spprepro import traces
from spprepro.config import check
from spprepro.data import layouts
from spprepro.records import Metric
from spprepro.report.pictures import pictures, with_photos
from spprepro.report.sheets import collect
from spprepro.report.style import Picture
from spprepro.traces import RECALLS, ClassCurve, Confusion, Epoch, Example, Seen
from tests.conftest import write_picture
from tests.report.test_render import put
from tests.test_config import compose


def shown(svg: str) -> str:
    """The texts of a drawing."""
    nodes = ElementTree.fromstring(svg).iter()
    return " ".join("".join(node.itertext()) for node in nodes if node.tag.endswith("text"))


def drawn(results: Path, tier: str = "mini") -> dict[str, tuple[Picture, str]]:
    """Name -> picture and its SVG."""
    ((_, found, sheets),) = collect(results, [tier])
    made = pictures(results / tier, found, sheets)
    return {picture.path.stem: (picture, (results / tier / picture.path).read_text()) for picture in made}


def photos(svg: str) -> list[Image.Image]:
    """Those in a drawing."""
    found = re.findall(r"data:image/jpeg;base64,([^\"]+)", svg)
    return [Image.open(io.BytesIO(base64.b64decode(each))) for each in found]


def trained(results: Path, mode: str, error: float, sizes: tuple[int, ...], seed: int = 0) -> Path:
    metrics = {f"{test}top{k}_error": Metric(error / k, "%", 400) for test in ("", "crop_") for k in (1, 5)}
    folder = put(results, f"table1_zf5_{mode}", error, seed, metrics=metrics).parent
    traces.write_curves(folder, [Epoch(k + 1, sizes[k % len(sizes)], 0.1**k, 1.0, error - k, error) for k in range(3)])
    return folder


def detector(results: Path, job: str, ap: float, example: Example, tier: str = "mini", *overrides: str) -> Path:
    data = {"name": "mini" if tier == "mini" else "voc07", "fingerprint": "v", "train": 2, "test": 4}
    folder = put(results, job, 0, tier=tier, data=data, metrics={"ftfc7_bb_map": Metric(ap, "%", 4)}).parent
    config = check(compose(f"experiment={job}", f"tier={tier}", *overrides))
    (folder / "config.yaml").write_text(yaml.safe_dump(asdict(config)))
    traces.write_precision(folder, [ClassCurve("cat", 3, ap, tuple(np.linspace(1, 0, len(RECALLS)).tolist()))])
    traces.write_examples(folder, [example])
    return folder


def example(width: int, height: int, overlap: float) -> Example:
    objects = (Seen("cat", (5.0, 5.0, 90.0, 80.0)),)
    return Example("000121", width, height, objects, (Seen("cat", (5.0, 9.0, 95.0, 85.0), 0.625, overlap),))


def test_without_traces_there_is_the_error_by_views_alone(tmp_path: Path) -> None:
    put(tmp_path, "table1_zf5_multisize", 30.0)
    assert set(drawn(tmp_path)) == {"views"}


def test_curves_show_every_way_of_training_and_its_sizes(tmp_path: Path) -> None:
    trained(tmp_path, "nospp", 50, (224,))
    trained(tmp_path, "multisize", 40, (224, 180))
    trained(tmp_path, "multisize", 44, (224, 180), seed=1)
    picture, svg = drawn(tmp_path)["training"]
    assert picture.section == 2
    assert "(a) no SPP 48.0 %, (c) SPP multi-size trained 40.0 %" in picture.alt  # the mean of 38 and 42
    assert "(c) SPP multi-size trained 224 and 180." in picture.caption and "from 0.1 to" not in picture.caption
    text = shown(svg)
    assert "ZF-5" in text and "(a) no SPP" in text and "input, pixels" in text and "(b)" not in text
    traces.write_curves(tmp_path / "mini/table1_zf5_nospp/seed0", [])
    assert "(a) no SPP" not in shown(drawn(tmp_path)["training"][1])


def test_views_stand_beside_the_papers(tmp_path: Path) -> None:
    trained(tmp_path, "multisize", 40, (224, 180))
    picture, svg = drawn(tmp_path)["views"]
    assert "ZF-5: 40.0 with 1 crop, 40.0 with 10." in picture.alt
    text = shown(svg)
    assert "ours" in text and "paper" in text and "96" not in text
    tested = {"multiview_top1_error": Metric(35.5, "%", 400)}
    name = "table4_overfeat7_multiview"
    put(tmp_path, name, 0, metrics=tested, needs=["table1_overfeat7_multisize"])
    put(tmp_path, "table1_overfeat7_multisize", 36.0)
    assert "Overfeat-7: 36.0 with 10, 35.5 with 96 on maps" in drawn(tmp_path)["views"][0].alt


def test_confusion_names_the_worst(tmp_path: Path) -> None:
    folder = trained(tmp_path, "multisize", 40, (224,))
    traces.write_confusion(folder, Confusion(["cat", "dog"], [[7, 2, 1], [0, 5, 0]], 1000))
    picture, svg = drawn(tmp_path)["confusion"]
    assert "cat taken for dog (20 %), cat taken for other (10 %)" in picture.alt and "70 % right (cat)" in picture.alt
    assert "Of 1,000 classes" in picture.caption and "other" in shown(svg) and "100 %" in shown(svg)
    traces.write_confusion(folder, Confusion(["cat", "dog"], [[3, 0, 0], [0, 0, 0]], 2))  # no dog is tested
    picture, svg = drawn(tmp_path)["confusion"]
    assert "100 % right (cat) to 100 % (cat). Most frequent confusions: none." in picture.alt
    assert re.search(r"\b0 %", shown(svg)) is None


def test_detectors_stand_side_by_side_over_a_generated_picture(tmp_path: Path) -> None:
    task = next(t for t in layouts.tasks("voc", 0, layouts.Amounts(voc_trainval=120, voc_test=120)) if t.split)
    width, height = Image.open(io.BytesIO(layouts.draw(task)[task.path])).size
    detector(tmp_path, "table9_zf5_1sc", 50, example(width, height, 0.75))
    detector(tmp_path, "table9_zf5_5sc", 60, example(width, height, 0.25))
    detector(tmp_path, "table10_zf5_rcnn", 40, example(width, height, 0.25))
    made = drawn(tmp_path)
    assert {"detections", "precision", "window"} <= set(made)
    picture, svg = made["detections"]
    assert "SPP 1-sc (ZF-5): 1 right, 0 wrong" in picture.alt and "R-CNN (ZF-5): 0 right, 1 wrong" in picture.alt
    assert shown(svg).count("cat 0.62") == 3 and len(photos(svg)) == 3
    assert photos(svg)[0].width / photos(svg)[0].height == pytest.approx(width / height, rel=0.02)
    assert "mAP: SPP 1-sc (ZF-5) 50.0 %; SPP 5-sc (ZF-5) 60.0 %" in made["precision"][0].alt
    for name in ("table9_zf5_1sc", "table9_zf5_5sc"):  # as if another version had drawn the set
        traces.write_examples(tmp_path / "mini" / name / "seed0", [example(width + 1, height, 0.75)])
    assert not photos(drawn(tmp_path)["detections"][1])


def test_a_detector_of_another_version_is_drawn_without_the_picture(tmp_path: Path) -> None:
    folder = detector(tmp_path, "table9_zf5_1sc", 50, example(10, 10, 0.75))
    (folder / "config.yaml").write_text("of: {another: version}")
    assert not photos(drawn(tmp_path)["detections"][1])


def test_photos_of_others_are_drawn_only_where_the_reader_has_them(tmp_path: Path) -> None:
    root = tmp_path / "VOC2007"
    write_picture(root / "JPEGImages" / "000121.jpg", 90, 120, seed=0)
    detector(tmp_path, "table9_squeezenet_1sc", 50, example(120, 90, 0.75), "small", "voc.root=elsewhere")
    picture, svg = drawn(tmp_path, "small")["detections"]
    assert not photos(svg) and "000121" in shown(svg) and "voc.root=DIR" in picture.caption
    ((_, _, sheets),) = collect(tmp_path, ["small"])
    (path,) = with_photos(tmp_path / "small", sheets, str(root))
    assert path.name == "photos.svg" and len(photos(path.read_text())) == 1
    ignored = (Path(__file__).parents[2] / ".gitignore").read_text().splitlines()
    assert "results/**/plots/photos.svg" in ignored


def test_a_window_is_drawn_with_its_cells_and_bins(tmp_path: Path) -> None:
    detector(tmp_path, "table9_zf5_1sc", 50, example(10, 10, 0.75))
    picture, svg = drawn(tmp_path)["window"]
    # by Appendix A: the window's 226 x 119 pixels are 398 x 209 at 688, and cells are 16 apart
    assert "227 x 120 pixels becomes 25 x 13 cells" in picture.alt
    assert all(f"{level} x {level} bins" in shown(svg) for level in (1, 2, 3, 6))
    boxes = re.findall(r"stroke: #(?:1f8ac9|d55e00|cc79a7)", svg)
    assert len(boxes) == 2 + 50 + 2  # window, cells, bins, and the legend's


def test_all_drawings_are_the_same_bytes_and_stand_on_any_ground(tmp_path: Path) -> None:
    folder = trained(tmp_path, "multisize", 40, (224, 180))
    traces.write_confusion(folder, Confusion(["cat", "dog"], [[7, 2, 0], [0, 5, 0]], 2))
    detector(tmp_path, "table9_zf5_1sc", 50, example(10, 10, 0.75))
    first, second = drawn(tmp_path), drawn(tmp_path)
    assert set(first) == {"training", "confusion", "views", "detections", "precision", "window"}
    for name, (picture, svg) in first.items():
        assert svg == second[name][1], name
        assert "<dc:date>" not in svg and picture.alt[:40] in svg
        texts = re.findall(r"<text [^>]*fill: (#\w+)", svg)
        assert set(texts) <= {"#808080", "#ffffff"}, name  # white: on the coloured bar of a detection
        grounds = re.findall(r'<g id="patch_1">.*?</g>', svg, re.DOTALL)
        assert all("fill: none" in ground or "opacity: 0" in ground for ground in grounds), name
