"""What a captured program depends on beside the values of the weights: while that stays, the program does."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import dataclass, field
from types import BuiltinFunctionType, FunctionType, MethodType, SimpleNamespace
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from lrp_bench.engine.capture.restoring import Written

UNUSED = {  # capture sets the mode, and saves nothing
    *("training", "_state_dict_hooks", "_state_dict_pre_hooks"),
    *("_load_state_dict_pre_hooks", "_load_state_dict_post_hooks"),
}


@dataclass(frozen=True)
class Structure:
    """A model without the values of its weights: where it is equal, torch.export finds the same program.

    digest: of modules by class, forward and attributes, weights by name, shape and type, other tensors, functions and
    classes by identity. held: these, so that no other takes their place in memory. What forward reads outside of the
    model is not part of it.
    """

    digest: bytes
    held: list[object] = field(compare=False)


def structure(model: nn.Module, written: Written | None = None) -> Structure | None:
    """The model's structure, but for what its forward writes.

    None where it holds something of which no one can tell whether it changed.
    """
    digest = hashlib.sha256()
    pickler = _Describing(model, SimpleNamespace(write=digest.update), written or {})
    try:
        pickler.dump((model, torch.get_default_dtype()))
    except Exception:  # what cannot be pickled says so in any way
        return None
    return Structure(digest.digest(), pickler.held)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers under all their names."""
    return dict([*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)])


def place(tensor: Tensor) -> tuple[object, ...]:
    """Where it lies and how often it was changed in place; its values where torch does not count that."""
    if isinstance(tensor, FakeTensor):  # what an exported program notes of its nodes
        return (id(tensor),)
    try:
        return tensor.data_ptr(), tensor._version, tensor.requires_grad
    except (RuntimeError, NotImplementedError):
        if not tensor.is_inference():  # a sparse one lies in several places
            return id(tensor), tensor._version
        values = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        return (hashlib.sha256(values.data).digest(),)


class _Describing(pickle.Pickler):
    """Writes a model down for comparison only; weights that are tied bear the first of their names."""

    def __init__(self, model: nn.Module, file: Any, written: Written) -> None:
        super().__init__(file)
        self.written, self.held = written, list[object]()
        self.names = {id(weight): name for name, weight in reversed(weights_of(model).items())}

    def persistent_id(self, value: Any) -> object:
        """What stands for a tensor, a class or a function; None for all else, which is written out."""
        value = value() if isinstance(value, ref) else value  # a recurrent module has references to its weights
        if isinstance(value, Tensor):
            return self.tensor(value)
        enclosed = value.__closure__ or () if isinstance(value, FunctionType) else ()
        if not all(isinstance(cell.cell_contents, type) for cell in enclosed):  # a class is enclosed by super()
            raise pickle.PicklingError("what a function has enclosed may change unseen")
        return self.same(value) if isinstance(value, type | FunctionType | BuiltinFunctionType) else None

    def tensor(self, value: Tensor) -> object:
        strides = value.stride() if value.layout is torch.strided else ()
        kind = type(value).__name__, tuple(value.shape), strides, str(value.dtype), str(value.device)
        if id(value) in self.names:
            return self.names[id(value)], value.requires_grad, kind
        return self.same(value), place(value), kind

    def same(self, value: object) -> int:
        self.held.append(value)
        return id(value)

    def reducer_override(self, value: Any) -> Any:
        """Modules by all their attributes, whatever they give for a copy."""
        if isinstance(value, nn.Module):
            ignored = UNUSED | self.written.get(id(value), set())
            used = {name: each for name, each in vars(value).items() if name not in ignored}
            used["_buffers"] = {name: each for name, each in value._buffers.items() if name not in ignored}
            return type(value), (type(value).forward,), used
        return (MethodType, (value.__func__, value.__self__)) if isinstance(value, MethodType) else NotImplemented
