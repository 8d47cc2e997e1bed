"""Models that come as a program of torch.export, without their source code."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.export.passes import move_to_device_pass

from lrp_bench.contracts import BenchError
from lrp_bench.engine.capture.arguments import Arguments
from lrp_bench.engine.capture.older import put_right
from lrp_bench.engine.capture.outputs import choose_output, named_leaves


def load_program(path: str | Path) -> ExportedProgram:
    """Read what torch.export.save wrote. Raises BenchError for a file that is missing or damaged."""
    path = Path(path)
    if not path.is_file():
        raise BenchError(f"Expected a .pt2 file, got {path}, which does not exist: correct the path.")
    try:
        with _quietly(), put_right():
            return torch.export.load(path)
    except Exception as error:  # a damaged archive can fail in any way
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise BenchError(
            f"Expected a file that torch.export.save wrote, got {path}, which cannot be read ({type(error).__name__}: "
            f"{reason}): write it again with torch {torch.__version__}."
        ) from error


@contextmanager
def _quietly() -> Iterator[None]:
    log = logging.getLogger("torch.export.pt2_archive")  # it says with a traceback what the BenchError says
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def input_nodes(exported: ExportedProgram) -> list[fx.Node]:
    """The placeholders of the user's inputs, in call order."""
    specs, nodes = exported.graph_signature.input_specs, exported.graph.find_nodes(op="placeholder")
    return [node for spec, node in zip(specs, nodes, strict=True) if spec.kind == InputKind.USER_INPUT]


def batch_size(exported: ExportedProgram) -> int | None:
    """The batch size for which a program was exported; None where it takes any."""
    sizes = [node.meta["val"].shape[0] for node in input_nodes(exported) if isinstance(node.meta.get("val"), Tensor)]
    return next((size for size in sizes if isinstance(size, int)), None)


def output_name(exported: ExportedProgram, output: int | str | None) -> str:
    """What the program calls its logits. Raises BenchError where that is not clear."""
    kinds = [spec.kind for spec in exported.graph_signature.output_specs]
    values = exported.graph.output_node().args[0]
    kept = [value for value, kind in zip(values, kinds, strict=True) if kind == OutputKind.USER_OUTPUT]
    leaves = list(named_leaves(exported.call_spec.out_spec.unflatten(kept)))
    chosen = choose_output(leaves, output)
    return next(name for name, leaf in leaves if leaf is chosen)


def check_inputs(exported: ExportedProgram, inputs: Sequence[Tensor]) -> None:
    """Raise BenchError unless the program takes these inputs: their number, types and sizes were fixed at export."""
    nodes = input_nodes(exported)
    if len(nodes) != len(inputs):
        names = ", ".join(node.name for node in nodes)
        raise BenchError(f"Expected {len(nodes)} inputs ({names}), got {len(inputs)}: pass them in this order.")
    for node, given in zip(nodes, inputs, strict=True):
        like = node.meta.get("val")
        if not isinstance(like, Tensor):
            raise BenchError(f"Expected a program of tensors, got the input {node.name}: {like!r}: export it anew.")
        _check_input(node.name, like, given)


def _check_input(name: str, like: Tensor, given: Tensor) -> None:
    sizes = ["any" if not isinstance(size, int) else size for size in like.shape]
    fits = len(sizes) == given.dim() and all(e in ("any", g) for e, g in zip(sizes, given.shape, strict=True))
    if not fits or like.dtype != given.dtype:
        wanted = f"({', '.join(map(str, sizes))}) {like.dtype}"
        raise BenchError(
            f"Expected {name} of shape {wanted}, got {tuple(given.shape)} {given.dtype}: these were fixed when the "
            "program was exported; for any batch size export it with dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)."
        )


def ordered(exported: ExportedProgram, given: Arguments) -> Arguments:
    """The inputs in the program's order. Raises BenchError for other names than its own."""
    wanted = tuple(node.name for node in input_nodes(exported))
    if not given.names:
        return given
    if set(given.names) != set(wanted):
        raise BenchError(
            f"Expected inputs named {', '.join(wanted)}, got {', '.join(given.order)}: the names were fixed when the "
            "program was exported."
        )
    return replace(given, tensors=tuple(given.named(given.tensors)[name] for name in wanted), names=wanted)


def run(exported: ExportedProgram, inputs: Sequence[Tensor]) -> Any:
    """The program's output for inputs in its order, whether it takes them by position or by name."""
    positional, named = exported.call_spec.in_spec.unflatten(inputs)
    return exported.module()(*positional, **named)


def on_device(exported: ExportedProgram, device: torch.device) -> ExportedProgram:
    """The program itself, or a copy on the device."""
    tensors = [t for t in (*exported.state_dict.values(), *exported.constants.values()) if isinstance(t, Tensor)]
    if all(t.device == device for t in tensors):
        return exported
    with put_right():
        return move_to_device_pass(exported, device)
