"""Does the relevance add up to the explained score, and where did the rest go?"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError, Explanation, Measure, Scores
from lrp_bench.metrics.checks import check_number, check_relevance
from lrp_bench.metrics.evaluators.base import Context, Evaluator
from lrp_bench.metrics.functional import conservation_delta, conservation_error

PARTS = ("arrived", "passed", "bias", "stabilizer", "rule")
QUANTITIES = (*PARTS, "amplification")
TAKERS = PARTS[2:]


class Conservation(Evaluator):
    """How far the relevance is from adding up to the explained score f, end to end and layer by layer.

    Values: conservation/error, |sum R - f| / (|f| + tau); conservation/delta, f - sum R; conservation/amplification,
    sum |R| / (|f| + tau). Of a method with a ledger also conservation/bias, /stabilizer and /rule, what these took in
    all layers together over |f| + tau, signed: they add up to delta / (|f| + tau); and conservation/residue, the share
    of a layer's ledger that rounding leaves unexplained, |arrived - passed - bias - stabilizer - rule| over the sum of
    their magnitudes, in the layer where it is largest. Layers: the ledger's entries, and sum |R_in| / sum |R_out| as
    `amplification` (NaN where nothing arrived).

    With a reference input x0 also conservation/completeness, |sum R - (f(x) - f(x0))| / (|f(x) - f(x0)| + tau).

    Errors explode where f is near 0: look at the median and the quartiles.

    Args:
        tau: keeps the quotients finite at f = 0.
        ledger: whether to look into the layers, which costs a second pass; else, and for methods without a ledger (all
            but LRP), the values are those from end to end.
        reference: every value of x0, in the units the model takes; None: no such input.
    """

    higher_is_better = False

    def __init__(self, tau: float = 1e-9, *, ledger: bool = True, reference: float | None = None) -> None:
        check_number("tau", tau, above=0)
        if not isinstance(ledger, bool):
            raise BenchError(f"Expected ledger to be true or false, got {ledger!r}: change ledger")
        if reference is not None:
            check_number("reference", reference)
        super().__init__("error", "delta", "amplification", "completeness", "scale", "ledger")
        self.tau, self.with_ledger, self.reference = tau, ledger, reference
        self.layers: list[str] = []

    @property
    def measures(self) -> Mapping[str, Measure]:  # type: ignore[override]
        """Of the values that the method seen has."""
        complete = {} if self.reference is None else _COMPLETENESS
        return {**_END_TO_END, **complete, **(_BY_LEDGER if self.layers else {})}

    def update(self, explanation: Explanation, context: Context) -> None:
        """Add one batch; of all batches the ledger has the same layers."""
        R, f = explanation.relevance, explanation.score
        check_relevance(R, explanation.inputs)
        scale = f.abs() + self.tau
        amplification = R.flatten(1).abs().sum(1) / scale
        self.keep(error=conservation_error(R, f, self.tau), delta=conservation_delta(R, f))
        self.keep(amplification=amplification, scale=scale)
        if self.reference is not None:
            gained = f - self._score(context, explanation, self.reference)
            self.keep(completeness=conservation_error(R, gained, self.tau))
        self._name(list(explanation.ledger) if self.with_ledger else [])
        if self.layers:
            self.keep(ledger=torch.stack([_row(explanation, layer) for layer in self.layers], 1))

    def compute(self) -> Scores:
        """The values of all samples seen since the last reset, and each layer's."""
        whole = (*_END_TO_END, *(() if self.reference is None else _COMPLETENESS))
        values = {name: self.kept(name.removeprefix("conservation/")) for name in whole}
        if not self.layers:
            return Scores(values, self.measures)
        ledger = self.kept("ledger")  # (samples, layers, quantities)
        taken = ledger[:, :, 2 : len(PARTS)].sum(1) / self.kept("scale").unsqueeze(1)
        values |= {f"conservation/{name}": part for name, part in zip(TAKERS, taken.unbind(1), strict=True)}
        values["conservation/residue"] = _residue(ledger[:, :, : len(PARTS)]).amax(1)
        by_layer = zip(self.layers, ledger.unbind(1), strict=True)
        layers = {layer: dict(zip(QUANTITIES, entry.unbind(1), strict=True)) for layer, entry in by_layer}
        return Scores(values, self.measures, layers=layers)

    @torch.no_grad()
    def _score(self, context: Context, explanation: Explanation, value: float) -> Tensor:
        """The explained output for an input of nothing but this value, (batch,)."""
        x, target = explanation.inputs, explanation.target
        logits = context.model(torch.full_like(x[:1], value))[0]
        return logits[target] if target.dim() == 1 else target @ logits

    def _name(self, layers: list[str]) -> None:
        if self.update_count > 1 and layers != self.layers:
            raise BenchError(
                f"Expected the ledger of the first batch, of {self.layers}, got {layers}: evaluate each size by itself"
            )
        self.layers = layers


def _row(explanation: Explanation, layer: str) -> Tensor:
    """One layer's quantities, (batch, quantities)."""
    entry = explanation.ledger[layer]
    return torch.stack([*(getattr(entry, part) for part in PARTS), explanation.amplification[layer]], 1)


def _residue(entries: Tensor) -> Tensor:
    """(..., parts) -> (...); 0 where nothing arrived and nothing went."""
    arrived, rest = entries[..., 0], entries[..., 1:]
    size = entries.abs().sum(-1).clamp_min(torch.finfo(entries.dtype).tiny)
    return (arrived - rest.sum(-1)).abs() / size


def _measure(title: str, *, lower: float = float("-inf"), upper: float = float("inf")) -> Measure:
    return Measure(title, "conservation", None, lower, upper, headline=False, summary="median")


_END_TO_END = MappingProxyType(
    {
        "conservation/error": Measure("Conservation error", "conservation", False, lower=0.0, summary="median"),
        "conservation/delta": _measure("Conservation delta"),
        "conservation/amplification": _measure("Amplification", lower=0.0),
    }
)
_COMPLETENESS = MappingProxyType(
    {"conservation/completeness": Measure("Completeness error", "conservation", False, lower=0.0, summary="median")}
)
_BY_LEDGER = MappingProxyType(
    {
        "conservation/bias": _measure("Taken by biases"),
        "conservation/stabilizer": _measure("Taken by the stabiliser"),
        "conservation/rule": _measure("Taken by the rule"),
        "conservation/residue": _measure("Ledger residue", lower=0.0, upper=1.0),
    }
)
