"""torch's modules as nodes of an ONNX graph, and the graph held against the modules in onnxruntime.

Put together node by node: torch's exporter needs a hundred times as long, cannot prove the bins of a pyramid for a size
it does not know, and specialises the blocked LRN to one size. Imports of onnx and onnxruntime wait until they are used.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.squeezenet import Fire

from spprepro.errors import DataError
from spprepro.nets.layers import ALPHA, WithinChannelLRN
from spprepro.nets.pixels import Trunk
from spprepro.nets.spp import SpatialPyramidPooling

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
SIZES = ((224, 224), (180, 180), (256, 341), (300, 200))  # height x width at which graphs are compared
TOLERANCE = 1e-4  # of the largest value of an output

Shape = list[str | int]
"""Of an input or output; a name stands for any size."""


class Graph:
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

    def model(
        self, name: str, inputs: Mapping[str, tuple[int, Shape]], outputs: Mapping[str, Shape], said: Mapping[str, str]
    ) -> "ModelProto":
        """The whole of it, checked; inputs: name -> type and shape, outputs are float32; said: its metadata."""
        from onnx import TensorProto, checker, helper

        opsets, real = [helper.make_opsetid("", OPSET)], TensorProto.FLOAT
        made = helper.make_model(
            helper.make_graph(
                self.nodes,
                name,
                [helper.make_tensor_value_info(key, kind, shape) for key, (kind, shape) in inputs.items()],
                [helper.make_tensor_value_info(key, real, shape) for key, shape in outputs.items()],
                self.constants,
            ),
            opset_imports=opsets,
            ir_version=helper.find_min_ir_version_for(opsets),
            producer_name="spprepro",
        )
        helper.set_model_props(made, dict(said))
        checker.check_model(made)
        return made


def node(graph: Graph, module: nn.Module, x: str) -> str:
    """The module's node or nodes, as in evaluation; returns the name of their output."""
    match module:
        case nn.Sequential():
            for part in module:
                x = node(graph, part, x)
            return x
        case Trunk():
            x = graph.add("Sub", graph.add("Cast", x, to=1), graph.constant(module.mean.numpy()))  # 1: float32
            return node(graph, module.module, graph.add("Mul", x, graph.constant(module.scale.numpy())))
        case Fire():
            x = node(graph, nn.Sequential(module.squeeze, module.squeeze_activation), x)
            small = node(graph, nn.Sequential(module.expand1x1, module.expand1x1_activation), x)
            large = node(graph, nn.Sequential(module.expand3x3, module.expand3x3_activation), x)
            return graph.add("Concat", small, large, axis=1)
        case nn.Conv2d() | nn.Linear():
            weights = [graph.constant(value.detach().numpy()) for value in (module.weight, module.bias)]  # type: ignore[union-attr]
            if isinstance(module, nn.Linear):
                return graph.add("Gemm", x, *weights, transB=1)
            pads = [*module.padding, *module.padding]
            return graph.add("Conv", x, *weights, strides=module.stride, pads=pads, group=module.groups)
        case nn.BatchNorm2d():
            values = (module.weight, module.bias, module.running_mean, module.running_var)
            constants = [graph.constant(value.detach().numpy()) for value in values]  # type: ignore[union-attr]
            return graph.add("BatchNormalization", x, *constants, epsilon=module.eps)
        case nn.ReLU():
            return graph.add("Relu", x)
        case nn.MaxPool2d():
            sides: dict[str, Any] = {"kernel_shape": [module.kernel_size] * 2, "strides": [module.stride] * 2}
            return graph.add("MaxPool", x, **sides, ceil_mode=int(module.ceil_mode))
        case WithinChannelLRN():
            square = graph.add("Mul", x, x)
            square = graph.add("AveragePool", square, kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1)
            scale = graph.add("Add", graph.add("Mul", square, graph.constant(np.float32(ALPHA))), one(graph))
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


def one(graph: Graph) -> str:
    """The constant 1."""
    return graph.constant(np.float32(1))


def _pyramid(graph: Graph, levels: tuple[int, ...], x: str) -> str:
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


def _binned(graph: Graph, x: str, n: int, axis: int) -> str:
    """Max over the n bins of one axis."""
    side, count, along = graph.side(x, axis), graph.whole(n), graph.whole(axis)
    strips = []
    for i in range(n):
        start = graph.add("Div", graph.add("Mul", side, graph.whole(i)), count)
        end = graph.add("Add", graph.add("Mul", side, graph.whole(i + 1)), graph.whole(n - 1))
        strip = graph.add("Slice", x, start, graph.add("Div", end, count), along)
        strips.append(graph.add("ReduceMax", strip, along, keepdims=1))
    return graph.add("Concat", *strips, axis=axis)


def pictures(sizes: Iterable[tuple[int, int]] = SIZES, count: int = 2) -> Iterator[UInt8[Tensor, "n 3 h w"]]:
    """Smooth random pictures of each (height, width), `count` at once; always the same."""
    for height, width in sizes:
        small = torch.rand(count, 3, 9, 9, generator=torch.Generator().manual_seed(height + count))
        yield torch.nn.functional.interpolate(255 * small, (height, width), mode="bilinear").to(torch.uint8)


def difference(graph: bytes, title: str, runs: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> float:
    """The largest difference of onnxruntime's outputs from ours, as a share of the output's largest value.

    runs: inputs and our outputs by name, arrays or tensors; title: of what the graph is. Raises DataError where it is
    over TOLERANCE.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(graph)
    worst = 0.0
    for inputs, ours in runs:
        given = {name: np.asarray(values) for name, values in inputs.items()}
        for own, its in zip(map(np.asarray, ours.values()), session.run(list(ours), given), strict=True):
            share = np.abs(its - own).max() / max(np.abs(own).max(), np.finfo(np.float32).tiny)
            worst = float(np.maximum(worst, share))  # NaN stays
    if not worst <= TOLERANCE:
        raise DataError(
            f"the ONNX graph of {title} differs from the network by {worst:.1e} of the largest value, over "
            f"{TOLERANCE:g}: not written; try another version of onnxruntime"
        )
    return worst
