"""AttnLRP as a gradient times the input, after the efficient form of Achtibat et al. 2024 (as in the library LXT).

A copy of the network whose layer norms hold their deviation constant, whose GELUs are a factor that is held constant,
and whose products of two activations pass half a gradient to each: its gradient times its input is the relevance of
LRP-0 under AttnLRP's choices, without a rule of its own for any linear layer.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from gpu_parts.networks import Attention


class Norm(nn.Module):
    """A layer norm of a constant deviation."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """The same values."""
        deviation = (x.var(-1, correction=0, keepdim=True) + self.norm.eps).sqrt().detach()
        return (x - x.mean(-1, keepdim=True)) / deviation * self.norm.weight + self.norm.bias


class Factor(nn.Module):
    """x * (f(x) / x), the factor constant."""

    def __init__(self, f: nn.Module) -> None:
        super().__init__()
        self.f = f

    def forward(self, x: Tensor) -> Tensor:
        """The same values."""
        return x * (self.f(x) / torch.where(x == 0, 1e-9, x)).detach()


def part(x: Tensor, share: float) -> Tensor:
    """x, whose gradient is `share` of what arrives."""
    return share * x + (1 - share) * x.detach()


class HalvedCausal(Attention):
    """Causal attention whose products pass half a gradient to each factor."""

    def mixed(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Queries and keys lie behind two products, values behind one."""
        return scaled_dot_product_attention(part(q, 0.25), part(k, 0.25), part(v, 0.5), is_causal=True)


class Halved(nn.Module):
    """The same for torch's own attention over all tokens."""

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor, *_: object, **__: object) -> tuple[Tensor, None]:
        """(batch, tokens, features) -> the same, and no weights."""
        mha = self.attention
        projected = nn.functional.linear(x, mha.in_proj_weight, mha.in_proj_bias)
        q, k, v = (each.unflatten(2, (mha.num_heads, -1)).transpose(1, 2) for each in projected.chunk(3, 2))
        mixed = scaled_dot_product_attention(part(q, 0.25), part(k, 0.25), part(v, 0.5))
        return mha.out_proj(mixed.transpose(1, 2).flatten(2)), None


def efficient(model: nn.Module) -> nn.Module:
    """The copy."""
    copied = copy.deepcopy(model)
    for name, module in list(copied.named_modules()):
        owner, _, attribute = name.rpartition(".")
        if isinstance(module, nn.LayerNorm):
            setattr(copied.get_submodule(owner), attribute, Norm(module))
        elif isinstance(module, nn.GELU):
            setattr(copied.get_submodule(owner), attribute, Factor(module))
        elif isinstance(module, nn.MultiheadAttention):
            setattr(copied.get_submodule(owner), attribute, Halved(module))
        elif isinstance(module, Attention):
            module.__class__ = HalvedCausal
    return copied


def relevance(copied: nn.Module, x: Tensor) -> Tensor:
    """Of the predicted logits."""
    leaf = x.detach().requires_grad_()
    return torch.autograd.grad(copied(leaf).amax(1).sum(), leaf)[0] * x
