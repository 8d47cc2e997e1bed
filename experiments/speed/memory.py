"""Peak memory of a piece of work, on a CPU as on a GPU."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Watched(TorchDispatchMode):
    """Counts the bytes of the storages that operators make, from their making until nobody holds them.

    Views and results in place share a storage and count once; what an operator needs while it runs does not show.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held = self.peak = 0
        self._seen: weakref.WeakSet[UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """The operator's own result."""
        self._seen.update(_storages((args, kwargs)))  # the unknown among them were there before
        result = function(*args, **(kwargs or {}))
        for storage in _storages(result):
            if storage not in self._seen:
                self._seen.add(storage)
                self._grow(storage.nbytes())
                weakref.finalize(storage, self._grow, -storage.nbytes())
        return result

    def _grow(self, size: int) -> None:
        self.held += size
        self.peak = max(self.peak, self.held)


def _storages(tree: Any) -> list[UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def peak_memory(work: Callable[[], object], device: torch.device) -> float:
    """MiB of tensors above what was held before, at the worst moment."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with Watched() as watched:
        work()
    return watched.peak / 2**20
