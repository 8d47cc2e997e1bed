"""How one layer shares the relevance that reached it, and what the ledger says about it."""

from __future__ import annotations

import torch
from torch import Tensor

from lrp_bench.contracts import LedgerEntry
from lrp_bench.engine.rules.affine import Affine
from lrp_bench.engine.rules.batch_axes import PLAIN, Layouts
from lrp_bench.engine.rules.rule import Rule
from lrp_bench.engine.rules.stabilizer import quotient
from lrp_bench.engine.rules.terms import Input, Term


def share(rule: Rule, layer: Affine, a: Input, z: Tensor | None, R: Tensor) -> Tensor:
    """Relevance of the inputs, in the shape of a.

    R has the shape of the layer's output, and z is that output where the rule uses it; z is used up.
    """
    pulled: list[tuple[Tensor, Tensor]] = []
    kept: Tensor | None = None
    for term in rule.terms(a, layer, z):
        total = term.total(with_offset=rule.bias != "exclude")
        if rule.bias == "redistribute":
            rest = _kept(rule, term, total, R)
            kept = rest if kept is None else kept + rest
        s = divide(rule, term, total, R)
        for value, modified in term.contributions():
            _collect(pulled, value, modified.pull(s, value), term.factor)
    (value, received), *others = pulled
    received = received.mul_(value)
    for value, part in others:
        received = received.addcmul_(part, value)
    return received if kept is None else received + spread(layer, kept, a.value)


def divide(rule: Rule, term: Term, total: Tensor, R: Tensor) -> Tensor:
    """The relevance per unit of contribution, less the term's factor; total is used up."""
    s = quotient(R, total, rule.epsilon, relative=rule.relative, sign=term.sign)
    return s if term.mask is None else s.mul_(term.mask)


def _collect(pulled: list[tuple[Tensor, Tensor]], value: Tensor, part: Tensor, factor: float) -> None:
    """Add up what goes to the same input before it is multiplied with it."""
    for known, sum_ in pulled:
        if known is value:
            sum_.add_(part, alpha=factor)
            return
    pulled.append((value, part if factor == 1.0 else part.mul_(factor)))


def _kept(rule: Rule, term: Term, total: Tensor, R: Tensor) -> Tensor:
    """What bias and stabiliser took: all that arrived at the term, less the contributions' share."""
    contributions = total if term.offset is None else total - term.offset
    return term.arriving(R) - term.factor * divide(rule, term, total.clone(), R) * contributions


def spread(layer: Affine, kept: Tensor, a: Tensor) -> Tensor:
    """Hand on what an output kept, equally to the inputs that reach it."""
    flat = layer.flat
    reached = flat.linear(torch.ones_like(a))
    there = reached > 0  # fractions of one where a mean counts padding
    return flat.pull(torch.where(there, kept / torch.where(there, reached, 1.0), 0.0), a)


def account(rule: Rule, layer: Affine, a: Input, R: Tensor, received: Tensor, layouts: Layouts = PLAIN) -> LedgerEntry:
    """Where R went. A term whose z is zero had nobody to give to: that is the rule's doing, not the stabiliser's."""
    per_sample = layouts.out.per_sample
    total_arrived = per_sample(R)
    bias = stabilizer = missing = torch.zeros_like(total_arrived)
    unreached = layer.flat.linear(torch.ones_like(a.value)) <= 0 if rule.bias == "redistribute" else None
    for term in rule.terms(a, layer, None):
        total = term.total(with_offset=rule.bias != "exclude")
        if unreached is not None:  # only what no input is there to take is not handed on
            missing = missing + per_sample(_kept(rule, term, total, R).masked_fill(~unreached, 0.0))
            continue
        arrived = term.arriving(R)
        s = term.factor * divide(rule, term, total.clone(), R)
        kept = arrived - s * total
        nobody = total == 0
        stabilizer = stabilizer + per_sample(kept.masked_fill(nobody, 0.0))
        missing = missing + per_sample(kept.masked_fill(~nobody, 0.0))
        if rule.bias == "absorb" and term.offset is not None:
            bias = bias + per_sample(s * term.offset)
    return LedgerEntry(total_arrived, layouts.sources[0].per_sample(received), bias, stabilizer, missing)
