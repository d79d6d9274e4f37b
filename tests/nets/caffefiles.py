"""Files of Caffe's three generations, written byte by byte from arrays, apart from the package's own writer."""

import numpy as np


def varint(value: int) -> bytes:
    made = b""
    while value > 127:
        made, value = made + bytes([value & 127 | 128]), value >> 7
    return made + bytes([value])


def field(number: int, content: bytes | int | str) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def blob(array: np.ndarray, legacy: bool) -> bytes:
    axes = ((1,) * (4 - array.ndim) + array.shape) if legacy else array.shape
    shape = (
        b"".join(field(k, n) for k, n in enumerate(axes, 1))
        if legacy
        else field(7, field(1, bytes(b"".join(map(varint, axes)))))
    )
    return shape + field(5, array.astype("<f4").tobytes())


def network(form: str, layers: dict[str, list[np.ndarray]]) -> bytes:
    """A file of the format V0, V1 or current, with a layer without weights and a field that is skipped before each."""
    made = field(1, "toy")
    for name, arrays in layers.items():
        blobs = [blob(array, legacy=form != "current") for array in arrays]
        if form == "V0":
            inner = field(1, name) + field(2, "conv") + field(3, 7) + b"".join(field(50, each) for each in blobs)
            made += field(2, field(1, inner) + field(2, "bottom"))
        elif form == "V1":
            made += field(2, field(5, 18) + field(4, f"relu_{name}"))
            made += field(
                2, field(2, "bottom") + field(4, name) + field(5, 4) + b"".join(field(6, each) for each in blobs)
            )
        else:
            made += field(100, field(1, f"relu_{name}") + field(2, "ReLU"))
            made += field(100, field(1, name) + field(2, "Convolution") + b"".join(field(7, each) for each in blobs))
    return made


def layers_of(backbone, inputs: int, classes: int, seed: int = 0) -> dict[str, list[np.ndarray]]:
    """Random weights for a backbone and its fc layers; `inputs`: of the first."""
    draw, channels = np.random.default_rng(seed), 3
    made = {}
    for name, layer in backbone.layers.items():
        shape = (layer.filters, channels // layer.groups, layer.kernel, layer.kernel)
        made[name] = [draw.normal(0, 0.1, shape), draw.normal(0, 0.1, layer.filters)]
        channels = layer.filters
    for name, (outputs, takes) in {
        "fc6": (backbone.fc, inputs),
        "fc7": (backbone.fc,) * 2,
        "fc8": (classes, backbone.fc),
    }.items():
        made[name] = [draw.normal(0, 0.1, (outputs, takes)), draw.normal(0, 0.1, outputs)]
    return {name: [array.astype(np.float32) for array in arrays] for name, arrays in made.items()}
