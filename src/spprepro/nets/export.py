"""A trained network as files that other programs read: safetensors, and ONNX for images of any size.

Imports of onnx and safetensors wait until a file is written.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from spprepro.errors import DataError
from spprepro.files import replacing
from spprepro.nets.graph import Graph, Shape, node, one
from spprepro.nets.network import Network
from spprepro.nets.trunks import Backbone
from spprepro.schema import build

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True)
class Exported:
    """A network with what it expects of pixels: (RGB - mean) * scale, the (3, crop, crop) mean warped to their size."""

    network: Network
    backbone: Backbone
    levels: list[int]
    crop: int
    mean: Float[Tensor, "3 c c"]
    scale: float
    classes: list[str]


def save(path: Path, model: Exported, said: Mapping[str, str]) -> None:
    """safetensors: the network's weights and `mean`; in the metadata `network`, for `load`, and all of `said`."""
    description = {
        "backbone": asdict(model.backbone),
        "levels": model.levels,
        "crop": model.crop,
        "scale": model.scale,
        "classes": model.classes,
    }
    tensors = {**model.network.state_dict(), "mean": model.mean}
    write_tensors(path, tensors, {"network": json.dumps(description), **said})


def load(path: Path) -> Exported:
    """What `save` wrote; raises DataError for another or damaged file."""
    metadata, state = read_tensors(path)
    try:
        said = json.loads(metadata["network"])
        faults: list[str] = []
        backbone = build(Backbone, said["backbone"], "backbone", faults)
        if faults:
            raise ValueError("; ".join(faults))
        names, mean = list(said["classes"]), state.pop("mean")
        network = Network(backbone, levels=said["levels"], classes=len(names), crop=said["crop"])
        network.load_state_dict(state)
        return Exported(network.eval(), backbone, said["levels"], said["crop"], mean, said["scale"], names)
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{path}: no network that this program wrote, or damaged ({error}); export it again") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], said: Mapping[str, str]) -> None:
    """A file of safetensors; said: its metadata."""
    from safetensors.torch import save as serialised

    whole = {name: value.contiguous() for name, value in tensors.items()}
    with replacing(path) as out:
        out.write(serialised(whole, dict(said)))


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a file of safetensors; raises DataError for another or damaged file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: no network that this program wrote, or damaged ({error}); export it again") from error


def to_onnx(model: Exported, said: Mapping[str, str]) -> "ModelProto":
    """`pixels` (n, 3, h, w) uint8 RGB -> `logits` and `scores` (their softmax), (n, classes); without SPP h = w = crop.

    Maps as small as the pyramid allows: the bins of Appendix A are computed from the map's size when the graph runs.
    """
    from onnx import TensorProto

    graph, network = Graph(), model.network
    shape: Shape = ["n", 3, "h", "w"] if model.levels else ["n", 3, model.crop, model.crop]
    x = graph.add("Cast", "pixels", to=TensorProto.FLOAT)
    x = graph.add("Sub", x, _warped(graph, model.mean, x) if model.levels else graph.constant(model.mean[None].numpy()))
    x = graph.add("Mul", x, graph.constant(np.float32(model.scale)))
    x = node(graph, nn.Sequential(network.trunk, network.pool, network.head), x)
    graph.add("Identity", x, out="logits")
    graph.add("Softmax", x, out="scores", axis=1)
    outputs: dict[str, Shape] = {name: ["n", len(model.classes)] for name in ("logits", "scores")}
    metadata = {"classes": json.dumps(model.classes), **said}
    return graph.model(model.backbone.name, {"pixels": (TensorProto.UINT8, shape)}, outputs, metadata)


def _warped(graph: Graph, mean: Tensor, x: str) -> str:
    """The mean image at x's size, as data.augment.warp_mean makes it: bilinear, antialiased where it gets smaller."""
    rows, columns = (_resampling(graph, mean.shape[axis], graph.side(x, axis + 1)) for axis in (1, 2))
    tall = graph.add("MatMul", rows, graph.constant(mean[None].numpy()))
    return graph.add("MatMul", tall, graph.add("Transpose", columns, perm=[1, 0]))


def _resampling(graph: Graph, source: int, size: str) -> str:
    """(size, source) weights of the pixels of a line: triangles around each new pixel's centre, rows summing to 1."""
    from onnx import TensorProto

    none, half = graph.constant(np.int64(0)), graph.constant(np.float32(0.5))
    count = graph.add("Squeeze", size)
    places = graph.add("Cast", graph.add("Range", none, count, graph.constant(np.int64(1))), to=TensorProto.FLOAT)
    ratio = graph.add("Div", graph.constant(np.float32(source)), graph.add("Cast", size, to=TensorProto.FLOAT))
    centres = graph.add("Unsqueeze", graph.add("Mul", graph.add("Add", places, half), ratio), graph.whole(1))
    far = graph.add("Abs", graph.add("Sub", centres, graph.constant(np.arange(source, dtype=np.float32) + 0.5)))
    near = graph.add("Sub", one(graph), graph.add("Div", far, graph.add("Max", ratio, one(graph))))
    weights = graph.add("Relu", near)
    return graph.add("Div", weights, graph.add("ReduceSum", weights, graph.whole(1), keepdims=1))
