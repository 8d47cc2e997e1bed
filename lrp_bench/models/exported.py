"""A model without its source code: a program of torch.export, read from a .pt2 file."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram, UnflattenedModule

from lrp_bench.contracts import BenchError
from lrp_bench.engine.capture.older import put_right
from lrp_bench.engine.capture.outputs import named_leaves
from lrp_bench.engine.capture.pt2 import batch_size, check_inputs, load_program, output_name
from lrp_bench.models.fits import check_fits


def exported_model(
    path: str | Path | None, shape: Sequence[int], classes: int, output: int | str | None = None
) -> nn.Module:
    """The network of a .pt2 file, (batch, *shape) -> (batch, classes), with nothing to train.

    output: the index, key or attribute of the logits where the program returns several tensors.

    Raises:
        BenchError: a file that is missing or damaged, a program for one batch size only, a network that does not fit
            the data.
    """
    if path is None:
        raise BenchError("Expected the path of a .pt2 file, got none: set model.path.")
    program = load_program(path)
    fixed = batch_size(program)
    if fixed is not None:
        raise BenchError(
            f"Expected a program for any batch size, got {path}, exported for batches of {fixed}: export it again with "
            "dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)."
        )
    check_inputs(program, [torch.zeros(2, *shape)])
    model = ExportedModel(program, output_name(program, output), hashlib.sha256(Path(path).read_bytes()).hexdigest())
    check_fits(model, shape, classes)
    return model


class ExportedModel(UnflattenedModule):
    """The modules and weights of a program, under their own names; frozen, and in the mode it was exported in.

    logits: the name of the tensor that forward returns. sha256: of the file, part of the model's repr and so of what
    identifies a training.
    """

    def __init__(self, program: ExportedProgram, logits: str, sha256: str) -> None:
        with put_right():
            super().__init__(program)
        self.logits, self.sha256 = logits, sha256
        for graph in self._graphs():
            for node in graph.nodes:  # what torch.export noted there cannot be copied
                node.meta = {}
        self.requires_grad_(False)

    def forward(self, *inputs: Tensor) -> Tensor:
        """The logits."""
        leaves: dict[str, Tensor] = dict(named_leaves(super().forward(*inputs)))  # type: ignore[no-untyped-call]
        return leaves[self.logits]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = memo[id(self)] = type(self).__new__(type(self))
        with put_right():
            twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin

    def extra_repr(self) -> str:
        """The file's checksum."""
        return f"sha256={self.sha256}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        device = fn(torch.empty(0)).device
        for graph in self._graphs():
            for node in [n for n in graph.nodes if isinstance(n.kwargs.get("device"), torch.device)]:
                node.kwargs = {**node.kwargs, "device": device}
        return self

    def _graphs(self) -> list[torch.fx.Graph]:
        found = (getattr(module, "graph", None) for module in self.modules())
        return [graph for graph in found if isinstance(graph, torch.fx.Graph)]
