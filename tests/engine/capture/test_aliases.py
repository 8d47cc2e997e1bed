"""Aliases: what torch composes of other operators is explained as these, without a row of its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchgen
from torch import Tensor, nn
from torch.testing import assert_close

from lrp_bench.engine import LRP
from lrp_bench.engine.operators.table import OPERATORS
from lrp_bench.engine.rules import Epsilon

pytestmark = pytest.mark.usefixtures("float64")

aten = torch.ops.aten
ALIAS = re.compile(r"^#(?!.*\bnot\b).*alias (?:for|of|to) (?:torch\.)?(\w+)(?:\n#.*)*\n+- func: (\w+)", re.I | re.M)


def aliases() -> dict[str, str]:
    """Torch's own list, of those whose operator is in the table."""
    listed = Path(torchgen.__file__).parent / "packaged" / "ATen" / "native" / "native_functions.yaml"
    pairs = {alias: name for name, alias in ALIAS.findall(listed.read_text())}
    return {alias: name for alias, name in pairs.items() if f"aten::{name}" in OPERATORS}


def overload(name: str) -> Any:
    packet = getattr(aten, name)
    kinds = ("other", "Tensor", "default", "int")
    return next(getattr(packet, kind) for kind in kinds if kind in packet.overloads())


def call(name: str, h: Tensor) -> Tensor:
    """Of (batch, 2, 2), with the arguments that its schema asks for."""
    operator, h = overload(name), h.reshape(-1, 2, 2) + name.endswith("cosh")
    wanted = [a for a in operator._schema.arguments if not a.has_default_value()]
    axes = iter((1, 2))
    return operator(*(next(axes) if str(a.type) == "int" else h for a in wanted))


class Parallel(nn.Module):
    def __init__(self, functions: list[Callable[[Tensor], Tensor]]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.functions, self.first, self.head = functions, nn.Linear(5, 4), nn.LazyLinear(3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.sigmoid(self.first(x))
        return self.head(torch.cat([f(h).flatten(1) for f in self.functions], 1))


def compared(ones: list[Callable[[Tensor], Tensor]], others: list[Callable[[Tensor], Tensor]]) -> None:
    x = torch.randn(3, 5)
    nets = Parallel(ones), Parallel(others)
    for net in nets:
        net(x)
    nets[1].load_state_dict(nets[0].state_dict())
    one, other = (LRP(net, Epsilon(1e-3), example=x)(x) for net in nets)
    assert_close(one.logits, other.logits)
    assert_close(one.relevance, other.relevance, rtol=1e-9, atol=1e-12)


def test_every_alias_that_torch_lists_is_its_operator() -> None:
    known = aliases()
    assert {"absolute", "multiply", "subtract", "divide", "arctan", "negative", "swapaxes"} <= set(known)
    names = [name for name in known if name != "clip"]  # whose bounds are options
    compared(
        [lambda h, name=name: call(name, h) for name in names],  # type: ignore[misc]
        [lambda h, name=name: call(known[name], h) for name in names],  # type: ignore[misc]
    )


SPELLINGS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "type_as": (lambda h: h.type_as(torch.zeros(1)), lambda h: h),
    "row_stack": (lambda h: torch.row_stack([h.T, h.T]).T, lambda h: torch.cat([h, h], 1)),
    "concatenate": (lambda h: torch.concatenate([h, h], 1), lambda h: torch.cat([h, h], 1)),
    "movedim": (lambda h: h.reshape(-1, 2, 2).moveaxis(1, 2), lambda h: h.reshape(-1, 2, 2).transpose(1, 2)),
    "expit": (torch.special.expit, torch.sigmoid),
    "detach": (lambda h: h.detach() * h, lambda h: h * h),
    "no_grad": (lambda h: torch.no_grad()(torch.tanh)(h) + h, lambda h: torch.tanh(h) + h),
    "tensordot": (lambda h: torch.tensordot(h, torch.ones(4, 2), 1), lambda h: h @ torch.ones(4, 2)),
}


def test_other_spellings_of_an_operator() -> None:
    compared([one for one, _ in SPELLINGS.values()], [other for _, other in SPELLINGS.values()])


def test_what_is_not_told_to_training_has_its_relevance() -> None:
    """z = a x + (b x).detach(): both parts, as the values are."""
    x = torch.tensor([[1.0, 2.0]])

    class Detached(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 3 * x[:, :1] + (5 * x[:, 1:]).detach()

    assert_close(LRP(Detached(), Epsilon(1e-12), example=x)(x).relevance, torch.tensor([[3.0, 10.0]]))
