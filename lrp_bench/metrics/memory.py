"""How much memory a computation holds at its peak."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_memory(call: Callable[[], object], device: torch.device) -> int:
    """Bytes of tensors on the device, at the peak of call(), above what was held before it.

    On a GPU the allocator says so. On the CPU the storages that operators return are counted while they live, those
    that autograd keeps included; scratch memory inside of an operator is not seen, and counting takes time of its own.
    """
    if device.type == "cuda":
        return _peak_on_gpu(call, device)
    live = LiveTensors(device)
    with live:
        call()
    return live.peak


def _peak_on_gpu(call: Callable[[], object], device: torch.device) -> int:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before: int = torch.cuda.memory_allocated(device)
    call()
    torch.cuda.synchronize(device)
    peak: int = torch.cuda.max_memory_allocated(device)
    return peak - before


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of all storages made by operators inside the context, for as long as they live.

    held, peak: bytes now, and at most so far.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device, self.held, self.peak = device, 0, 0
        self._storages: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        """Run the operator; what it returns and did not get is new."""
        self._note((args, kwargs), new=False)
        result = func(*args, **kwargs or {})
        self._note(result, new=True)
        return result

    def _note(self, values: object, *, new: bool) -> None:
        for tensor in tree_leaves(values):
            if isinstance(tensor, Tensor) and tensor.layout == torch.strided and tensor.device.type == self.device.type:
                self._watch(tensor.untyped_storage(), new)

    def _watch(self, storage: torch.UntypedStorage, new: bool) -> None:
        key, size = storage._cdata, storage.nbytes() if new else 0
        if key in self._storages:
            return
        self._storages[key] = weakref.ref(storage, lambda _: self._drop(key, size))
        self.held += size
        self.peak = max(self.peak, self.held)

    def _drop(self, key: int, size: int) -> None:
        del self._storages[key]
        self.held -= size
