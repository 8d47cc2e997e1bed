"""What fewer digits, another layout, graphs and compilers change: in time, in memory and in what comes out."""

from __future__ import annotations

import copy
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from timing import Work, timed
from torch import Tensor, nn

from gpu_parts.networks import BATCHES, CONVOLUTIONAL, NETWORKS
from gpu_parts.quick import REPEATS, gradient
from gpu_parts.rules import open_by
from gpu_parts.setups import difference, exact
from gpu_parts.sheet import Cell, Scale, Sheet
from lrp_bench.engine import LRP
from lrp_bench.engine.capture import capture
from lrp_bench.engine.composites import Composite, Uniform
from lrp_bench.engine.rewrite import rewrite
from lrp_bench.engine.rules import Rule

SHOWN = {"resnet50": "epsilon", "vit_b_16": "AttnLRP", "causal": "AttnLRP"}
COMPILED = {"gpu": ("vit_b_16", "resnet50"), "smoke": ("causal",)}
TARGET = 1
Preparation = Callable[[Any, Tensor], Callable[[Tensor], Tensor]]  # of a work: recorded, or compiled
GRAPHS = "CUDA graphs"


def main(sheet: Sheet, scale: Scale) -> None:
    """Each variant beside float32 with all its digits, at the largest batch."""
    exact()
    for name in list(SHOWN)[:: 2 if scale.size == "smoke" else 1]:
        Variants(name, sheet, scale).measure()


class Variants:
    """One network, its rule and its largest batch."""

    def __init__(self, name: str, sheet: Sheet, scale: Scale) -> None:
        self.name, self.sheet, self.scale = name, sheet, scale
        self.network, self.device = NETWORKS[name], torch.device(scale.device)
        self.rule = self.network.rules[SHOWN[name]]
        self.model = self.network.on(scale.device, scale.size)
        self.x = self.network.samples(BATCHES[scale.size][-1], scale.size).to(self.device)
        self.unit, self.expected = float("nan"), self.x
        self.table = f"Variants: {name}, {SHOWN[name]}, batch of {len(self.x)}"

    def measure(self) -> None:
        """All of them."""
        self.row("gradient, float32", self.plain)
        self.row("float32", lambda: self.explained(self.model, self.x))
        if self.device.type == "cuda":
            self.row("tf32", self.short)
        self.row("bfloat16", lambda: self.explained(copy.deepcopy(self.model).bfloat16(), self.x.bfloat16()))
        if self.network.rules is CONVOLUTIONAL:
            last = {"memory_format": torch.channels_last}
            self.row("channels last", lambda: self.explained(copy.deepcopy(self.model).to(**last), self.x.to(**last)))
        self.row("without checks", self.bare)

    def row(self, name: str, work: Callable[[], Mapping[str, Cell]]) -> None:
        """Fill it, or say why not."""
        self.sheet.attempt(self.table, name, work)

    def times(self, work: Work) -> dict[str, Cell]:
        """Of one explanation."""
        found = timed({"": work}, REPEATS[self.scale.size], self.device).iloc[0]
        cells: dict[str, Cell] = {"milliseconds": 1000 * found["seconds"], "gradients": found["seconds"] / self.unit}
        return cells | {"samples a second": len(self.x) / found["seconds"], "peak MiB": found["MiB"]}

    def plain(self) -> Mapping[str, Cell]:
        """The unit."""
        cells = self.times(partial(gradient, self.model, self.x))
        self.unit = float(cells["milliseconds"]) / 1000
        return cells | {"gradients": 1.0}

    def explained(self, model: nn.Module, x: Tensor) -> Mapping[str, Cell]:
        """By the engine: the time, how far the ledger is from closed, and how far the relevance from float32's."""
        began = time.perf_counter()
        lrp = LRP(model, self.rule, example=x)
        once = time.perf_counter() - began
        e = lrp(x[:8], TARGET)
        if model is self.model and not torch.backends.cuda.matmul.allow_tf32:
            self.expected = e.relevance
        apart = difference(e.relevance, self.expected)
        cells = self.times(partial(lrp, x))
        return cells | {"ledger open by": open_by(e), "from float32": apart, "seconds once": once}

    def short(self) -> Mapping[str, Cell]:
        """With tf32 in products and convolutions."""
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        try:
            return self.explained(self.model, self.x)
        finally:
            exact()

    def bare(self, prepared: Preparation | None = None) -> Mapping[str, Cell]:
        """What the engine made of the network, called with nothing that reads a value back from the device."""
        work: Callable[[Tensor], Tensor] = partial(propagated, propagator(self.model, self.rule, self.x))
        began = time.perf_counter()
        work = prepared(work, self.x) if prepared else work
        once: dict[str, Cell] = {"seconds once": time.perf_counter() - began} if prepared else {}
        apart = difference(work(self.x), LRP(self.model, self.rule, example=self.x)(self.x).relevance)
        return self.times(partial(work, self.x)) | {"from float32": apart} | once


