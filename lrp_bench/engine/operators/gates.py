"""Which operand of a product is the gate, and which the signal."""

from __future__ import annotations

from collections.abc import Mapping

from torch import fx

from lrp_bench.engine.capture.graph import operands, operator_name
from lrp_bench.engine.operators.table import Operator, Role

SQUASHING = {"aten::sigmoid", "aten::hardsigmoid", "aten::softmax", "aten::_softmax", "aten::_safe_softmax"}


class Gates:
    """A gate comes from a softmax or a sigmoid, moved or scaled by constants on the way at most.

    used: the softmax and sigmoid nodes whose output is the gate of some product.
    """

    def __init__(self, entries: Mapping[fx.Node, Operator]) -> None:
        self.origin: dict[fx.Node, fx.Node] = {}
        self.used: set[fx.Node] = set()
        for node, entry in entries.items():
            active = [source for source in operands(node) if source in entries]
            if getattr(node.target, "like", operator_name(node)) in SQUASHING:
                self.origin[node] = node
            elif (
                len(active) == 1
                and active[0] in self.origin
                and (entry.role is Role.OWN_GRADIENT or entry.kind == "scale")
            ):
                self.origin[node] = self.origin[active[0]]
            elif entry.role is Role.PRODUCT and len(active) == 2:
                self._note(node)

    def gated(self, product: fx.Node) -> list[bool]:
        """Which of the two operands are gates."""
        return [operand in self.origin for operand in product.args[:2]]

    def signal(self, product: fx.Node) -> int | None:
        """The position of the operand that is no gate; None where both are, or neither."""
        gated = self.gated(product)
        return gated.index(False) if sum(gated) == 1 else None

    def _note(self, product: fx.Node) -> None:
        signal = self.signal(product)
        if signal is not None:
            self.used.add(self.origin[product.args[1 - signal]])  # type: ignore[index]
