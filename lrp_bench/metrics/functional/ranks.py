"""Ranks of whole batches at once, ties included, and the order of all pairs without looking at each pair."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Ranked(NamedTuple):
    """Rows in ascending order: the lowest and the highest rank, from 0, of the ties at each place; (batch, n) int64.

    order: which feature stands at each place.
    """

    lowest: Tensor
    highest: Tensor
    order: Tensor

    def by_feature(self, ranks: Tensor) -> Tensor:
        """From ascending order back to the order of the features."""
        return torch.empty_like(ranks).scatter_(1, self.order, ranks)

    def tied_pairs(self) -> Tensor:
        """Pairs of equal values: (batch,) int64."""
        return (self.highest - self.lowest).sum(1).floor_divide(2)


def ranked(values: Tensor) -> Ranked:
    """(batch, n) -> its rows in ascending order, with ties."""
    ascending, order = values.sort(1)
    place = torch.arange(values.shape[1], device=values.device).expand_as(order)
    step = ascending[:, 1:] != ascending[:, :-1]
    lowest = (place[:, 1:] * step).cummax(1).values
    highest = torch.where(step, place[:, :-1], values.shape[1] - 1).flip(1).cummin(1).values.flip(1)
    return Ranked(torch.cat([place[:, :1], lowest], 1), torch.cat([highest, place[:, -1:]], 1), order)


def centred_ranks(values: Tensor) -> Tensor:
    """Average ranks, less their mean: (batch, n) in the type of the values."""
    ranks = ranked(values)
    twice = ranks.lowest + ranks.highest + 1 - values.shape[1]
    return ranks.by_feature(twice).to(values.dtype) / 2


class Pairs(NamedTuple):
    """Numbers of feature pairs, (batch,) int64."""

    total: int
    tied_a: Tensor
    tied_b: Tensor
    tied_both: Tensor
    discordant: Tensor

    @property
    def concordant(self) -> Tensor:
        """Pairs in the same order."""
        return self.total - self.tied_a - self.tied_b + self.tied_both - self.discordant


def count_pairs(a: Tensor, b: Tensor) -> Pairs:
    """Sort by a, ties by b: what b then has out of order is discordant (Knight 1966)."""
    n = a.shape[1]
    ranked_a, ranked_b = ranked(a), ranked(b)
    a, b = ranked_a.by_feature(ranked_a.lowest), ranked_b.by_feature(ranked_b.lowest)
    both = ranked(a * n + b)
    b_sorted_by_a = b.gather(1, both.order)
    return Pairs(
        total=n * (n - 1) // 2,
        tied_a=ranked_a.tied_pairs(),
        tied_b=ranked_b.tied_pairs(),
        tied_both=both.tied_pairs(),
        discordant=_inversions(b_sorted_by_a, ranked_b.lowest),
    )


def _inversions(r: Tensor, ascending: Tensor) -> Tensor:
    """Pairs i < j with r_i > r_j, for rows of whole numbers in [0, n), given also in ascending order: -> (batch,).

    Sorts by one bit after the other, highest first. Two numbers of one group (all higher bits equal) are told apart by
    the present bit, so each 0 that has m ones before it in its group closes m inversions.
    """
    bits = r.shape[1].bit_length()
    values = torch.arange((1 << bits) + 1, device=r.device).expand(len(r), -1).contiguous()
    below = torch.searchsorted(ascending, values)
    position = torch.arange(r.shape[1], device=r.device)
    total = r.new_zeros(len(r))
    for bit in reversed(range(bits)):
        one = (r >> bit) & 1
        lowest = r >> (bit + 1) << (bit + 1)
        start, middle = below.gather(1, lowest), below.gather(1, lowest + (1 << bit))
        before = one.cumsum(1) - one
        before = before - before.gather(1, start)
        total += ((1 - one) * before).sum(1)
        r = torch.empty_like(r).scatter_(1, torch.where(one == 1, middle + before, position - before), r)
    return total
