"""What the explainers beside LRP share: a private copy of the model, the explained score, and the Explanation."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn

from lrp_bench.contracts import BenchError, Explanation
from lrp_bench.transfers import refuse_where, together

_PROBES = 4  # of the user's samples


def isolated(model: nn.Module) -> nn.Module:
    """A copy of the model in eval mode, with modules and hooks of its own; the weights are shared, not duplicated."""
    weights = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    return copy.deepcopy(model, weights).eval()


def scored(model: nn.Module, inputs: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (batch, classes), the explained class of each sample (batch,), and its logit (batch,).

    Raises:
        BenchError: if the model gives no (batch, classes), or the target is no class of it per sample.
    """
    with torch.no_grad():
        logits: Tensor = model(inputs)
    if logits.ndim != 2 or len(logits) != len(inputs):
        raise BenchError(
            f"Expected a model that gives ({len(inputs)}, classes), got shape {tuple(logits.shape)}: wrap the model so "
            "that it returns one row of scores per sample."
        )
    chosen = logits.argmax(1) if target is None else _checked(target, logits)
    return logits, chosen, logits.gather(1, chosen[:, None])[:, 0]


def _checked(target: Tensor, logits: Tensor) -> Tensor:
    batch, classes = logits.shape
    if target.shape != (batch,) or target.dtype != torch.int64:
        raise BenchError(
            f"Expected target of shape ({batch},) and type int64, got {tuple(target.shape)} and {target.dtype}: "
            "give one class index per sample, or None for the predicted class."
        )
    refuse_where(
        (target < 0) | (target >= classes),
        lambda: BenchError(f"Expected target classes from 0 to {classes - 1}, got {sorted(set(target.tolist()))}."),
    )
    return target.clamp(0, classes - 1).to(logits.device)  # until it is refused it must break nothing


class IsolatedExplainer(ABC):
    """An explainer of which subclasses only say what the relevance of a batch is.

    All work is done on an isolated copy, so the user's model is never touched, and works inside inference_mode too.

    Args:
        model: any module that gives (batch, classes).
        example: (batch, ...), a few inputs on which the model, and the method, are tried before anything long runs.
    """

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        self._model = isolated(model)
        scored(self._model, example, None)

    def explain(self, inputs: Tensor, target: Tensor | None = None) -> Explanation:
        """Explain a batch; target None means each sample's predicted class, otherwise (batch,) int64."""
        with torch.inference_mode(False), torch.enable_grad(), together():
            samples = inputs.detach().clone()
            logits, chosen, score = scored(self._model, samples, None if target is None else target.clone())
            relevance = self._relevance(samples, chosen)
        return Explanation(inputs, logits, chosen, score, relevance.detach())

    @abstractmethod
    def _relevance(self, inputs: Tensor, target: Tensor) -> Tensor: ...


class LibraryExplainer(IsolatedExplainer):
    """A method of another library: subclasses say how it is called, and which identity holds where it is right.

    Raises:
        BenchError: if the inputs have no gradient (token ids), or the method cannot explain this model.
    """

    library = "Captum"
    _needs = "a gradient with respect to the input"

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        super().__init__(model, example)
        if not example.is_floating_point():
            raise BenchError(
                f"Expected floating-point inputs, got {example.dtype}: {self._name} needs {self._needs}; leave "
                "it out for this data set."
            )
        with torch.inference_mode(False), torch.enable_grad():
            few = example[:_PROBES].detach().clone()
            self._net = self._prepared(few)
            self._verify(_with_noise(few))

    def _prepared(self, example: Tensor) -> nn.Module:
        """The model in the form the method needs: as it is, unless a method hooks modules."""
        return self._model

    def _verify(self, probe: Tensor) -> None:
        """Raise BenchError where the method cannot work: without a gradient, or if an identity fails on the probe."""
        with self._refusals():
            torch.autograd.grad(self._net(probe.requires_grad_()).sum(), probe)

    @property
    def _name(self) -> str:
        return f"{self.library}'s {type(self).__name__}"

    def _predicted(self, inputs: Tensor) -> Tensor:
        return scored(self._model, inputs, None)[1]

    def _relevance(self, inputs: Tensor, target: Tensor) -> Tensor:
        with self._refusals():
            return self._attribute(inputs.requires_grad_(), target)

    @abstractmethod
    def _attribute(self, inputs: Tensor, target: Tensor) -> Tensor: ...

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever a library raises inside somebody's model
            raise self._refusal(f"{type(error).__name__}: {error}") from error

    def _refusal(self, reason: str) -> BenchError:
        return BenchError(
            f"{self._name} cannot explain this model: {reason} "
            "Leave this method out, or write the model with one torch.nn module per operation."
        )


def _with_noise(samples: Tensor) -> Tensor:
    """The samples, and as many of seeded noise: on an all-zero example every identity holds."""
    noise = torch.randn(samples.shape, generator=torch.Generator().manual_seed(0))
    return torch.cat([samples, noise.to(samples)])


def worst(gap: Tensor, scale: Tensor) -> float:
    """The largest gap in units of its scale; 0 where both are 0, NaN if anything is."""
    return float((gap / scale.clamp_min(torch.finfo(scale.dtype).tiny)).max())
