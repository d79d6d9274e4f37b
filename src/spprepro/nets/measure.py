"""What a network of Table 1 really is: built at full width on the meta device and asked.

Only the stride, the receptive field and the multiply-adds are derived from its layers.
"""

import torch

from spprepro.nets.geometry import forward_multiply_adds, receptive_field
from spprepro.nets.network import Network
from spprepro.nets.trunks import Backbone

CLASSES = 1000
BINS50, BINS30 = (6, 3, 2, 1), (4, 3, 2, 1)


def map_sides(network: Network, size: int) -> dict[str, int]:
    """Module name -> side of its map for a square input of `size` pixels: convN, poolN."""
    sides: dict[str, int] = {}
    x = torch.empty(1, 3, size, size, device="meta")
    for name, module in network.trunk.named_children():
        x = module(x)
        sides[name] = x.shape[-1]
    return sides


def measured(backbone: Backbone) -> dict[str, tuple[float, str]]:
    """Metric -> (value, unit) of a whole network with 1000 classes.

    conv<k>_filters, _kernel, _stride; conv<k>_map: cells a side after the layer's pooling if it has one, and
    conv<k>_map_before_pool then; map_180: the last map for a 180 input; stride and receptive_field of the last map in
    pixels; parameters in millions with 50 bins, with 30, and without SPP; multiply_adds in 10^9 for one crop.
    """
    with torch.device("meta"):
        networks = {
            "parameters": Network(backbone, levels=BINS50, classes=CLASSES, crop=backbone.crop),
            "parameters_30bins": Network(backbone, levels=BINS30, classes=CLASSES, crop=backbone.crop),
            "parameters_nospp": Network(backbone, levels=(), classes=CLASSES, crop=backbone.crop),
        }
    network = networks["parameters"]
    sides = map_sides(network, backbone.crop)
    found: dict[str, tuple[float, str]] = {}
    for name, module in network.trunk.named_children():
        if isinstance(module, torch.nn.Conv2d):
            number = name.removeprefix("conv")
            found[f"{name}_filters"] = module.out_channels, ""
            found[f"{name}_kernel"] = module.kernel_size[0], ""
            found[f"{name}_stride"] = module.stride[0], ""
            found[f"{name}_map"] = sides.get(f"pool{number}", sides[name]), "cells"
            if f"pool{number}" in sides:
                found[f"{name}_map_before_pool"] = sides[name], "cells"
    field = receptive_field(backbone)
    found["stride"], found["receptive_field"] = (field.stride, "px"), (field.size, "px")
    found["map_180"] = list(map_sides(network, 180).values())[-1], "cells"
    for key, each in networks.items():
        found[key] = sum(p.numel() for p in each.parameters()) / 1e6, "M"
    adds = forward_multiply_adds(backbone, BINS50, CLASSES, backbone.crop, backbone.crop, backbone.crop)
    found["multiply_adds"] = adds / 1e9, "G"
    return found
