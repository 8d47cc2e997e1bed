"""How one layer shares the relevance that reached it, and what the ledger says about it."""

from __future__ import annotations

import torch
from torch import Tensor

from lrp_bench.contracts import LedgerEntry
from lrp_bench.engine.affine import Affine
from lrp_bench.engine.layouts import PLAIN, Layouts
from lrp_bench.engine.numerics import quotient
from lrp_bench.engine.rules import Input, Rule, Term


def share(rule: Rule, layer: Affine, a: Input, z: Tensor | None, R: Tensor) -> Tensor:
    """Relevance of the inputs, in the shape of a.

    R has the shape of the layer's output, and z is that output where the rule uses it.
    """
    received: Tensor | None = None
    for term in rule.terms(a, layer, z):
        total = term.total(with_offset=rule.bias != "exclude")
        s = quotient(term.arriving(R), total, rule.epsilon, relative=rule.relative, sign=term.sign)
        for value, modified in term.contributions():
            part = modified.pull(s, value).mul_(value)
            received = part if received is None else received.add_(part)
        if rule.bias == "redistribute":
            part = spread(layer, _kept(term, s, total, R), a.value)
            received = part if received is None else received.add_(part)
    return torch.zeros_like(a.value) if received is None else received


def spread(layer: Affine, kept: Tensor, a: Tensor) -> Tensor:
    """Hand on what an output kept, equally to the inputs that reach it."""
    flat = layer.flat
    reached = flat.linear(torch.ones_like(a))
    there = reached > 0  # fractions of one where a mean counts padding
    return flat.pull(torch.where(there, kept / torch.where(there, reached, 1.0), 0.0), a)


def _kept(term: Term, s: Tensor, total: Tensor, R: Tensor) -> Tensor:
    """What bias and stabiliser took: all that arrived at the term, less the contributions' share."""
    given = s * (total if term.offset is None else total - term.offset)
    return term.arriving(R) - given


def account(rule: Rule, layer: Affine, a: Input, R: Tensor, received: Tensor, layouts: Layouts = PLAIN) -> LedgerEntry:
    """Where R went. A term whose z is zero had nobody to give to: that is the rule's doing, not the stabiliser's."""
    per_sample = layouts.out.per_sample
    total_arrived = per_sample(R)
    bias = stabilizer = missing = torch.zeros_like(total_arrived)
    for term in rule.terms(a, layer, None) if rule.bias != "redistribute" else []:
        total = term.total(with_offset=rule.bias != "exclude")
        arrived = term.arriving(R)
        s = quotient(arrived, total, rule.epsilon, relative=rule.relative, sign=term.sign)
        kept = arrived - s * total
        nobody = total == 0
        stabilizer = stabilizer + per_sample(kept.masked_fill(nobody, 0.0))
        missing = missing + per_sample(kept.masked_fill(~nobody, 0.0))
        if rule.bias == "absorb" and term.offset is not None:
            bias = bias + per_sample(s * term.offset)
    return LedgerEntry(total_arrived, layouts.sources[0].per_sample(received), bias, stabilizer, missing)
