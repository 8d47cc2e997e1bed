"""Operators that are taken apart at capture, so that each of their parts has a relevance rule and a row of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lrp_bench.contracts import BenchError

aten = torch.ops.aten


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(scale * q k^T + mask) v, in the parts that torch documents for scaled_dot_product_attention.

    Where all keys of a query are masked, its weights are zero, as torch has it.
    """
    if enable_gqa:
        key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
    scores = torch.matmul(query, key.transpose(-2, -1)) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
    if attn_mask is None:
        return torch.matmul(scores.softmax(-1), value)
    masked = attn_mask.dtype == torch.bool
    scores = scores.masked_fill(~attn_mask, -torch.inf) if masked else scores + attn_mask
    return torch.matmul(aten._safe_softmax(scores, -1), value)


def gated_linear_unit(x: Tensor, dim: int = -1) -> Tensor:
    """A * sigmoid(b), for the halves a and b of x."""
    a, b = x.chunk(2, dim)
    return a * b.sigmoid()


def masked_scores(mask: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """Beta * mask + alpha * a @ b, which is how nn.MultiheadAttention adds its mask."""
    product = torch.matmul(a, b)
    return (product if alpha == 1 else alpha * product) + (mask if beta == 1 else beta * mask)


def einsum(equation: str, operands: Sequence[Tensor], *, path: Sequence[int] | None = None) -> Tensor:
    """A sum over products of two operands as one matrix product; others stay as they are, without a rule."""
    inputs, arrow, out = equation.replace(" ", "").partition("->")
    letters = inputs.split(",")
    once = all(len(set(term)) == len(term) for term in letters)
    if len(operands) != 2 or not once or not inputs.replace(",", "").isalpha():
        return NotImplemented  # type: ignore[no-any-return]
    first, second = letters
    out = out if arrow else "".join(sorted(set(first) ^ set(second)))
    batch = [c for c in out if c in first and c in second]
    rows, columns = ([c for c in out if c in term and c not in batch] for term in letters)
    inner = [c for c in first if c in second and c not in out]
    size = dict(zip(first + second, (*operands[0].shape, *operands[1].shape), strict=True))
    a = _arranged(operands[0], first, [batch, rows, inner], size)
    b = _arranged(operands[1], second, [batch, inner, columns], size)
    product = torch.matmul(a, b).reshape([size[c] for c in (*batch, *rows, *columns)])
    return product.permute([[*batch, *rows, *columns].index(c) for c in out])


def _arranged(x: Tensor, letters: str, groups: list[list[str]], size: dict[str, int]) -> Tensor:
    """The operand with its dimensions in the groups' order, the last two groups flattened; what is in none, summed."""
    wanted = [c for group in groups for c in group]
    alone = [i for i, c in enumerate(letters) if c not in wanted]
    x = x.sum(alone) if alone else x
    left = [c for c in letters if c in wanted]
    flat = [prod(size[c] for c in group) for group in groups[1:]]
    return x.permute([left.index(c) for c in wanted]).reshape([size[c] for c in groups[0]] + flat)


def lerp(a: Tensor, end: Tensor, weight: float | Tensor) -> Tensor:
    """(1 - weight) a + weight end: a sum of two activations, not of one and a difference."""
    return (1 - weight) * a + weight * end


def addcmul(a: Tensor, first: Tensor, second: Tensor, *, value: float = 1) -> Tensor:
    """A + value * first * second."""
    return torch.add(a, first * second, alpha=value)


def addcdiv(a: Tensor, first: Tensor, second: Tensor, *, value: float = 1) -> Tensor:
    """A + value * first / second."""
    return torch.add(a, first / second, alpha=value)


def bilinear(first: Tensor, second: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y_k = first^T W_k second + b_k, as a layer of the first, a product with the second, and a sum."""
    outputs, inputs, others = weight.shape
    rows = F.linear(first, weight.transpose(1, 2).reshape(outputs * others, inputs))
    product: Tensor = (rows.view(*rows.shape[:-1], outputs, others) * second.unsqueeze(-2)).sum(-1)
    return product if bias is None else product + bias


def embedding_bag(
    weight: Tensor,
    ids: Tensor,
    offsets: Tensor,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sum, mean or maximum of the vectors of each bag, for bags of one length, which `check_bags` has seen to."""
    ids = ids.view(offsets.shape[0] - include_last_offset, -1)
    vectors = F.embedding(ids, weight)
    if per_sample_weights is not None:
        vectors = vectors * per_sample_weights.view(*ids.shape, 1)
    if padding_idx in (None, -1):
        bags = vectors.sum(1) if mode == 0 else vectors.mean(1) if mode == 1 else vectors.amax(1)
        return bags, ids, ids, ids
    out = (ids == padding_idx).unsqueeze(2)
    if mode == 2:
        bags = vectors.masked_fill(out, -torch.inf).amax(1).masked_fill(out.all(1), 0.0)
    else:
        bags = vectors.masked_fill(out, 0.0).sum(1)
        bags = bags / (~out).sum(1).clamp(min=1) if mode == 1 else bags
    return bags, ids, ids, ids


def check_bags(graph: torch.fx.Graph) -> None:
    """Raise BenchError for an EmbeddingBag whose offsets are not known to be evenly spaced: arange, or a multiple."""
    for node in graph.nodes:
        if node.target in (aten.embedding_bag.padding_idx, aten.embedding_bag.default):
            offsets = node.args[2]
            if str(offsets.target).startswith("aten.mul") and isinstance(offsets.args[1], int):
                offsets = offsets.args[0]
            if not str(offsets.target).startswith("aten.arange"):
                raise BenchError(
                    f"Expected an EmbeddingBag over bags of one length, got {node.name}, whose offsets are given or "
                    "computed: pad the ids to (batch, length), and give it a padding_idx."
                )


def copy(a: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    """What a[...] = source leaves there."""
    return source.to(a.dtype).expand_as(a)


def _one_step(operator: Callable[..., tuple[Tensor, ...]], *, states: int) -> Callable[..., Any]:
    """A cell as its network over one time step."""

    def cell(x: Tensor, given: Any, *weights: Tensor | None) -> Any:
        present = [w for w in weights if w is not None]
        first = [state[None] for state in given] if states > 1 else given[None]
        _, *last = operator(x[None], first, present, len(present) == 4, 1, 0.0, False, False, False)
        return tuple(state[0] for state in last) if states > 1 else last[0][0]

    return cell


DECOMPOSITIONS: Mapping[torch._ops.OpOverload, Callable[..., Any]] = {
    aten.scaled_dot_product_attention.default: attention,
    aten.glu.default: gated_linear_unit,
    aten.baddbmm.default: masked_scores,
    aten.einsum.default: einsum,
    aten.square.default: lambda x: x * x,
    aten.copy.default: copy,
    aten.lerp.Scalar: lerp,
    aten.lerp.Tensor: lerp,
    aten.addcmul.default: addcmul,
    aten.addcdiv.default: addcdiv,
    aten.bilinear.default: bilinear,
    aten.embedding_bag.padding_idx: embedding_bag,
    aten.embedding_bag.default: embedding_bag,
    aten.lstm_cell.default: _one_step(aten.lstm.input, states=2),
    aten.gru_cell.default: _one_step(aten.gru.input, states=1),
    aten.rnn_tanh_cell.default: _one_step(aten.rnn_tanh.input, states=1),
    aten.rnn_relu_cell.default: _one_step(aten.rnn_relu.input, states=1),
}
