"""Between networks of Caffe and ours: weights taken from a `.caffemodel`, and written as one with its prototxt.

What differs (reference.md 5 and 8): Caffe's images are BGR less a mean, in [0, 255]; its nets concatenate the levels of
a pyramid from the coarsest to the finest; and nets trained by SPP_net's own Caffe did not scale what dropout left
(`scale_train: false`), so that fc7 and fc8 have to be halved. The released prototxt pools its 2x2 level by windows of 7
at a stride of 7, which leaves cell 6 out of the second bin; here bins are the paper's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spprepro.files import write_text
from spprepro.nets import caffemodel
from spprepro.nets.caffemodel import Array, CaffeModel
from spprepro.nets.geometry import bins, layer_sizes, map_side, pooled
from spprepro.nets.layers import ALPHA, SIZE
from spprepro.nets.network import Network
from spprepro.nets.trunks import Backbone


@dataclass(frozen=True)
class Conventions:
    """How the network here and the file's differ, besides their names: see the text above.

    levels: those of the network, in its order (empty: no SPP); input_scale: what its pixels are multiplied by;
    scale_train: of the file's Caffe, None where it is not known; new: fc layers that the file may lack.
    """

    levels: Sequence[int]
    input_scale: float
    scale_train: bool | None = None
    new: Sequence[str] = ()


_MAX = "pooling_param {{ pool: MAX kernel_size: {} stride: {} }}"
_LRN = {
    "within": f"local_size: {SIZE} alpha: {ALPHA} beta: 0.75 norm_region: WITHIN_CHANNEL",
    "across": "local_size: 5 alpha: 0.0001 beta: 0.75 norm_region: ACROSS_CHANNELS",
}


@dataclass(frozen=True)
class Match:
    """One layer of the network: shapes of its weights in the file and here, what is done with it, or what is wrong."""

    layer: str
    source: str  # the layer of the file; "" where it has none
    found: list[tuple[int, ...]]
    wanted: list[tuple[int, ...]]
    note: str
    fault: str


def head_names(backbone: Backbone) -> list[str]:
    """fc6, fc7 and fc8 of five convolutions."""
    return [f"fc{len(backbone.layers) + k}" for k in (1, 2, 3)]


def source_of(model: CaffeModel, name: str) -> str:
    """The layer of the file that is `name` here; a classifier of other classes is fc8_pascal, fc8_voc ... in Caffe."""
    others = [title for title in model.layers if title.startswith((f"{name}_", f"{name}-"))]
    return name if name in model.layers else others[0] if len(others) == 1 else ""


def classes_of(model: CaffeModel, backbone: Backbone) -> int | None:
    """How many classes the file's classifier tells apart; None without one."""
    source = source_of(model, head_names(backbone)[-1])
    return int(model.layers[source][-1].size) if source else None


def match(model: CaffeModel, network: Network, backbone: Backbone, conventions: Conventions) -> list[Match]:
    """Each layer of the network beside the file's; raises nothing."""
    found, names, layers = [], head_names(backbone), _weighted(network)
    for name, parameters in layers.items():
        source = source_of(model, name)
        wanted = [tuple(value.shape) for value in parameters]
        arrays = model.layers[source] if source else []
        shapes = [_shape(*pair) for pair in zip(arrays, wanted, strict=False)]
        note = "taken" if source == name else f"taken from {source}"
        fault = ""
        if not source and name in conventions.new:
            note = "new"
        elif not source:
            note, fault = "missing", f"{name}: not in the file"
        elif shapes != wanted or len(arrays) != 2:
            note = "differs"
            fault = (
                f"{name}: {_sizes([a.shape for a in arrays])} in the file, {_sizes(wanted)} in {backbone.title} here"
            )
        elif not all(np.isfinite(array).all() for array in arrays):
            note, fault = "damaged", f"{name}: has values that are not finite"
        elif name == next(iter(layers)):
            note += ", BGR to RGB"
        elif name == names[0] and conventions.levels:
            ours, theirs = (",".join(map(str, order)) for order in (conventions.levels, sorted(conventions.levels)))
            note += f", levels {theirs} to {ours}"
        elif name in names[1:] and conventions.scale_train is False:
            note += ", halved"
        found.append(Match(name, source, [array.shape for array in arrays], wanted, note, fault))
    return found


