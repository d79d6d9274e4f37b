"""The convolutions of a torchvision model as a trunk: their layer table, trained weights and normalisation."""

import difflib
import warnings
from collections.abc import Mapping
from dataclasses import replace
from http.client import HTTPException
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.squeezenet import Fire

from spprepro.errors import ConfigError, DataError
from spprepro.folders import data_home, located
from spprepro.nets.trunks import Backbone, Layer

Colours = tuple[float, float, float]

_PLAIN = "alexnet, vgg11, vgg13, vgg16, vgg19 (each also with _bn), squeezenet1_0, squeezenet1_1"
_FEW = 6  # names of keys in a message


def build(backbone: Backbone, *, trained: bool = True) -> tuple[Backbone, nn.Module, Colours, Colours]:
    """The trunk that backbone.torchvision and backbone.weights name.

    Returns the backbone with the layers filled in; the module, in eval mode, (N, 3, H, W) -> (N, C, h, w); mean and
    scale of torchvision's normalisation for pixels of 0 to 255 RGB, input = (pixels - mean) * scale.
    The module ends with the model's last ReLU: the paper has SPP in place of the last pooling (section 2.2).
    trained: false leaves the weights open, for those of another file; backbone.weights is not looked at then.
    Raises ConfigError if the model is no plain chain of convolutions, DataError if the weights do not fit it.
    """
    model = _without_values(backbone.torchvision)
    trunk = _trunk(backbone.torchvision, model)
    described = _described(backbone, trunk)
    if trained:
        state = _weights(backbone)
        _check(backbone, state, model, trunk)
    trunk.to_empty(device="cpu")
    if trained:
        # files of old versions of torch lack BatchNorm's count of batches, which a trained network does not use
        trunk.load_state_dict({key: state.get(f"features.{key}", torch.tensor(0)) for key in trunk.state_dict()})
    normalisation = models.get_model_weights(backbone.torchvision).DEFAULT.transforms()
    red, green, blue = ((255 * m, 1 / (255 * s)) for m, s in zip(normalisation.mean, normalisation.std, strict=True))
    return described, trunk.eval(), (red[0], green[0], blue[0]), (red[1], green[1], blue[1])


def _without_values(name: str | None) -> nn.Module:
    """The model on the meta device: built in no time and no memory, however large its fc layers are."""
    known = models.list_models(module=models)  # classifiers; those for detection would fetch weights of their own
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {_PLAIN}"
        raise ConfigError(f"backbone.torchvision: {name!r} is no classifier of torchvision; {hint}")
    try:
        with torch.device("meta"), warnings.catch_warnings(action="ignore"):  # of how weights will be drawn one day
            model: nn.Module = models.get_model(name, weights=None)
    except NotImplementedError as error:  # RegNets compute their widths with tensors
        raise ConfigError(_refusal(name, "it has no `features`")) from error
    return model


def _refusal(name: str | None, why: str) -> str:
    return f"backbone.torchvision: {name} is no plain chain of convolutions: {why}; choose one of {_PLAIN}"


def _trunk(name: str | None, model: nn.Module) -> nn.Sequential:
    """The model's features up to the last ReLU; raises ConfigError unless they are a chain that a Backbone can tell."""
    features = getattr(model, "features", None)
    if not isinstance(features, nn.Sequential):
        raise ConfigError(_refusal(name, "it has no `features`"))
    plain = nn.Conv2d | nn.ReLU | nn.MaxPool2d | nn.BatchNorm2d | nn.Dropout | Fire
    foreign = sorted({type(module).__name__ for module in features if not isinstance(module, plain)})
    if foreign:
        raise ConfigError(_refusal(name, f"its features hold {', '.join(foreign)}"))
    ends = [place for place, module in enumerate(features) if isinstance(module, nn.ReLU | Fire)]
    trunk = features[: ends[-1] + 1] if ends else nn.Sequential()
    wrong = _untellable(trunk)
    if wrong:
        raise ConfigError(_refusal(name, "; ".join(wrong)))
    return trunk


def _untellable(trunk: nn.Sequential) -> list[str]:
    """What no Backbone can describe: it has square, undilated kernels, one unpadded pooling a layer, one rounding."""
    wrong = [] if any(isinstance(module, nn.Conv2d | Fire) for module in trunk) else ["it has no convolution and ReLU"]
    pooled = True  # no pooling may come before the first convolution either
    for place, module in trunk.named_children():
        if isinstance(module, nn.Conv2d | Fire):
            pooled = False
        if isinstance(module, nn.Conv2d):
            if _pair(module.dilation) != (1, 1) or not _square(module.kernel_size, module.stride, module.padding):
                wrong.append(f"the convolution features.{place} is dilated or not square")
        if isinstance(module, nn.MaxPool2d):
            if pooled:
                wrong.append(f"the pooling features.{place} follows no convolution")
            pooled = True
            plain = _pair(module.padding) == (0, 0) and _pair(module.dilation) == (1, 1)
            if not plain or not _square(module.kernel_size, module.stride):
                wrong.append(f"the pooling features.{place} is padded, dilated or not square")
    if len({module.ceil_mode for module in trunk if isinstance(module, nn.MaxPool2d)}) > 1:
        wrong.append("some of its poolings round sizes up (ceil_mode), some down")
    return wrong


