"""Any classifier of torchvision, by name, with the data's channels and classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import torchvision
from torch import nn

from lrp_bench.contracts import BenchError
from lrp_bench.models.cnn import picture_shape


def torchvision_classifier(name: str, shape: Sequence[int], classes: int, weights: str | None = None) -> nn.Module:
    """Build torchvision.models.<name> for pictures (batch, *shape) -> (batch, classes).

    The first convolution is made anew when the pictures have not three channels; with pretrained `weights` (such as
    "DEFAULT") so is the last layer when there are not 1,000 classes. Auxiliary outputs are left out.

    Raises:
        BenchError: an unknown name, with those close to it; weights that do not exist; a size the network cannot take.
    """
    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        close = ", ".join(get_close_matches(str(name), names, n=5)) or ", ".join(names)
        raise BenchError(f"Expected a classifier of torchvision, got {name!r}: set model.name, such as {close}")
    channels, height, width = picture_shape(shape)
    outputs = {} if weights else {"num_classes": classes}
    try:
        options = _options(name, height, width, pretrained=bool(weights))
        model: nn.Module = torchvision.models.get_model(name, weights=weights, **outputs, **options)
    except (AssertionError, KeyError, OSError, RuntimeError, ValueError) as error:
        raise BenchError(f"Expected {name} with weights {weights} for pictures {list(shape)}, got: {error}") from error
    _resize(model, channels, classes)
    return model


def _options(name: str, height: int, width: int, *, pretrained: bool) -> Mapping[str, object]:
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False} if pretrained else {"aux_logits": False, "init_weights": True}
    if name.startswith("vit_"):
        return {"image_size": height}
    if name.startswith("maxvit"):
        return {"input_size": (height, width)}
    return {}


def _resize(model: nn.Module, channels: int, classes: int) -> None:
    layers = [path for path, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    first = next(path for path in layers if isinstance(model.get_submodule(path), nn.Conv2d))
    model.set_submodule(first, _with_sizes(model.get_submodule(first), inputs=channels))
    model.set_submodule(layers[-1], _with_sizes(model.get_submodule(layers[-1]), outputs=classes))


def _with_sizes(layer: nn.Module, inputs: int | None = None, outputs: int | None = None) -> nn.Module:
    """The layer itself if it has these sizes, otherwise a fresh one of its kind."""
    if isinstance(layer, nn.Linear):
        sizes = layer.in_features, layer.out_features
        wanted = inputs or sizes[0], outputs or sizes[1]
        return layer if wanted == sizes else nn.Linear(*wanted, bias=layer.bias is not None)
    assert isinstance(layer, nn.Conv2d)
    sizes = layer.in_channels, layer.out_channels
    wanted = inputs or sizes[0], outputs or sizes[1]
    if wanted == sizes:
        return layer
    return nn.Conv2d(
        *wanted,
        kernel_size=layer.kernel_size,  # type: ignore[arg-type]
        stride=layer.stride,  # type: ignore[arg-type]
        padding=layer.padding,  # type: ignore[arg-type]
        dilation=layer.dilation,  # type: ignore[arg-type]
        groups=layer.groups,
        bias=layer.bias is not None,
    )
