"""Class activation maps: where a convolution's channels speak for the class."""

from __future__ import annotations

from captum import attr
from torch import Tensor, nn

from lrp_bench.contracts import BenchError
from lrp_bench.explainers.arguments import expect, expect_flag
from lrp_bench.explainers.base import LibraryExplainer, isolated
from lrp_bench.explainers.hookable import computed, out_of_place

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


class GradCAM(LibraryExplainer):
    """Grad-CAM: sum_k (mean over positions of df/dA_k) A_k for the channels A_k of one layer (Selvaraju et al. 2017).

    Brought to the input's size by linear interpolation, and shared equally by the input's channels: their sum is the
    map.

    Args:
        model: see IsolatedExplainer.
        example: see IsolatedExplainer.
        layer: name of the module, as in named_modules(), whose output (batch, channels, *positions) is A; None: the
            convolution that is computed last.
        relu: keep only what speaks for the class, as in the paper; false keeps both signs.

    Raises:
        BenchError: if there is no such layer, it is used more than once, or its output has no positions.
    """

    def __init__(self, model: nn.Module, example: Tensor, *, layer: str | None = None, relu: bool = True) -> None:
        expect(layer is None or isinstance(layer, str), "layer to be the name of a module, or null", layer)
        expect_flag("relu", relu)
        self._layer, self._relu = layer, relu
        super().__init__(model, example)

    def _prepared(self, example: Tensor) -> nn.Module:
        net = out_of_place(isolated(self._model))
        layer = self._chosen(net, example)
        self._method = attr.LayerGradCam(net, layer)
        return net

    def _chosen(self, net: nn.Module, example: Tensor) -> nn.Module:
        """The layer, with outputs that fit and one use."""
        names = {module: name for name, module in net.named_modules()}
        convolutions = [module for module, _ in computed(net, example, _CONVOLUTIONS)]
        known = ", ".join(dict.fromkeys(names[module] for module in convolutions))
        hint = f"set explainer.layer to one of its convolutions ({known or 'it has none: leave Grad-CAM out'})."
        layer = dict(net.named_modules()).get(self._layer) if self._layer else next(reversed(convolutions), None)
        if layer is None:
            raise BenchError(f"Expected a layer of the model for Grad-CAM, got {self._layer!r}: {hint}")
        outputs = [output for used, output in computed(net, example, type(layer)) if used is layer]
        if len(outputs) != 1:
            raise BenchError(f"Expected one use of the layer for Grad-CAM, {names[layer]!r} has {len(outputs)}: {hint}")
        shape = tuple(outputs[0].shape) if isinstance(outputs[0], Tensor) else ()
        if len(shape) != example.dim() or len(shape) - 2 not in _MODES:
            raise BenchError(
                f"Expected outputs (batch, channels, *positions) as of the inputs {tuple(example.shape)} for Grad-CAM, "
                f"got {shape} from {names[layer]!r}: {hint}"
            )
        return layer

    def _attribute(self, inputs: Tensor, target: Tensor) -> Tensor:
        maps = self._method.attribute(inputs, target=target, relu_attributions=self._relu)
        sides = inputs.shape[2:]
        large: Tensor = attr.LayerAttribution.interpolate(maps, tuple(sides), _MODES[len(sides)])
        return large.expand_as(inputs) / inputs.shape[1]
