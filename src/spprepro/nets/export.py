"""A trained network as files that other programs read: safetensors, and ONNX for images of any size.

The ONNX graph is put together from the network's modules, node by node: torch's exporter needs a hundred times as long,
cannot prove the bins of a pyramid for a size it does not know, and specialises the blocked LRN to one size.
Imports of onnx and safetensors wait until a file is written.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from spprepro.errors import DataError
from spprepro.files import replacing
from spprepro.nets.layers import ALPHA, WithinChannelLRN
from spprepro.nets.network import Network
from spprepro.nets.spp import SpatialPyramidPooling
from spprepro.nets.trunks import Backbone
from spprepro.schema import build

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18


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
    from safetensors.torch import save as serialised

    description = {
        "backbone": asdict(model.backbone),
        "levels": model.levels,
        "crop": model.crop,
        "scale": model.scale,
        "classes": model.classes,
    }
    tensors = {**model.network.state_dict(), "mean": model.mean}
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    with replacing(path) as out:
        out.write(serialised(tensors, {"network": json.dumps(description), **said}))


def load(path: Path) -> Exported:
    """What `save` wrote; raises DataError for another or damaged file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            said = json.loads((file.metadata() or {})["network"])
            state = {name: file.get_tensor(name) for name in file.keys()}
        faults: list[str] = []
        backbone = build(Backbone, said["backbone"], "backbone", faults)
        if faults:
            raise ValueError("; ".join(faults))
        names, mean = list(said["classes"]), state.pop("mean")
        network = Network(backbone, levels=said["levels"], classes=len(names), crop=said["crop"])
        network.load_state_dict(state)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{path}: no network that this program wrote, or damaged ({error}); export it again") from error
    return Exported(network.eval(), backbone, said["levels"], said["crop"], mean, said["scale"], names)


