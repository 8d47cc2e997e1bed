"""What the model itself gives for a few samples: every program is held against that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from lrp_bench.contracts import BenchError
from lrp_bench.engine.capture.arguments import Arguments, call
from lrp_bench.engine.capture.capture import evaluating
from lrp_bench.engine.capture.outputs import named_leaves
from lrp_bench.engine.capture.pt2 import batch_size, on_device, run
from lrp_bench.engine.capture.restoring import Written, as_it_was

Inputs = tuple[Tensor, ...]
Model = nn.Module | ExportedProgram
MIDDLE = 1  # where the first of the samples stands once the others are around it


class Probe:
    """Two samples, one of them among others, and the model's own outputs for it.

    few: what the model is given, and seen: its outputs; among: (x1, x0, x1), or of a program for one batch size, and
    where the batch must stay `whole`, the batch turned by one; expected: the outputs for that, if it has the same for
    each sample in any company.
    """

    def __init__(
        self, model: Model, given: Arguments, seen: Sequence[Tensor] | None = None, *, whole: bool = False
    ) -> None:
        self.model, self.given = model, few(model, given, whole=whole)
        self.few = self.given.tensors
        fixed = batch_size(model) if isinstance(model, ExportedProgram) else len(self.few[0]) if whole else None
        self.order = rows(len(self.few[0]), fixed)
        self.among = tuple(in_order(x, self.order) for x in self.few)
        self.seen = self.run() if seen is None else self.tables(seen)
        self.expected = [in_order(x, self.order) for x in self.seen]

    def run(self) -> list[Tensor]:
        """The model's outputs for `few`. Raises BenchError where it cannot run."""
        try:
            with restored(self.model, Written()):
                return self.tables(own_outputs(self.model, self.given))
        except Exception as error:
            raise BenchError(
                f"Expected a model that runs on two samples of the example, got {type(error).__name__}: "
                f"{str(error)[:300]}: mend the model, or pass inputs that it takes."
            ) from error

    def tables(self, outputs: Sequence[Tensor]) -> list[Tensor]:
        """Those with a row for each sample."""
        return [x for x in outputs if x.dim() and len(x) == len(self.few[0])]


@contextmanager
def settled(model: Model, given: Arguments, written: Written) -> Iterator[Probe | None]:
    """A probe, and within the model as it is behind its first call, which may make what later ones find.

    None where the model cannot run, which its capture tells better. written: learns what forward writes each time.
    """
    with restored(model, Written()) as names:
        probe = None
        with suppress(Exception):
            seen = own_outputs(model, few(model, given))
            if names():  # once, or each time?
                with restored(model, written):
                    seen = own_outputs(model, few(model, given))
            probe = Probe(model, given, seen)
        yield probe


def restored(model: Model, written: Written) -> AbstractContextManager[Callable[[], Written]]:
    """As it was afterwards; a program never changes."""
    return as_it_was(model, written) if isinstance(model, nn.Module) else nullcontext(Written)


def in_order(x: Tensor, order: Sequence[int]) -> Tensor:
    """The samples in another order, without a wait for the device."""
    return torch.stack([x[place] for place in order])


def few(model: Model, given: Arguments, *, whole: bool = False) -> Arguments:
    """The samples to ask the model about: of a program, all that are given, since it may take no other number."""
    return given if whole or isinstance(model, ExportedProgram) else replace(given, tensors=two(given.tensors))


def own_outputs(model: Model, given: Arguments) -> list[Tensor]:
    """Every tensor that the model returns."""
    inputs = tuple(x.clone() for x in given.tensors)  # which forward may change in place
    with torch.no_grad():
        if isinstance(model, nn.Module):
            with evaluating(model):
                outputs = call(model, inputs, given.names)
        else:
            outputs = run(on_device(model, inputs[0].device), inputs)
    return [x for _, x in named_leaves(outputs) if isinstance(x, Tensor)]


def two(inputs: Inputs) -> Inputs:
    """The first two samples; of a single one, the second is the first with its numbers moved about."""
    if len(inputs[0]) > 1:
        return tuple(x[:2].clone() for x in inputs)
    return tuple(torch.cat([x, turned(x) if x.is_floating_point() else x]) for x in inputs)


def turned(x: Tensor) -> Tensor:
    """Each sample's numbers, one place further."""
    return x.flatten(1).roll(1, 1).view_as(x)


def rows(count: int, fixed: int | None) -> list[int]:
    """Which samples stand where, so that the first is in the middle of others; fixed: the only batch size there is."""
    return [1 % count, 0, 1 % count] if fixed is None else [(i - 1) % count for i in range(count)]
