"""Captum's attribution methods behind the Explainer protocol; each refuses a model it would explain wrongly."""

from __future__ import annotations

import copy
import warnings

import torch
from captum import attr
from captum.attr._utils.custom_modules import Addition_Module
from captum.attr._utils.lrp_rules import EpsilonRule
from torch import Tensor, nn

from lrp_bench.explainers.arguments import expect, expect_count, expect_flag, expect_number
from lrp_bench.explainers.base import LibraryExplainer, isolated, scored, worst
from lrp_bench.explainers.hookable import hookable, leaves


class Saliency(LibraryExplainer):
    """|df/dx|, or df/dx if not absolute (Simonyan et al. 2014). Captum's own default is absolute, and so is ours.

    Absolute values carry no sign: measures of signed agreement compare LRP with a map that has no negative part.
    """

    def __init__(self, model: nn.Module, example: Tensor, *, absolute: bool = True) -> None:
        expect_flag("absolute", absolute)
        self._absolute = absolute
        super().__init__(model, example)

    def _attribute(self, inputs: Tensor, target: Tensor) -> Tensor:
        relevance: Tensor = attr.Saliency(self._net).attribute(inputs, target=target, abs=self._absolute)
        return relevance


class Sensitivity(LibraryExplainer):
    """Sensitivity analysis, (df/dx)^2: where a small change of the input matters (Montavon et al. 2018, eq. 6)."""

    def _attribute(self, inputs: Tensor, target: Tensor) -> Tensor:
        gradient: Tensor = attr.Saliency(self._net).attribute(inputs, target=target, abs=False)
        return gradient.square()


class InputXGradient(LibraryExplainer):
    """Input times gradient, x * df/dx (Shrikumar et al. 2016)."""

    def _attribute(self, inputs: Tensor, target: Tensor) -> Tensor:
        relevance: Tensor = attr.InputXGradient(self._net).attribute(inputs, target=target)
        return relevance


class IntegratedGradients(LibraryExplainer):
    """(x - x0) * mean of df/dx on the line from x0 to x, Gauss-Legendre (Sundararajan et al. 2017, eq. 1).

    Args:
        model: see IsolatedExplainer.
        example: see IsolatedExplainer.
        baseline: x0, one value for every feature, in the units the model takes: 0 is the data set's mean where the data
            are standardised, and black where they are not.
        n_steps: points of the quadrature.
        internal_batch_size: samples x steps sent through the model at once; bounds the memory (one step at the least).
    """

    def __init__(
        self,
        model: nn.Module,
        example: Tensor,
        *,
        baseline: float = 0.0,
        n_steps: int = 50,
        internal_batch_size: int = 256,
    ) -> None:
        expect_number("baseline", baseline)
        expect_count("n_steps", n_steps)
        expect_count("internal_batch_size", internal_batch_size)
        self._baseline, self._n_steps, self._internal_batch_size = baseline, n_steps, internal_batch_size
        super().__init__(model, example)

    def _attribute(self, inputs: Tensor, target: Tensor) -> Tensor:
        relevance: Tensor = attr.IntegratedGradients(self._net).attribute(
            inputs,
            baselines=self._baseline,
            target=target,
            n_steps=self._n_steps,
            internal_batch_size=max(self._internal_batch_size, len(inputs)),
        )
        return relevance


