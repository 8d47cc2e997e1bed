"""Does the relevance agree with other methods?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError, Explanation, Measure, NotApplicable, Scores
from lrp_bench.metrics import functional
from lrp_bench.metrics.checks import check_choice, check_number, check_relevance
from lrp_bench.metrics.evaluators.base import Context, Evaluator, per_pixel
from lrp_bench.metrics.units import Patches
from lrp_bench.transfers import read, sent


class Kind(NamedTuple):
    """One way to compare: its header, its lower bound (the upper is 1), and (ours, theirs, k) -> (batch,)."""

    title: str
    lower: float
    compare: Callable[[Tensor, Tensor, int], Tensor]


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "spearman": Kind("Spearman", -1.0, lambda a, b, k: functional.spearman(a, b)),
        "pearson": Kind("Pearson", -1.0, lambda a, b, k: functional.pearson(a, b)),
        "cosine": Kind("Cosine", -1.0, lambda a, b, k: functional.cosine(a, b)),
        "kendall": Kind("Kendall", -1.0, lambda a, b, k: functional.kendall(a, b)),
        "top_k": Kind("Top k", 0.0, functional.top_k_intersection),
        "rank": Kind("Rank agreement", 0.0, functional.rank_agreement),
        "sign": Kind("Sign agreement", 0.0, functional.sign_agreement),
        "signed_rank": Kind("Signed rank agreement", 0.0, functional.signed_rank_agreement),
        "rank_correlation": Kind("Rank correlation", -1.0, lambda a, b, k: functional.spearman(a.abs(), b.abs())),
        "pairwise_rank": Kind("Pairwise rank", 0.0, lambda a, b, k: functional.pairwise_rank_agreement(a, b)),
    }
)


class Agreement(Evaluator):
    """Agreement with the context's baselines on pixels or patches: signed relevance, summed over channels.

    More alike is not more right. Values: agreement/<baseline>/<kind>, NaN where a map is constant, with the endings
    _patch<size>, _absolute and _nonzero for what differs from the defaults; and agreement/zeros (agreement/
    zeros_patch<size>), the share of units without relevance, which inflates all of these.

    Args:
        kinds: of spearman, pearson, cosine, kendall and the measures of Krishna et al. 2022: top_k (the share of the k
            largest in |relevance| that both have), rank, sign, signed_rank (those of them with the same rank, sign or
            both), rank_correlation (Spearman's of |relevance|) and pairwise_rank (pairs of units in the same order of
            |relevance|). The first is the headline.
        top_share: k as a share of the units, to the nearest whole number, at least 1.
        patch: the side of the squares whose means are compared; None: pixels, or the columns of a table.
        absolute: compare |relevance| of each unit.
        mask_zeros: leave out, for each sample, the units where both maps are zero.
    """

    higher_is_better = True
    zeros: list[Tensor]

    compares = True

    def __init__(
        self,
        kinds: Sequence[str] = ("spearman", "cosine", "top_k"),
        top_share: float = 0.1,
        patch: int | None = None,
        absolute: bool = False,
        mask_zeros: bool = False,
    ) -> None:
        _check_kinds(kinds)
        check_number("top_share", top_share, above=0, below=1)
        super().__init__(*kinds, "zeros")
        self.kinds, self.top_share, self.absolute, self.mask_zeros = tuple(kinds), top_share, absolute, mask_zeros
        self.patches = None if patch is None else Patches(patch)
        self.baselines: list[str] = []
        self.measures = self._measures()

    def update(self, explanation: Explanation, context: Context) -> None:
        """Add one batch; the context's baselines have the inputs' shape.

        A baseline that is missing from a later batch is left out, with its values from earlier ones.
        """
        ours = self._units(explanation.relevance, explanation.inputs, "relevance")
        self._name(context.baselines)
        theirs = [
            self._units(context.baselines[name], explanation.inputs, f"relevance of {name}") for name in self.baselines
        ]
        alike = self._alike(ours, theirs)
        for kind in self.kinds:
            self.keep(**{kind: torch.stack([compared(KINDS[kind]) for compared in alike], 1)})
        self.keep(zeros=(ours == 0).to(ours.dtype).mean(1))

    def compute(self) -> Scores:
        """The values of all samples seen since the last reset."""
        columns = {kind: self.kept(kind).unbind(1) for kind in self.kinds}
        values = {self._key(name, kind): columns[kind][i] for i, name in enumerate(self.baselines) for kind in columns}
        return Scores({**values, self._zeros: self.kept("zeros")}, self.measures)

    def _units(self, relevance: Tensor, inputs: Tensor, name: str) -> Tensor:
        check_relevance(relevance, inputs, name)
        values = self.patches(inputs, relevance).scores if self.patches else per_pixel(relevance).flatten(1)
        return values.abs() if self.absolute else values

    def _alike(self, ours: Tensor, theirs: Sequence[Tensor]) -> list[Callable[[Kind], Tensor]]:
        """For each of the others, a kind -> (batch,)."""
        if not self.mask_zeros:
            return [lambda kind, b=b: kind.compare(ours, b, self._k(b.shape[1])) for b in theirs]  # type: ignore[misc]
        left = [(ours != 0) | (b != 0) for b in theirs]
        counts = read(*(each.sum(1) for each in left))
        return [partial(self._apart, ours, *each) for each in zip(theirs, left, counts, strict=True)]

    def _apart(self, a: Tensor, b: Tensor, left: Tensor, counts: Tensor, kind: Kind) -> Tensor:
        """Of the units that are left; samples with as many of them are compared together. counts: on the CPU."""
        first, values = (~left).byte().argsort(dim=1, stable=True), a.new_full((len(a),), float("nan"))
        for count in torch.unique(counts[counts > 0]).tolist():
            rows = sent((counts == count).nonzero()[:, 0], a)
            kept = [m[rows].gather(1, first[rows, :count]) for m in (a, b)]
            values[rows] = kind.compare(kept[0], kept[1], self._k(count))
        return values

    def _k(self, units: int) -> int:
        return max(1, round(self.top_share * units))

    def _name(self, baselines: Mapping[str, Tensor]) -> None:
        first = self.update_count == 1
        if not first and not set(baselines) <= set(self.baselines):
            raise BenchError(
                f"Expected no baselines but {self.baselines}, of the first batch, got {list(baselines)}: pass the same"
            )
        if not baselines:
            raise NotApplicable(
                "Expected other methods to agree with, got none that explain this model: choose baselines=captum or "
                "gradient, or leave out the metric agreement."
            )
        names = list(baselines) if first else [name for name in self.baselines if name in baselines]
        if names != self.baselines and not first:
            self._leave_only([self.baselines.index(name) for name in names])
        self.baselines = names
        self.measures = self._measures()

    def _leave_only(self, columns: list[int]) -> None:
        for kind in self.kinds:
            setattr(self, kind, [batch[:, columns] for batch in getattr(self, kind)])

    @property
    def _level(self) -> str:
        return f"_patch{self.patches.size}" if self.patches else ""

    @property
    def _zeros(self) -> str:
        return f"agreement/zeros{self._level}"

    def _key(self, baseline: str, kind: str) -> str:
        return f"agreement/{baseline}/{kind}{self._level}{'_absolute' * self.absolute}{'_nonzero' * self.mask_zeros}"

    def _measures(self) -> Mapping[str, Measure]:
        patches = f"patches of {self.patches.size}" if self.patches else ""
        told = [word for word in (patches, "absolute" * self.absolute, "nonzero" * self.mask_zeros) if word]
        ending = f" ({', '.join(told)})" if told else ""
        zeros = Measure(f"Zero {patches or 'pixels'}", "agreement", None, lower=0.0, upper=1.0, headline=False)
        return {self._zeros: zeros} | {
            self._key(name, kind): Measure(
                f"{KINDS[kind].title} with {name.replace('_', ' ')}{ending}",
                "agreement",
                higher_is_better=True,
                lower=KINDS[kind].lower,
                upper=1.0,
                headline=kind == self.kinds[0],
            )
            for name in self.baselines
            for kind in self.kinds
        }


def _check_kinds(kinds: Sequence[str]) -> None:
    if isinstance(kinds, str) or not kinds or len(set(kinds)) < len(kinds):
        raise BenchError(f"Expected kinds to list different measures, got {kinds!r}: choose of {', '.join(KINDS)}")
    for kind in kinds:
        check_choice("kinds", kind, KINDS)
