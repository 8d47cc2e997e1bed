"""The relevance itself, as columns of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lrp_bench.contracts import BenchError, Explanation, Measure, NotApplicable, Scores
from lrp_bench.metrics.checks import check_relevance, check_whole
from lrp_bench.metrics.evaluators.base import Context, Evaluator

HEADLINES = 10  # more columns than this do not fit a table


class Relevance(Evaluator):
    """The relevance of every feature, for inputs of few features.

    Values: relevance/<feature>, relevance/sum; where the explainer keeps a ledger relevance/to_bias,
    relevance/to_stabilizer and relevance/to_rule, what these took on the whole way, so that sum, to_bias, to_stabilizer
    and to_rule add up to the explained score. With layers, at the input of every module: relevance/<module>/sum and
    relevance/<module>/lost (the score less the sum), and where it has few units relevance/<module>/<unit> and
    activation/<module>/<unit>.

    Args:
        names: of the features, in their order; None: their positions.
        layers: whether to tell of layers.
        most: features, or units of a layer.
    """

    higher_is_better = None
    values: list[Tensor]

    def __init__(self, names: Sequence[str] | Mapping[str, str] | None = None, layers: bool = False, most: int = 64):
        check_whole("most", most)
        super().__init__("values")
        self.names = None if names is None else [str(name) for name in names]
        self.layers, self.most = layers, most
        self.measures: Mapping[str, Measure] = {}

    def update(self, explanation: Explanation, context: Context) -> None:
        """Add one batch."""
        R = explanation.relevance
        check_relevance(R, explanation.inputs)
        if R[0].numel() > self.most:
            raise NotApplicable(
                f"Expected at most {self.most} features, got {R[0].numel()}: raise metric.relevance.most"
            )
        columns = {**self._features(R.flatten(1)), **_taken(explanation)}
        if self.layers:
            columns |= self._layers(explanation, context)
        if self.measures and set(columns) != set(self.measures):
            raise BenchError(f"Expected the columns of the first batch, got others: {sorted(columns)}: report it")
        self.measures = self.measures or {name: self._measure(name) for name in columns}
        self.keep(values=torch.stack([columns[name] for name in self.measures], 1))

    def compute(self) -> Scores:
        """The values of all samples seen since the last reset."""
        return Scores(dict(zip(self.measures, self.kept("values").unbind(1), strict=True)), self.measures)

    def _features(self, R: Tensor) -> dict[str, Tensor]:
        names = self.names or [str(place) for place in range(R.shape[1])]
        if len(names) != R.shape[1]:
            raise BenchError(f"Expected names of {R.shape[1]} features, got {names}: set metric.relevance.names")
        columns = {f"relevance/{name}": values for name, values in zip(names, R.unbind(1), strict=True)}
        return {**columns, "relevance/sum": R.sum(1)}

    def _layers(self, explanation: Explanation, context: Context) -> dict[str, Tensor]:
        activations = _inputs_of(context.model, explanation.inputs)
        columns: dict[str, Tensor] = {}
        for module, R in explanation.layers.items():
            total = R.flatten(1).sum(1)
            columns |= {f"relevance/{module}/sum": total, f"relevance/{module}/lost": explanation.score - total}
            columns |= self._units(f"relevance/{module}", R)
            if module in activations:
                columns |= self._units(f"activation/{module}", activations[module])
        return columns

    def _units(self, prefix: str, values: Tensor) -> dict[str, Tensor]:
        if values[0].numel() > self.most:
            return {}
        return {f"{prefix}/{unit}": column for unit, column in enumerate(values.flatten(1).unbind(1))}

    def _measure(self, name: str) -> Measure:
        family, _, rest = name.partition("/")
        features = len(self.names or ()) or self.most
        headline = rest == "sum" or (family == "relevance" and rest in (self.names or ()) and features <= HEADLINES)
        return Measure(f"{family.capitalize()} {rest}", family, None, headline=headline)


def _taken(explanation: Explanation) -> dict[str, Tensor]:
    """What biases, stabilisers and rules took on the whole way."""
    entries = list(explanation.ledger.values())
    if not entries:
        return {}
    parts = ("bias", "stabilizer", "rule")
    return {f"relevance/to_{part}": torch.stack([getattr(entry, part) for entry in entries]).sum(0) for part in parts}


def _inputs_of(model: object, inputs: Tensor) -> dict[str, Tensor]:
    """The input of every module that takes one tensor."""
    if not isinstance(model, nn.Module):
        return {}
    found: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_pre_hook(lambda _, args, name=name: found.update({name: args[0].detach()}))
        for name, module in model.named_modules()
        if name
    ]
    try:
        with torch.no_grad():
            model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found
