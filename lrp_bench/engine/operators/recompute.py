"""What is cheap to compute again is not kept for the way back: only what it was made of, as flash attention has it.

A ViT saves its attention weights four times over (before the scale, behind it, behind the softmax, and for the product
with the values) and each activation beside its input: that was three times the memory of a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

RECIPE = "lrp_recipe"  # on the storage of a value, with which it goes
SAVED = "lrp_saved"  # on the storage of what is kept as it is


@dataclass(eq=False)
class Held:
    """A tensor that is kept as it is."""

    tensor: Tensor
    version: int

    def __call__(self) -> Tensor:
        """The tensor. Raises RuntimeError where something has written into it since."""
        if self.tensor._version != self.version:
            raise RuntimeError(f"Expected a tensor {tuple(self.tensor.shape)} as it was, got it changed in place.")
        return self.tensor


@dataclass(eq=False)
class Recipe:
    """A value as a function of others: computed again when it is first asked for, and let go by the last who waits."""

    function: Callable[..., Tensor]
    sources: tuple[Held | View, ...]
    strides: tuple[int, ...]
    version: int
    waiting: int = 0
    value: Tensor | None = None

    def __call__(self) -> Tensor:
        """The value, in the layout that it had."""
        value = self.value
        if value is None:
            value = self.function(*(source() for source in self.sources))
            if value.stride() != self.strides:
                value = value.new_empty_strided(value.shape, self.strides).copy_(value)
        self.value = value if self.waiting else None
        return value


@dataclass(eq=False)
class View:
    """A value that is computed again, or a part of it."""

    recipe: Recipe
    shape: torch.Size
    strides: tuple[int, ...]
    offset: int

    def __call__(self) -> Tensor:
        """The part."""
        return self.recipe().as_strided(self.shape, self.strides, self.offset)


def recomputed(y: Tensor, function: Callable[..., Tensor], *sources: Tensor, saved: bool = False) -> Tensor:
    """Y itself, with a note that it is function(*sources), where keeping these takes no more memory than y does.

    saved: they are kept in either case.
    """
    memory, others = y.untyped_storage(), [source.untyped_storage() for source in sources]
    own = all(memory._cdata != other._cdata for other in others) and memory.nbytes() == y.numel() * y.element_size()
    if own and (saved or sum(other.nbytes() for other in others if not _there(other)) <= memory.nbytes()):
        recipe = Recipe(function, tuple(_kept(source) for source in sources), y.stride(), y._version)
        setattr(memory, RECIPE, recipe)
    return y


@contextmanager
def sparing() -> Iterator[None]:
    """Meanwhile, what autograd saves is saved as its recipe where it has one."""
    with torch.autograd.graph.saved_tensors_hooks(_pack, _unpack):
        yield


def reshape(x: Tensor, shape: Sequence[int]) -> Tensor:
    """X in another shape, copied where it must be."""

    def reshaped(x: Tensor) -> Tensor:
        return x.reshape(shape)

    return recomputed(reshaped(x), reshaped, x)


def _there(memory: torch.UntypedStorage) -> bool:
    return hasattr(memory, SAVED) or hasattr(memory, RECIPE)


def _kept(x: Tensor) -> Held | View:
    recipe: Recipe | None = getattr(x.untyped_storage(), RECIPE, None)
    if recipe is None or recipe.version != x._version:
        return Held(x.detach(), x._version)
    return View(recipe, x.shape, x.stride(), int(x.storage_offset()))


def _pack(x: Tensor) -> Held | View:
    kept = _kept(x)
    if isinstance(kept, View):
        kept.recipe.waiting += 1
    else:
        setattr(x.untyped_storage(), SAVED, True)
    return kept


def _unpack(kept: Held | View) -> Tensor:
    if isinstance(kept, View):
        kept.recipe.waiting -= 1
    with torch.no_grad():
        return kept()
