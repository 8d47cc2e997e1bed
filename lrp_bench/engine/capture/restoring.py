"""What forward leaves behind on a model: taken back, and known from then on."""

from __future__ import annotations

import copy
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Written = dict[int, set[str]]
"""What a model's forward writes, whatever it computes from it: of each module, by its id, attributes and buffers."""

CONTAINERS = (dict, OrderedDict, defaultdict, list, set)


@contextmanager
def as_it_was(model: nn.Module, written: Written) -> Iterator[Callable[[], Written]]:
    """Takes back what is written within: attributes of modules, their lists and mappings, and the values of buffers.

    written: learns the names. Gives what tells them before.
    """
    modules = [(module, dict(vars(module)), dict(module._buffers)) for module in model.modules()]
    held = [value for _, attributes, _ in modules for value in attributes.values() if type(value) in CONTAINERS]
    contents = [(value, copy.copy(value)) for value in held]
    values = [(buffer, _version(buffer), buffer.clone()) for buffer in model.buffers()]

    def names() -> Written:
        changed = {id(buffer) for buffer, version, _ in values if _version(buffer) != version}
        found = {}
        for module, attributes, buffers in modules:
            each = _differing(vars(module), attributes) | _differing(module._buffers, buffers)
            found[id(module)] = each | {name for name, buffer in buffers.items() if id(buffer) in changed}
        return {module: each for module, each in found.items() if each}

    try:
        yield names
    finally:
        for place, each in names().items():
            written.setdefault(place, set()).update(each)
        for module, attributes, _ in modules:
            if _differing(vars(module), attributes):
                vars(module).clear()
                vars(module).update(attributes)
        for value, before in contents:
            _refill(value, before)
        with torch.no_grad():
            for buffer, version, value in values:
                if _version(buffer) != version:
                    buffer.copy_(value)


def _differing(now: Mapping[str, object], before: Mapping[str, object]) -> set[str]:
    nothing = object()
    return {name for name in {*now, *before} if now.get(name, nothing) is not before.get(name, nothing)}


def _refill(value: Any, before: Any) -> None:
    """With what was in it; untouched where it is all there."""
    items = (value.items(), before.items()) if isinstance(value, dict) else (value, before)
    there = [[id(part) for item in each for part in (item if isinstance(value, dict) else [item])] for each in items]
    if there[0] != there[1]:
        value.clear()
        value.extend(before) if isinstance(value, list) else value.update(before)


def _version(buffer: Tensor) -> int:
    return 0 if buffer.is_inference() else buffer._version
