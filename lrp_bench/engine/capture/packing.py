"""What torch.export cannot trace, and something it can in its place for the time of a capture.

Packed sequences have a shape that depends on their lengths. Here they stay padded, with the lengths beside them, and in
the order in which they came; one operator runs a recurrent network over them. nn.TransformerEncoder looks whether a
mask is causal, a hint on which no number depends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import transformer
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.overrides import TorchFunctionMode

from lrp_bench.contracts import BenchError

KINDS = ("lstm", "gru", "rnn_tanh", "rnn_relu")
OPTIONS = "bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, bool batch_first"


def check_lengths(lengths: Tensor, steps: int) -> None:
    """Raise BenchError unless each is from 1 to steps."""
    if bool(((lengths < 1) | (lengths > steps)).any()):
        raise BenchError(
            f"Expected lengths of sequences from 1 to {steps}, got {int(lengths.min())} to {int(lengths.max())}: "
            "correct them, and leave out what is empty."
        )


def _over(kind: str) -> Callable[..., tuple[Tensor, ...]]:
    operator = getattr(torch.ops.aten, kind).data

    def run(x: Tensor, lengths: Tensor, hx: list[Tensor], params: list[Tensor], *options: Any) -> tuple[Tensor, ...]:
        check_lengths(lengths, len(x))
        packed = pack_padded_sequence(x, lengths.cpu(), enforce_sorted=False)
        there, back = packed.sorted_indices, packed.unsorted_indices
        states = [state[:, there] for state in hx]
        given = states if len(states) > 1 else states[0]
        data, *last = operator(packed.data, packed.batch_sizes, given, params, *options[:-1])
        padded, _ = pad_packed_sequence(packed._replace(data=data), total_length=len(x))
        return padded, *(state[:, back] for state in last)

    return run


def _shapes(x: Tensor, lengths: Tensor, hx: list[Tensor], params: list[Tensor], *options: Any) -> tuple[Tensor, ...]:
    features = hx[0].shape[2] * (2 if options[4] else 1)
    return x.new_empty((*x.shape[:2], features)), *(torch.empty_like(state) for state in hx)


for _kind in KINDS:
    _outputs = "(Tensor, Tensor, Tensor)" if _kind == "lstm" else "(Tensor, Tensor)"
    _schema = f"(Tensor input, Tensor lengths, Tensor[] hx, Tensor[] params, {OPTIONS}) -> {_outputs}"
    torch.library.custom_op(f"lrp_bench::packed_{_kind}", _over(_kind), mutates_args=(), schema=_schema).register_fake(
        _shapes
    )


@torch.library.custom_op("lrp_bench::within", mutates_args=())
def within(lengths: Tensor, steps: int, whole: bool) -> Tensor:
    """Which of the steps belong to each sequence, (steps, batch) bool.

    whole: what comes out is cut at the longest sequence, which must then be as long as the padded batch.
    """
    check_lengths(lengths, steps)
    longest = int(lengths.max())
    if whole and longest != steps:
        raise BenchError(
            f"Expected a batch that is cut at its longest sequence, got one of {steps} steps whose longest has "
            f"{longest}: leave out the steps behind it, or give pad_packed_sequence a total_length."
        )
    return torch.arange(steps, device=lengths.device)[:, None] < lengths


@within.register_fake
def _(lengths: Tensor, steps: int, whole: bool) -> Tensor:
    return lengths.new_empty((steps, lengths.shape[0]), dtype=torch.bool)


class _Longest(int):
    """The number of steps that pad_packed_sequence takes unless it is told one."""


@contextmanager
def traceable() -> Iterator[None]:
    """Within, packed sequences stay padded, and masks are not looked at."""
    with ExitStack() as stack:
        stack.enter_context(_replaced(transformer, "_detect_is_causal_mask", _hint))
        for module in (nn.RNNBase, nn.LSTM):
            stack.enter_context(_replaced(module, "check_forward_args", _unless_packed(module.check_forward_args)))
        stack.enter_context(_Padded())
        yield


@contextmanager
def _replaced(owner: Any, name: str, value: object) -> Iterator[None]:
    usual = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, usual)


def _hint(mask: Tensor | None, is_causal: bool | None = None, size: int | None = None) -> bool:
    return is_causal is True


def _unless_packed(check: Callable[..., None]) -> Callable[..., None]:
    def checked(module: nn.RNNBase, x: Tensor, states: Any, sizes: Tensor | None) -> None:
        if sizes is None:
            check(module, x, states, sizes)

    return checked


class _Padded(TorchFunctionMode):
    """Sorting by length and back again is left out; tensors are known by what they are, so they are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[object] = []
        self.source: dict[int, Tensor] = {}  # what was sorted: as it was before
        self.sorting, self.unsorting = set[int](), set[int]()  # indices that do so
        self.plain = set[int]()  # what never was sorted, though torch believes so
        self.packs: dict[int, tuple[Tensor, Any, int]] = {}  # for batch_sizes: lengths, batch, steps

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """The function's value, or what stands for it."""
        name, first = getattr(func, "__name__", ""), id(args[0]) if args else 0
        if name == "_pack_padded_sequence":
            return self.pack(*args)
        if name == "_pad_packed_sequence" and id(args[1]) in self.packs:
            return self.pad(*args)
        if name in KINDS and id(args[1]) in self.packs:
            return self.recur(name, *args)
        if name == "__getitem__" and first in self.packs and args[1] == 0:
            return self.packs[first][1]
        if name == "size" and first in self.packs:
            return _Longest(self.packs[first][2])
        if name in ("index_select", "__getitem__") and first in self.plain and id(args[-1]) in self.unsorting:
            return args[0]
        value = func(*args, **(kwargs or {}))
        self.note(name, args, value)
        return value

    def note(self, name: str, args: tuple[Any, ...], value: Any) -> None:
        """Remember what sorts by length, and what was sorted."""
        self.kept.append(value)
        if name == "sort":
            self.source[id(value[0])] = args[0]
            self.sorting.add(id(value[1]))
            self.kept.extend(value)
        elif name in ("to", "cpu"):
            for known in (self.sorting, self.unsorting):
                if id(args[0]) in known:
                    known.add(id(value))
        elif name == "scatter_" and id(args[2]) in self.sorting:
            self.unsorting.add(id(value))
        elif name == "index_select" and id(args[2]) in self.sorting:
            self.source[id(value)] = args[0]

    def unsorted(self, x: Tensor) -> Tensor:
        return self.source.get(id(x), x)

    def pack(self, x: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
        x, lengths = self.unsorted(x), self.unsorted(lengths)
        x = x.transpose(0, 1) if batch_first else x
        sizes = torch.empty(x.shape[0], dtype=torch.int64, device="cpu")
        self.packs[id(sizes)] = lengths, x.shape[1], x.shape[0]
        self.kept.extend((sizes, lengths))
        self.plain.add(id(lengths))
        return x, sizes

    def pad(self, x: Tensor, sizes: Tensor, batch_first: bool, value: float, steps: int) -> tuple[Tensor, Tensor]:
        lengths, _, padded = self.packs[id(sizes)]
        there = torch.ops.lrp_bench.within(lengths, padded, isinstance(steps, _Longest))
        there = there.reshape(*there.shape, *[1] * (x.dim() - 2)).to(x.device)
        x = x.masked_fill(~there, value)
        if steps > padded:
            x = torch.nn.functional.pad(x, [0, 0] * (x.dim() - 1) + [0, steps - padded], value=value)
        x = x.transpose(0, 1) if batch_first else x
        return self.as_it_was(x), lengths

    def recur(self, kind: str, x: Tensor, sizes: Tensor, hx: Any, weights: list[Tensor], *options: Any) -> Any:
        given = [self.unsorted(state) for state in (hx if isinstance(hx, tuple | list) else (hx,))]
        operator = getattr(torch.ops.lrp_bench, f"packed_{kind}")
        y, *last = operator(x, self.packs[id(sizes)][0], given, weights, *options, False)
        return y, *map(self.as_it_was, last)

    def as_it_was(self, x: Tensor) -> Tensor:
        self.kept.append(x)
        self.plain.add(id(x))
        return x


def keeps_length(graph: torch.fx.Graph) -> bool:
    """Whether the program needs a batch that is cut at its longest sequence."""
    targets = [(node.target, node.args) for node in graph.nodes if node.op == "call_function"]
    return any(target is torch.ops.lrp_bench.within.default and args[2] for target, args in targets)
