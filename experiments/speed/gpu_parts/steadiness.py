"""Are draws those of the CPU, and is the memory given back?"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from gpu_parts.setups import Setup, captured, exact, under
from gpu_parts.sheet import Cell, Scale, Sheet
from lrp_bench import chance
from lrp_bench.chance import Purpose
from lrp_bench.engine.composites import AttnLRP, EpsilonPlus
from lrp_bench.engine.rules import AlphaBeta, Epsilon

DRAWS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "bits": lambda x: chance.bits(x, 1000, 7, Purpose.INPUT_NOISE),
    "uniform": lambda x: chance.uniform(x, 1000, 7, Purpose.INPUT_NOISE),
    "index": lambda x: chance.index(x, 1000, 10, 7, Purpose.FILL_SAMPLE),
    "order": lambda x: chance.order(x, 1000, 7, Purpose.PATCH_ORDER),
    "uniform_like": lambda x: chance.uniform_like(x, 7, Purpose.FILL_NOISE),
    "normal": lambda x: chance.normal(x, 1000, 7, Purpose.INPUT_NOISE),
    "normal_like": lambda x: chance.normal_like(x, 7, Purpose.ROAD_NOISE),
}
RULES = {"epsilon": Epsilon(), "alphabeta": AlphaBeta(), "epsilon_plus": EpsilonPlus(), "attnlrp": AttnLRP()}
TIMES = 50


def main(sheet: Sheet, scale: Scale) -> None:
    """Draw here and there; explain fifty times and look at what is still held."""
    exact()
    for name, draw in DRAWS.items():
        sheet.attempt("Draws", name, partial(drawn, draw, scale.device))
    networks = ["residual CNN"] if scale.size != "gpu" else ["residual CNN", "ViT"]
    for network in networks:
        for rule in RULES:
            row = f"{rule}, {network}"
            sheet.attempt(f"Memory after {TIMES} explanations", row, partial(held, network, rule, scale.device))


def drawn(draw: Callable[[Tensor], Tensor], device: str) -> Mapping[str, Cell]:
    """Whether the draws are the same bits, and else by how much they differ."""
    x = torch.randn(32, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    here, there = draw(x), draw(x.to(device)).cpu()
    same = float((here == there).double().mean())
    apart = float((here.double() - there.double()).abs().max())
    words = "yes" if torch.equal(here, there) else "no"
    return {"bit for bit those of the CPU": words, "share that is": same, "largest difference": apart}


def held(network: str, rule: str, device: str) -> Mapping[str, Cell]:
    """Bytes on the device after the first explanations and after the last, ledgers looked at."""
    lrp, x = captured(network, Setup(device, torch.float32))
    lrp = under(lrp, RULES[rule])

    def explain(times: int) -> None:
        for _ in range(times):
            dict(lrp(x).ledger)

    explain(2)
    before = in_use(device)
    explain(1)
    one = in_use(device) - before
    explain(TIMES)
    return {"bytes held after one more": one, f"after {TIMES + 1} more": in_use(device) - before}


def in_use(device: str) -> int:
    """Bytes of tensors: on a GPU as its allocator counts them, on a CPU those that Python holds."""
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated()
    held = [each.untyped_storage() for each in gc.get_objects() if type(each) in (Tensor, nn.Parameter)]
    return sum({storage.data_ptr(): storage.nbytes() for storage in held}.values())
