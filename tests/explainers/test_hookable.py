"""The rewritten model: the same function, every computation a module of its own."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrp_bench.explainers.hookable import hookable, leaves


class Everything(nn.Module):
    """A reused ReLU, functional relus and additions of tensors, of sizes, and of a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.relu = nn.Linear(6, 6), nn.ReLU(inplace=True)
        self.shift = nn.Parameter(torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.relu(self.linear(x)) + x) + (x + x)
        h = F.relu(self.linear(h) + self.shift).relu()
        h = self.relu(torch.add(h, x, alpha=2))
        return h.reshape(-1, x.size(1) + 0 * (x.size(0) + x.size(1)))


def test_the_function_stays_and_every_use_has_its_module() -> None:
    torch.manual_seed(0)
    model, x = Everything().eval(), torch.randn(3, 6)
    before = copy.deepcopy(model)
    net = hookable(copy.deepcopy(model), x)
    other_batch = torch.randn(5, 6)
    torch.testing.assert_close(net(other_batch), before(other_batch))
    kinds = sorted(type(layer).__name__ for layer in leaves(net))
    assert kinds == [*["Addition_Module"] * 3, *["Linear"] * 2, *["ReLU"] * 5]
    assert not any(getattr(layer, "inplace", False) for layer in leaves(net))


def test_every_module_reads_a_tensor_of_its_own() -> None:
    net = hookable(nn.Sequential(nn.Linear(6, 6), nn.ReLU(inplace=True), nn.MaxPool1d(2)), torch.randn(3, 6))
    seen: list[Tensor] = []
    for layer in leaves(net):
        layer.register_forward_hook(lambda _, args, output: seen.extend([args[0], output]))
    net(torch.randn(3, 6))
    assert len({tensor.data_ptr() for tensor in seen}) == len(seen) == 6


def test_a_single_layer_becomes_a_child_that_hooks_can_find() -> None:
    net = hookable(nn.Linear(6, 2), torch.randn(3, 6))
    assert [type(layer) for layer in net.children()] == [nn.Linear]


def test_what_cannot_be_traced_keeps_its_form() -> None:
    class Branching(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if x.isfinite().all() else x

    net = hookable(Branching(nn.Linear(6, 6), nn.ReLU(inplace=True)), torch.randn(3, 6))
    assert isinstance(net, Branching)
    assert not net[1].inplace


def test_what_tracing_would_change_keeps_its_form() -> None:
    """A value drawn in forward is frozen by tracing: the logits differ, so the model stays as it is."""

    class Counting(nn.Sequential):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            Counting.calls += 1
            return super().forward(x) * Counting.calls

    assert isinstance(hookable(Counting(nn.Linear(6, 6)), torch.randn(3, 6)), Counting)
