"""What the oldest torch that is taken, 2.11, does otherwise, put right where a model is captured or a program read."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx
from torch._decomp import decompositions

SAID = (
    r".*isinstance\(treespec, LeafSpec\).*",  # torch says so of its own use of it
    "The given buffer is not writable",  # of weights that it read itself, and copies before anyone writes
)
aten = torch.ops.aten


@contextmanager
def put_right() -> Iterator[None]:
    """Without warnings of what torch does itself, and with the states of an LSTM in their own shape."""
    before = decompositions.one_layer_lstm
    with warnings.catch_warnings():
        for message in SAID:
            warnings.filterwarnings("ignore", message=message)
        decompositions.one_layer_lstm = _with_states_as_given(before)
        try:
            yield
        finally:
            decompositions.one_layer_lstm = before


def _with_states_as_given(layer: Callable[..., Any]) -> Callable[..., Any]:
    """The last states of a layer, (batch, size) as the first ones: 2.11 leaves them (1, batch, size)."""

    def carried(x: Tensor, hidden: Sequence[Tensor], *rest: Any, **options: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        out, states = layer(x, hidden, *rest, **options)
        return out, tuple(state.reshape(given.shape) for state, given in zip(states, hidden, strict=True))

    return carried


@contextmanager
def reshaping(graph: fx.Graph) -> Iterator[None]:
    """Views as reshapes meanwhile.

    What is taken apart may lie otherwise in memory than the whole, of which 2.11 took down a view.
    """
    views = graph.find_nodes(op="call_function", target=aten.view.default)
    for node in views:
        node.target = aten.reshape.default
    try:
        yield
    finally:
        for node in views:
            node.target = aten.view.default
