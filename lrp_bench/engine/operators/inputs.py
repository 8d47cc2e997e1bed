"""Where relevance arrives: at the inputs themselves, or at the companions of token ids."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, fx

from lrp_bench.engine.operators.embedding import COMPANION


def with_leaves(module: fx.GraphModule, inputs: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor | None]]:
    """The arguments of a rewritten module, and for each input the leaf that receives its relevance; None: a mask."""
    companions = {node.meta[COMPANION]: node for node in module.graph.nodes if COMPANION in node.meta}
    leaves = [
        x.detach().requires_grad_() if x.is_floating_point() else _zeros(x, companions[i]) if i in companions else None
        for i, x in enumerate(inputs)
    ]
    given = [leaf if x.is_floating_point() else x for x, leaf in zip(inputs, leaves, strict=True)]
    made = [leaves[i] for i in companions]
    return [argument for argument in (*given, *made) if argument is not None], leaves


def _zeros(x: Tensor, companion: fx.Node) -> Tensor:
    return torch.zeros(x.shape, dtype=companion.meta["val"].dtype, device=x.device, requires_grad=True)


def relevance_of(
    inputs: Sequence[Tensor], leaves: Sequence[Tensor | None], logits: Tensor, start: Tensor
) -> tuple[Tensor, ...]:
    """The relevance of each input, in its shape; zeros where none arrives."""
    wanted = [leaf for leaf in leaves if leaf is not None]
    received = iter(torch.autograd.grad(logits, wanted, start, materialize_grads=True))
    return tuple(
        torch.zeros_like(x, dtype=logits.dtype) if leaf is None else next(received).contiguous()
        for x, leaf in zip(inputs, leaves, strict=True)
    )
