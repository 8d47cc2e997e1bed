"""What the comparisons with the CPU are made on: small networks and samples, the same bits on every device."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor, nn

from gpu_parts.sheet import Cell
from lrp_bench.contracts import Explanation
from lrp_bench.engine import LRP
from lrp_bench.engine.composites import Composite, Uniform
from lrp_bench.engine.rules import Epsilon, Rule
from lrp_bench.models import LSTM, MLP, SequenceLSTM, ViT

T = TypeVar("T")
TINY = 1e-3
DTYPES = {"float64": torch.float64, "float32": torch.float32}

SHAPE, CLASSES, BATCH = (3, 16, 16), 4, 4


@dataclass(frozen=True)
class Setup:
    """A device and a type of numbers."""

    device: str
    dtype: torch.dtype

    def network(self, build: Callable[[], nn.Module]) -> nn.Module:
        """Made on the CPU from one seed, then moved."""
        torch.manual_seed(0)
        return copy.deepcopy(build()).to(self.device, self.dtype).eval().requires_grad_(requires_grad=False)

    def moved(self, x: Tensor) -> Tensor:
        """On the device, of its type; whole numbers and masks keep theirs."""
        return x.to(self.device, self.dtype) if x.is_floating_point() else x.to(self.device)


def gathered(device: str, work: Callable[[Setup], T]) -> dict[str, T]:
    """What comes out on the CPU and on the device, in float64 and in float32; on a CPU the two are one."""
    found = {f"CPU, {name}": work(Setup("cpu", dtype)) for name, dtype in DTYPES.items()}
    if device == "cpu":
        return found | {f"device, {name}": found[f"CPU, {name}"] for name in DTYPES}
    return found | {f"device, {name}": work(Setup(device, dtype)) for name, dtype in DTYPES.items()}


def difference(a: Tensor | Mapping[str, Tensor], b: Tensor | Mapping[str, Tensor]) -> float:
    """Max |a - b| / max |b| in float64, of several tensors the largest; infinite where one is finite and one is not.

    Where all of b is below TINY, rounding errors say, TINY is the unit.
    """
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return max(difference(a[name], b[name]) for name in b)
    left, right = (each.detach().cpu().double().flatten() for each in (a, b))
    if not torch.equal(left.isfinite(), right.isfinite()):
        return float("inf")
    left, right = left[left.isfinite()], right[right.isfinite()]
    if not len(right):
        return 0.0
    return float((left - right).abs().max() / right.abs().max().clamp(min=TINY))


def differences(found: Mapping[str, Tensor] | Mapping[str, Mapping[str, Tensor]], device: str) -> dict[str, Cell]:
    """What is compared, by the names of `gathered`."""
    beside = {
        f"{name}: device beside CPU": difference(found[f"device, {name}"], found[f"CPU, {name}"]) for name in DTYPES
    }
    words: dict[str, Cell] = dict(beside) if device != "cpu" else dict.fromkeys(beside, "no GPU")
    return words | {"float32 of the device beside float64": difference(found["device, float32"], found["CPU, float64"])}


def exact() -> None:
    """float32 with all its digits: tf32 off."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


class Residual(nn.Module):
    """Convolutions, a batch norm, a residual sum, pools and two dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.conv = (
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 8, 3, padding=1),
        )
        self.pool, self.hidden, self.head = nn.MaxPool2d(2), nn.Linear(128, 32), nn.Linear(32, CLASSES)
        nn.init.uniform_(self.norm.running_var, 0.5, 2.0)
        nn.init.normal_(self.norm.running_mean, std=0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        h = self.pool(torch.relu(self.norm(self.stem(x))))
        h = torch.relu(h + self.conv(h))
        return self.head(torch.relu(self.hidden(nn.functional.adaptive_avg_pool2d(h, 4).flatten(1))))


def drawn(*shape: int) -> Tensor:
    """(batch, *shape)."""
    return torch.randn(BATCH, *shape, generator=torch.Generator().manual_seed(len(shape)))


def words() -> Tensor:
    """(batch, 12) ids below 50, the shorter sentences filled up with 0."""
    ids = torch.randint(1, 50, (BATCH, 12), generator=torch.Generator().manual_seed(2))
    ids[1::3, 10:] = 0
    return ids


NETWORKS: Mapping[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "residual CNN": (Residual, lambda: drawn(*SHAPE)),
    "ViT": (lambda: ViT(SHAPE, CLASSES, 4, features=16, heads=2, blocks=1, hidden=32), lambda: drawn(*SHAPE)),
    "LSTM": (lambda: LSTM([12], CLASSES, vocabulary=50, embedding=8, hidden=8, dropout=0.0), words),
    "LSTM of numbers": (lambda: SequenceLSTM([12], 1, features=3), lambda: drawn(12)),
    "MLP of a table": (lambda: MLP([4], 3, hidden=[16]), lambda: drawn(4)),
}


@cache
def captured(network: str, setup: Setup) -> tuple[LRP, Tensor]:
    """The engine on one of NETWORKS, captured once for all that follows, and its samples."""
    build, samples = NETWORKS[network]
    x = setup.moved(samples())
    return LRP(setup.network(build), Epsilon(), example=x), x


def under(lrp: LRP, rule: Rule | Composite) -> LRP:
    """The same capture under another rule."""
    other = copy.copy(lrp)
    other.composite = Uniform(rule) if isinstance(rule, Rule) else rule
    other._captured = {}
    return other


class Method:
    """The engine as an explainer: of the captured model, and of any other that an evaluator makes."""

    follows_weights = True

    def __init__(self, lrp: LRP, model: nn.Module, example: Tensor) -> None:
        self.lrp = lrp if model is lrp.model else LRP(model, lrp.composite, example=example)

    def explain(self, inputs: Tensor, target: Tensor | None = None) -> Explanation:
        """A batch."""
        return self.lrp(inputs, target)
