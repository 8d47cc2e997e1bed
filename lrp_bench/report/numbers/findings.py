"""What a comparison says, in sentences made from its numbers."""

from __future__ import annotations

import pandas as pd

from lrp_bench.contracts import Measure
from lrp_bench.report.numbers.comparison import Comparison
from lrp_bench.report.numbers.gates import checks, failed_gates
from lrp_bench.report.numbers.ranking import CLOSE, DISAGREE, OTHER_SEEDS, SEEDS, SIGNIFICANT
from lrp_bench.report.store.conditions import is_random

VERDICTS = {
    SIGNIFICANT: "a significant difference",
    CLOSE: "not a significant difference",
    DISAGREE: "but the test, sample by sample, names the other as better",
    SEEDS: "a difference between the samples that does not hold over the seeds",
    OTHER_SEEDS: "not told apart, since their seeds differ",
}


def findings(comparison: Comparison) -> tuple[str, ...]:
    """For each headline measure with a direction: who leads, by how much, and whether that is more than chance.

    Agreement is left out, since more alike is not more right.
    """
    told = [
        (measure, _cells(comparison, name))
        for name, measure in comparison.measures.items()
        if measure.headline and measure.family != "agreement"
    ]
    sentences = (
        (_over_settings if cells["setting"].nunique() > 1 else _on_one)(measure, cells, comparison)  # noqa: PD101
        for measure, cells in told
    )
    return tuple(sentence for sentence in sentences if sentence)


def sanity(comparison: Comparison) -> tuple[str, ...]:
    """Which methods fail a sanity check, by what; or that none does, and which checks tested nothing.

    The random map, which must fail, is left out.
    """
    cells = comparison.cells[~comparison.cells["method"].map(is_random).astype(bool)]
    tested = set(cells.loc[cells["n"] > 0, "measure"])
    names = {name: measure.title for name, measure in checks(comparison).items()}
    if not names:
        return ("No sanity check was measured: metric=[mprt,random_logit] measures two.",)
    failed = [
        f"{', '.join(real)} fail{'s' * (len(real) == 1)} a sanity check: {check}."
        for check, methods in failed_gates(comparison).items()
        if (real := [method for method in methods if not is_random(method)])
    ]
    passed = [title for name, title in names.items() if name in tested]
    blank = [title for name, title in names.items() if name not in tested]
    told = failed or [f"No method fails a sanity check ({', '.join(passed)})."] * bool(passed)
    return (*told, *[f"Not tested, since undefined for every sample: {', '.join(blank)}."] * bool(blank))


def _cells(comparison: Comparison, measure: str) -> pd.DataFrame:
    cells = comparison.cells
    return cells[(cells["measure"] == measure) & cells["rank"].notna()].sort_values("rank", kind="stable")


def _on_one(measure: Measure, cells: pd.DataFrame, comparison: Comparison) -> str:
    best, others = cells[cells["rank"] == 1], cells[cells["rank"] > 1]
    if best.empty:
        return ""
    leader = best.iloc[0]
    value = f"{leader['compared']:.3g}"
    value += " (median)" if measure.summary == "median" else ""
    if (cells["common"] < cells["n"]).any():
        value += f" on the {leader['common']} samples that all define"
    if len(best) > 1:
        return f"{measure.title}: {_listed(best)} share the lead with {value}."
    second = others.iloc[0]
    gap = abs(leader["compared"] - second["compared"])
    sentence = f"{measure.title}: {leader['method']} leads with {value}, {gap:.2g} ahead of {second['method']}, "
    pair = _pair(comparison.pairs, leader, second)
    sentence += f"{VERDICTS[pair['verdict']]} ({_probability(pair['p_holm'])})"
    behind = others[others["tied"] & (others["method"] != second["method"])]
    too = " either" if second["tied"] else ""
    return f"{sentence}; {_listed(behind)} cannot be told from it{too}." if len(behind) else f"{sentence}."


def _over_settings(measure: Measure, cells: pd.DataFrame, comparison: Comparison) -> str:
    """Who is first most often, and in how many settings without a doubt."""
    if cells.empty:
        return ""
    settings = cells["setting"].nunique()
    firsts = cells[cells["rank"] == 1]["method"].value_counts()
    leaders = firsts[firsts == firsts.max()].index
    told = [f"{leader} is first in {firsts[leader]}, significantly in {_sure(cells, leader)}" for leader in leaders]
    sentence = f"{measure.title}, {settings} settings: {'; '.join(told)}"
    ranks = comparison.mean_ranks
    ranks = ranks[ranks["measure"] == cells["measure"].iloc[0]].sort_values("mean_rank", kind="stable")
    means = [f"{method} {mean:.1f}" for method, mean in ranks[["method", "mean_rank"]].head(2).to_numpy()]
    ranked = ranks["settings"].max()
    over = f" over the {ranked} that rank every method:" if ranked != settings else ""
    return f"{sentence}; mean rank{over} {', '.join(means)}." if means else f"{sentence}."


def _sure(cells: pd.DataFrame, leader: str) -> int:
    won = cells[(cells["rank"] == 1) & (cells["method"] == leader)]["setting"]
    doubtful = cells[cells["tied"] | (cells["rank"] == 1) & (cells["method"] != leader)]["setting"]
    return len(set(won) - set(doubtful))


def _pair(pairs: pd.DataFrame, one: pd.Series, other: pd.Series) -> pd.Series:
    names = {one["method"], other["method"]}
    here = pairs[(pairs["setting"] == one["setting"]) & (pairs["measure"] == one["measure"])]
    found: pd.Series = here[here["a"].isin(names) & here["b"].isin(names)].iloc[0]
    return found


def _probability(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def _listed(cells: pd.DataFrame) -> str:
    return ", ".join(cells["method"])
