"""Operators that are taken apart at capture, so that each of their parts has a relevance rule and a row of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod

import torch
from torch import Tensor

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
    """softmax(scale * q k^T + mask) v, in the parts that torch documents for scaled_dot_product_attention."""
    if enable_gqa:
        key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
    scores = torch.matmul(query, key.transpose(-2, -1)) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None:
        masked = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -torch.inf) if masked else add_mask(scores, attn_mask)
    return torch.matmul(scores.softmax(-1), value)


def add_mask(scores: Tensor, mask: Tensor) -> Tensor:
    """Scores + mask, with minus infinity set rather than added: a share of an infinite sum is no number."""
    out = mask == -torch.inf
    return (scores + mask.masked_fill(out, 0.0)).masked_fill(out, -torch.inf)


def gated_linear_unit(x: Tensor, dim: int = -1) -> Tensor:
    """A * sigmoid(b), for the halves a and b of x."""
    a, b = x.chunk(2, dim)
    return a * b.sigmoid()


def masked_scores(mask: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """Beta * mask + alpha * a @ b, which is how nn.MultiheadAttention adds its mask."""
    product = torch.matmul(a, b)
    return add_mask(product if alpha == 1 else alpha * product, mask if beta == 1 else beta * mask)


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


DECOMPOSITIONS: Mapping[torch._ops.OpOverload, Callable[..., Tensor]] = {
    aten.scaled_dot_product_attention.default: attention,
    aten.glu.default: gated_linear_unit,
    aten.baddbmm.default: masked_scores,
    aten.einsum.default: einsum,
    aten.square.default: lambda x: x * x,
}
