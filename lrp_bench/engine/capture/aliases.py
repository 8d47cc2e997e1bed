"""Operators that torch itself composes of others: `multiply` of `mul`, `type_as` of `to`, `row_stack` of `cat`.

Which of them the table explains as they are is for the table to say; all others are taken apart as torch does, so that
no alias needs a row of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import fx
from torch._C import DispatchKey
from torch.export import ExportedProgram

from lrp_bench.engine.capture.decompositions import DECOMPOSITIONS
from lrp_bench.engine.capture.graph import is_floating, operator_name

COMPOSED = DispatchKey.CompositeImplicitAutograd
TAKEN = {operator._schema.name for operator in DECOMPOSITIONS}


def decomposed(exported: ExportedProgram, whole: Collection[str] | None) -> ExportedProgram:
    """The program in the operators of `whole`, by name, and in those that torch composes of no others."""
    apart: dict[torch._ops.OpOverload, Callable[..., Any]] = dict(DECOMPOSITIONS)
    apart.update(_aliases(exported, whole))
    flat: ExportedProgram = exported.run_decompositions(dict(apart))
    while not apart.keys() >= (more := _aliases(flat, whole)).keys():
        apart.update(more)
        flat = flat.run_decompositions(dict(apart))
    return flat


def _aliases(
    exported: ExportedProgram, whole: Collection[str] | None
) -> dict[torch._ops.OpOverload, Callable[..., Any]]:
    if whole is None:
        return {}
    return {n.target: _parts(n.target) for n in exported.graph.nodes if operator_name(n) not in whole and _composed(n)}


def _composed(node: fx.Node) -> bool:
    operator = node.target
    if not isinstance(operator, torch._ops.OpOverload) or operator._schema.name in TAKEN:
        return False
    random = torch.Tag.nondeterministic_seeded in operator.tags
    composed = torch._C._dispatch_has_kernel_for_dispatch_key(str(operator.name()), COMPOSED)  # type: ignore[no-untyped-call]
    return operator.namespace == "aten" and composed and not random and is_floating(node.meta.get("val"))


def _parts(operator: torch._ops.OpOverload) -> Callable[..., Any]:
    return lambda *given, **options: operator._op_dk(COMPOSED, *given, **options)
