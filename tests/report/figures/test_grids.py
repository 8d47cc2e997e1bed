from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lrp_bench.report.figures import grids
from lrp_bench.report.figures.grids import Grid
from lrp_bench.report.figures.style import COLORS, NEGATIVE, POSITIVE
from lrp_bench.report.store import maps
from lrp_bench.report.store.maps import Maps
from lrp_bench.report.store.results import Results

Made = Callable[..., Results]


def made(R: Any, inputs: Any = None, **changed: Any) -> Maps:
    R = np.asarray(R, dtype=np.float32)
    given = {
        "sample": np.arange(len(R)),
        "label": np.zeros(len(R), dtype=int),
        "prediction": np.arange(len(R)),
        "score": np.ones(len(R)),
        "titles": np.array([f"true a\npredicted {'abcdefgh'[place]}" for place in range(len(R))]),
        "inputs": np.zeros_like(R) if inputs is None else inputs,
        "relevance": R,
    }
    return Maps(**{**given, **changed})


def test_one_row_a_sample_one_column_a_method_each_map_on_its_own_scale() -> None:
    one, other = np.zeros((2, 4, 4)), np.zeros((1, 4, 4))
    one[0, 0, 0], one[1, 1, 1], other[0, 2, 2] = 5.0, -0.25, 1.0
    pixels = np.full((2, 1, 4, 4), 0.5)
    grid = Grid("digits", "", {"a$b$_c": made(one, pixels), "random": made(other, pixels[:1])})
    figure = grids._images(grid)
    by_place = sorted(figure.axes[:6], key=lambda axis: (-axis.get_position().y0, axis.get_position().x0))
    images = [axis.images[0] if axis.images else None for axis in by_place]
    assert [None if image is None else image.get_clim() for image in images] == [
        *((0, 1), (-5, 5), (-1, 1)),
        *((0, 1), (-0.25, 0.25), None),
    ]
    drawn = [None if image is None else np.asarray(image.get_array()) for image in images]
    np.testing.assert_array_equal(drawn[1], one[0])
    np.testing.assert_array_equal(drawn[4], one[1])
    assert [axis.get_title() for axis in by_place[:3]] == ["input", "a$b$_c", "random"]
    assert [text.get_text() for text in by_place[5].texts] == ["n.a."]  # random did not explain the second sample
    assert [text.get_color() for text in figure.texts] == ["black", COLORS[1]]  # the second is predicted wrong


def test_of_a_table_the_bars_are_the_relevance_green_and_red() -> None:
    R = np.array([[1.5, -2.0, 0.0]])
    grid = Grid("concrete", "", {"a": made(R, np.array([[1047.0, 0.5, 3]]), features=("x (kg)", "y", "z"))})
    (axis,) = grids._tables(grid).axes
    bars = [patch for patch in axis.patches if isinstance(patch, Rectangle)]
    assert [bar.get_width() for bar in bars] == [1.5, -2.0, 0.0]
    assert [to_hex(bar.get_facecolor()) for bar in bars] == [POSITIVE, NEGATIVE, POSITIVE]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["x (kg) = 1047", "y = 0.5", "z = 3"]
    assert axis.get_xlim() == pytest.approx((-2.16, 2.16))
    assert axis.yaxis_inverted()


def test_of_a_text_every_method_has_a_row_of_coloured_words() -> None:
    words = maps.filled([("not", "$good$"), ("fine",)])
    text = {"inputs": np.ones((2, 2), dtype=int), "words": words}
    grid = Grid("sst", "", {"a": made([[1.0, -2.0], [3.0, 9.0]], **text), "b": made([[0, 0], [0, 0]], **text)})
    (axis,) = grids._texts(grid).axes
    assert [each.get_text() for each in axis.texts] == [
        *("true a, predicted a", "a", "not", "$good$", "b", "not", "$good$"),
        *("true a, predicted b", "a", "fine", "b", "fine"),
    ]
    grounds = [to_hex(patch.get_facecolor()) for patch in axis.patches]
    shade = colormaps["RdBu_r"]
    assert grounds == [to_hex(shade(share)) for share in (0.75, 0.0, 0.5, 0.5, 1.0, 0.5)]  # 9 is behind the sentence


