"""A model in the user's hands, before and after."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def untouched(model: nn.Module, x: Tensor) -> Iterator[None]:
    """In training mode, with a frozen parameter: model, inputs and the global random numbers leave as they came."""
    next(model.train().parameters()).requires_grad_(False)
    before, weights, inputs = _state(model), copy.deepcopy(model.state_dict()), x.clone()
    flags, chance = [parameter.requires_grad for parameter in model.parameters()], torch.random.get_rng_state()
    yield
    assert _state(model) == before
    torch.testing.assert_close(model.state_dict(), weights, rtol=0, atol=0)
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.random.get_rng_state().equal(chance)
    torch.testing.assert_close(x, inputs, rtol=0, atol=0)
    assert not x.requires_grad


def _state(model: nn.Module) -> dict[str, object]:
    """All that could be left behind on a model, tensors as (identity, version)."""
    return {
        f"{name}.{key}": (id(value), value._version) if isinstance(value, Tensor) else copy.copy(value)
        for name, module in model.named_modules()
        for part in (vars(module), module._parameters, module._buffers)
        for key, value in part.items()
    }
