"""One table: ATen operator -> how relevance passes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor, fx

from lrp_bench.contracts import BenchError
from lrp_bench.engine.operators import normalization
from lrp_bench.engine.operators.interpolation import Interpolation, linear_weights
from lrp_bench.engine.rules.affine import Affine, Averaging, Convolution, Dense, MatrixProduct, Scale


class Role(Enum):
    """How relevance passes an operator."""

    AFFINE = "rule"  # the composite's rule
    PASS = "pass"  # unchanged
    OWN_GRADIENT = "own gradient"  # movement of values, and the winner of a maximum: their gradient is the rule
    SPLIT = "split"  # in proportion to the parts
    PRODUCT = "product"  # of two activations: half each, or the signal takes all
    SOFTMAX = "softmax"  # its Taylor expansion
    UNROLLED = "unrolled"  # over time, with the composite's rule for the linear parts
    STOPS = "stops here: one number per token"


class Sign(Enum):
    """What is known about the sign of an operator's output."""

    UNKNOWN = 0
    INHERITED = 1  # non-negative if all inputs are
    NONNEGATIVE = 2


Value = Callable[[object], Any]
"""An argument of a node as a number or a weight tensor; None for an activation."""


@dataclass(frozen=True)
class Operator:
    """An entry of the table.

    kind: what a composite calls it. keeps_zero: the output is zero where the input is. fills: puts plain numbers beside
    the values. layer: builds the affine operator; late: from the input itself, for each batch.
    """

    role: Role
    sign: Sign = Sign.UNKNOWN
    keeps_zero: bool = True
    fills: bool = False
    kind: str = ""
    layer: Callable[[fx.Node, Value], Affine] | None = None
    late: bool = False


def arguments(node: fx.Node, value: Value) -> dict[str, Any]:
    """The node's arguments under the names of the operator's schema, defaults filled in."""
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    named = {a.name: a.default_value for a in schema if a.has_default_value()}
    named.update({a.name: value(given) for a, given in zip(schema, node.args, strict=False)})
    return {**named, **{name: value(given) for name, given in node.kwargs.items()}}


def _dense(node: fx.Node, value: Value) -> Affine:
    a = arguments(node, value)
    return Dense(a["weight"], a["bias"])


def _addmm(node: fx.Node, value: Value) -> Affine:
    a = arguments(node, value)
    return Dense(a["alpha"] * a["mat2"].mT, a["beta"] * a["self"])


