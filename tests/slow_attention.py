"""Attention, norms and sums on one sample, token by token, from the propositions of Achtibat et al. 2024."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 1e-6


def stable(z: Tensor, epsilon: float = EPSILON) -> Tensor:
    """z + epsilon sign(z), sign(0) = +1."""
    return z + epsilon * torch.where(z >= 0, 1.0, -1.0)


def dense(a: Tensor, w: Tensor, b: Tensor | None, R: Tensor) -> Tensor:
    """LRP-epsilon through a (tokens, in) times w (out, in): shares of each contribution, one neuron at a time."""
    received = torch.zeros_like(a)
    for t in range(a.shape[0]):
        for k in range(w.shape[0]):
            contributions = a[t] * w[k]
            z = contributions.sum() + (0 if b is None else b[k])
            received[t] += contributions / stable(z) * R[t, k]
    return received


def softmax(x: Tensor, R: Tensor) -> Tensor:
    """Proposition 3.1, entry by entry, for (rows, entries)."""
    s = x.exp() / x.exp().sum(1, keepdim=True)
    return torch.stack(
        [torch.stack([x[i, j] * (R[i, j] - s[i, j] * sum(R[i])) for j in range(x.shape[1])]) for i in range(len(x))]
    )


def matmul(A: Tensor, V: Tensor, R: Tensor) -> tuple[Tensor, Tensor]:
    """Proposition 3.3: R_ji = sum_p A_ji V_ip R_jp / (2 O_jp + epsilon), and the like for V."""
    Z, RA, RV = A @ V, torch.zeros_like(A), torch.zeros_like(V)
    for j in range(A.shape[0]):
        for i in range(A.shape[1]):
            for p in range(V.shape[1]):
                share = A[j, i] * V[i, p] / stable(2 * Z[j, p]) * R[j, p]
                RA[j, i] += share
                RV[i, p] += share
    return RA, RV


def values_take_all(A: Tensor, V: Tensor, R: Tensor) -> Tensor:
    """CP-LRP: A is a matrix of weights."""
    return dense(V.T, A, None, R.T).T


def layer_norm(x: Tensor, norm: nn.LayerNorm, R: Tensor) -> Tensor:
    """The centred, scaled and weighted row as a matrix, under LRP-epsilon."""
    n = x.shape[-1]
    centre = torch.eye(n) - 1 / n
    received = []
    for row, arriving in zip(x, R, strict=True):
        scale = 1 / ((row - row.mean()).square().mean() + norm.eps).sqrt()
        received.append(dense(row[None], scale * norm.weight[:, None] * centre, norm.bias, arriving[None])[0])
    return torch.stack(received)


def attend_slowly(m: nn.MultiheadAttention, x: Tensor, R: Tensor, mask: Tensor | None, *, constant: bool) -> Tensor:
    """One sample (tokens, features) through self-attention, head by head; R (tokens, features) at its output."""
    E, d = x.shape[1], x.shape[1] // m.num_heads
    q, k, v = (x @ w.T + b for w, b in zip(m.in_proj_weight.split(E), m.in_proj_bias.split(E), strict=True))
    allowed = torch.ones(len(x), len(x)).bool() if mask is None else mask == 0
    heads = []
    for h in range(m.num_heads):
        part = slice(h * d, (h + 1) * d)
        scores = (q[:, part] @ k[:, part].T / d**0.5).masked_fill(~allowed, -torch.inf)
        heads.append((part, scores, scores.softmax(1) @ v[:, part]))
    out = torch.cat([o for *_, o in heads], 1)
    R = dense(out, m.out_proj.weight, m.out_proj.bias, R)
    Rq, Rk, Rv = (torch.zeros_like(x) for _ in range(3))
    for part, scores, _ in heads:
        A = scores.softmax(1)
        if constant:
            Rv[:, part] = values_take_all(A, v[:, part], R[:, part])
            continue
        RA, Rv[:, part] = matmul(A, v[:, part], R[:, part])
        RS = softmax(scores.masked_fill(~allowed, -1e9), RA).masked_fill(~allowed, 0.0)
        # torch scales q and k, or their product: a factor passes the stabilised shares on up to epsilon
        Rq[:, part], RkT = matmul(q[:, part] / d**0.5, k[:, part].T, RS)
        Rk[:, part] = RkT.T
    return sum(
        dense(x, w, b, R)
        for w, b, R in zip(m.in_proj_weight.split(E), m.in_proj_bias.split(E), (Rq, Rk, Rv), strict=True)
    )


def split(a: Tensor, b: Tensor, R: Tensor) -> tuple[Tensor, Tensor]:
    """A sum of two shares in proportion."""
    s = R / stable(a + b)
    return a * s, b * s


def block_slowly(block: nn.TransformerEncoderLayer, x: Tensor, R: Tensor, *, constant: bool) -> Tensor:
    """One sample (tokens, features) through an encoder layer that normalises first; R at its output."""
    inner = block.norm1(x)
    attended = block.self_attn(inner, inner, inner)[0]
    between = x + attended
    normed = block.norm2(between)
    hidden = F.gelu(block.linear1(normed))
    R_between, R_out = split(between, block.linear2(hidden), R)
    R_hidden = dense(hidden, block.linear2.weight, block.linear2.bias, R_out)  # passes the activation
    R_normed = dense(normed, block.linear1.weight, block.linear1.bias, R_hidden)
    R_x, R_attended = split(x, attended, R_between + layer_norm(between, block.norm2, R_normed))
    R_inner = attend_slowly(block.self_attn, inner, R_attended, None, constant=constant)
    return R_x + layer_norm(x, block.norm1, R_inner)
