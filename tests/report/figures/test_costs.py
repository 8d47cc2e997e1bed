from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer

from lrp_bench.contracts import Measure
from lrp_bench.report.figures import costs
from lrp_bench.report.figures.style import drawing
from lrp_bench.report.numbers.comparison import compare
from lrp_bench.report.store.results import Results

Made = Callable[..., Results]
MEASURES = {
    "flipping/aopc_morf": Measure("AOPC", "flipping", True),
    "flipping/srg": Measure("SRG", "flipping", True),
    "cost/seconds": Measure("Seconds", "cost", False, headline=False),
}


def test_srg_is_preferred_and_what_has_no_direction_is_no_faithfulness() -> None:
    assert costs.faithfulness(MEASURES) == "flipping/srg"
    assert costs.faithfulness({"flipping/aopc_morf": MEASURES["flipping/aopc_morf"]}) == "flipping/aopc_morf"
    assert costs.faithfulness({"ties": Measure("Ties", "flipping", None)}) is None


def test_the_seconds_are_the_evaluators_where_it_measured_every_method(results: Made) -> None:
    values = {"flipping/srg": [0.2, 0.4], "cost/seconds": [0.5, 0.5]}
    runs = {name: ({"seconds": 3.0}, values) for name in ("a", "random")}
    measured = results(runs, measures=MEASURES)
    found = costs.costs(measured, compare(measured))
    assert found[["method", "seconds"]].to_numpy().tolist() == [["a", 0.5], ["random", 0.5]]
    assert found["mean"].tolist() == pytest.approx([0.3, 0.3])
    runs["b"] = ({"seconds": 3.0}, {"flipping/srg": [0.2, 0.4]})
    some = results(runs, measures=MEASURES)
    assert costs.costs(some, compare(some))["seconds"].tolist() == [1.5, 1.5, 1.5]  # 3 s for 2 samples


def test_points_stand_at_cost_and_mean_with_their_interval(results: Made) -> None:
    runs = {name: ({"seconds": s}, {"flipping/srg": [0.2, 0.4, 0.6]}) for name, s in (("a", 3.0), ("b", 30.0))}
    measured = results(runs, measures=MEASURES)
    found = costs.costs(measured, compare(measured))
    axis = costs._figure(found, "SRG").axes[0]
    bars = [each for each in axis.containers if isinstance(each, ErrorbarContainer)]
    points = np.concatenate([each.lines[0].get_xydata() for each in bars])
    np.testing.assert_allclose(points, [[1.0, 0.4], [10.0, 0.4]])
    (segment,) = bars[0].lines[2][0].get_segments()
    np.testing.assert_allclose(segment[:, 1], found[["low", "high"]].iloc[0])
    assert axis.get_xscale() == "log"


@pytest.mark.parametrize("span", [1.0, 1.02, 1.95, 4.9, 19.0, 1e4])
def test_ticks_stand_apart(results: Made, span: float) -> None:
    seconds = {"a": 3 * 1.74e-5, "b": 3 * 1.74e-5 * span}
    measured = results(
        {name: ({"seconds": s}, {"flipping/srg": [0.2, 0.4, 0.6]}) for name, s in seconds.items()}, MEASURES
    )
    with drawing():
        figure = costs._figure(costs.costs(measured, compare(measured)), "SRG")
        figure.draw_without_rendering()
    axis = figure.axes[0]
    shown = [label.get_window_extent() for label in axis.get_xticklabels() if label.get_text()]
    inside = sorted(
        (box for box in shown if axis.bbox.x0 <= (box.x0 + box.x1) / 2 <= axis.bbox.x1), key=lambda box: box.x0
    )
    assert inside
    assert all(left.x1 < right.x0 for left, right in pairwise(inside))
