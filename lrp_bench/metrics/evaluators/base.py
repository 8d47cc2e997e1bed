"""What all evaluators share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Protocol

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lrp_bench.contracts import BenchError, Explainer, Explanation, Measure, NotApplicable, Scores
from lrp_bench.metrics.checks import check_relevance
from lrp_bench.transfers import together

Model = Callable[[Tensor], Tensor]


class Retrain(Protocol):
    """Gives the explained model trained once more, frozen and in eval mode; the same to all who ask for the same."""

    def __call__(self, *, twin: int = 0, keep: Tensor | None = None) -> nn.Module:
        """Train it again, or load it.

        twin: 0 for the seed of the explained model, each other number for another. keep: bool, (features,) or (height,
        width), the positions that this model sees; the others hold the data set's mean. Raises NotApplicable for a
        model that is not trained here.
        """
        ...


@dataclass(frozen=True)
class Context:
    """What an evaluator may use beside the explanation of a batch.

    model: inputs -> logits, in eval mode; an nn.Module where an evaluator changes its weights. baselines: name ->
    relevance by another method. method: the explainer that is measured, for other inputs and other classes. explainer:
    makes the same method for another model of the same architecture. label: (batch,) the true classes. mask: (batch,
    *positions) bool, where the evidence lies; None where that is not known. background: (n, ...) training inputs, as
    the model takes them; background_label: (n,), their classes or values. retrain: trains the model once more.
    """

    model: Model
    baselines: Mapping[str, Tensor] = field(default_factory=dict)
    method: Explainer | None = None
    explainer: Callable[[nn.Module], Explainer] | None = None
    label: Tensor | None = None
    mask: Tensor | None = None
    background: Tensor | None = None
    background_label: Tensor | None = None
    retrain: Retrain | None = None


class Evaluator(Metric):
    """A torchmetrics.Metric whose states are lists of per-sample tensors, and whose compute returns contracts.Scores.

    What an update finds wrong with the values of a batch is raised at its end, so that a device is waited for once; of
    a batch that is refused nothing is kept.

    measures: value name -> what it means; of Agreement and Conservation, once the first batch has shown
    the baselines and the layers. compares: whether it looks at the context's baselines, which are explained for nobody
    else.
    """

    is_differentiable = False
    full_state_update = False
    compares = False
    measures: Mapping[str, Measure]

    def __init__(self, *states: str) -> None:
        super().__init__()
        for state in states:
            self.add_state(state, default=[], dist_reduce_fx="cat")

    @abstractmethod
    def update(self, explanation: Explanation, context: Context) -> None:
        """Add one batch.

        Raises BenchError if the relevance cannot be used, and NotApplicable if these data have no such values.
        """

    @abstractmethod
    def compute(self) -> Scores:
        """The values of all samples seen since the last reset."""

    def keep(self, **values: Tensor) -> None:
        """Append a batch to the states of these names."""
        for state, batch in values.items():
            getattr(self, state).append(batch)

    def kept(self, state: str) -> Tensor:
        """All batches of a state as one tensor (samples, ...)."""
        return dim_zero_cat(getattr(self, state))

    def _wrap_update(self, update: Callable[..., None]) -> Callable[..., None]:
        add = super()._wrap_update(update)

        @wraps(add)
        def added(explanation: Explanation, context: Context) -> None:
            batches = {state: len(getattr(self, state)) for state in self._defaults}
            try:
                with together():
                    add(explanation, context)
            except BaseException:
                for state, count in batches.items():
                    del getattr(self, state)[count:]
                raise

        return added

    def _wrap_compute(self, compute: Callable[[], Scores]) -> Callable[[], Scores]:
        # torchmetrics squeezes the values of a single sample to scalars and refuses frozen records: seal them
        gather = super()._wrap_compute(lambda: _Sealed(compute()))

        def computed() -> Scores:
            if not self.update_called:
                raise BenchError(f"Expected {type(self).__name__} to have seen a batch, got none: call update first")
            sealed: _Sealed = gather()
            return sealed.scores

        return computed


def relevance_by(method: Explainer, inputs: Tensor, target: Tensor) -> Tensor:
    """The relevance of the inputs by a method, which may want gradients: torchmetrics updates without."""
    with torch.enable_grad():
        return method.explain(inputs, target).relevance.detach()


def per_pixel(relevance: Tensor) -> Tensor:
    """(batch, channels, height, width, ...) summed over channels; (batch, features) as it is.

    Raises NotApplicable for three axes: of (batch, channels, length) the second would be summed, of (batch, tokens,
    embedding) the third, and no value tells which it is.
    """
    if relevance.dim() == 3:
        raise NotApplicable(
            f"Expected inputs of 2, 4 or more axes, got {tuple(relevance.shape)}: write the model for (batch, "
            "channels, 1, length), or for tokens (batch, embedding, 1, tokens); flipping with a unit takes three"
        )
    return relevance.sum(1) if relevance.dim() > 2 else relevance


def pixels(relevance: Tensor, inputs: Tensor, name: str = "relevance") -> Tensor:
    """Relevance summed over channels, as in `per_pixel`: (batch, positions).

    Raises BenchError unless it is finite and has the inputs' shape, NotApplicable for three axes.
    """
    check_relevance(relevance, inputs, name)
    return per_pixel(relevance).flatten(1)


class _Sealed:
    def __init__(self, scores: Scores) -> None:
        self.scores = scores
