"""Operators that are affine only once the batch is there: norms, and constants that depend on the batch's size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from lrp_bench.engine.operators.steps import AffineStep
from lrp_bench.engine.operators.trace import Trace
from lrp_bench.engine.rules.affine import Affine
from lrp_bench.engine.rules.batch_axes import Layouts
from lrp_bench.engine.rules.rule import Rule

Value = Callable[[object], Any]


@dataclass(frozen=True, eq=False)
class Call:
    """What the table reads of a node, kept while the node itself is rewritten."""

    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    meta: dict[str, Any]

    @classmethod
    def of(cls, node: fx.Node) -> Call:
        """A copy of the node's call."""
        return cls(node.target, tuple(node.args), dict(node.kwargs), node.meta)


class LateStep(AffineStep):
    """An affine operator that is built for each batch, from its input and from `constants` that come with it."""

    def __init__(
        self, name: str, build: Callable[..., Affine], rule: Rule, layouts: Layouts, *, nonnegative: bool
    ) -> None:
        super().__init__(name, None, rule, layouts, nonnegative=nonnegative)  # type: ignore[arg-type]
        self.build = build

    def value(self, x: Tensor, *constants: Any) -> Tensor:
        """The output alone."""
        return self.build(x, *constants)(x)

    def forward(self, x: Tensor, *constants: Any, trace: Trace | None) -> Tensor:
        """The operator's output; nothing flows to the constants."""
        bound = AffineStep(
            self.name, self.build(x.detach(), *constants), self.rule, self.layouts, nonnegative=self.nonnegative
        )
        bound.rectified = self.rectified
        return bound(x, trace=trace)  # type: ignore[no-any-return]


def late(
    layer: Callable[[Any, Value], Affine],
    call: Call,
    source: fx.Node,
    others: Sequence[fx.Node],
    known: Value,
    *,
    sees_input: bool,
) -> Callable[..., Affine]:
    """The builder of a LateStep: the table's own, asked anew for each batch with the values of the `others`."""

    def build(x: Tensor, *constants: Any) -> Affine:
        now: dict[object, Any] = {source: x if sees_input else None}
        now.update(zip(others, (c.detach() if isinstance(c, Tensor) else c for c in constants), strict=True))
        return layer(call, lambda argument: now[argument] if _in(argument, now) else known(argument))

    return build


def _in(argument: object, now: dict[object, Any]) -> bool:
    return isinstance(argument, fx.Node) and argument in now
