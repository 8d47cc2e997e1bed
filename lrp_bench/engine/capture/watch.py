"""Whether a model is still what it was: asked before every explanation, and so answered in a fraction of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import is_
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from lrp_bench.engine.capture.restoring import Written
from lrp_bench.engine.capture.structure import UNUSED, place

DEPTH = 2  # objects in attributes, and the objects in those, are opened: a config, and what it holds
Parts = Callable[[Any], Sequence[object]]


class Watch:
    """A model as it was when it was last looked at.

    Modules by class, forward, attributes and hooks; lists and mappings by what is in them; functions by what they
    enclose, other objects by their attributes; tensors by place and version. What is written through
    .data, what is read outside of the model, and what its forward itself writes is not noticed.

    written: what forward writes each time; set before a look.
    """

    def __init__(self, model: nn.Module | ExportedProgram) -> None:
        self.model, self.written = model, Written()
        self.look()

    def look(self) -> None:
        """Take the model as it is."""
        self.default, self.seen = torch.get_default_dtype(), set[int]()
        self.modules: list[tuple[dict[str, object], list[object], Sequence[object]]] = []
        self.classes: list[nn.Module] = []
        self.empty: list[object] = []
        self.opened: list[tuple[Parts, Any, Sequence[object]]] = []
        self.tensors: list[Tensor] = []
        if isinstance(self.model, nn.Module):
            self._see(self.model, DEPTH)
        else:
            self._see([self.model.state_dict, self.model.constants], DEPTH)
        self.kinds = [_kind(module) for module in self.classes]
        self.places = list(map(place, self.tensors))

    def changed(self) -> bool:
        """Whether it is another by now."""
        return not (
            self.default is torch.get_default_dtype()
            and not any(self.empty)
            and self.kinds == [_kind(module) for module in self.classes]
            and all(_alike(list(now.values()), old) or self._same(i) for i, (now, old, _) in enumerate(self.modules))
            and all(_alike(parts(value), old) for parts, value, old in self.opened)
            and self.places == list(map(place, self.tensors))
        )

    def _same(self, number: int) -> bool:
        """A module whose attributes are not all the same: but for those that do not matter."""
        now, _, used = self.modules[number]
        if not _alike(self._used(self.classes[number]), used):
            return False
        self.modules[number] = now, list(now.values()), used
        return True

    def _used(self, module: nn.Module) -> list[object]:
        ignored = UNUSED | self.written.get(id(module), set())
        return [part for name, value in vars(module).items() if name not in ignored for part in (name, value)]

    def _see(self, value: Any, depth: int) -> None:
        if isinstance(value, ATOMS) or id(value) in self.seen:
            return
        self.seen.add(id(value))
        if isinstance(value, Tensor):
            self.tensors.append(value)
        elif isinstance(value, nn.Module):
            self._module(value)
        elif isinstance(value, dict | list | set) and not value:
            self.empty.append(value)
        else:
            self._open(value, depth)

    def _module(self, module: nn.Module) -> None:
        self.classes.append(module)
        used, written = self._used(module), self.written.get(id(module))
        self.modules.append((vars(module), list(vars(module).values()), used))
        if written:
            self.seen.add(id(module._buffers))
            self._inside(partial(_others, written), module._buffers, DEPTH)
        for value in used[1::2]:
            self._see(value, DEPTH)

    def _open(self, value: Any, depth: int) -> None:
        parts = next((parts for kind, parts in PARTS.items() if isinstance(value, kind)), None)
        if parts is not None:
            self._inside(parts, value, depth)
        elif depth and hasattr(value, "__dict__"):
            self._inside(_attributes, value, depth - 1)
        else:
            self.opened.append((_itself, value, (value,)))  # held, so that no other takes its place

    def _inside(self, parts: Parts, value: Any, depth: int) -> None:
        now = parts(value)
        self.opened.append((parts, value, now))
        for part in now:
            self._see(part, depth)


def _kind(module: nn.Module) -> tuple[type, object]:
    return module.__class__, module.__class__.forward


def _alike(now: Sequence[object], before: Sequence[object]) -> bool:
    """The same objects, or numbers and words that are equal: torch.export puts a module's tuples back as others."""
    if len(now) != len(before):
        return False
    return all(map(is_, now, before)) or all(map(_equal, now, before))


def _equal(now: Any, before: Any) -> bool:
    if now is before or type(now) is not type(before):
        return now is before
    if isinstance(now, tuple):
        return len(now) == len(before) and all(map(_equal, now, before))
    return isinstance(now, ATOMS) and bool(now == before)


def _itself(value: object) -> tuple[object]:
    return (value,)


def _attributes(value: object) -> list[object]:
    return [*vars(value), *vars(value).values()]


def _others(written: set[str], buffers: Mapping[str, Tensor]) -> list[object]:
    return [part for name, buffer in buffers.items() if name not in written for part in (name, buffer)]


def _function(value: FunctionType) -> list[object]:
    enclosed = [cell.cell_contents for cell in value.__closure__ or ()]
    return [value.__code__, value.__defaults__, value.__kwdefaults__, *enclosed]


ATOMS = (int, float, complex, str, bytes, type(None), type, torch.dtype, torch.device, ModuleType, BuiltinFunctionType)
PARTS: Mapping[type | tuple[type, ...], Parts] = {
    dict: lambda given: [*given, *given.values()],
    (list, tuple, set, frozenset): list,
    FunctionType: _function,
    MethodType: lambda method: [method.__func__, method.__self__],
    partial: lambda given: [given.func, given.args, given.keywords],
    ref: lambda reference: [reference()],
}