def propagator(model: nn.Module, rule: Rule | Composite, x: Tensor) -> nn.Module:
    """The module whose gradient is the relevance."""
    return rewrite(capture(model, (x,)), rule if isinstance(rule, Composite) else Uniform(rule))[0]


def propagated(module: nn.Module, x: Tensor) -> Tensor:
    """The relevance of the predicted class."""
    leaf = x.detach().requires_grad_()
    logits = module(leaf)
    values = logits.detach().clone()
    best = values.argmax(1, keepdim=True)
    start = torch.zeros_like(values).scatter(1, best, values.gather(1, best))
    return torch.autograd.grad(logits, leaf, start)[0]


def graphed(work: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[Tensor], Tensor]:
    """The same, recorded once and replayed."""
    given, stream = x.clone(), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work(given)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = work(given)

    def replayed(new: Tensor) -> Tensor:
        given.copy_(new)
        graph.replay()
        return found

    return replayed


def recorded(sheet: Sheet, scale: Scale) -> None:
    """CUDA graphs, apart from all else: a recording that fails may leave the device unusable for its process."""
    exact()
    for name in list(SHOWN)[:: 2 if scale.size == "smoke" else 1]:
        if scale.device != "cuda":
            sheet.put(GRAPHS, name, note="no GPU")
            continue
        variants = Variants(name, sheet, scale)
        variants.table = f"{GRAPHS}: {name}, {SHOWN[name]}, batch of {len(variants.x)}"
        variants.row("gradient", variants.plain)
        variants.row("explanation without checks", variants.bare)
        variants.row("explanation without checks, recorded and replayed", lambda v=variants: v.bare(graphed))


def compiled(sheet: Sheet, scale: Scale) -> None:
    """torch.compile of a gradient and of an explanation, with what it costs once."""
    exact()
    size = "gpu" if scale.size == "gpu" else "smoke"  # a compiler takes its time on a CPU
    with fresh_cache():
        for name in COMPILED[size]:
            variants = Variants(name, sheet, Scale(scale.device, size))
            small = "" if size == "gpu" else ", two layers of 16"
            variants.table = f"torch.compile: {name}{small}, {SHOWN[name]}, batch of {len(variants.x)}"
            variants.row("gradient", variants.plain)
            variants.row("gradient, compiled", partial(compiled_gradient, variants))
            variants.row("explanation without checks", variants.bare)
            variants.row("explanation without checks, compiled", lambda v=variants: v.bare(compiling))


def compiled_gradient(variants: Variants) -> Mapping[str, Cell]:
    """The network compiled as it is."""
    began = time.perf_counter()
    model = torch.compile(variants.model)
    gradient(model, variants.x)
    once = time.perf_counter() - began
    apart = difference(gradient(model, variants.x), gradient(variants.model, variants.x))
    return variants.times(partial(gradient, model, variants.x)) | {"from float32": apart, "seconds once": once}


def compiling(work: partial[Tensor], x: Tensor) -> Callable[[Tensor], Tensor]:
    """The engine's module compiled; called once, which is when the compiler works."""
    quick = partial(propagated, torch.compile(work.args[0]))
    quick(x)
    return quick


@contextmanager
def fresh_cache() -> Iterator[None]:
    """Nothing that was compiled before."""
    with tempfile.TemporaryDirectory() as kept:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = kept
        yield
