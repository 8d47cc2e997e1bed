"""Time the engine beside a gradient, Zennit and Captum.

    python experiments/speed/engine.py [--networks minivgg vgg16 resnet50 vit_b_16]
        [--repeats 5] [--threads 2] [--out FOLDER]

All contenders run in this one process, in turn, and their medians are compared: the machine may drift, the ratios
hold. Memory is measured in a run of its own. Writes engine.csv and engine.md, with _gpu in their names where they ran
on one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
import torchvision
from captum import attr as captum_attr
from captum.attr._utils.lrp_rules import EpsilonRule
from timing import Work, clock, timed, write
from torch import Tensor, nn
from zennit import rules as zennit_rules
from zennit.attribution import Gradient
from zennit.composites import LayerMapComposite
from zennit.torchvision import ResNetCanonizer
from zennit.types import Activation, AvgPool, BatchNorm, Convolution, Linear

from lrp_bench.engine import LRP
from lrp_bench.engine.composites import CPLRP, AttnLRP, Composite
from lrp_bench.engine.rules import AlphaBeta, Epsilon, Gamma, Rule, ZPlus
from lrp_bench.models import MiniVGG

RULES: Mapping[str, tuple[Rule, zennit_rules.BasicHook]] = {
    "epsilon": (Epsilon(1e-6), zennit_rules.Epsilon(1e-6)),
    "z+": (ZPlus(), zennit_rules.ZPlus()),
    "gamma": (Gamma(0.25), zennit_rules.Gamma(0.25)),
    "alpha-beta": (AlphaBeta(2.0, 1.0), zennit_rules.AlphaBeta(2.0, 1.0)),
}
ATTENTIVE: Mapping[str, tuple[Rule | Composite, None]] = {
    "epsilon": (Epsilon(1e-6), None),
    "AttnLRP": (AttnLRP(), None),
    "CP-LRP": (CPLRP(), None),
}
ENGINE_NOTE = (
    " One gradient with respect to the input, in the model's own layout, is the unit; on a CPU the engine computes its "
    "convolutions channels last, and the second row says what that alone gives a gradient. Memory: of tensors, above "
    "what was held before. Noticing: the part of a call that looks whether the model is still what was captured."
)


@dataclass(frozen=True)
class Network:
    """What is explained, and how: rules with Zennit's hook for the same one, None where it has none."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    rules: Mapping[str, tuple[Rule | Composite, zennit_rules.BasicHook | None]]
    captum: bool = False  # whose LRP refuses or misjudges the others


NETWORKS: dict[str, Network] = {
    "minivgg": Network(lambda: MiniVGG([3, 32, 32], 10), (64, 3, 32, 32), RULES, captum=True),
    "vgg16": Network(lambda: torchvision.models.vgg16(weights=None), (8, 3, 224, 224), RULES),
    "resnet50": Network(lambda: torchvision.models.resnet50(weights=None), (8, 3, 224, 224), RULES),
    "vit_b_16": Network(lambda: torchvision.models.vit_b_16(weights=None), (8, 3, 224, 224), ATTENTIVE),
}


def gradient(model: nn.Module, x: Tensor) -> Work:
    """One gradient of the predicted logits with respect to the input: the unit of all figures."""

    def work() -> Tensor:
        leaf = x.detach().requires_grad_()
        logits = model(leaf)
        return torch.autograd.grad(logits.amax(1).sum(), leaf)[0]

    return work


def zennit(model: nn.Module, x: Tensor, rule: zennit_rules.BasicHook) -> Work:
    """The same rule for every convolution and linear layer, batch norms merged."""
    layers = [(Activation, zennit_rules.Pass()), (AvgPool, zennit_rules.Norm()), (BatchNorm, zennit_rules.Pass())]
    composite = LayerMapComposite([*layers, (Convolution, rule), (Linear, rule)], canonizers=[ResNetCanonizer()])

    def work() -> Tensor:
        with Gradient(model, composite) as attributor:
            return attributor(x, lambda logits: logits * nn.functional.one_hot(logits.argmax(1), logits.shape[1]))[1]

    return work


def captum(model: nn.Module, x: Tensor) -> Work:
    """LRP-epsilon, its rules attached before each call."""
    leaves = [m for m in model.modules() if not list(m.children())]

    def work() -> Tensor:
        for leaf in leaves:
            if not isinstance(leaf, nn.ReLU | nn.Dropout | nn.MaxPool2d):
                leaf.rule = EpsilonRule()
        return captum_attr.LRP(model).attribute(x.detach().requires_grad_(), target=0)

    return work


def engine(network: Network, name: str, repeats: int, device: torch.device) -> pd.DataFrame:
    """All its rules on one network."""
    torch.manual_seed(0)
    model = network.build().eval().requires_grad_(False).to(device)
    x = torch.randn(network.shape, device=device)
    last = {"memory_format": torch.channels_last}
    contenders = {"gradient": gradient(model, x)}
    contenders["gradient, channels last"] = gradient(deepcopy(model).to(**last), x.to(**last))
    capture, noticing = {}, {}
    for rule, (ours, hook) in network.rules.items():
        began = time.perf_counter()
        lrp = LRP(model, ours, example=x)
        capture[f"lrp_bench {rule}"] = time.perf_counter() - began
        contenders[f"lrp_bench {rule}"] = lambda lrp=lrp: lrp(x)
        looks = [clock(lambda lrp=lrp: lrp.unchanged_since(lrp.state), torch.device("cpu")) for _ in range(100)]
        noticing[f"lrp_bench {rule}"] = 100 * statistics.median(looks)
        if hook is not None:
            contenders[f"zennit {rule}"] = zennit(model, x, hook)
    if network.captum:
        contenders["captum epsilon"] = captum(_out_of_place(model), x)
    table = compared(timed(contenders, repeats, device))
    table["capture s"] = pd.Series(capture)
    table["noticing %"] = pd.Series(noticing) / table["seconds"]
    return table.assign(network=f"{name} ({len(x)})").reset_index().set_index(["network", "contender"])


def compared(table: pd.DataFrame) -> pd.DataFrame:
    """With the ratios to the gradient, and to Zennit where it has the same rule."""
    unit = table.loc["gradient"]
    peers = [name.replace("lrp_bench", "zennit") if "lrp_bench" in name else None for name in table.index]
    return table.assign(
        gradients=table["seconds"] / unit["seconds"],
        **{
            "memory ratio": table["MiB"] / unit["MiB"],
            "times faster than zennit": table["seconds"].reindex(peers).to_numpy() / table["seconds"],
        },
    )


def _out_of_place(model: nn.Module) -> nn.Module:
    copied = deepcopy(model)
    for module in copied.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return copied


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write."""
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device("cuda" if gpu else "cpu")
    tables = [engine(NETWORKS[name], name, options.repeats, device) for name in options.networks]
    title = "The engine beside a gradient, Zennit and Captum"
    write(pd.concat(tables), options.out / ("engine_gpu" if gpu else "engine"), title, ENGINE_NOTE)


if __name__ == "__main__":
    main()