def to_onnx(model: Exported, said: Mapping[str, str]) -> "ModelProto":
    """`pixels` (n, 3, h, w) uint8 RGB -> `logits` and `scores` (their softmax), (n, classes); without SPP h = w = crop.

    Maps as small as the pyramid allows: the bins of Appendix A are computed from the map's size when the graph runs.
    """
    from onnx import TensorProto, checker, helper

    graph = _Graph()
    shape: list[str | int] = ["n", 3, "h", "w"] if model.levels else ["n", 3, model.crop, model.crop]
    x = graph.add("Cast", "pixels", to=TensorProto.FLOAT)
    x = graph.add("Sub", x, _warped(graph, model.mean, x) if model.levels else graph.constant(model.mean[None].numpy()))
    x = graph.add("Mul", x, graph.constant(np.float32(model.scale)))
    for module in (*model.network.trunk, *_pooling(model.network), *model.network.head):
        x = _node(graph, module, x)
    graph.add("Identity", x, out="logits")
    graph.add("Softmax", x, out="scores", axis=1)
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", len(model.classes)])
        for name in ("logits", "scores")
    ]
    made = helper.make_model(
        helper.make_graph(
            graph.nodes,
            model.backbone.name,
            [helper.make_tensor_value_info("pixels", TensorProto.UINT8, shape)],
            outputs,
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=helper.find_min_ir_version_for([helper.make_opsetid("", OPSET)]),
        producer_name="spprepro",
    )
    helper.set_model_props(made, {"classes": json.dumps(model.classes), **said})
    checker.check_model(made)
    return made


class _Graph:
    """Nodes and constants in the order in which they were asked for."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operator: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        """A node; returns the name of its output."""
        from onnx import helper

        name = out or f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def constant(self, value: NDArray[Any] | np.generic) -> str:
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), name))
        return name

    def whole(self, *values: int) -> str:
        """A constant (len(values),) of int64."""
        return self.constant(np.array(values, np.int64))

    def side(self, x: str, axis: int) -> str:
        """(1,) the size of x along the axis."""
        return self.add("Shape", x, start=axis, end=axis + 1)


def _pooling(network: Network) -> list[nn.Module]:
    return [network.pool] if isinstance(network.pool, SpatialPyramidPooling) else list(network.pool.children())


def _node(graph: _Graph, module: nn.Module, x: str) -> str:
    """The module's node or nodes, as in evaluation."""
    match module:
        case nn.Conv2d() | nn.Linear():
            weights = [graph.constant(value.detach().numpy()) for value in (module.weight, module.bias)]  # type: ignore[union-attr]
            if isinstance(module, nn.Linear):
                return graph.add("Gemm", x, *weights, transB=1)
            pads = [*module.padding, *module.padding]
            return graph.add("Conv", x, *weights, strides=module.stride, pads=pads, group=module.groups)
        case nn.ReLU():
            return graph.add("Relu", x)
        case nn.MaxPool2d():
            sides: dict[str, Any] = {"kernel_shape": [module.kernel_size] * 2, "strides": [module.stride] * 2}
            return graph.add("MaxPool", x, **sides, ceil_mode=int(module.ceil_mode))
        case WithinChannelLRN():
            square = graph.add("Mul", x, x)
            square = graph.add("AveragePool", square, kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1)
            scale = graph.add("Add", graph.add("Mul", square, graph.constant(np.float32(ALPHA))), _one(graph))
            return graph.add("Mul", x, graph.add("Pow", scale, graph.constant(np.float32(-0.75))))
        case nn.LocalResponseNorm():
            return graph.add("LRN", x, size=module.size, alpha=module.alpha, beta=module.beta, bias=module.k)
        case SpatialPyramidPooling():
            return _pyramid(graph, module.levels, x)
        case nn.Flatten():
            return graph.add("Flatten", x)
        case nn.Dropout():
            return x
    raise TypeError(f"{type(module).__name__} has no ONNX form here")


def _one(graph: _Graph) -> str:
    return graph.constant(np.float32(1))


def _pyramid(graph: _Graph, levels: tuple[int, ...], x: str) -> str:
    """Bins [floor(i*a/n), ceil((i+1)*a/n)), a: the map's side when it runs; a level that divides a finer one is pooled
    from that, as in nets.spp."""
    maps: dict[int, str] = {}
    for n in sorted(levels, reverse=True):
        finer = next((m for m in maps if m % n == 0), None)
        if finer is None:
            maps[n] = _binned(graph, _binned(graph, x, n, 2), n, 3)
        else:
            maps[n] = graph.add("MaxPool", maps[finer], kernel_shape=[finer // n] * 2, strides=[finer // n] * 2)
    return graph.add("Concat", *(graph.add("Flatten", maps[n]) for n in levels), axis=1)


def _binned(graph: _Graph, x: str, n: int, axis: int) -> str:
    """Max over the n bins of one axis."""
    side, count, along = graph.side(x, axis), graph.whole(n), graph.whole(axis)
    strips = []
    for i in range(n):
        start = graph.add("Div", graph.add("Mul", side, graph.whole(i)), count)
        end = graph.add("Add", graph.add("Mul", side, graph.whole(i + 1)), graph.whole(n - 1))
        strip = graph.add("Slice", x, start, graph.add("Div", end, count), along)
        strips.append(graph.add("ReduceMax", strip, along, keepdims=1))
    return graph.add("Concat", *strips, axis=axis)


def _warped(graph: _Graph, mean: Tensor, x: str) -> str:
    """The mean image at x's size, as data.augment.warp_mean makes it: bilinear, antialiased where it gets smaller."""
    rows, columns = (_resampling(graph, mean.shape[axis], graph.side(x, axis + 1)) for axis in (1, 2))
    tall = graph.add("MatMul", rows, graph.constant(mean[None].numpy()))
    return graph.add("MatMul", tall, graph.add("Transpose", columns, perm=[1, 0]))


def _resampling(graph: _Graph, source: int, size: str) -> str:
    """(size, source) weights of the pixels of a line: triangles around each new pixel's centre, rows summing to 1."""
    from onnx import TensorProto

    none, half = graph.constant(np.int64(0)), graph.constant(np.float32(0.5))
    count = graph.add("Squeeze", size)
    places = graph.add("Cast", graph.add("Range", none, count, graph.constant(np.int64(1))), to=TensorProto.FLOAT)
    ratio = graph.add("Div", graph.constant(np.float32(source)), graph.add("Cast", size, to=TensorProto.FLOAT))
    centres = graph.add("Unsqueeze", graph.add("Mul", graph.add("Add", places, half), ratio), graph.whole(1))
    far = graph.add("Abs", graph.add("Sub", centres, graph.constant(np.arange(source, dtype=np.float32) + 0.5)))
    near = graph.add("Sub", _one(graph), graph.add("Div", far, graph.add("Max", ratio, _one(graph))))
    weights = graph.add("Relu", near)
    return graph.add("Div", weights, graph.add("ReduceSum", weights, graph.whole(1), keepdims=1))
