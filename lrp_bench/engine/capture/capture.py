"""From a module to a flat graph of ATen operators, without touching the module.

torch.export captures the computation, so functional calls, additions and reused layers are seen as what they are. The
graph that comes out has the network's inputs as placeholders and its weights as constants.
"""

from __future__ import annotations

import copy
import logging
import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass, field, replace
from inspect import signature
from io import StringIO
from traceback import walk_tb

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram, export
from torch.export.graph_signature import InputKind, OutputKind
from torch.nn.utils.rnn import PackedSequence

from lrp_bench.contracts import BenchError
from lrp_bench.engine.capture.aliases import decomposed
from lrp_bench.engine.capture.arguments import call
from lrp_bench.engine.capture.decompositions import check_bags
from lrp_bench.engine.capture.graph import remove_unused
from lrp_bench.engine.capture.older import put_right, reshaping
from lrp_bench.engine.capture.outputs import FlatOutput, choose_output, named_leaves
from lrp_bench.engine.capture.packing import traceable
from lrp_bench.engine.capture.structure import place

INPUT = "lrp_input"  # in the meta of a placeholder: the name under which the model is called with it
UNLIKELY = 13  # samples to capture with: one would be taken for a fixed size, two for that of another dimension


@dataclass(frozen=True, eq=False)
class Program:
    """A captured model: a graph whose get_attr nodes name `constants`, and the node that holds the logits.

    weights: which of the constants are parameters and buffers, and their names in the model.
    """

    graph: fx.Graph
    constants: dict[str, Tensor]
    output: fx.Node
    weights: Mapping[str, str] = field(default_factory=dict)

    def constant(self, value: object) -> Tensor | None:
        """The tensor behind a get_attr node; None for anything else."""
        return self.constants[str(value.target)] if isinstance(value, fx.Node) and value.op == "get_attr" else None

    def add_constant(self, name: str, value: Tensor, before: fx.Node) -> fx.Node:
        """A get_attr node for a new constant."""
        self.constants[name] = value
        with self.graph.inserting_before(before):
            return self.graph.get_attr(name)

    @property
    def inputs(self) -> list[fx.Node]:
        """The placeholders, in call order."""
        return [node for node in self.graph.nodes if node.op == "placeholder"]

    def reads(self, weights: Mapping[str, Tensor]) -> bool:
        """Whether its weights are these: a subclass of Tensor may have been taken apart."""
        pairs = [(self.constants[name], weights.get(known)) for name, known in self.weights.items()]
        return all(w is not None and w.shape == c.shape and place(w)[0] == place(c)[0] for c, w in pairs)

    def bound(self, weights: Mapping[str, Tensor]) -> Program:
        """A copy that has read these weights; so does this one, in order not to hold on to others."""
        self.constants.update({name: weights[known].detach() for name, known in self.weights.items()})
        return self.copy()

    def copy(self) -> Program:
        """One that may be rewritten while this one stays; the tensors are shared."""
        graph, copied = fx.Graph(), dict[fx.Node, fx.Node]()
        graph.output(graph.graph_copy(self.graph, copied))
        return replace(self, graph=graph, constants=dict(self.constants), output=copied[self.output])


def capture(
    model: nn.Module,
    example: tuple[Tensor, ...],
    output: int | str | None = None,
    names: Sequence[str] = (),
    whole: Collection[str] | None = None,
) -> Program:
    """Capture the model in eval mode, for any batch size and the example's other dimensions.

    example: the inputs, each (batch, ...), positional unless they have `names`. output: which of several output
    tensors holds the logits. whole: names of operators that stay though torch composes them of others; None: all do.
    The model's mode is put back. Raises BenchError where the model cannot be captured.
    """
    check_arguments(model, example, names)
    if any(weight.is_inference() for weight in (*model.parameters(), *model.buffers())):
        model = copy.deepcopy(model)  # torch.export does not take what was made under inference_mode
    batch = tuple(torch.cat([x[:1]] * UNLIKELY) for x in example)
    leaves: list[list[str]] = []  # torch.export gives a module's own attributes back as they were
    flat = FlatOutput(model, leaves.append, names)
    with evaluating(flat), torch.no_grad(), put_right():
        try:
            with quietly():
                exported = _export(flat, batch)
        except Exception as error:
            raise _cannot_capture(model, example, error) from error
        program = from_exported(exported, output, leaves[-1], whole)
    check_batch(program, model)
    for node, name in zip(program.inputs, names, strict=bool(names)):
        node.meta[INPUT] = name
    for node in program.graph.nodes:
        stack = node.meta.get("nn_module_stack") or {}
        named = {key: (path.removeprefix("model").removeprefix("."), kind) for key, (path, kind) in stack.items()}
        node.meta["nn_module_stack"] = named
    return replace(program, weights={name: known.removeprefix("model.") for name, known in program.weights.items()})


@contextmanager
def quietly() -> Iterator[None]:
    """Without the warnings, logs and graphs that torch prints: a working export needs none, a failing one raises."""
    before = logging.root.manager.disable
    with warnings.catch_warnings(), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)


