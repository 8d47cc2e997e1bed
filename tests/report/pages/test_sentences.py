"""Sentences on coloured ground: escaped, centred, one scale each."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from lrp_bench.contracts import BenchError
from lrp_bench.report.figures.sentences import UNDEFINED, sentences, write_png
from lrp_bench.report.pages.sentences import write_html

WORDS = [("<script>alert('&')</script>", "is", "$5", "or", "$6"), ("good",)]
RELEVANCE = [[1.0, 0.0, -2.0, 0.5, -0.5], [-0.1, 9.0, 9.0, 9.0, 9.0]]
TITLES = ['true <b>a</b>, predicted "b"', "true c, predicted c"]


class Page(HTMLParser):
    """Collects what a browser would show."""

    def __init__(self) -> None:
        super().__init__()
        self.tags, self.words, self.styles, self.inside = list[str](), list[str](), list[str](), False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.inside = tag == "span"
        if self.inside:
            self.styles.append(str(dict(attrs)["style"]))

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.words.append(data)


def test_the_page_shows_the_words_as_they_are(tmp_path: Path) -> None:
    path = write_html(sentences(WORDS, RELEVANCE, TITLES), tmp_path / "sentences.html")
    text, page = path.read_text(encoding="utf-8"), Page()
    page.feed(text)
    assert page.words == [*WORDS[0], *WORDS[1]]
    assert "b" not in page.tags
    assert page.tags.count("script") == text.count("<script") == 1  # the page's own
    assert "://" not in text  # it needs nothing from elsewhere


def test_red_is_for_and_blue_is_against_on_a_scale_of_each_sentence() -> None:
    first, second = sentences(WORDS, RELEVANCE, TITLES)
    assert (first.scale, second.scale) == (2.0, 0.1)
    grounds = [to_rgb(ground) for _, _, ground, _ in first.marked]
    for (red, _, blue), relevance in zip(grounds, RELEVANCE[0], strict=True):
        assert np.sign(round(red - blue, 2)) == np.sign(relevance)
    assert min(grounds[1]) > 0.96
    assert second.marked[0][2] == first.marked[2][2]  # both as far down as their scale goes
    assert [ink for *_, ink in first.marked] == ["#000000", "#000000", "#ffffff", "#000000", "#000000"]


def test_what_is_undefined_is_grey_and_nothing_is_white() -> None:
    undefined, nothing = sentences([("a", "b"), ("c",)], [[np.nan, 1.0], [0.0, 0.0]], ["", ""])
    assert undefined.marked[0][2] == UNDEFINED
    assert nothing.scale == 1.0
    assert min(to_rgb(nothing.marked[0][2])) > 0.96


def test_the_picture_breaks_lines_and_takes_any_word(tmp_path: Path) -> None:
    short = imread(write_png(sentences(WORDS, RELEVANCE, TITLES), tmp_path / "short.png"))
    words = [tuple(["$word$"] * 40), ("_" * 200,)]
    long = imread(write_png(sentences(words, np.ones((2, 40)), TITLES), tmp_path / "long.png"))
    assert long.shape[0] > short.shape[0]
    assert long.shape[1] == short.shape[1]
    assert list(tmp_path.iterdir()).__len__() == 2
    colours = {tuple(pixel) for pixel in (short[..., :3] * 255).round().astype(int).reshape(-1, 3).tolist()}
    for sentence in sentences(WORDS, RELEVANCE, TITLES):
        assert all(tuple(round(255 * part) for part in to_rgb(mark[2])) in colours for mark in sentence.marked)


@pytest.mark.parametrize(
    ("relevance", "titles"),
    [([[1.0]], ["a"]), ([[1.0] * 5] * 2, ["a"]), ([1.0, 2.0], ["a", "b"]), ([[1.0]] * 2, TITLES)],
)
def test_as_many_numbers_as_words_and_titles(relevance: object, titles: list[str]) -> None:
    with pytest.raises(BenchError, match="Expected relevance"):
        sentences(WORDS, relevance, titles)  # type: ignore[arg-type]
