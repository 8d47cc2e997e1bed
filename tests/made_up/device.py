"""An accelerator that is not there: device `sim`, whose numbers lie in the host's memory but may not be mixed with it.

Importing this registers it for the whole process, so only processes of their own do (see process.py).
Every operator is the CPU's, so results can be held to it; what a GPU would refuse raises (a tensor of the host among
those of the device), and what a GPU would wait for is counted: reads, which look at values, and blocking uploads.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.library import Library
from torch.utils._pytree import tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend
from torch.utils.dlpack import from_dlpack, to_dlpack

aten = torch.ops.aten
DEVICE = "sim"
_EXTENSION = 12  # the number of PrivateUse1 in a DLPack capsule, 8 bytes from its beginning

# a GPU must know the values before it can say how large the result is, or hands them to the host
READS = {
    *("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "equal"),
    *("bincount", "is_nonzero", "repeat_interleave"),
}

_setup_privateuseone_for_python_backend(DEVICE)
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
waits: Counter[str] = Counter()
crashes: list[str] = []  # what an operator said that could not go on, after which a GPU is of no use to the process


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """What a GPU would wait for within: operator -> how often, complete at the end."""
    found: Counter[str] = Counter()
    before = waits.copy()
    yield found
    found.update(waits - before)


def moved(values: Any) -> Any:
    """The same, with every tensor on the device."""
    return tree_map(lambda x: x.to(DEVICE) if isinstance(x, Tensor) else x, values)


def back(values: Any) -> Any:
    """The same, with every tensor on the CPU."""
    return tree_map(lambda x: x.detach().cpu() if isinstance(x, Tensor) else x, values)


def on_host(t: Tensor) -> Tensor:
    """The numbers of a tensor of the device, as a tensor of the CPU that shares their memory."""
    storage = t.untyped_storage()
    size = storage.nbytes()
    held = (ctypes.c_char * size).from_address(storage.data_ptr()) if size else bytearray(1)
    memory = torch.frombuffer(held, dtype=torch.uint8).untyped_storage()
    return torch.empty(0, dtype=t.dtype).set_(memory, t.storage_offset(), t.shape, t.stride())


def _on_device(r: Tensor) -> Tensor:
    """A tensor of the device that owns the memory of one of the CPU."""
    storage = r.untyped_storage()
    count = storage.nbytes() // r.element_size()
    whole = torch.empty(0, dtype=r.dtype).set_(storage, 0, (count,), (1,)) if count else r.new_empty(1)
    capsule = to_dlpack(whole)
    ctypes.c_int32.from_address(_pointer(capsule, b"dltensor") + 8).value = _EXTENSION
    return _shaped(from_dlpack(capsule), r)


def _shaped(t: Tensor, like: Tensor) -> Tensor:
    return aten.as_strided_.default(t, like.shape, like.stride(), like.storage_offset())


class _Call:
    """One call of an operator: its tensors of the device as tensors of the CPU, and what it returns as of the device.

    What shares memory on the CPU shares it on the device.
    """

    def __init__(self, operator: Any) -> None:
        self.operator, self.given = operator, dict[int, tuple[Tensor, Tensor]]()
        self.owners = dict[int, Tensor]()
        self.writes_out = "out" in operator._overloadname or operator._overloadname == "grad_input"

    def down(self, x: Any) -> Any:
        if isinstance(x, torch.device):
            return torch.device("cpu")
        if not isinstance(x, Tensor):
            return x
        if x.device.type != DEVICE:
            if x.dim():
                raise RuntimeError(f"{self.operator} got a tensor of {x.device} among those of {DEVICE}")
            return x
        unsized = self.writes_out and not x.numel()
        r = torch.empty(0, dtype=x.dtype) if unsized else on_host(x)
        self.given[id(r)] = x, r
        self.owners[r.untyped_storage().data_ptr()] = x
        return r

    def up(self, x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        if id(x) in self.given:
            t, r = self.given[id(x)]
            if t.shape != r.shape:
                t.data = _on_device(r)
            return t
        owner = self.owners.get(x.untyped_storage().data_ptr()) if x.untyped_storage().nbytes() else None
        return _on_device(x) if owner is None else _shaped(owner.detach(), x)


def run(operator: Any, *args: Any, **kwargs: Any) -> Any:
    """The operator on the CPU, with arguments and results of the device."""
    name = operator._schema.name.removeprefix("aten::")
    if name in READS and "output_size" not in kwargs:
        waits[name] += 1
    wanted = operator._schema.arguments
    args = tuple(_tensor(x, a) for x, a in zip(args, wanted, strict=False))
    call = _Call(operator)
    args, kwargs = tree_map(call.down, (args, kwargs))
    try:
        result = operator(*args, **kwargs)
    except (IndexError, RuntimeError) as error:
        crashes.append(f"{name}: {error}")
        raise
    return tree_map(call.up, result)


def _tensor(x: Any, argument: Any) -> Any:
    """Numbers come without the tensor that torch had made of them."""
    if str(argument.type) != "Tensor" or not isinstance(x, bool | int | float):
        return x
    return torch.tensor(x, dtype=torch.float64 if isinstance(x, float) else None)


def _copy(source: Tensor, into: Tensor, non_blocking: bool = False) -> Tensor:
    if into.device.type != DEVICE:
        waits["copy to the host"] += 1
    elif source.device.type != DEVICE and not non_blocking:
        waits["blocking upload"] += 1
    ends = [x if x.device.type != DEVICE else on_host(x) for x in (into, source)]
    ends[0].copy_(ends[1])
    return into


def _convolution_backward(g: Tensor, x: Tensor, w: Tensor, *options: Any) -> Any:
    *geometry, mask = options
    transposed, groups = geometry[3], geometry[5]
    biases = [w.shape[1] * groups if transposed else w.shape[0]]
    return run(aten.convolution_backward.default, g, x, w, biases, *geometry, mask)


def _lstm_cell(i: Tensor, h: Tensor, c: Tensor, *biases: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    gates = sum((b for b in biases if b is not None), i + h)
    enter, forget, new, leave = gates.chunk(4, 1)
    c = forget.sigmoid() * c + enter.sigmoid() * new.tanh()
    return leave.sigmoid() * c.tanh(), c, gates


def _gru_cell(i: Tensor, h: Tensor, hx: Tensor, *biases: Tensor | None) -> tuple[Tensor, Tensor]:
    ours, theirs = (part if b is None else part + b for part, b in zip((i, h), biases or (None, None), strict=True))
    (ri, ui, ni), (rh, uh, nh) = ours.chunk(3, 1), theirs.chunk(3, 1)
    new = (ni + (ri + rh).sigmoid() * nh).tanh()
    return new + (ui + uh).sigmoid() * (hx - new), ours


_fallback, _own = Library("_", "IMPL"), Library("aten", "IMPL")
_fallback.fallback(run, "PrivateUse1")
for _name, _of in {
    "_copy_from": _copy,
    "convolution_overrideable": lambda *args: run(aten.convolution.default, *args),
    "convolution_backward_overrideable": _convolution_backward,
    "_thnn_fused_lstm_cell": _lstm_cell,
    "_thnn_fused_gru_cell": _gru_cell,
}.items():
    _own.impl(_name, _of, "PrivateUse1")

_deepcopy = Tensor.__deepcopy__


def _copied(self: Tensor, memo: dict[int, Tensor]) -> Tensor:
    """Storages of the device cannot be copied by themselves."""
    if self.device.type != DEVICE:
        return _deepcopy(self, memo)
    return memo.setdefault(id(self), self.detach().clone().requires_grad_(self.requires_grad))


Tensor.__deepcopy__ = _copied  # type: ignore[method-assign]
