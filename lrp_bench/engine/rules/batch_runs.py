"""How the operators of a graph move the samples of a batch about: each value's layout, from those before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from math import prod
from typing import Any

import torch
from torch import Tensor, fx

from lrp_bench.engine.capture.graph import is_getitem, module_names, operator_name
from lrp_bench.engine.rules.batch_axes import Layout, Run


def layouts(graph: fx.Graph) -> dict[fx.Node, Layout]:
    """The layout of every node's value, told by the symbol of the batch size in its shape; else the plain one."""
    sizes, found = _Sizes(graph), dict[fx.Node, Layout]()
    for node in graph.nodes:
        axis = next((i for i, size in enumerate(_shape(node)) if sizes.of_batch(size)), None)
        if axis is not None:
            found[node] = _Place(node, axis, sizes, found).layout()
        elif sizes.batch == 1 and _shape(node):  # a program for one sample, to which all belongs
            found[node] = Layout(0, ((1, _shape(node)[0]),))
        else:
            found[node] = Layout()
    return found


class _Sizes:
    """What the symbols in shapes say of the batch: several inputs may have one each, which are equal all the same.

    batch: its size where the program has only one.
    """

    def __init__(self, graph: fx.Graph) -> None:
        first = [_shape(node)[0] for node in graph.nodes if node.op == "placeholder" and _shape(node)]
        self.batch = next(iter(first), 0)
        self.symbols = {size.node.expr for size in first if _symbolic(size)}
        self.known: dict[tuple[object, int], int] = {}

    def of_batch(self, size: object) -> bool:
        return _symbolic(size) and not self.symbols.isdisjoint(size.node.expr.free_symbols)  # type: ignore[attr-defined]

    def times(self, size: object) -> Fraction | None:
        """How many batches a number is; None where it is no multiple."""
        return _constant(Fraction(self.value(size, n), n) for n in PRIMES)

    def ratio(self, sizes: Sequence[object], others: Sequence[object]) -> Fraction | None:
        """Of two products of sizes; None where that depends on the batch, or is nothing."""
        products = [[prod(self.value(size, n) for size in each) for each in (sizes, others)] for n in PRIMES]
        return _constant(Fraction(above, below) for above, below in products) if all(map(all, products)) else None

    def value(self, size: Any, batch: int) -> int:
        """A size, were the batch of that size."""
        if isinstance(size, int):
            return size
        expression = size.node.expr
        if expression in self.symbols:
            return batch
        if (expression, batch) not in self.known:
            values = {s: batch if s in self.symbols else OTHER for s in expression.free_symbols}
            self.known[expression, batch] = int(expression.subs(values))
        return self.known[expression, batch]


def _constant(values: Iterable[Fraction]) -> Fraction | None:
    first, *others = values
    return first if all(other == first for other in others) else None


class _Place:
    """One node on the way down the graph; `found` knows those before it."""

    def __init__(self, node: fx.Node, axis: int, sizes: _Sizes, found: Mapping[fx.Node, Layout]) -> None:
        self.node, self.axis, self.sizes, self.found = node, axis, sizes, found
        self.times = sizes.times
        self.operands = [s for s in node.all_input_nodes if any(map(sizes.of_batch, _shape(s)))]

    def layout(self) -> Layout:
        if self.count == 1:
            return Layout(self.axis)
        layout = Layout(self.axis, _joined(self.runs()))
        return layout if layout.runs and layout.count == self.count else Layout(self.axis, (), self.told())

    def runs(self) -> Sequence[Run]:
        """What the operator makes of its operands' runs; none where that is not known."""
        name = operator_name(self.node).removeprefix("aten::")
        moves = "pick" if is_getitem(self.node) else name
        if self.operands and moves in MOVES:
            return MOVES[moves](self)
        known = [self.found[s].runs for s in self.operands if self.found[s].count == self.count]
        return known[0] if known and not any(self.found[s].source for s in self.operands) else ()

    @property
    def count(self) -> Fraction | None:
        return self.times(_shape(self.node)[self.axis])

    def told(self) -> str:
        """Who lost track first; a constant, made for the size of the batch, has no samples."""
        if not self.operands:
            return ""
        before = next((self.found[s].source for s in self.operands if self.found[s].source), "")
        return before or f"{operator_name(self.node)} in {(module_names(self.node) or ['the model itself'])[-1]}"

    def argument(self, place: int, name: str, default: Any) -> Any:
        """An argument of the node, of a symbol its value."""
        given = self.node.args[place] if len(self.node.args) > place else self.node.kwargs.get(name, default)
        return fx.map_arg(given, lambda n: n.meta["val"])

    @property
    def source(self) -> fx.Node:
        return self.operands[0]

    def along(self, place: int, name: str) -> bool:
        """Whether the operator works along the dimension of the samples."""
        dim = self.argument(place, name, 0)
        return isinstance(dim, int) and dim % len(_shape(self.source)) == self.found[self.source].axis