@torch.no_grad()
def take(
    model: CaffeModel, network: Network, backbone: Backbone, matches: Sequence[Match], conventions: Conventions
) -> None:
    """Copies the file's weights into the network; `matches` without faults."""
    layers, names = _weighted(network), head_names(backbone)
    for each in (each for each in matches if each.source):
        pairs = zip(layers[each.layer], model.layers[each.source], strict=True)
        weight, bias = (torch.from_numpy(np.array(array, np.float32)).reshape(own.shape) for own, array in pairs)
        if each.layer == next(iter(layers)):
            weight = weight.flip(1) / conventions.input_scale
        elif each.layer == names[0]:
            weight = reordered(weight, sorted(conventions.levels), conventions.levels)
        elif each.layer in names and conventions.scale_train is False:
            weight = weight / 2
        for own, value in zip(layers[each.layer], (weight, bias), strict=True):
            own.copy_(value)


def reordered(weight: Tensor, source: Sequence[int], target: Sequence[int]) -> Tensor:
    """fc6's weights (O, C * sum(n*n)) for levels in another order; without levels as they are."""
    if not target:
        return weight
    channels = weight.shape[1] // sum(n * n for n in source)
    parts = dict(zip(source, torch.split(weight, [channels * n * n for n in source], 1), strict=True))
    return torch.cat([parts[n] for n in target], 1)


def table(matches: Sequence[Match], model: CaffeModel) -> str:
    """A line a layer: its weights in the file and here, and what was done; then the file's layers without a use."""
    rows = [("layer", "in the file", "here", "")]
    rows += [(each.layer, _sizes(each.found) or "-", _sizes(each.wanted), each.note) for each in matches]
    used = {each.source for each in matches}
    others = [name for name in model.layers if name not in used]
    rows += [(name, _sizes([array.shape for array in model.layers[name]]), "-", "not used") for name in others]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def save(
    folder: Path,
    name: str,
    network: Network,
    backbone: Backbone,
    conventions: Conventions,
    mean: NDArray[np.float32],
) -> list[Path]:
    """`name`.caffemodel, .prototxt and _mean.binaryproto in `folder`, for BGR pixels less the mean (3, crop, crop).

    Raises ValueError where Caffe's layers cannot say what the network computes (see `prototxt`).
    """
    levels = conventions.levels
    text = prototxt(name, network, backbone, levels, mean.shape[-1])
    layers: dict[str, tuple[str, list[Array]]] = {}
    for title, parameters in _weighted(network).items():
        weight, bias = (value.detach() for value in parameters)
        kind = "InnerProduct" if weight.ndim == 2 else "Convolution"
        if not layers:
            weight = weight.flip(1) * conventions.input_scale
        elif title == head_names(backbone)[0]:
            weight = reordered(weight, levels, sorted(levels))
        layers[title] = kind, [weight.numpy(), bias.numpy()]
    paths = [folder / f"{name}{ending}" for ending in (".prototxt", ".caffemodel", "_mean.binaryproto")]
    write_text(paths[0], text)
    caffemodel.write(paths[1], name, layers)
    caffemodel.write_blob(paths[2], mean[None, ::-1])
    return paths


