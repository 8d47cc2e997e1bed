"""What can be computed once, before any relevance flows: constants, and batch norms merged into their neighbours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from lrp_bench.engine.capture.capture import Program
from lrp_bench.engine.capture.graph import absorb, operator_name, remove_unused

TRANSPOSED = {"aten::conv_transpose1d", "aten::conv_transpose2d", "aten::conv_transpose3d"}
MERGED_INTO = {"aten::linear", "aten::conv1d", "aten::conv2d", "aten::conv3d"} | TRANSPOSED

VIEWS = (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default)


def fold(program: Program) -> None:
    """All of it, in place."""
    for node in list(program.graph.nodes):
        if operator_name(node).startswith("aten::_assert"):
            program.graph.erase_node(node)
        elif operator_name(node) == "aten::pow" and node.args[1] == 2:
            node.target, node.args = torch.ops.aten.mul.Tensor, (node.args[0], node.args[0])
        elif node.target is torch.ops.aten.detach.default:  # what training is not told of is computed all the same
            node.target = torch.ops.aten.alias.default
        elif operator_name(node) == "aten::squeeze":
            _squeeze_all_but_the_batch(node)
        elif node.target in VIEWS:  # the steps' layouts in memory need not be the model's
            node.target = torch.ops.aten.reshape.default
        elif node.target is torch.ops.aten.clone.default:  # nothing is written in place
            node.replace_all_uses_with(node.args[0])
    _fold_constants(program)
    _drop_empty_masks(program)
    _fold_batch_norms(program)
    remove_unused(program.graph)


def _squeeze_all_but_the_batch(node: fx.Node) -> None:
    """A batch of one keeps its dimension: a size is known to be 1 only if it was that for every batch."""
    source, *rest = node.args
    sizes = source.meta["val"].shape  # type: ignore[union-attr]
    given: Any = rest[0] if rest else range(len(sizes))
    dims = {dim % len(sizes) for dim in ([given] if isinstance(given, int) else given)}
    node.target = torch.ops.aten.squeeze.dims
    node.args = (source, [dim for dim in sorted(dims) if isinstance(sizes[dim], int) and sizes[dim] == 1])


def _fold_constants(program: Program) -> None:
    for node in list(program.graph.nodes):
        if not isinstance(node.target, torch._ops.OpOverload) or torch.Tag.nondeterministic_seeded in node.target.tags:
            continue
        known = {source: _known(program, node, source) for source in node.all_input_nodes}
        if all(value is not None for value in known.values()):
            positional, named = fx.map_arg((node.args, node.kwargs), known.__getitem__)
            value = node.target(*positional, **named)
            if isinstance(value, Tensor):
                node.replace_all_uses_with(program.add_constant(f"folded_{node.name}", value, node))


def _drop_empty_masks(program: Program) -> None:
    """A mask that masks nothing goes."""
    for node in list(program.graph.nodes):
        mask = program.constant(node.args[1]) if operator_name(node) == "aten::masked_fill" else None
        if mask is not None and not bool(mask.any()):
            node.replace_all_uses_with(node.args[0])


def _known(program: Program, node: fx.Node, source: fx.Node) -> Tensor | None:
    """The constant; new_zeros and the like ask of a tensor only its type, if they are given a shape."""
    value = source.meta.get("val")
    if operator_name(node).startswith("aten::new_") and source is node.args[0] and isinstance(value, Tensor):
        return torch.empty((), dtype=value.dtype, device=value.device)
    return program.constant(source)


def _fold_batch_norms(program: Program) -> None:
    for norm in list(program.graph.nodes):
        if operator_name(norm) == "aten::_native_batch_norm_legit_no_training":
            layer = norm.args[0]
            merges = operator_name(layer) in MERGED_INTO and (
                operator_name(layer) != "aten::linear" or _of_features(norm)
            )
            if merges and len(layer.users) == 1:
                _merge(program, layer, norm)


def _of_features(norm: fx.Node) -> bool:
    """A batch norm normalises the second dimension; that is a linear layer's output only if there are two."""
    return bool(norm.meta["val"][0].dim() == 2)


def _merge(program: Program, layer: fx.Node, norm: fx.Node) -> None:
    """Weight * g and (bias - mean) * g + shift, with g = scale / sqrt(variance + epsilon)."""
    scale, shift, mean, variance = (program.constant(x) for x in norm.args[1:5])
    weight, bias = (program.constant(x) for x in (layer.args[1], layer.args[2] if len(layer.args) > 2 else None))
    if weight is None or mean is None or variance is None:
        return
    epsilon: float = norm.args[6]  # type: ignore[assignment]
    gain = torch.rsqrt(variance + epsilon) * (1 if scale is None else scale)
    merged_bias = ((0 if bias is None else bias) - mean) * gain + (0 if shift is None else shift)
    merged_weight = weight * _per_output(layer, gain, weight)
    layer.update_arg(1, program.add_constant(f"{layer.name}_merged_weight", merged_weight, layer))
    new_bias = program.add_constant(f"{layer.name}_merged_bias", merged_bias, layer)
    layer.args = (*layer.args[:2], new_bias, *layer.args[3:])
    for normalised in list(
        norm.users
    ):  # getitem 0 of (normalised, saved mean, saved deviation); the others are not used in eval mode
        normalised.replace_all_uses_with(layer)
    absorb(layer, norm)


def _per_output(layer: fx.Node, gain: Tensor, weight: Tensor) -> Tensor:
    """A number per output channel, in the shape of weight: (out, in, ...), or (in, out / groups, ...) if transposed."""
    if operator_name(layer) not in TRANSPOSED:
        return gain.view(-1, *[1] * (weight.dim() - 1))
    groups = len(gain) // weight.shape[1]
    each = gain.view(groups, 1, -1).expand(-1, weight.shape[0] // groups, -1)  # (groups, in / groups, out / groups)
    return each.reshape(*weight.shape[:2], *[1] * (weight.dim() - 2))
