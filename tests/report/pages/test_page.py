from __future__ import annotations

import math
import re
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pages import EVIL, ORIGIN, maps, page, three, with_maps
from PIL import Image

from lrp_bench.contracts import Measure
from lrp_bench.report.figures.picture import Picture
from lrp_bench.report.pages.gallery import ENDS, UNDEFINED, galleries
from lrp_bench.report.store.maps import filled
from lrp_bench.report.store.results import Failure, Results
from lrp_bench.tracking.record import without_secrets

Made = Callable[..., Results]


def words(path: Path) -> str:
    """What stands on a page, in one line."""
    body = path.read_text().partition("<body>")[2].rpartition("<script>")[0]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_the_page_says_what_was_compared_and_who_leads(results: Made, tmp_path: Path) -> None:
    picture = tmp_path / "curve.png"
    Image.new("L", (2, 2)).save(picture)
    figure = Picture("curve", "A <b>curve</b>", "how to read it", (tmp_path / "curve.pdf", picture))
    path = page(three(results), tmp_path, pictures=(figure,))
    told = words(path)
    for text in (
        "Error: gamma leads with",
        "a significant difference (p =",
        "mlp (test accuracy 0.900 to 0.950 over 2 trainings)",
        "10 test samples, 3 methods and random maps",
        "2026-01-02 03:04 UTC, took 0:01:05",
        "lrp_bench 1.0, torch 2.11",
        "python -m lrp_bench rule=epsilon,gamma --multirun",
        "No sanity check was measured",
        "zbox on digits (mlp) gave no numbers: no box.",
        "A <b>curve</b>",
        "how to read it",
    ):
        assert text in told, text
    assert 'href="http://host:5000/#/experiments/1/runs/run1?workflowType=machine_learning"' in path.read_text()


def test_no_name_becomes_markup_and_nothing_is_asked_of_a_network(results: Made, tmp_path: Path) -> None:
    page_ = page(three(results), tmp_path).read_text()
    assert EVIL not in page_
    assert page_.count("<script>") == 1
    assert not re.search(r'(src|href)="(?!data:|#|http://host:5000/#/experiments)', page_)
    assert not re.search(r"@import|url\(", page_)


def test_a_store_without_pages_is_named_without_links_and_secrets(results: Made, tmp_path: Path) -> None:
    uri = without_secrets("postgresql://me:word@host/runs")
    told = words(page(three(results), tmp_path, replace(ORIGIN, uri=uri, pages=None)))
    assert "postgresql://host/runs" in told
    assert "make ui" in told
    assert "run1" in told


def test_a_sweep_that_only_failed_still_has_a_page(results: Made, tmp_path: Path) -> None:
    told = words(page(results({}), tmp_path, replace(ORIGIN, status="FAILED")))
    assert "A sweep without numbers" in told
    assert "Some of this sweep gave no numbers" in told
    assert "zbox on digits (mlp) gave no numbers: no box." in told


def test_what_some_lack_and_other_samples_are_told(results: Made, tmp_path: Path) -> None:
    made = results(
        {"a": ({}, {"error": [1.0, 2.0], "agreement": [0.1, 0.2]}), "b": ({}, {"error": [1.0, 3.0, 4.0]})},
    )
    told = words(page(replace(made, failures=()), tmp_path))
    assert "Agreement, digits: not measured for b." in told
    assert "explained different samples (a 2, b 3), so their means are not comparable" in told


def test_sanity_checks_are_said_of_methods_alone(results: Made, tmp_path: Path) -> None:
    checked = {"error": Measure("Check", "mprt", False, gate=0.5)}
    runs = {"good": 0.1, "bad": 0.7, "random": 0.9}
    made = results({run: ({}, {"error": [value] * 3}) for run, value in runs.items()}, checked)
    assert "bad fails a sanity check: Check above 0.5." in words(page(made, tmp_path))
    never = {**checked, "ties": Measure("Never", "mprt", False, gate=0.5)}
    blank = [math.nan] * 3
    made = results({"good": ({}, {"error": blank, "ties": blank}), "random": ({}, {"ties": [0.1] * 3})}, never)
    assert "Not tested, since undefined for every sample: Check, Never." in words(page(made, tmp_path))
    assert "No method fails" not in words(page(made, tmp_path))
    made = results({"good": ({}, {"error": [0.1] * 3, "ties": blank})}, never)
    told = words(page(made, tmp_path))
    assert "No method fails a sanity check (Check). Not tested, since undefined for every sample: Never." in told
    made = results({run: ({}, {"error": [runs[run]] * 3}) for run in ("good", "random")}, checked)
    assert "No method fails a sanity check (Check)." in words(page(made, tmp_path))


