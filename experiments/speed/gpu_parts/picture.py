"""The figures in one picture: what an explanation costs, how many a second, and how right the device is."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

NETWORKS = ("vgg16", "resnet50", "vit_b_16", "causal")
RIGHT = ("Rules and composites", "Operators", "Evaluators")
KINDS = {
    "float64: device beside CPU": ("GPU beside CPU, float64", "tab:green", -0.22),
    "float32: device beside CPU": ("GPU beside CPU, float32", "tab:orange", 0.0),
    "float32 of the device beside float64": ("float32 of the device beside float64 of the CPU", "tab:blue", 0.22),
}
LEAST = 1e-17  # where differences of nothing are drawn
COLOURS = {"gradient": "0.55", "lrp_bench": "tab:blue", "zennit": "tab:orange", "efficient": "tab:green"}


def draw(found: pd.DataFrame, title: str, path: Path) -> None:
    """Four networks above; samples a second and differences below."""
    figure = plt.figure(figsize=(17, 9.5), layout="constrained")
    figure.suptitle(title, fontsize=15, fontweight="bold")
    grid = figure.add_gridspec(2, 4, height_ratios=[1.15, 1])
    times = {name: explanations(found, name) for name in NETWORKS}
    for place, (name, table) in enumerate(times.items()):
        costs(figure.add_subplot(grid[0, place]), name, table)
    throughput(figure.add_subplot(grid[1, :2]), times)
    differences(figure.add_subplot(grid[1, 2:]), found)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def explanations(found: pd.DataFrame, name: str) -> pd.DataFrame:
    """One row for each contender and batch, in the order in which they were measured."""
    rows = found[(found["table"] == f"Explanations: {name}") & (found["column"] != "note")]
    if rows.empty:
        return pd.DataFrame()
    wide = rows.pivot_table(index="row", columns="column", values="value", aggfunc="last", sort=False).astype(float)
    wide["contender"] = [str(row).rpartition(",")[0] for row in wide.index]
    return wide


def costs(axes: Axes, name: str, table: pd.DataFrame) -> None:
    """Bars: in gradients, at the largest batch; how many samples a second beside them."""
    if table.empty:
        nothing(axes, name)
        return
    batch = table["batch"].max()
    rows = table[table["batch"] == batch].iloc[::-1]
    colours = [COLOURS[contender.split()[0]] for contender in rows["contender"]]
    axes.barh(rows["contender"], rows["gradients"], color=colours)
    for place, (cost, rate) in enumerate(zip(rows["gradients"], rows["samples a second"], strict=True)):
        axes.text(cost, place, f" {cost:.2g}  ({rate:.3g}/s)", va="center", fontsize=9)
    axes.axvline(1, color="0.55", linewidth=1)
    axes.set_xlim(0, 1.5 * rows["gradients"].max())
    axes.set_xlabel("gradients (samples a second)")
    axes.set_title(f"{name}, batch of {batch:.0f}")
    axes.spines[["top", "right"]].set_visible(False)


def throughput(axes: Axes, times: dict[str, pd.DataFrame]) -> None:
    """Lines over the batch: LRP-epsilon, and a gradient dashed."""
    for place, (name, table) in enumerate(times.items()):
        for contender, style in (("gradient", "--"), ("lrp_bench epsilon", "-")):
            rows = table[table["contender"] == contender] if len(table) else table
            if len(rows):
                label = f"{name}, {contender.removeprefix('lrp_bench ')}"
                marks = {"marker": "o", "linestyle": style, "color": f"C{place}", "label": label}
                axes.plot(rows["batch"], rows["samples a second"], **marks)
    if not axes.lines:
        nothing(axes, "Samples a second")
        return
    axes.set(
        xscale="log", yscale="log", xlabel="batch", ylabel="samples a second", title="LRP-epsilon beside a gradient"
    )
    batches = sorted({batch for table in times.values() if len(table) for batch in table["batch"]})
    axes.set_xticks(batches, [f"{batch:.0f}" for batch in batches])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.legend(fontsize=9, loc="upper left", bbox_to_anchor=(1.01, 1))
    axes.grid(alpha=0.3)


def differences(axes: Axes, found: pd.DataFrame) -> None:
    """A dot for each rule, operator and evaluator: its largest relative difference."""
    for column, (label, colour, shift) in KINDS.items():
        rows = found[(found["column"] == column) & found["table"].isin(RIGHT)]
        values = pd.to_numeric(rows["value"], errors="coerce")
        rows, values = rows[values.notna()], values[values.notna()].astype(float).clip(LEAST, 1e3)
        if len(rows):
            places = [RIGHT.index(table) + shift for table in rows["table"]]
            axes.scatter(values, places, s=18, alpha=0.45, color=colour, label=label)
    if not axes.collections:
        nothing(axes, "Largest relative differences")
        return
    axes.set(xscale="log", xlabel=f"largest relative difference (none is drawn at {LEAST:g})", xlim=(LEAST / 3, None))
    axes.set_yticks(range(len(RIGHT)), RIGHT)
    axes.set_ylim(len(RIGHT) - 0.4, -0.6)
    axes.set_title("How right: a dot for each rule, operator and evaluator")
    axes.legend(fontsize=9, loc="upper left")
    axes.grid(alpha=0.3)


def nothing(axes: Axes, name: str) -> None:
    """Say that nothing is there to be drawn."""
    axes.set_title(name)
    axes.text(0.5, 0.5, "not measured", ha="center", va="center", color="0.5")
    axes.set_axis_off()
