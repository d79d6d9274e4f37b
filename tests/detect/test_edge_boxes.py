"""EdgeBoxes: its settings, its coordinates, and the model file that is the user's."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from spprepro.detect import proposals
from spprepro.detect.proposals import propose
from spprepro.detection import EdgeBoxes
from spprepro.errors import DataError
from tests.detect.conftest import OBJECT, overlap, picture


def outline(x1: int, y1: int, x2: int, y2: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Edges and their directions of a rectangle in a picture of 150 x 200."""
    edges, directions = np.zeros((2, 150, 200), np.float32)
    for column in (x1, x2):
        edges[y1 : y2 + 1, column] = 1
        directions[y1 : y2 + 1, column] = np.pi / 2
    for row in (y1, y2):
        edges[row, x1 : x2 + 1] = 1
    return edges, directions


def test_edge_boxes_encloses_an_outline_by_a_pixel_or_two() -> None:
    best = proposals.boxes_of_edges(*outline(40, 30, 120, 110), EdgeBoxes())[0]
    outside = best - [40, 30, 120, 110]
    assert (outside[:2] <= 0).all() and (outside[2:] >= 0).all() and (abs(outside) <= 2).all()


def test_edge_boxes_reach_the_last_pixel_and_not_beyond() -> None:
    boxes = proposals.boxes_of_edges(*outline(2, 2, 197, 147), EdgeBoxes())
    assert boxes.min() == 0 and boxes[:, 2].max() == 199 and boxes[:, 3].max() == 149


def test_no_edges_no_boxes() -> None:
    edges = np.zeros((60, 80), np.float32)
    assert proposals.boxes_of_edges(edges, edges, EdgeBoxes()).shape == (0, 4)


def test_edge_boxes_settings_arrive() -> None:
    edges = outline(40, 30, 120, 110)
    usual = proposals.boxes_of_edges(*edges, EdgeBoxes())
    assert len(proposals.boxes_of_edges(*edges, EdgeBoxes(max_boxes=7))) == 7
    for other in (
        EdgeBoxes(alpha=0.5),
        EdgeBoxes(beta=0.5),
        EdgeBoxes(beta=0.75, eta=0.99),
        EdgeBoxes(min_score=0.2),
        EdgeBoxes(max_aspect_ratio=1.5),
        EdgeBoxes(min_box_area=4000),
        EdgeBoxes(kappa=1.0),
    ):
        assert proposals.boxes_of_edges(*edges, other).tolist() != usual.tolist(), other


def write_forest(path: Path) -> Path:
    """A forest of one question a tree: is the gradient at the middle of the patch strong? Then an edge is there."""
    store = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    store.startWriteStruct("options", cv2.FILE_NODE_MAP)
    options = {
        "stride": 2,
        "shrinkNumber": 2,
        "patchSize": 32,
        "patchInnerSize": 16,
        "numberOfGradientOrientations": 4,
        "gradientSmoothingRadius": 0,
        "regFeatureSmoothingRadius": 2,
        "ssFeatureSmoothingRadius": 8,
        "gradientNormalizationRadius": 4,
        "selfsimilarityGridSize": 5,
        "numberOfTrees": 8,
        "numberOfTreesToEvaluate": 4,
    }
    for key, value in options.items():
        store.write(key, value)
    store.endWriteStruct()
    middle = 3 * 16 * 16 + 8 * 16 + 8  # channel 3, the gradient's magnitude
    marks = [16 * y + x for y in range(3, 13) for x in range(3, 13)]
    trees = {
        "childs": [2, 0, 0],
        "featureIds": [middle, 0, 0],
        "thresholds": [0.8, 0.0, 0.0],
    }
    for key, tree in trees.items():
        store.startWriteStruct(key, cv2.FILE_NODE_SEQ)
        for _ in range(8):
            store.startWriteStruct("", cv2.FILE_NODE_SEQ + cv2.FILE_NODE_FLOW)
            for value in tree:
                store.write("", value)
            store.endWriteStruct()
        store.endWriteStruct()
    bounds = [0]
    for tree_number in range(8):
        bounds += [100 * tree_number, 100 * tree_number, 100 * tree_number + 100]
    for key, values in {"edgeBoundaries": bounds, "edgeBins": marks * 8}.items():
        store.startWriteStruct(key, cv2.FILE_NODE_SEQ)
        store.startWriteStruct("", cv2.FILE_NODE_SEQ + cv2.FILE_NODE_FLOW)
        for value in values:
            store.write("", value)
        store.endWriteStruct()
        store.endWriteStruct()
    store.release()
    return path


def test_edge_boxes_with_a_forest(images: list[tuple[str, Path]], tmp_path: Path) -> None:
    model = write_forest(tmp_path / "model.yml.gz")
    settings = EdgeBoxes(model=str(model))
    windows = propose(images[:3], settings, tmp_path / "a", workers=1)
    for boxes in windows.values():
        assert overlap(boxes, OBJECT).max() > 0.65
        assert (boxes >= 0).all() and (boxes[:, 2] <= 159).all() and (boxes[:, 3] <= 119).all()
    np.testing.assert_array_equal(
        propose(images[2:3], settings, tmp_path / "b", workers=1)[images[2][0]], windows[images[2][0]]
    )


@pytest.mark.parametrize("height, width", [(1, 1), (3, 200), (200, 15), (16, 40)])
def test_edge_boxes_of_a_thin_picture(height: int, width: int, tmp_path: Path) -> None:
    model = write_forest(tmp_path / "model.yml")
    assert proposals.edge_boxes(picture(0, height, width), EdgeBoxes(model=str(model))).shape == (0, 4)


def test_another_model_by_the_same_name_is_another_key(tmp_path: Path) -> None:
    model = write_forest(tmp_path / "model.yml")
    settings = EdgeBoxes(model=str(model))
    key = proposals.settings_key(settings)
    moved = model.rename(tmp_path / "elsewhere.yml")
    assert proposals.settings_key(EdgeBoxes(model=str(moved))) == key
    model.write_text(moved.read_text().replace("904", "905"))
    assert proposals.settings_key(settings) != key


@pytest.mark.parametrize("model", [None, "nowhere/model.yml.gz"])
def test_a_missing_model_says_what_to_fetch(model: str | None, images: list[tuple[str, Path]], tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        propose(images, EdgeBoxes(model=model), tmp_path)
    for part in (f"proposals.model={model}", "model.yml.gz", "opencv_extra, testdata/cv/ximgproc"):
        assert part in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"%YAML:1.0\n---\noptions:\n   numberOfTrees: 0\n", b"\x00\x01no yaml"])
def test_another_file_as_the_model_is_refused(content: bytes, images: list[tuple[str, Path]], tmp_path: Path) -> None:
    (tmp_path / "model.yml").write_bytes(content)
    with pytest.raises(DataError, match="not a structured forest, or damaged"):
        propose(images, EdgeBoxes(model=str(tmp_path / "model.yml")), tmp_path)
