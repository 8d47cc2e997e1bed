"""Zennit's composites (Anders et al. 2021) as explainers; each refuses a model it would explain wrongly."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from captum import attr
from torch import Tensor, nn

from lrp_bench.contracts import BenchError
from lrp_bench.explainers.arguments import expect, expect_number
from lrp_bench.explainers.base import LibraryExplainer, isolated, worst
from lrp_bench.explainers.hookable import computed, hookable, leaves
from lrp_bench.transfers import sent


class ZennitExplainer(LibraryExplainer):
    """A composite of Zennit, on a model in which every operation that needs a rule is a module, and batch norm merged.

    Refused where LRP-epsilon everywhere, with epsilon near 0 and a ReLU for every activation, is not input x gradient:
    operators which are no modules, modules which Zennit has no rule for.

    Args:
        model: see IsolatedExplainer.
        example: see IsolatedExplainer.
        epsilon: the absolute stabiliser of LRP-epsilon in linear layers, >= 0.
    """

    library = "Zennit"
    _first_layer = False  # has the first layer a rule of its own?

    def __init__(self, model: nn.Module, example: Tensor, *, epsilon: float = 1e-6) -> None:
        _zennit("composites")
        expect_number("epsilon", epsilon, least=0)
        self._epsilon = epsilon
        super().__init__(model, example)

    @abstractmethod
    def _composite(self, inputs: Tensor) -> Any:
        """The zennit.core.Composite."""

    def _prepared(self, example: Tensor) -> nn.Module:
        return self._rewritten(isolated(self._model), example)

    def _rewritten(self, model: nn.Module, example: Tensor) -> nn.Module:
        return hookable(model, example, addition=_Addition, merge_norms=True)

    def _attribute(self, inputs: Tensor, target: Tensor) -> Tensor:
        return _propagated(self._net, self._composite(inputs), inputs, target)

    def _verify(self, probe: Tensor) -> None:
        rectified = _rectified(isolated(self._model))
        net, target = self._rewritten(copy.deepcopy(rectified), probe), self._predicted(probe.requires_grad_())
        with self._refusals():
            expected = attr.InputXGradient(rectified).attribute(probe, target=target).detach().flatten(1)
            relevance = _propagated(net, _epsilon(1e-9), probe, target).flatten(1)
        off = worst((relevance - expected).abs().amax(1), expected.abs().amax(1))
        if not off <= 1e-2:
            raise self._refusal(
                f"LRP-epsilon with epsilon near 0 must be input x gradient, and is off by {off:.1%}. Usual causes: an "
                "activation or a pooling that is no module, a normalisation that no neighbour can take."
            )
        if self._first_layer and not _first_is_first(self._net, probe):
            raise self._refusal("the first linear layer or convolution it defines is not the first it computes.")


class EpsilonPlus(ZennitExplainer):
    """z+ for convolutions, LRP-epsilon for linear layers."""

    def _composite(self, inputs: Tensor) -> Any:
        return _zennit("composites").EpsilonPlus(epsilon=self._epsilon)


class EpsilonPlusFlat(ZennitExplainer):
    """EpsilonPlus with the flat rule for the first layer."""

    _first_layer = True

    def _composite(self, inputs: Tensor) -> Any:
        return _zennit("composites").EpsilonPlusFlat(epsilon=self._epsilon)


class EpsilonAlpha2Beta1(ZennitExplainer):
    """Alpha 2, beta 1 for convolutions, LRP-epsilon for linear layers."""

    def _composite(self, inputs: Tensor) -> Any:
        return _zennit("composites").EpsilonAlpha2Beta1(epsilon=self._epsilon)


class EpsilonAlpha2Beta1Flat(ZennitExplainer):
    """EpsilonAlpha2Beta1 with the flat rule for the first layer."""

    _first_layer = True

    def _composite(self, inputs: Tensor) -> Any:
        return _zennit("composites").EpsilonAlpha2Beta1Flat(epsilon=self._epsilon)


class EpsilonGammaBox(ZennitExplainer):
    """z-B for the first convolution, LRP-gamma for the others, LRP-epsilon for linear layers.

    Args:
        model: see IsolatedExplainer.
        example: see IsolatedExplainer.
        low: the smallest input the data can have, as the model takes it: a number, or one per channel.
        high: the largest.
        epsilon: see ZennitExplainer.
        gamma: of LRP-gamma, >= 0.
    """

    _first_layer = True

    def __init__(
        self,
        model: nn.Module,
        example: Tensor,
        *,
        low: float | Sequence[float],
        high: float | Sequence[float],
        epsilon: float = 1e-6,
        gamma: float = 0.25,
    ) -> None:
        expect_number("gamma", gamma, least=0)
        self._low, self._high, self._gamma = _bound("low", low, example), _bound("high", high, example), gamma
        expect(bool((self._low < self._high).all()), f"low below high = {high}", low)
        super().__init__(model, example, epsilon=epsilon)

    def _composite(self, inputs: Tensor) -> Any:
        low, high = (sent(bound, inputs, inputs.dtype) for bound in (self._low, self._high))
        return _zennit("composites").EpsilonGammaBox(low=low, high=high, epsilon=self._epsilon, gamma=self._gamma)


class _Addition(nn.Module):
    """a + b through a module that Zennit knows, so that each gets its share."""

    def __init__(self) -> None:
        super().__init__()
        self.sum = _zennit("layer").Sum(dim=-1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        alike = torch.broadcast_tensors(first, second)  # type: ignore[no-untyped-call]
        total: Tensor = self.sum(torch.stack(list(alike), dim=-1))
        return total


def _zennit(module: str) -> ModuleType:
    try:
        return import_module(f"zennit.{module}")
    except ImportError as error:
        raise BenchError(
            f"Expected Zennit to be installed, got {error}: install the extra with pip install 'lrp-bench[peers]'."
        ) from error


def _propagated(net: nn.Module, composite: Any, inputs: Tensor, target: Tensor) -> Tensor:
    inputs = inputs.detach().requires_grad_()
    with composite.context(net) as hooked:
        logits = hooked(inputs)
        start = torch.zeros_like(logits).scatter(1, target[:, None], logits.detach().gather(1, target[:, None]))
        (relevance,) = torch.autograd.grad(logits, inputs, start)
    return relevance.detach()


def _epsilon(epsilon: float) -> Any:
    """LRP-epsilon everywhere."""
    composites, rules, types = _zennit("composites"), _zennit("rules"), _zennit("types")
    linear = (types.Linear, rules.Epsilon(epsilon=epsilon))
    return composites.LayerMapComposite([*composites.layer_map_base(epsilon), linear])


def _rectified(net: nn.Module) -> nn.Module:
    """The model with a ReLU for every activation that Zennit passes relevance through unchanged."""
    for name, module in list(net.named_modules(remove_duplicate=False)):
        if name and isinstance(module, _zennit("types").Activation):
            net.set_submodule(name, nn.ReLU())
    return net


def _first_is_first(net: nn.Module, probe: Tensor) -> bool:
    """Whether the first layer by definition, which is Zennit's first, is the first to be computed."""
    linear = _zennit("types").Linear
    defined, used = [layer for layer in leaves(net) if isinstance(layer, linear)], computed(net, probe, linear)
    return not defined or defined[0] is used[0][0]


def _bound(name: str, value: object, example: Tensor) -> Tensor:
    """One number per channel, as a tensor that broadcasts against the inputs."""
    values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    for number in values:
        expect_number(name, number)
    channels = example.shape[1]
    expect(len(values) in (1, channels), f"{name} to be a number or a list of {channels}, one per channel", value)
    return torch.tensor(values, dtype=torch.float64).expand(channels).view(1, -1, *[1] * (example.dim() - 2))
