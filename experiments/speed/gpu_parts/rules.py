"""Is every rule and composite right on the device? Each of conf/rule on small networks, beside the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import torch

from gpu_parts.setups import DTYPES, Setup, captured, differences, exact, gathered, under
from gpu_parts.sheet import Cell, Scale, Sheet
from lrp_bench.cli import CONF, configure
from lrp_bench.contracts import Explanation
from lrp_bench.run import build

TABLE = "Rules and composites"
TRANSFORMER = ("attnlrp", "cp_lrp", "epsilon", "gamma", "layered")
RECURRENT = ("alphabeta", "epsilon", "gamma", "zplus")


def main(sheet: Sheet, scale: Scale) -> None:
    """Explain under each rule on the CPU and on the device, and compare."""
    exact()
    pairs = [(rule, "residual CNN") for rule in sorted(path.stem for path in (CONF / "rule").glob("*.yaml"))]
    pairs += [(rule, "ViT") for rule in TRANSFORMER] + [(rule, "LSTM") for rule in RECURRENT]
    for rule, network in pairs[:: 9 if scale.size == "smoke" else 1]:
        sheet.attempt(TABLE, f"{rule}, {network}", partial(compared, rule, network, scale.device))


def compared(rule: str, network: str, device: str) -> Mapping[str, Cell]:
    """The largest differences, and how far the ledger is from being closed on the device."""
    found = gathered(device, partial(explained, configured(rule), network))
    cells = differences({name: e.relevance for name, e in found.items()}, device)
    return cells | {f"ledger open by, {name}": open_by(found[f"device, {name}"]) for name in DTYPES}


@cache
def configured(rule: str) -> Any:
    """As conf/ has it, a box being that of grey pictures."""
    return build(configure(f"rule={rule}").rule)


def explained(rule: Any, network: str, setup: Setup) -> Explanation:
    """By a network whose weights are the same everywhere, for a class that no rounding changes."""
    lrp, x = captured(network, setup)
    e = under(lrp, rule)(x, 1)
    e.ledger.keys()
    return e


def open_by(e: Explanation) -> float:
    """|arrived - (passed + bias + stabilizer + rule)| in units of the largest of them; the worst layer and sample."""
    worst = 0.0
    for entry in e.ledger.values():
        terms = torch.stack([entry.passed, entry.bias, entry.stabilizer, entry.rule])
        size = torch.maximum(terms.abs().amax(0), entry.arrived.abs()).clamp(min=1e-30)
        worst = max(worst, float(((entry.arrived - terms.sum(0)).abs() / size).max()))
    return worst