def check_batch(program: Program, model: nn.Module) -> None:
    """Raise BenchError for a graph that torch.export made for one batch size, though it was asked for any."""
    sizes = [node.meta["val"].shape[0] for node in program.inputs]
    if any(isinstance(size, int) for size in sizes):
        raise BenchError(
            f"Expected a model that takes any batch size, got {type(model).__name__}, which torch.export could only "
            "capture for one: take the batch size from x.shape[0], and let it be the first dimension."
        )


def _export(flat: FlatOutput, batch: tuple[Tensor, ...]) -> ExportedProgram:
    """For any batch size; where the model takes it as a plain number, len(x), only a trace of its bytecode can."""
    sizes = (tuple({0: Dim.DYNAMIC} for _ in batch),)
    try:
        with traceable():
            return export(flat, batch, dynamic_shapes=sizes, strict=False)
    except Exception as error:
        if "specialized" in str(error):
            with suppress(Exception):
                return export(FlatOutput(flat.model, len, flat.names), batch, dynamic_shapes=sizes, strict=True)
        raise


def check_arguments(model: nn.Module, inputs: tuple[Tensor, ...], names: Sequence[str] = ()) -> None:
    """Raise BenchError unless the model's forward takes as many inputs, or inputs of these names."""
    wanted = signature(model.forward)
    try:
        call(wanted.bind, inputs, names)
    except TypeError as error:
        raise BenchError(
            f"Expected inputs for {type(model).__name__}.forward{wanted}, got {', '.join(names) or len(inputs)}: "
            f"{error}; pass a tuple of tensors, in this order, or a mapping by these names."
        ) from None


def from_exported(
    exported: ExportedProgram,
    output: int | str | None = None,
    names: Sequence[str] | None = None,
    whole: Collection[str] | None = None,
) -> Program:
    """The flat graph of an exported program; names: of its output tensors, where the program does not know them."""
    check_bags(exported.graph)
    with quietly(), put_right(), reshaping(exported.graph):
        flat = decomposed(exported, whole)
    graph, copied, constants, weights = fx.Graph(), {}, {}, {}
    placeholders = {node.name: node for node in flat.graph.nodes if node.op == "placeholder"}
    for spec in flat.graph_signature.input_specs:
        if spec.kind != InputKind.USER_INPUT:
            name = re.sub(r"\W", "_", spec.arg.name)
            constants[name] = _stored(flat, str(spec.target))
            if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER):
                weights[name] = str(spec.target)
            copied[placeholders[spec.arg.name]] = graph.get_attr(name)
    outputs: tuple[object, ...] = graph.graph_copy(flat.graph, copied)  # type: ignore[assignment]
    kinds = [spec.kind for spec in flat.graph_signature.output_specs]
    leaves = [leaf for leaf, kind in zip(outputs, kinds, strict=True) if kind == OutputKind.USER_OUTPUT]
    logits = choose_output(_named(exported, leaves, names), output)
    graph.output(logits)
    remove_unused(graph)
    return Program(graph, constants, logits, weights)


def _named(
    exported: ExportedProgram, leaves: Sequence[object], names: Sequence[str] | None
) -> list[tuple[str, fx.Node]]:
    if names is None:
        return list(named_leaves(exported.call_spec.out_spec.unflatten(leaves)))
    return [(name, leaf) for name, leaf in zip(names, leaves, strict=True) if isinstance(leaf, fx.Node)]


def _stored(exported: ExportedProgram, target: str) -> Tensor:
    value = exported.state_dict[target] if target in exported.state_dict else exported.constants[target]
    if not isinstance(value, Tensor):
        raise BenchError(
            f"Expected the constant {target} of the model to be a tensor, got {type(value).__name__}: not supported."
        )
    return value.clone() if value.is_inference() else value.detach()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode within; every module's own mode afterwards."""
    modes = {module: module.training for module in model.modules()}
    try:
        with suppress(NotImplementedError):  # a program of torch.export keeps the mode it was exported in
            model.eval()
        for module in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _cannot_capture(model: nn.Module, example: tuple[Tensor, ...], error: Exception) -> BenchError:
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    if any(isinstance(value, PackedSequence) for frame in frames for value in frame.f_locals.values()):
        return packed(type(model).__name__)
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    place = re.search(r'File "?([^",]+)"?[:,] ?(?:line )?(\d+),? in (\w+)', str(error))
    where = f" at {place[1]}:{place[2]} in {place[3]}" if place else ""
    types = ", ".join(sorted({str(x.dtype) for x in example}))
    return BenchError(
        f"Expected a model that torch.export can capture, got {type(model).__name__}, which it cannot{where}: "
        f"{reason.strip().rstrip('.')[:300]}. If forward branches on the values of tensors, compute both and choose "
        "with torch.where; if a weight is sparse, use weight.to_dense(); if it fixes the batch size, take it from "
        "x.shape[0], and let it be the first dimension; "
        f"if the input has another shape or type ({types}) than the model expects, mend it."
    )


def packed(where: str) -> BenchError:
    """What to say about packed sequences."""
    return BenchError(
        f"Expected padded sequences, got a packed one in {where} that is made in another way than by "
        "pack_padded_sequence with a tensor of lengths: use that, or pick each sample's last valid step with gather."
    )