def test_colours_are_linear_in_the_relevance_and_centred(results: Made) -> None:
    relevance = np.array([[[-2.0, -1.0, 0.0], [1.0, 2.0, np.nan]]], dtype=np.float32)
    made = results({"a": ({}, {"error": [1.0]})})
    made = replace(made, maps={"a": maps(1, (2, 3), relevance=relevance)})
    ((gallery,), (card,)) = (galleries(made, {}), galleries(made, {})[0].samples[0].cards)
    pixels = np.asarray(Image.open(BytesIO(b64decode(card.picture.partition(",")[2]))).convert("RGB")).astype(int)
    blue, white, red = ENDS
    np.testing.assert_allclose(pixels[0], [blue, (blue + white) / 2, white], atol=1)
    np.testing.assert_allclose(pixels[1], [(red + white) / 2, red, UNDEFINED], atol=1)
    assert (card.limit, card.share, gallery.crisp) == (2.0, 1.0, True)


def test_maps_of_other_methods_share_a_scale_and_what_is_missing_is_named(results: Made, tmp_path: Path) -> None:
    made = results({run: ({}, {"error": [1.0, 2.0]}) for run in ("a", "b", "random")})
    shown = {"a": maps(2, (4,), features=tuple("wxyz")), "random": maps(2, (4,)), "b": maps(1, (4,))}
    shown["b"] = replace(shown["b"], relevance=shown["a"].relevance[:1] * 4)
    (gallery,) = galleries(replace(made, maps=shown), made.measures)
    first, second = gallery.samples
    assert [card.method for card in first.cards] == ["a", "b", "random"]
    assert first.cards[0].share == pytest.approx(0.25)
    assert first.cards[1].share == 1.0
    assert second.missing == ("b",)
    assert first.cards[0].scores == {"Error\N{NO-BREAK SPACE}↓": "1"}
    assert [mark.name for mark in first.cards[0].marks] == list("wxyz")
    assert "Green speaks for" in words(page(replace(made, maps=shown), tmp_path))
    marks = [mark.relevance for mark in first.cards[0].marks]
    np.testing.assert_allclose(marks, shown["a"].relevance[0])


def test_words_stand_on_their_colours(results: Made, tmp_path: Path) -> None:
    made = results({"a": ({}, {"error": [1.0]})})
    relevance = np.array([[1.0, -0.5, 9.0]], dtype=np.float32)  # the last one is filling
    made = with_maps(made, (3,), relevance=relevance, words=filled([("good", EVIL)])[:, :2])
    page_ = page(made, tmp_path).read_text()
    assert 'class="plus-word" style="--share: 1.000" title="+1">good</span>' in page_
    assert 'class="minus-word" style="--share: 0.500" title="-0.5">&lt;script&gt;' in page_


@pytest.mark.parametrize(("side", "count"), [(64, 50), (224, 50)])
def test_fifty_samples_of_ten_rules_stay_below_15_mb(results: Made, tmp_path: Path, side: int, count: int) -> None:
    made = results({f"rule{place}": ({}, {"error": [1.0] * count}) for place in range(10)})
    one = maps(count, (side, side))
    path = page(replace(made, maps=dict.fromkeys(made.runs.index, one)), tmp_path)
    assert path.stat().st_size < 15e6
    shown = len(re.findall('<section class="sample"', path.read_text()))
    assert shown == count if side == 64 else 0 < shown < count
    assert ("that have maps, so that this page stays small" in path.read_text()) == (shown < count)


def test_names_of_failures_are_escaped(results: Made, tmp_path: Path) -> None:
    made = replace(results({"a": ({}, {"error": [1.0, 2.0]})}), failures=(Failure(EVIL, EVIL, EVIL, EVIL),))
    assert EVIL not in page(made, tmp_path).read_text()
