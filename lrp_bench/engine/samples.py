"""Samples that do not depend on each other: held once for every capture, and told where they do.

An explanation of one sample is wrong where another sample moves its logits: one sample is set between others, these are
changed, and its logits must stay; and none of its relevance may reach them, which a kernel's rounding cannot hide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain

import torch
from torch import Tensor, fx

from lrp_bench.contracts import BenchError, LedgerEntry
from lrp_bench.engine.capture.capture import Program
from lrp_bench.engine.capture.fold import fold
from lrp_bench.engine.capture.graph import is_getitem, module_names, operator_name
from lrp_bench.engine.probe import MIDDLE, Inputs, turned
from lrp_bench.engine.rules.batch_axes import Layout
from lrp_bench.engine.rules.batch_runs import layouts

Explain = Callable[[Inputs], tuple[Tensor, Callable[[], Sequence[Tensor]]]]
"""The logits of a batch, and what computes the relevance of its middle sample's."""


def companies(inputs: Inputs, program: fx.Graph) -> list[Inputs]:
    """The middle sample among others than these: larger ones before it, smaller ones behind.

    To be tried in turn, from far off to what the others are, since a model may not take all of them. An index off the
    end of a table is an error, but on a GPU it is the last one that the process sees.
    """
    far = tuple(_far(x) if x.is_floating_point() else x for x in inputs)
    others = [tuple(x if x.is_floating_point() else each(x) for x in far) for each in (_next, _turned_round)]
    near = tuple(_kept(x, turned(x)) if x.is_floating_point() else x for x in inputs)
    careful = inputs[0].is_cuda and any(map(_looks_up, program.nodes))
    return [near, inputs] if careful else [*others, far, near, inputs]


def _looks_up(node: fx.Node) -> bool:
    return operator_name(node) in LOOKS_UP and any(source.op != "get_attr" for source in node.all_input_nodes[1:])


def _far(x: Tensor) -> Tensor:
    changed = 3 * x + 1
    changed[MIDDLE + 1 :] = -2 * x[MIDDLE + 1 :] - 1
    return _kept(x, changed)


def _next(x: Tensor) -> Tensor:
    """The next token ids, and masks turned round."""
    return _kept(x, ~x if x.dtype is torch.bool else x + 1)


def _turned_round(x: Tensor) -> Tensor:
    """The next of the ids that are there, as if the largest were followed by zero."""
    return _kept(x, ~x if x.dtype is torch.bool else (x + 1) % max(2, int(x.max()) + 1))


def _kept(x: Tensor, changed: Tensor) -> Tensor:
    changed[MIDDLE] = x[MIDDLE]
    return changed


def check_samples(
    inputs: Inputs, logits: Tensor, program: fx.Graph, explain: Explain, where: Callable[[], str]
) -> None:
    """Raise BenchError where the other samples move the middle one's logits, or receive of its relevance.

    logits: of these inputs; program: what computes them; where: what mixes them, in words.
    """
    if len(inputs[0]) <= MIDDLE:
        return
    there, relevance = _first_taken(companies(inputs, program), explain)
    off = (there[MIDDLE] - logits[MIDDLE]).abs().max() / logits[MIDDLE].abs().max().clamp(min=1e-30)
    if float(off) > TOLERANCE.get(logits.dtype, 1e-2) or any(map(_spills, relevance())):
        raise mixed(where())


def _first_taken(given: Sequence[Inputs], explain: Explain) -> tuple[Tensor, Callable[[], Sequence[Tensor]]]:
    for changed in given[:-1]:
        with suppress(BenchError, RuntimeError, IndexError):  # ids or numbers that the model does not take
            logits, relevance = explain(changed)
            if bool(logits.isfinite().all()):
                return logits, relevance
    return explain(given[-1])


def _spills(relevance: Tensor) -> bool:
    beside = torch.cat([relevance[:MIDDLE], relevance[MIDDLE + 1 :]])
    return bool(((beside != 0) & beside.isfinite()).any())


def check_books(ledger: Mapping[str, LedgerEntry], batch: int) -> None:
    """Raise BenchError where the first sample's relevance is booked on others: no symbol says where the batch lies.

    ledger: of the first sample alone.
    """
    for name, entry in ledger.items():
        if len(entry.arrived) != batch or bool((entry.arrived[1:] != 0).any()):
            raise BenchError(
                f"Expected a program that shows where its samples lie, got one for batches of {batch} alone, in which "
                f"no one can tell whose the entries of {name} are: read the relevance, but neither layers nor ledger; "
                "or export it with dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)."
            )


def mixed(where: str) -> BenchError:
    """What to say of a model whose samples depend on each other."""
    return BenchError(
        f"Expected samples that do not depend on each other, got {where}: another sample in the batch changes the "
        "logits of this one. Keep the batch the first dimension all the way (batch_first=True for attention and "
        "recurrent layers), let softmax, sums, norms and maxima go along other dimensions, and normalise with stored "
        "statistics."
    )


def place_of_mixing(program: Program, inputs: Inputs) -> str:
    """The first operator whose result for the middle sample is another though only other samples changed."""
    fold(program)
    known = layouts(program.graph)
    for changed in companies(inputs, program.graph):
        with suppress(RuntimeError, IndexError):
            for (node, one), (_, other) in zip(_values(program, inputs), _values(program, changed), strict=True):
                if node.op == "call_function" and not _equal(known[node], one, other, len(inputs[0])):
                    node = node.all_input_nodes[0] if is_getitem(node) else node
                    inner = (module_names(node) or ["the model itself"])[-1]
                    return f"{operator_name(node)} in {inner}, which mixes them"
    return "operators that mix them"


def _values(program: Program, inputs: Inputs) -> Iterator[tuple[fx.Node, object]]:
    given, values = iter(inputs), dict[fx.Node, object]()
    for node in program.graph.nodes:
        if node.op == "call_function":
            args, kwargs = fx.map_arg((node.args, node.kwargs), values.__getitem__)  # type: ignore[arg-type]
            values[node] = node.target(*args, **kwargs)
        elif node.op != "output":
            values[node] = next(given) if node.op == "placeholder" else program.constant(node)
        yield node, values.get(node)


def _equal(layout: Layout, one: object, other: object, batch: int) -> bool:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):  # of several outputs, each is looked at later
        return True
    fits = layout.runs and one.dim() > layout.axis and one.shape[layout.axis] == batch * layout.count
    parts = chain.from_iterable((layout.parts(x) if fits else [x[None, None]]) for x in (one, other))
    halves = [part[:, MIDDLE % part.shape[1]] for part in parts]
    middle = len(halves) // 2
    return all(a.equal(b) for a, b in zip(halves[:middle], halves[middle:], strict=True))


LOOKS_UP = {f"aten::{name}" for name in ("embedding", "index", "index_select", "gather", "take_along_dim")}
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-4}  # what rounding may do to logits of the same batch size