def _described(backbone: Backbone, trunk: nn.Sequential) -> Backbone:
    """The backbone with the trunk's geometry, under torchvision's names.

    A Fire module is its squeeze and its 3x3 branch, with the channels of both branches: the 1x1 branch ends on the
    same map and sees less of the image.
    """
    layers: dict[str, Layer] = {}
    ceil = backbone.ceil_pool
    for place, module in trunk.named_children():
        if isinstance(module, nn.Conv2d):
            layers[place] = _layer(module)
        elif isinstance(module, Fire):
            both = module.expand1x1.out_channels + module.expand3x3.out_channels
            layers[f"{place}.squeeze"] = _layer(module.squeeze)
            layers[f"{place}.expand"] = replace(_layer(module.expand3x3), filters=both)
        elif isinstance(module, nn.MaxPool2d):
            last = list(layers)[-1]
            kernel, stride = _pair(module.kernel_size)[0], _pair(module.stride)[0]
            layers[last] = replace(layers[last], then=["pool"], pool=kernel, pool_stride=stride)
            ceil = module.ceil_mode
    return replace(backbone, layers=layers, ceil_pool=ceil)


def _layer(convolution: nn.Conv2d) -> Layer:
    kernel, stride, pad = (_pair(s)[0] for s in (convolution.kernel_size, convolution.stride, convolution.padding))
    return Layer(convolution.out_channels, kernel, stride, pad, convolution.groups)


def _pair(size: int | str | tuple[int, ...]) -> tuple[int, ...]:
    """Vertical and horizontal; the "same" of a convolution's padding gives none."""
    return (size, size) if isinstance(size, int) else () if isinstance(size, str) else size


def _square(*sizes: int | str | tuple[int, ...]) -> bool:
    return all(len(set(_pair(size))) == 1 for size in sizes)


def _weights(backbone: Backbone) -> Mapping[str, Any]:
    """The state_dict that backbone.weights names, unchecked but for being a dict of tensors."""
    name, source = backbone.torchvision, backbone.weights
    wanted = f"a state_dict of torchvision's {name}"
    if not source:
        raise DataError(f"backbone.weights: nothing; set it to `pretrained`, or to a file with {wanted}")
    if source == "pretrained":
        weights = models.get_model_weights(name).DEFAULT
        try:
            fetched: dict[str, Any] = weights.get_state_dict(check_hash=True, map_location="cpu", weights_only=True)
        except (OSError, HTTPException, RuntimeError, EOFError, UnpicklingError) as error:
            raise DataError(
                f"backbone.weights: {weights.url} could not be fetched ({_first_line(error)}); fetch it elsewhere and "
                "set backbone.weights to the file"
            ) from error
        return fetched
    path = located(source)
    if not path.is_file():
        raise DataError(f"backbone.weights: {source} is no file, here or in {data_home()}; it must be {wanted}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(
            f"{path}: unreadable, damaged or with more than tensors in it ({type(error).__name__}); nothing in it was "
            f"run: it must be {wanted}"
        ) from error
    if not isinstance(state, Mapping):
        raise DataError(f"{path}: holds a {type(state).__name__}; it must be {wanted}")
    faults = [
        f"{path}: {key!r} holds a {type(value).__name__}, not a tensor; it must be {wanted} and nothing around it"
        for key, value in state.items()
        if not isinstance(value, Tensor)
    ]
    if faults:
        raise DataError(faults)
    return state


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def _check(backbone: Backbone, state: Mapping[str, Tensor], model: nn.Module, trunk: nn.Module) -> None:
    """Raises DataError unless `state` has all of the trunk, in its shapes, and nothing that the model has not."""
    needed = {f"features.{key}": value for key, value in trunk.state_dict().items()}
    needed = {key: value for key, value in needed.items() if not key.endswith(".num_batches_tracked")}
    found = {key: state[key] for key in needed if key in state}
    shapes = [
        f"{key} {tuple(value.shape)} instead of {tuple(needed[key].shape)}"
        for key, value in found.items()
        if value.shape != needed[key].shape
    ]
    kinds = {
        "lacks": [key for key in needed if key not in state],
        "has keys unknown there:": [str(key) for key in state if key not in model.state_dict()],
        "has other shapes:": shapes,
        "has values that are not finite in": [key for key, value in found.items() if not value.isfinite().all()],
    }
    faults = [
        f"backbone.weights: {backbone.weights} is not of torchvision's {backbone.torchvision}; it {what} {_some(keys)}"
        for what, keys in kinds.items()
        if keys
    ]
    if faults:
        raise DataError(faults)


def _some(keys: list[str]) -> str:
    rest = len(keys) - _FEW
    return ", ".join(keys[:_FEW]) + (f" and {rest} more" if rest > 0 else "")