def inside(figure: Figure) -> bool:
    """Whether all that is drawn lies on the page."""
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    return bool(box.x0 >= -0.01 and box.y0 >= -0.01 and box.x1 <= width + 0.01 and box.y1 <= height + 0.01)


@pytest.mark.parametrize("count", [1, 4])
def test_nothing_is_cut_off(count: int) -> None:
    rng = np.random.default_rng(0)
    names = [f"epsilon_alpha2_beta1_flat_{place}" for place in range(count)]
    image = made(rng.normal(size=(8, 28, 28)), titles=np.array(["true automobile\npredicted ship"] * 8))
    features = tuple(f"a long feature's name {place}" for place in range(8))
    table = made(rng.normal(size=(8, 8)), rng.normal(size=(8, 8)), features=features)
    text = made(rng.normal(size=(8, 40)), np.ones((8, 40)), words=maps.filled([("word",) * 40] * 8))
    for draw, each in ((grids._images, image), (grids._tables, table), (grids._texts, text)):
        figure = draw(Grid("x", "", dict.fromkeys(names, each)))
        assert inside(figure)
        assert figure.get_size_inches()[0] <= 6.95
        assert figure.get_size_inches()[1] <= 9.2


def test_methods_of_one_data_set_model_and_seed_are_shown_together(results: Made) -> None:
    def run(method: str, dataset: str = "digits", seed: str = "0") -> tuple[dict[str, object], dict[str, list[float]]]:
        return {"method": method, "dataset": dataset, "seed": seed}, {"error": [0.1]}

    runs = {"r": run("random"), "a0": run("a"), "a1": run("a", seed="1"), "b": run("b"), "c": run("a", "mnist")}
    kept = {name: made(np.full((1, 2, 2), place)) for place, name in enumerate(runs) if name != "b"}
    found = list(grids.grids(replace(results(runs), maps=kept)))
    assert [(grid.title, grid.seed, list(grid.methods)) for grid in found] == [
        ("digits", "0", ["a", "random"]),
        ("mnist", "", ["a"]),
    ]
    assert found[0].methods["a"] is kept["a0"]


def test_several_trainings_and_targets_are_shown_apart(results: Made) -> None:
    settings = [
        {"trainer.max_epochs": epochs, "target": target, "imputer": imputer, "trainer.random_state": imputer}
        for epochs, target in (("1", "label"), ("10", "label"), ("10", "predicted"))
        for imputer in "xy"
    ]
    runs = {f"{p}{m}": ({"method": m, "settings": s}, {"error": [0.1]}) for p, s in enumerate(settings) for m in "ab"}
    kept = {name: made(np.full((1, 2, 2), place)) for place, name in enumerate(runs)}
    found = list(grids.grids(replace(results(runs), maps=kept)))
    titles = [f"digits, max_epochs={each}" for each in ("1, target=label", "10, target=label", "10, target=predicted")]
    assert [(grid.title, list(grid.methods)) for grid in found] == [(title, ["a", "b"]) for title in titles]
    assert [grid.methods["b"] is kept[name] for grid, name in zip(found, ("0b", "2b", "4b"), strict=True)] == [True] * 3


def test_more_methods_than_fit_beside_each_other_are_several_figures(tmp_path: Path) -> None:
    grid = Grid("digits", "", {f"m{place}": made(np.ones((1, 2, 2))) for place in range(21)})
    parts = list(grids.parts(grid))
    assert [name for part in parts for name in part.methods] == list(grid.methods)
    assert max(len(part.methods) for part in parts) <= 10
    assert [path.suffix for path in grids.draw_grid(parts[0], tmp_path, "x")] == [".png", ".pdf"]
