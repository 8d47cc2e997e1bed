"""What a source gives: the official splits of a data set, whose samples are decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

PORTION = 2**23  # values that are decoded at once where all samples are gone through


class Inputs(Protocol):
    """The inputs of a split, (n, *sample), decoded when they are asked for. A tensor is one that is in memory."""

    @property
    def shape(self) -> torch.Size:
        """(n, *sample)."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """The type of what is decoded."""
        ...

    def __getitem__(self, index: Tensor, /) -> Tensor:
        """The samples at these positions, (k,) int64: (k, *sample)."""
        ...


@dataclass(frozen=True)
class Split:
    """inputs: (n, *shape), uint8 for stored pictures, else float32 (pictures in [0, 1]); labels: (n,) int64.

    Of a regression the labels are floating. mask: (n, *positions) bool, where the evidence for the label lies, for data
    whose truth is known.
    """

    inputs: Inputs
    labels: Tensor
    mask: Tensor | None = None


@dataclass(frozen=True)
class Contents:
    """A data set in its official order; label k (of a regression: output k) is called class_names[k].

    validation: which of the training samples are the official validation split, (v,) int64; None: there is none.
    """

    train: Split
    test: Split
    class_names: list[str]
    validation: Tensor | None = None


def portions(inputs: Inputs) -> Iterator[Tensor]:
    """All samples in their order, a few at a time."""
    several = max(1, PORTION // max(1, inputs.shape[1:].numel()))
    for index in torch.split(torch.arange(inputs.shape[0]), several):
        yield inputs[index]


def together(inputs: Inputs) -> Tensor:
    """All samples as one tensor, (n, *sample)."""
    if isinstance(inputs, Tensor):
        return inputs
    whole = torch.empty(inputs.shape, dtype=inputs.dtype)
    first = 0
    for portion in portions(inputs):
        whole[first : first + len(portion)] = portion
        first += len(portion)
    return whole
