"""How quick is an explanation? In gradients and in pictures a second, beside Zennit and LXT's efficient form."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial

import torch
from timing import Work, timed
from torch import Tensor, nn

from gpu_parts.efficient import efficient, relevance
from gpu_parts.networks import BATCHES, CONVOLUTIONAL, NETWORKS
from gpu_parts.setups import difference, exact, under
from gpu_parts.sheet import Cell, Scale, Sheet
from lrp_bench.engine import LRP

REPEATS = {"gpu": 3, "cpu": 2, "smoke": 1}
GRADIENT = "gradient"
SLOW = {"zennit gamma", "zennit alphabeta"}


def vgg16(sheet: Sheet, scale: Scale) -> None:
    """Time it."""
    network("vgg16", sheet, scale)


def resnet50(sheet: Sheet, scale: Scale) -> None:
    """Time it."""
    network("resnet50", sheet, scale)


def vit(sheet: Sheet, scale: Scale) -> None:
    """Time it."""
    network("vit_b_16", sheet, scale)


def causal(sheet: Sheet, scale: Scale) -> None:
    """Time it."""
    network("causal", sheet, scale)


def network(name: str, sheet: Sheet, scale: Scale) -> None:
    """All contenders at all batches, float32 with all its digits."""
    exact()
    asked, device = NETWORKS[name], torch.device(scale.device)
    model = asked.on(scale.device, scale.size)
    first = asked.samples(BATCHES[scale.size][0], scale.size).to(device)
    engines: dict[str, LRP] = {}
    for rule in list(asked.rules)[: 1 if scale.size == "smoke" else None]:
        sheet.attempt(f"What a rule costs once: {name}", rule, partial(made, engines, rule, name, model, first))
    if asked.rules is not CONVOLUTIONAL:
        sheet.attempt("The efficient form beside AttnLRP", name, partial(agreement, model, first))
    for batch in BATCHES[scale.size]:
        x = asked.samples(batch, scale.size).to(device)
        works = contenders(model, x, engines, name)
        if scale.size != "gpu":  # a CPU takes its time
            works = {contender: work for contender, work in works.items() if contender not in SLOW}
        compared(f"Explanations: {name}", batch, works, sheet, scale)


def made(engines: dict[str, LRP], rule: str, name: str, model: nn.Module, x: Tensor) -> Mapping[str, Cell]:
    """Capture the network for the first rule, bind the program for the others; and say what it took."""
    began, first = time.perf_counter(), next(iter(engines.values()), None)
    asked = NETWORKS[name].rules[rule]
    engines[rule] = LRP(model, asked, example=x) if first is None else under(first, asked)
    engines[rule](x)
    return {"seconds": time.perf_counter() - began}


def contenders(model: nn.Module, x: Tensor, engines: Mapping[str, LRP], name: str) -> dict[str, Work]:
    """The gradient first, which is the unit."""
    works: dict[str, Work] = {GRADIENT: partial(gradient, model, x)}
    works |= {f"lrp_bench {rule}": partial(lrp, x) for rule, lrp in engines.items()}
    if NETWORKS[name].rules is CONVOLUTIONAL:
        return works | {f"zennit {rule}": partial(zennit, model, x, rule) for rule in engines}
    return works | {"efficient form of AttnLRP": partial(relevance, efficient(model), x)}


def gradient(model: nn.Module, x: Tensor) -> Tensor:
    """Of the predicted logits, with respect to the input."""
    leaf = x.detach().requires_grad_()
    return torch.autograd.grad(model(leaf).amax(1).sum(), leaf)[0]


def zennit(model: nn.Module, x: Tensor, rule: str) -> Tensor:
    """The same rule by Zennit, batch norms merged."""
    from zennit import composites, rules
    from zennit.attribution import Gradient
    from zennit.torchvision import ResNetCanonizer
    from zennit.types import Activation, AvgPool, BatchNorm, Convolution, Linear

    plain = {"epsilon": rules.Epsilon(1e-6), "gamma": rules.Gamma(0.25), "alphabeta": rules.AlphaBeta(2.0, 1.0)}
    convolution, dense = (rules.ZPlus(), rules.Epsilon(1e-6)) if rule == "epsilon_plus" else (plain[rule], plain[rule])
    layers = [(Activation, rules.Pass()), (AvgPool, rules.Norm()), (BatchNorm, rules.Pass())]
    chosen = [*layers, (Convolution, convolution), (Linear, dense)]
    with Gradient(model, composites.LayerMapComposite(chosen, canonizers=[ResNetCanonizer()])) as attributor:
        return attributor(x, lambda logits: logits * nn.functional.one_hot(logits.argmax(1), logits.shape[1]))[1]


def agreement(model: nn.Module, x: Tensor) -> Mapping[str, Cell]:
    """How far the efficient form is from the engine's AttnLRP with a small stabiliser, in float64."""
    from lrp_bench.engine.composites import AttnLRP

    exactly, inputs = model.double(), x.double()
    try:
        ours = LRP(exactly, AttnLRP(1e-12), example=inputs)(inputs).relevance
        return {"largest difference, float64": difference(relevance(efficient(exactly), inputs), ours)}
    finally:
        model.float()


def compared(table: str, batch: int, works: Mapping[str, Work], sheet: Sheet, scale: Scale) -> None:
    """Time one after the other; one that does not run gets its reason."""
    unit: dict[str, float] = {}
    for name, work in works.items():
        sheet.attempt(table, f"{name}, {batch}", partial(measured, name, work, batch, scale, unit))


def measured(name: str, work: Work, batch: int, scale: Scale, unit: dict[str, float]) -> Mapping[str, Cell]:
    """The median time, what it is in gradients, and the peak memory. unit: those of the gradient, once known."""
    quick = scale.size == "gpu" and batch < BATCHES["gpu"][-1]
    found = timed({name: work}, 9 if quick else REPEATS[scale.size], torch.device(scale.device)).loc[name]
    unit.setdefault("seconds", found["seconds"])
    unit.setdefault("MiB", max(found["MiB"], 1e-9))
    return {
        "batch": batch,
        "milliseconds": 1000 * found["seconds"],
        "gradients": found["seconds"] / unit["seconds"],
        "samples a second": batch / found["seconds"],
        "peak MiB": found["MiB"],
        "peak in gradients": found["MiB"] / unit["MiB"],
    }
