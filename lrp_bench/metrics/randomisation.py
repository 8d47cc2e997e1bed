"""Layers of a model in the order of its computation, and their parameters in random order."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import chain

import torch
from torch import Tensor, nn

from lrp_bench.contracts import Explainer


class Twin:
    """A copy of `original` to randomise, and the method `make` for it, made for each look unless it follows weights."""

    def __init__(self, original: nn.Module, make: Callable[[nn.Module], Explainer]) -> None:
        self.original, self.make = original, make
        self.model = copy.deepcopy(original)
        self.followed: Explainer | None = None

    def method(self) -> Explainer:
        """The method for the copy as it is now."""
        method = self.followed or self.make(self.model)
        self.followed = method if getattr(method, "follows_weights", False) else None
        return method

    def restore(self) -> None:
        """Give the copy the original's weights, in place."""
        with torch.no_grad():
            for ours, theirs in zip(_weights(self.model), _weights(self.original), strict=True):
                ours.copy_(theirs)


def _weights(model: nn.Module) -> chain[Tensor]:
    return chain(model.parameters(), model.buffers())


def forward_order(model: nn.Module, inputs: Tensor) -> list[str]:
    """Names of the modules that have parameters of their own, in the order in which the model first calls them.

    A module that is never called itself (its weights are read by the one around it) counts with the one around it.
    """
    calls: dict[str, int] = {}

    def note(name: str) -> None:
        calls.setdefault(name, len(calls))

    hooks = [
        module.register_forward_pre_hook(lambda *_, name=name: note(name)) for name, module in model.named_modules()
    ]
    with torch.no_grad():
        model(inputs)
    for hook in hooks:
        hook.remove()
    owners = [
        name for name, module in model.named_modules() if next(module.parameters(recurse=False), None) is not None
    ]
    return sorted(owners, key=lambda name: calls[_called(name, calls)])


def _called(name: str, calls: dict[str, int]) -> str:
    while name not in calls and name:
        name = name.rpartition(".")[0]
    return name


def shuffle(layer: nn.Module, generator: torch.Generator, done: set[int]) -> None:
    """Put the values of each of the layer's own parameters in a random order, in place.

    Their distribution stays, what was learnt goes; buffers (the statistics of a batch norm) stay as they are. The order
    is drawn on the CPU, so it is the same on any device. done: the ids of parameters that have had their turn, as those
    that two layers share.
    """
    with torch.no_grad():
        for weight in layer.parameters(recurse=False):
            if id(weight) not in done:
                done.add(id(weight))
                order = torch.randperm(weight.numel(), generator=generator).to(weight.device, non_blocking=True)
                weight.copy_(weight.flatten()[order].view_as(weight))
