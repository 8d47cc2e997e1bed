"""Where the oldest torch does otherwise: states, views and warnings, whatever torch the tests run with."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._decomp import decompositions
from torch.export import Dim, export

from lrp_bench.engine.capture.capture import from_exported
from lrp_bench.engine.capture.older import put_right, reshaping

aten = torch.ops.aten


def test_states_have_the_shape_of_the_first_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    def layer(x: Tensor, hidden: list[Tensor], *rest: Any, reverse: bool = False) -> tuple[Tensor, tuple[Tensor, ...]]:
        return x.flip(0) if reverse else x, tuple(state[None] for state in hidden)

    monkeypatch.setattr(decompositions, "one_layer_lstm", layer)
    hidden = [torch.randn(3, 4), torch.randn(3, 5)]
    with put_right():
        out, states = decompositions.one_layer_lstm(torch.arange(3), hidden, [], True, reverse=True)
    assert out.tolist() == [2, 1, 0]
    assert all(torch.equal(state, given) for state, given in zip(states, hidden, strict=True))
    assert decompositions.one_layer_lstm is layer


def test_what_torch_says_of_itself_is_left_out_and_nothing_else() -> None:
    with put_right():
        warnings.warn("`isinstance(treespec, LeafSpec)` is deprecated, use ...", FutureWarning, stacklevel=1)
        warnings.warn("The given buffer is not writable, and ...", UserWarning, stacklevel=1)
        with pytest.raises(UserWarning, match="another"):
            warnings.warn("another", UserWarning, stacklevel=1)
    with pytest.raises(FutureWarning):
        warnings.warn("`isinstance(treespec, LeafSpec)` is deprecated, use ...", FutureWarning, stacklevel=1)


class Viewing(nn.Module):
    """Views attention as the layout it has as a whole allows, not that of its parts."""

    def forward(self, x: Tensor) -> Tensor:
        heads = x.view(x.shape[0], 4, 2, 3).transpose(1, 2)
        attended = torch.nn.functional.scaled_dot_product_attention(heads, heads, heads)
        return attended.transpose(1, 2).view(x.shape[0], 24)


def test_a_view_of_what_is_taken_apart_is_captured_and_the_program_stays() -> None:
    x = torch.randn(5, 24)
    exported = export(Viewing(), (x,), dynamic_shapes=({0: Dim.DYNAMIC},), strict=False)
    before = [(node.name, node.target) for node in exported.graph.nodes]
    assert aten.view.default in dict(before).values()
    program = from_exported(exported)
    assert [(node.name, node.target) for node in exported.graph.nodes] == before
    run = torch.fx.GraphModule(nn.Module(), program.graph)
    torch.testing.assert_close(run(x[:2]), Viewing()(x[:2]))


def test_views_come_back_after_a_failure() -> None:
    exported = export(Viewing(), (torch.randn(5, 24),), strict=False)
    views = exported.graph.find_nodes(op="call_function", target=aten.view.default)
    seen: list[Any] = []

    def failing() -> None:
        with reshaping(exported.graph):
            seen.extend(node.target for node in views)
            raise ValueError("within")

    with pytest.raises(ValueError, match="within"):
        failing()
    assert set(seen) == {aten.reshape.default}
    assert exported.graph.find_nodes(op="call_function", target=aten.view.default) == views