def prototxt(name: str, network: Network, backbone: Backbone, levels: Sequence[int], crop: int) -> str:
    """The network as a deploy prototxt for crop x crop pixels; a pyramid is a pooling a level, as in the released nets.

    Raises ValueError where it cannot be said: Caffe rounds pooled sizes up, and its windows have one size and stride.
    """
    lines = [f'name: "{name}"', 'input: "data"', *(f"input_dim: {side}" for side in (1, 3, crop, crop))]
    sides = {size.name: size.height for size in layer_sizes(backbone, crop, crop)}
    bottom = "data"
    for number, (title, layer) in enumerate(backbone.layers.items(), 1):
        shape = f"num_output: {layer.filters} kernel_size: {layer.kernel} stride: {layer.stride}"
        shape += f" pad: {layer.pad} group: {layer.groups}"
        lines += [_layer(title, "Convolution", [bottom], title, f"convolution_param {{ {shape} }}")]
        lines += [_layer(f"relu{number}", "ReLU", [title], title)]
        bottom = title
        for step in layer.then:
            top, previous = f"{'norm' if step == 'lrn' else 'pool'}{number}", bottom
            bottom = top
            if step == "lrn":
                lines += [_layer(top, "LRN", [previous], top, f"lrn_param {{ {_LRN[backbone.lrn]} }}")]
            else:
                lines += [_pooling(top, previous, sides[title], layer.pool, layer.pool_stride, backbone)]
    lines += _pyramid(bottom, levels, map_side(backbone, crop), backbone)
    bottom = f"pool{len(backbone.layers)}"
    for title in head_names(backbone):
        outputs = len(_weighted(network)[title][1])
        lines += [_layer(title, "InnerProduct", [bottom], title, f"inner_product_param {{ num_output: {outputs} }}")]
        bottom = title
        if title != head_names(backbone)[-1]:
            lines += [_layer(f"relu{title.removeprefix('fc')}", "ReLU", [title], title)]
    return "\n".join([*lines, _layer("prob", "Softmax", [bottom], "prob")]) + "\n"


def _pyramid(bottom: str, levels: Sequence[int], side: int, backbone: Backbone) -> list[str]:
    top, last = f"pool{len(backbone.layers)}", backbone.last_pool
    if not levels:
        return [_pooling(top, bottom, side, last.kernel, last.stride, backbone)]
    lines, flat = [], []
    for n in sorted(levels):
        kernel, stride = math.ceil(side / n), side // n
        windows = [(i * stride, min(i * stride + kernel, side)) for i in range(pooled(side, kernel, stride, ceil=True))]
        if windows != bins(side, n):
            raise ValueError(f"the {n}x{n} bins of {side}x{side} cells are no windows of one size and stride")
        flat.append(f"{top}_{n}_flat")
        lines += [_layer(f"{top}_{n}", "Pooling", [bottom], f"{top}_{n}", _MAX.format(kernel, stride))]
        lines += [_layer(flat[-1], "Flatten", [f"{top}_{n}"], flat[-1])]
    return [*lines, _layer(top, "Concat", flat, top, "concat_param { axis: 1 }")]


def _pooling(top: str, bottom: str, side: int, kernel: int, stride: int, backbone: Backbone) -> str:
    ours, caffes = (pooled(side, kernel, stride, ceil=up) for up in (backbone.ceil_pool, True))
    if ours != caffes:
        raise ValueError(f"{top} has {ours} cells a side, but {caffes} in Caffe, which rounds up")
    return _layer(top, "Pooling", [bottom], top, _MAX.format(kernel, stride))


def _layer(name: str, kind: str, bottoms: Sequence[str], top: str, what: str = "") -> str:
    inputs = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
    return " ".join(f'layer {{ name: "{name}" type: "{kind}" {inputs} top: "{top}" {what} }}'.split())


def _weighted(network: Network) -> dict[str, list[nn.Parameter]]:
    """conv1, ..., fc6, fc7, fc8: weight and bias."""
    named = [*network.trunk.named_children(), *network.head.named_children()]
    return {name: list(module.parameters()) for name, module in named if isinstance(module, nn.Conv2d | nn.Linear)}


def _shape(array: Array, wanted: tuple[int, ...]) -> tuple[int, ...]:
    """The array's shape without the leading ones of legacy files."""
    extra = array.ndim - len(wanted)
    return array.shape[extra:] if extra > 0 and set(array.shape[:extra]) == {1} else array.shape


def _sizes(shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join("x".join(map(str, shape)) or "a number" for shape in shapes)
