"""Time the engine beside a gradient, Zennit and Captum.

    python experiments/speed/speed.py [--networks minivgg vgg16 resnet50] [--repeats 5] [--threads 2] [--out FOLDER]

All contenders run in this one process, in turn, and their medians are compared: the machine may drift, the ratios
hold. Writes engine.csv and engine.md, with _gpu in their names where they ran on one.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import torch
import torchvision
from captum import attr as captum_attr
from captum.attr._utils.lrp_rules import EpsilonRule
from torch import Tensor, nn
from zennit import rules as zennit_rules
from zennit.attribution import Gradient
from zennit.composites import LayerMapComposite
from zennit.torchvision import ResNetCanonizer
from zennit.types import Activation, AvgPool, BatchNorm, Convolution, Linear

from lrp_bench.engine import LRP
from lrp_bench.engine.rules import AlphaBeta, Epsilon, Gamma, Rule, ZPlus
from lrp_bench.models import MiniVGG

RULES: Mapping[str, tuple[Rule, zennit_rules.BasicHook]] = {
    "epsilon": (Epsilon(1e-6), zennit_rules.Epsilon(1e-6)),
    "z+": (ZPlus(), zennit_rules.ZPlus()),
    "gamma": (Gamma(0.25), zennit_rules.Gamma(0.25)),
    "alpha-beta": (AlphaBeta(2.0, 1.0), zennit_rules.AlphaBeta(2.0, 1.0)),
}
NETWORKS: Mapping[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "minivgg": (lambda: MiniVGG([3, 32, 32], 10), (64, 3, 32, 32)),
    "vgg16": (lambda: torchvision.models.vgg16(weights=None), (8, 3, 224, 224)),
    "resnet50": (lambda: torchvision.models.resnet50(weights=None), (8, 3, 224, 224)),
}
Work = Callable[[], object]


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
        return captum_attr.LRP(model).attribute(x, target=0)

    return work


def peak_memory(work: Work, device: torch.device) -> float:
    """MiB of tensors above what was held before, at the worst moment; NaN on a CPU, whose allocator does not tell."""
    if device.type != "cuda":
        return float("nan")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def timed(contenders: Mapping[str, Work], repeats: int, device: torch.device) -> pd.DataFrame:
    """Median, least and greatest seconds, and peak memory, of each contender; they take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    memory = {name: (work(), peak_memory(work, device))[1] for name, work in contenders.items()}
    for _ in range(repeats):
        for name, work in contenders.items():
            _finish(device)
            began = time.perf_counter()
            work()
            _finish(device)
            seconds[name].append(time.perf_counter() - began)
    rows = [(name, statistics.median(s), min(s), max(s), memory[name]) for name, s in seconds.items()]
    return pd.DataFrame(rows, columns=["contender", "seconds", "least", "greatest", "MiB"]).set_index("contender")


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def engine(network: str, repeats: int, device: torch.device) -> pd.DataFrame:
    """All rules on one network."""
    build, shape = NETWORKS[network]
    torch.manual_seed(0)
    model = build().eval().requires_grad_(False).to(device)
    x = torch.randn(shape, device=device)
    contenders: dict[str, Work] = {"gradient": gradient(model, x)}
    capture = {}
    for name, (rule, peer) in RULES.items():
        began = time.perf_counter()
        lrp = LRP(model, rule, example=x)
        capture[f"lrp_bench {name}"] = time.perf_counter() - began
        contenders[f"lrp_bench {name}"] = lambda lrp=lrp: lrp(x)
        contenders[f"zennit {name}"] = zennit(model, x, peer)
    if network == "minivgg":  # Captum's LRP refuses or misjudges the others
        plain = build().eval().requires_grad_(False).to(device)
        for module in plain.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False
        contenders["captum epsilon"] = captum(plain, x)
    table = timed(contenders, repeats, device)
    table["gradients"] = table["seconds"] / table.loc["gradient", "seconds"]
    table["memory ratio"] = table["MiB"] / table.loc["gradient", "MiB"]
    table["faster than zennit"] = [
        table.loc[name.replace("lrp_bench", "zennit"), "seconds"] / row["seconds"]
        if "lrp_bench" in name
        else float("nan")
        for name, row in table.iterrows()
    ]
    table["capture s"] = pd.Series(capture)
    return table.assign(network=f"{network} ({shape[0]})").reset_index().set_index(["network", "contender"])


def write(table: pd.DataFrame, path: Path, title: str) -> None:
    """As csv and as a Markdown table."""
    table.to_csv(path.with_suffix(".csv"), float_format="%.5g")
    shown = table.reset_index()
    cells = [[f"{v:.3g}" if isinstance(v, float) else str(v) for v in row] for row in shown.itertuples(index=False)]
    lines = [" | ".join(row) for row in ([*map(str, shown.columns)], ["---"] * shown.shape[1], *cells)]
    text = f"# {title}\n\n{machine()}\n\n" + "\n".join(f"| {line.replace('nan', 'n.a.')} |" for line in lines) + "\n"
    path.with_suffix(".md").write_text(text)
    print(text)


def machine() -> str:
    """What the figures were measured on."""
    name = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"{torch.get_num_threads()} threads of {_processor()}"
    )
    return f"{name}; Python {platform.python_version()}, torch {torch.__version__}. Medians; seconds, MiB."


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        if info.exists()
        else []
    )
    return names[0] if names else platform.machine()


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["minivgg"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    suffix = "_gpu" if device.type == "cuda" else ""
    tables = [engine(network, options.repeats, device) for network in options.networks]
    write(pd.concat(tables), options.out / f"engine{suffix}", "The engine beside a gradient, Zennit and Captum")


if __name__ == "__main__":
    main()
