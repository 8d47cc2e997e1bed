"""From a module to a flat graph of ATen operators, without touching the module.

torch.export captures the computation, so functional calls, additions and reused layers are seen as what they are. The
graph that comes out has the network's inputs as placeholders and its weights as constants.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram, export
from torch.export.graph_signature import InputKind

from lrp_bench.contracts import BenchError
from lrp_bench.engine.analysis import remove_unused
from lrp_bench.engine.decompositions import DECOMPOSITIONS


@dataclass(frozen=True, eq=False)
class Program:
    """A captured model: a graph whose get_attr nodes name `constants`, and the node that holds the logits."""

    graph: fx.Graph
    constants: dict[str, Tensor]
    output: fx.Node

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


def capture(model: nn.Module, example: tuple[Tensor, ...]) -> Program:
    """Capture the model in eval mode, for any batch size and the example's other dimensions.

    example: the positional inputs, each (batch, ...). The model's mode is put back. Raises BenchError where the model
    cannot be captured.
    """
    pair = tuple(torch.cat([x[:1], x[:1]]) for x in example)  # a batch of one would be taken for a fixed size
    with evaluating(model), torch.no_grad():
        logging.disable(logging.CRITICAL)  # torch logs the trace of its own failure, which is told below
        try:
            exported = export(model, pair, dynamic_shapes=tuple({0: Dim.DYNAMIC} for _ in pair), strict=False)
        except Exception as error:
            raise BenchError(_cannot_capture(model, error)) from error
        finally:
            logging.disable(logging.NOTSET)
        return from_exported(exported)


def from_exported(exported: ExportedProgram) -> Program:
    """The flat graph of an exported program."""
    flat = exported.run_decompositions(dict(DECOMPOSITIONS))
    graph, copied, constants = fx.Graph(), {}, {}
    placeholders = {node.name: node for node in flat.graph.nodes if node.op == "placeholder"}
    for spec in flat.graph_signature.input_specs:
        if spec.kind != InputKind.USER_INPUT:
            name = re.sub(r"\W", "_", spec.arg.name)
            constants[name] = _stored(flat, str(spec.target))
            copied[placeholders[spec.arg.name]] = graph.get_attr(name)
    outputs = graph.graph_copy(flat.graph, copied)
    leaves = [
        leaf for leaf in (outputs if isinstance(outputs, tuple | list) else [outputs]) if isinstance(leaf, fx.Node)
    ]
    if len(leaves) != 1:
        raise BenchError(
            f"Expected a model with one output tensor, got {len(leaves)}: wrap it so that it returns the logits alone."
        )
    graph.output(leaves[0])
    remove_unused(graph)
    return Program(graph, constants, leaves[0])


def _stored(exported: ExportedProgram, target: str) -> Tensor:
    value = exported.state_dict[target] if target in exported.state_dict else exported.constants[target]
    if not isinstance(value, Tensor):
        raise BenchError(
            f"Expected the constant {target} of the model to be a tensor, got {type(value).__name__}: not supported."
        )
    return value.detach()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode within; every module's own mode afterwards."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _cannot_capture(model: nn.Module, error: Exception) -> str:
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    place = re.search(r'File "?([^",]+)"?[:,] ?(?:line )?(\d+),? in (\w+)', str(error))
    where = f" at {place[1]}:{place[2]} in {place[3]}" if place else ""
    return (
        f"Expected a model that torch.export can capture, got {type(model).__name__}, which it cannot{where}: "
        f"{reason.strip()[:300]}. If forward branches on the values of tensors, use torch.where or torch.cond instead; "
        "if the input has another shape than the model expects, or forward fixes the batch size, mend that."
    )
