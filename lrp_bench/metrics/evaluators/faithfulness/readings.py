"""What can be read off perturbation curves: one table of name -> curves, formula and meaning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from lrp_bench.metrics.flipping import Trace
from lrp_bench.metrics.functional import (
    abpc,
    aopc,
    comprehensiveness,
    deletion,
    insertion,
    remaining,
    sufficiency,
)


class Reading(NamedTuple):
    """One number of each sample.

    curves: which it needs, of morf, lerf and kept (lerf at the fractions 1 - f, so that the f most relevant are kept);
    read: their traces -> (batch,); change: a difference of scores, in [-1, 1] for probabilities, not a score.
    """

    title: str
    higher_is_better: bool
    curves: tuple[str, ...]
    read: Callable[..., Tensor]
    change: bool = True


def _gain(lerf: Trace, morf: Trace) -> Tensor:
    return insertion(lerf.fractions, lerf.scores) - deletion(morf.fractions, morf.scores)


READINGS: Mapping[str, Reading] = {
    "aopc_morf": Reading("AOPC MoRF", True, ("morf",), lambda morf: aopc(morf.scores)),
    "aopc_lerf": Reading("AOPC LeRF", False, ("lerf",), lambda lerf: aopc(lerf.scores)),
    "abpc": Reading("ABPC", True, ("lerf", "morf"), lambda lerf, morf: abpc(lerf.scores, morf.scores)),
    "srg": Reading("SRG", True, ("lerf", "morf"), _gain),
    "deletion": Reading("Deletion", False, ("morf",), lambda morf: deletion(morf.fractions, morf.scores), False),
    "insertion": Reading("Insertion", True, ("lerf",), lambda lerf: insertion(lerf.fractions, lerf.scores), False),
    "remaining_morf": Reading("Remaining MoRF", False, ("morf",), lambda morf: remaining(morf.scores), False),
    "remaining_lerf": Reading("Remaining LeRF", True, ("lerf",), lambda lerf: remaining(lerf.scores), False),
    "comprehensiveness": Reading("Comprehensiveness", True, ("morf",), lambda morf: comprehensiveness(morf.scores)),
    "sufficiency": Reading("Sufficiency", False, ("kept",), lambda kept: sufficiency(kept.scores)),
}
