"""Gradients with another backward of the ReLU: guided backpropagation and deconvolution."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from captum import attr
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lrp_bench.explainers.base import LibraryExplainer, isolated
from lrp_bench.explainers.hookable import computed, hookable


class GuidedBackprop(LibraryExplainer):
    """The gradient, with its negative part cut off at every ReLU (Springenberg et al. 2015).

    Other activations pass their own gradient. Refused where a ReLU is no module of its own, which Captum would miss.
    """

    _method: Callable[[nn.Module], attr.Attribution] = attr.GuidedBackprop

    def _prepared(self, example: Tensor) -> nn.Module:
        return hookable(isolated(self._model), example)

    def _verify(self, probe: Tensor) -> None:
        super()._verify(probe)
        with torch.no_grad(), _Relus() as relus:  # type: ignore[no-untyped-call]
            self._net(probe)
        if relus.count != len(computed(self._net, probe, nn.ReLU)):
            raise self._refusal("it applies a ReLU that is no nn.ReLU module.")

    def _attribute(self, inputs: Tensor, target: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Setting backward hooks on ReLU", UserWarning)
            relevance: Tensor = type(self)._method(self._net).attribute(inputs, target=target)
        return relevance


class Deconvolution(GuidedBackprop):
    """The gradient, with every ReLU's own backward replaced by a ReLU of what arrives (Zeiler, Fergus 2014).

    Refused as GuidedBackprop is.
    """

    _method = attr.Deconvolution


class _Relus(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the ReLUs that are computed, by whatever code."""

    count: int = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        self.count += func in (torch.ops.aten.relu.default, torch.ops.aten.relu_.default)
        return func(*args, **kwargs or {})