def _reinterpreted(place: _Place) -> Sequence[Run]:
    """The order of the entries stays; those before the axis are seen as more or fewer batches, those behind as rows."""
    known, before, now = place.found[place.source], _shape(place.source), _shape(place.node)
    outer = place.sizes.ratio(before[: known.axis], now[: place.axis])
    inner = place.sizes.ratio(before[known.axis + 1 :], now[place.axis + 1 :])
    if outer is None or inner is None:
        return ()
    single = len(known.runs) == 1
    scaled = [(first * outer if single else Fraction(first), second * inner) for first, second in known.runs]
    scaled *= 1 if single else int(outer)
    whole = all(first.denominator == second.denominator == 1 for first, second in scaled)
    return [(int(first), int(second)) for first, second in scaled] if whole else ()


def _concatenated(place: _Place) -> Sequence[Run]:
    parts: list[fx.Node] = list(place.node.args[0])  # type: ignore[arg-type]
    if not place.along(1, "dim"):
        return place.found[place.source].runs
    known = all(place.found[part].runs for part in parts)
    return [run for part in parts for run in place.found[part].runs] if known else ()


def _repeated(place: _Place) -> Sequence[Run]:
    given = place.argument(1, "dims", [])
    times = [1] * (len(_shape(place.node)) - len(given)) + list(given)
    return place.found[place.source].runs * times[place.axis] if isinstance(times[place.axis], int) else ()


def _interleaved(place: _Place) -> Sequence[Run]:
    known, times = place.found[place.source], place.argument(1, "repeats", 0)
    if not place.along(2, "dim"):
        return known.runs
    return [(outer, inner * times) for outer, inner in known.runs] if isinstance(times, int) else ()


def _sliced(place: _Place) -> Sequence[Run]:
    known = place.found[place.source]
    if not place.along(1, "dim"):
        return known.runs
    first, last = place.argument(2, "start", 0) or 0, place.argument(3, "end", None)
    begin, end = place.times(first), Fraction(known.count) if last is None or last == END else place.times(last)
    if begin is None or end is None or place.argument(4, "step", 1) != 1:
        return ()
    begin, end = (known.count + t if t < 0 else t for t in (begin, end))
    return _between(known.runs, begin, min(end, Fraction(known.count)))


def _picked(place: _Place) -> Sequence[Run]:
    """One of several outputs, or of several pieces along the dimension of the samples."""
    whole, number = place.source, place.argument(1, "index", 0)
    if operator_name(whole) not in SPLITS:
        return place.found[whole].runs
    known = place.found[whole.all_input_nodes[0]]
    sizes = [place.times(piece.shape[place.axis]) for piece in whole.meta["val"][: number + 1]]
    if sizes[-1] == known.count:
        return known.runs
    certain = [size for size in sizes if size is not None]
    begin, end = sum(certain[:-1], Fraction(0)), sum(certain, Fraction(0))
    return _between(known.runs, begin, end) if len(certain) == len(sizes) else ()


def _between(runs: Sequence[Run], begin: Fraction, end: Fraction) -> Sequence[Run]:
    """From one number of batches on to another; none where a run of several entries a sample would be cut."""
    found, at = [], 0
    for inner in (inner for outer, inner in runs for _ in range(outer)):
        if begin <= at and at + inner <= end:
            found.append((1, inner))
        elif begin < at + inner and at < end:
            return ()
        at += inner
    return found


def _joined(runs: Sequence[Run]) -> tuple[Run, ...]:
    """The same, equal neighbours as one."""
    found: list[Run] = []
    for outer, inner in runs:
        if found and found[-1][1] == inner:
            found[-1] = (found[-1][0] + outer, inner)
        else:
            found.append((outer, inner))
    return tuple(found)


END = 2**63 - 1
PRIMES = (1009, 1013)  # two sizes of a batch: what is the same number of batches for both is that for any
OTHER = 10007  # of whatever else has a symbol
SPLITS = {"aten::split", "aten::split_with_sizes", "aten::chunk", "aten::tensor_split"}
MOVES: Mapping[str, Callable[[_Place], Sequence[Run]]] = {
    **dict.fromkeys(("reshape", "flatten", "unflatten"), _reinterpreted),
    "cat": _concatenated,
    **dict.fromkeys(("repeat", "tile"), _repeated),
    "repeat_interleave": _interleaved,
    "slice": _sliced,
    "pick": _picked,
}


def _shape(node: fx.Node) -> tuple[Any, ...]:
    value = node.meta.get("val")
    value = value[0] if isinstance(value, tuple | list) and value else value
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _symbolic(size: object) -> bool:
    return isinstance(size, torch.SymInt) and not size.node.is_constant()