def _convolution(node: fx.Node, value: Value) -> Affine:
    a = arguments(node, value)
    spatial = a["weight"].dim() - 2

    def each(name: str, default: int) -> list[int]:
        given = a.get(name, default)
        given = [given] if isinstance(given, int) else list(given)
        return given * spatial if len(given) == 1 else given

    dilation, transposed = each("dilation", 1), "transpose" in str(node.target)
    same = isinstance(a["padding"], str)
    extent = [d * (k - 1) for d, k in zip(dilation, a["weight"].shape[2:], strict=True)]
    padding = [e // 2 if a["padding"] == "same" else 0 for e in extent] if same else each("padding", 0)
    geometry = (each("stride", 1), padding, dilation, transposed, each("output_padding", 0), a["groups"])
    behind = [e % 2 for e in extent] if a["padding"] == "same" else []
    return Convolution(_channels_last(a["weight"], transposed), a["bias"], *geometry, behind)


def _channels_last(weight: Tensor, transposed: bool) -> Tensor:
    """In the layout that oneDNN computes in, which then all activations have: no changing it to and fro."""
    applies = weight.dim() == 4 and weight.device.type == "cpu" and not transposed
    return weight.contiguous(memory_format=torch.channels_last) if applies else weight


def _batch_norm(node: fx.Node, value: Value) -> Affine:
    a = arguments(node, value)
    factor = torch.rsqrt(a["running_var"] + a["eps"])
    factor = factor if a["weight"] is None else factor * a["weight"]
    shift = -a["running_mean"] * factor
    shift = shift if a["bias"] is None else shift + a["bias"]
    per_channel = (-1, *[1] * (node.meta["val"][0].dim() - 2))
    return Scale(factor.view(per_channel), shift.view(per_channel))


def _averaging(node: fx.Node, value: Value) -> Affine:
    function: Callable[..., Tensor] = node.target  # type: ignore[assignment]
    rest, options, like = node.args[1:], dict(node.kwargs), node.meta["val"]
    one = torch.ones((), dtype=like.dtype, device=like.device)
    return Averaging(one, None, lambda x: function(x, *rest, **options))


def _interpolation(node: fx.Node, value: Value) -> Affine:
    a, before, after = arguments(node, value), node.args[0].meta["val"], node.meta["val"]  # type: ignore[union-attr]
    like = torch.ones((), dtype=after.dtype, device=after.device)
    named = [a[name] for name in ("scales", "scales_d", "scales_h", "scales_w") if name in a]
    scales = named or a["scale_factors"] or [None] * (before.dim() - 2)
    sizes = zip(before.shape[2:], after.shape[2:], scales, strict=True)
    axes = [linear_weights(i, like, o, s, align_corners=a["align_corners"]) for i, o, s in sizes]
    return Interpolation(like, None, axes)


def _elementwise(node: fx.Node, value: Value) -> Affine:
    """W x + b per element, read off the operator itself: b is its value at 0 and w its slope."""
    operands = [value(x) for x in node.args if isinstance(x, fx.Node)]
    shape = next((x.shape for x in operands if isinstance(x, Tensor)), ())
    like = node.meta["val"]
    probe = torch.zeros(shape, dtype=like.dtype, device=like.device, requires_grad=True)
    given = [probe if isinstance(x, fx.Node) and value(x) is None else value(x) for x in node.args]
    with torch.enable_grad():
        y = node.target(*given, **node.kwargs)  # type: ignore[operator]
        slope = torch.autograd.grad(y.sum(), probe)[0]
    shifts = str(node.target).startswith(("aten.add", "aten.sub", "aten.rsub"))
    return Scale(slope, y.detach() if shifts else None)


def _matrix_product(node: fx.Node, value: Value) -> Affine:
    left, right = (value(x) for x in node.args)
    if any(isinstance(x, Tensor) and x.dim() < 2 for x in (left, right)):
        raise BenchError("Expected matrices in a product with a constant, got a vector: give it a second dimension.")
    if left is None and right.dim() == 2:
        return Dense(right.mT, None)
    return MatrixProduct(right if left is None else left, None, left is None)


def _norm(build: Callable[[dict[str, Any]], Affine]) -> Operator:
    def layer(node: fx.Node, value: Value) -> Affine:
        return build(arguments(node, value))

    return Operator(Role.AFFINE, keeps_zero=False, kind="layer_norm", layer=layer, late=True)


def _named(names: str, operator: Operator) -> dict[str, Operator]:
    return {f"aten::{name}": operator for name in names.split()}


def _affine(
    names: str, kind: str, layer: Callable[[fx.Node, Value], Affine], sign: Sign = Sign.UNKNOWN
) -> dict[str, Operator]:
    return _named(names, Operator(Role.AFFINE, sign, kind == "pool", kind=kind, layer=layer))


RECURRENT = Operator(Role.UNROLLED, keeps_zero=False, kind="recurrent")

OPERATORS: Mapping[str, Operator] = {
    **_named("lstm gru rnn_tanh rnn_relu", RECURRENT),
    **{f"lrp_bench::packed_{name}": RECURRENT for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")},
    **_affine("linear", "linear", _dense),
    **_affine("addmm", "linear", _addmm),
    **_affine("conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d", "convolution", _convolution),
    **_affine("_native_batch_norm_legit_no_training", "norm", _batch_norm),
    **_affine(
        "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d mean sum "
        "cumsum col2im",
        "pool",
        _averaging,
        Sign.INHERITED,
    ),
    **_affine("upsample_linear1d upsample_bilinear2d upsample_trilinear3d", "pool", _interpolation, Sign.INHERITED),
    **_affine("div neg rsub", "scale", _elementwise),  # with a constant, or by one
    **_named("mul", Operator(Role.PRODUCT, keeps_zero=False, kind="scale", layer=_elementwise)),
    **_named("matmul bmm mm", Operator(Role.PRODUCT, keeps_zero=False, kind="linear", layer=_matrix_product)),
    **_named("prod", Operator(Role.PRODUCT, Sign.INHERITED)),  # of all factors along a dimension
    **_named("softmax _softmax _safe_softmax", Operator(Role.SOFTMAX, Sign.NONNEGATIVE, keeps_zero=False)),
    **_named("log_softmax _log_softmax", Operator(Role.SOFTMAX, keeps_zero=False)),
    **_named("layer_norm native_layer_norm", _norm(normalization.layer_norm)),
    **_named("rms_norm", _norm(normalization.rms_norm)),
    **_named("group_norm", _norm(normalization.group_norm)),
    **_named("instance_norm", _norm(normalization.instance_norm)),
    **_named("_native_batch_norm_legit", _norm(normalization.batch_norm)),
    **_named("add", Operator(Role.SPLIT, Sign.INHERITED, kind="scale", layer=_elementwise)),
    **_named("sub", Operator(Role.SPLIT, Sign.UNKNOWN, kind="scale", layer=_elementwise)),
    **_named("relu relu6", Operator(Role.PASS, Sign.NONNEGATIVE)),
    **_named(
        "sigmoid hardsigmoid softplus exp exp2 sqrt rsqrt erfc", Operator(Role.PASS, Sign.NONNEGATIVE, keeps_zero=False)
    ),
    **_named(
        "gelu silu tanh elu selu celu leaky_relu hardtanh hardswish mish log_sigmoid hardshrink softshrink "
        "threshold prelu _prelu_kernel rrelu clamp clamp_min clamp_max abs pow reciprocal erf expm1 log log2 log10 "
        "log1p logit sin cos tan asin acos atan sinh cosh asinh acosh atanh",
        Operator(Role.PASS, Sign.UNKNOWN, keeps_zero=False),
    ),
    **_named(
        "max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool1d "
        "adaptive_max_pool2d adaptive_max_pool3d amax amin max min maximum minimum topk",
        Operator(Role.OWN_GRADIENT, Sign.INHERITED),
    ),
    **_named("logsumexp", Operator(Role.OWN_GRADIENT, keeps_zero=False)),  # a softmax of the inputs, in winner's place
    **_named(
        "pad constant_pad_nd masked_fill where im2col tril triu",
        Operator(Role.OWN_GRADIENT, Sign.INHERITED, fills=True),
    ),
    **_named(
        "reshape flatten unflatten permute transpose t squeeze unsqueeze select slice cat stack "
        "split split_with_sizes chunk unbind expand repeat tile repeat_interleave narrow unfold diagonal index "
        "index_select gather roll flip rot90 clone alias lift_fresh_copy _to_copy select_scatter slice_scatter "
        "index_put pixel_shuffle pixel_unshuffle channel_shuffle reflection_pad1d reflection_pad2d "
        "reflection_pad3d replication_pad1d replication_pad2d replication_pad3d upsample_nearest1d "
        "upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d "
        "_upsample_nearest_exact3d",
        Operator(Role.OWN_GRADIENT, Sign.INHERITED),
    ),
}
