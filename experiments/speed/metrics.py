"""Time the metrics: perturbation curves beside plain forward passes and Quantus, ROAD's imputation, Kendall's tau.

    python experiments/speed/metrics.py [--repeats 5] [--threads 2] [--out FOLDER]

All contenders run in this one process, in turn, and their medians are compared: the machine may drift, the ratios
hold. Writes metrics.csv and metrics.md, with _gpu in their names where they ran on one. Needs Quantus.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import quantus
import torch
from quantus.functions.perturb_func import noisy_linear_imputation
from scipy.stats import kendalltau
from timing import Work, timed, write
from torch import Tensor

from lrp_bench.metrics.flipping import Constant, PerturbationCurve
from lrp_bench.metrics.functional import kendall
from lrp_bench.metrics.imputers.road import Road
from lrp_bench.models import MiniVGG

IMAGES, STEPS, SHAPE = 64, 32, (3, 32, 32)


def curves(repeats: int, device: torch.device) -> pd.DataFrame:
    """32 steps over 64 images, against as many plain forward passes at the same batch size."""
    torch.manual_seed(0)
    model = MiniVGG(list(SHAPE), 10).eval().requires_grad_(False).to(device)
    x, relevance = torch.randn(IMAGES, *SHAPE, device=device), torch.randn(IMAGES, *SHAPE, device=device)
    target = torch.zeros(IMAGES, dtype=torch.long, device=device)
    curve = PerturbationCurve(steps=STEPS, imputer=Constant(0.0), max_batch=128)

    @torch.no_grad()
    def forwards() -> None:
        for _ in range((STEPS + 1) * IMAGES // 128):
            model(torch.cat([x, x]))
        model(x)

    def one_by_one() -> None:
        for i in range(IMAGES):
            curve(model, x[i : i + 1], relevance[i : i + 1], target[i : i + 1])

    contenders: dict[str, Work] = {
        "forward passes": forwards,
        "curve, batch of 64": lambda: curve(model, x, relevance, target),
        "curve, 64 batches of 1": one_by_one,
    }
    return compared("curve", timed(contenders, repeats, device), "forward passes")


def flipping(repeats: int, device: torch.device) -> pd.DataFrame:
    """The same curve by Quantus' PixelFlipping, all 64 images in one batch.

    On one channel, since Quantus flips channel entries, and with a small network, so that the curve's own work shows
    beside the forward passes; Quantus leaves step 0 out.
    """
    torch.manual_seed(0)
    small = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1024, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    x, relevance = torch.randn(IMAGES, 1, 32, 32), torch.randn(IMAGES, 1, 32, 32)
    target = torch.zeros(IMAGES, dtype=torch.long)
    tables = []
    for name, model in {"MLP": small, "MiniVGG": MiniVGG([1, 32, 32], 10)}.items():
        model.eval().requires_grad_(False).to(device)
        curve = PerturbationCurve(steps=STEPS, imputer=Constant(0.0), max_batch=128)
        peer = quantus.PixelFlipping(
            features_in_step=1024 // STEPS, perturb_baseline=0.0, normalise=False, disable_warnings=True
        )
        ours = [values.to(device) for values in (x, relevance, target)]
        arrays = dict(zip(("x_batch", "a_batch", "y_batch"), (v.numpy() for v in (x, relevance, target)), strict=True))
        contenders: dict[str, Work] = {
            f"curve, {name}": lambda model=model, curve=curve, ours=ours: curve(model, *ours),
            f"Quantus PixelFlipping, {name}": lambda model=model, peer=peer, arrays=arrays: peer(
                model=model, **arrays, device=str(device), batch_size=IMAGES
            ),
        }
        tables.append(compared(f"pixel flipping, {name}", timed(contenders, repeats, device)))
    return pd.concat(tables)


def road(repeats: int, device: torch.device) -> pd.DataFrame:
    """ROAD's imputation of 64 images at its nine shares, removed in the order of noise, and in that of smooth maps."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(IMAGES, *SHAPE, generator=generator)
    coarse = torch.randn(IMAGES, 1, 4, 4, generator=generator)
    maps = {
        "scattered": torch.randn(IMAGES, 1, *SHAPE[1:], generator=generator),
        "smooth": torch.nn.functional.interpolate(coarse, SHAPE[1:], mode="bicubic"),
    }
    tables = []
    for name, relevance in maps.items():
        removed = torch.cat([_top(relevance, share / 10) for share in range(1, 10)])
        rows = torch.arange(IMAGES).repeat(9)
        images, places = x.numpy(), [np.flatnonzero(mask) for mask in removed.flatten(1).numpy()]
        fill, on_device = Road(sigma=0.01)(x.to(device), 0), (rows.to(device), removed.to(device))

        def ours(fill=fill, on_device=on_device) -> None:
            for chosen, mask in zip(on_device[0].split(128), on_device[1].split(128), strict=True):
                fill(chosen, mask)

        def theirs(images=images, places=places, rows=rows) -> None:
            for row, indices in zip(rows.tolist(), places, strict=True):
                noisy_linear_imputation(images[row], indices, noise=0.01)

        contenders: dict[str, Work] = {f"Road, {name}": ours, f"Quantus ROAD imputation, {name}": theirs}
        tables.append(compared(f"road, {name}", timed(contenders, repeats, device)))
    return pd.concat(tables)


def _top(relevance: Tensor, share: float) -> Tensor:
    ranks = relevance.flatten(1).argsort(1, descending=True).argsort(1)
    return (ranks < round(share * ranks.shape[1])).reshape(relevance.shape)


def tau(repeats: int, device: torch.device) -> pd.DataFrame:
    """Kendall's tau-b of 64 pairs of maps with 3,072 values, and with ten times as many."""
    generator = torch.Generator().manual_seed(0)
    tables = []
    for size in (3072, 30720):
        a, b = (torch.randn(IMAGES, size, generator=generator).to(device) for _ in range(2))
        rows = list(zip(a.cpu().numpy(), b.cpu().numpy(), strict=True))
        contenders: dict[str, Work] = {
            f"kendall, {size} values": lambda a=a, b=b: kendall(a, b),
            f"SciPy kendalltau, {size} values": lambda rows=rows: [kendalltau(*row) for row in rows],
        }
        tables.append(compared(f"tau, {size}", timed(contenders, repeats, device)))
    return pd.concat(tables)


def compared(what: str, table: pd.DataFrame, unit: str | None = None) -> pd.DataFrame:
    """With two more columns: seconds in units of a contender, and how many times faster the first of ours is."""
    table["forwards"] = table["seconds"] / table.loc[unit, "seconds"] if unit else float("nan")
    ours = next(name for name in table.index if name != unit)
    others = table.index.str.contains("Quantus|SciPy")
    table["ours is faster"] = (table["seconds"] / table.loc[ours, "seconds"]).where(others)
    return table.assign(task=what).reset_index().set_index(["task", "contender"])


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    suffix = "_gpu" if device.type == "cuda" else ""
    table = pd.concat([task(options.repeats, device) for task in (curves, flipping, road, tau)])
    write(table, options.out / f"metrics{suffix}", "Metrics beside plain forward passes, Quantus and SciPy")


if __name__ == "__main__":
    main()