class DeepLift(LibraryExplainer):
    """DeepLIFT, rescale rule (Shrikumar et al. 2017): multipliers (f(z) - f(z0)) / (z - z0) at every activation.

    Refused where its contributions do not sum to f(x) - f(x0), which always holds for DeepLIFT: overlapping max pools,
    activations which Captum does not know or which are no modules.

    Args:
        model: see IsolatedExplainer.
        example: see IsolatedExplainer.
        baseline: x0, one value for every feature, in the units the model takes.
    """

    def __init__(self, model: nn.Module, example: Tensor, *, baseline: float = 0.0) -> None:
        expect_number("baseline", baseline)
        self._baseline = baseline
        super().__init__(model, example)

    def _prepared(self, example: Tensor) -> nn.Module:
        return hookable(isolated(self._model), example)

    def _attribute(self, inputs: Tensor, target: Tensor) -> Tensor:
        return self._from(torch.full_like(inputs, self._baseline), inputs, target)

    def _from(self, baselines: Tensor, inputs: Tensor, target: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Setting forward, backward hooks", UserWarning)
            relevance: Tensor = attr.DeepLift(self._net).attribute(inputs, baselines=baselines, target=target)
        return relevance

    def _verify(self, probe: Tensor) -> None:
        # From a constant x0 many faults cancel (every winner of a pool is the same), so x0 is another sample here.
        target, baselines = self._predicted(probe), probe.flip(0)
        with self._refusals():
            relevance = self._from(baselines, probe.requires_grad_(), target).detach().flatten(1)
        change = scored(self._model, probe, target)[2] - scored(self._model, baselines, target)[2]
        off = worst((relevance.sum(1) - change).abs(), relevance.abs().sum(1) + change.abs())
        if not off <= 1e-3:
            raise self._refusal(
                f"its contributions do not sum to the change of the score (off by {off:.1%} of their size). Usual "
                "causes: an activation that Captum does not know or that is no module, max pools that overlap."
            )


class LRP(LibraryExplainer):
    """Captum's own LRP: the epsilon rule for what is affine, activations passed through (Bach et al. 2015, eq. 58).

    Refused where LRP with a vanishing epsilon is not input x gradient, which must hold once every activation is a ReLU:
    activations that are no modules, gates, functional average pooling. Refused as well: modules without a rule here.

    Args:
        model: see IsolatedExplainer.
        example: see IsolatedExplainer.
        epsilon: the absolute stabiliser, > 0.
    """

    def __init__(self, model: nn.Module, example: Tensor, *, epsilon: float = 1e-6) -> None:
        expect_number("epsilon", epsilon)
        expect(epsilon > 0, "epsilon to be > 0, or Captum divides 0 by 0", epsilon)
        self._epsilon = epsilon
        super().__init__(model, example)

    def _prepared(self, example: Tensor) -> nn.Module:
        return self._ruled(self._model, example)

    def _ruled(self, model: nn.Module, example: Tensor) -> nn.Module:
        # Captum writes the weights back after every call, so they must not be the user's.
        net = hookable(copy.deepcopy(model), example)
        unknown = {type(layer).__name__ for layer in leaves(net) if type(layer) not in _AFFINE | _MOVEMENT | _PASS}
        if unknown:
            raise self._refusal(f"no rule for {', '.join(sorted(unknown))}.")
        return net

    def _attribute(self, inputs: Tensor, target: Tensor) -> Tensor:
        return _lrp(self._net, self._epsilon, inputs, target)

    def _verify(self, probe: Tensor) -> None:
        rectified = _rectified(self._model)
        net, target = self._ruled(rectified, probe), self._predicted(probe.requires_grad_())
        with self._refusals():
            expected = attr.InputXGradient(rectified).attribute(probe, target=target).detach().flatten(1)
            relevance = _lrp(net, 1e-9, probe, target).detach().flatten(1)
        off = worst((relevance - expected).abs().amax(1), expected.abs().amax(1))
        if not off <= 1e-2:
            raise self._refusal(
                f"with epsilon near 0 it must be input x gradient, and is off by {off:.1%}. Usual causes: an "
                "activation, an average pooling or a product that is no module."
            )


# Captum computes R_in = x * J'(R / z), which is the epsilon rule for affine maps. With Captum's own tiny epsilon it is
# winner takes all for a max pool, and changes nothing in what only moves values.
_AFFINE: frozenset[type[nn.Module]] = frozenset(
    getattr(nn, f"{kind}{dims}d")
    for kind in ("Conv", "ConvTranspose", "BatchNorm", "AvgPool", "AdaptiveAvgPool")
    for dims in (1, 2, 3)
) | {nn.Linear, Addition_Module}
_MOVEMENT: frozenset[type[nn.Module]] = frozenset(
    getattr(nn, f"{kind}{dims}d") for kind in ("MaxPool", "ZeroPad", "Dropout") for dims in (1, 2, 3)
) | {nn.Flatten, nn.Unflatten, nn.Identity}
_PASS: frozenset[type[nn.Module]] = frozenset({nn.ReLU, nn.Tanh, nn.Dropout})


def _lrp(net: nn.Module, epsilon: float, inputs: Tensor, target: Tensor) -> Tensor:
    for layer in leaves(net):  # before every call: Captum removes the rules after each
        if type(layer) in _AFFINE:
            layer.rule = EpsilonRule(epsilon)
        elif type(layer) in _MOVEMENT:
            layer.rule = EpsilonRule()
    relevance: Tensor = attr.LRP(net).attribute(inputs, target=target)
    return relevance


def _rectified(model: nn.Module) -> nn.Module:
    """The model with a ReLU for every other activation that LRP passes through: the same path for the relevance."""
    net = copy.deepcopy(model)
    for name, module in list(net.named_modules(remove_duplicate=False)):
        if name and type(module) is nn.Tanh:
            net.set_submodule(name, nn.ReLU())
    return net
