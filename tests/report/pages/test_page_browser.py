"""The page as a reader sees it, in a real browser."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from matplotlib.colors import to_rgb
from pages import EVIL, page, three

from lrp_bench.report.figures.sentences import sentences
from lrp_bench.report.pages.sentences import write_html
from lrp_bench.report.store.results import Results

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: apt-get install chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def report(results: Callable[..., Results], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page(three(results), tmp_path_factory.mktemp("page"))


@contextmanager
def tab_of(browser: sync_api.Browser, path: Path) -> Iterator[sync_api.Page]:
    """A page, open; at the end nothing was complained of, asked for or alerted."""
    tab = browser.new_page(viewport={"width": 1280, "height": 800})
    told: list[str] = []
    tab.on("console", lambda message: told.append(message.text))
    tab.on("pageerror", lambda error: told.append(str(error)))
    tab.on("dialog", lambda dialog: (told.append(dialog.message), dialog.dismiss()))
    tab.on("request", lambda request: told.append(request.url))
    tab.goto(path.as_uri())
    yield tab
    tab.close()
    assert [text for text in told if not text.startswith("data:")] == [path.as_uri()]


@pytest.fixture
def opened(browser: sync_api.Browser, report: Path) -> Iterator[sync_api.Page]:
    with tab_of(browser, report) as tab:
        yield tab


@pytest.fixture(params=["report.html", "table.html"])
def either(request: pytest.FixtureRequest, browser: sync_api.Browser, report: Path) -> Iterator[sync_api.Page]:
    """The report, and the page of its table alone."""
    with tab_of(browser, report.with_name(request.param)) as tab:
        yield tab


def column(table: sync_api.Locator, place: int) -> list[str]:
    cells = table.locator(f"tbody tr > :nth-child({place}) >> visible=true")
    return [text.split("±")[0].strip() for text in cells.all_inner_texts()]


def test_a_click_on_a_heading_sorts_and_a_second_turns_it_round(either: sync_api.Page) -> None:
    table = either.locator("table.sortable").first
    heading = table.get_by_role("columnheader", name="Error")
    place = 1 + heading.evaluate("each => each.cellIndex")
    before = column(table, 1)
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"  # less is better
    values = [float(text) for text in column(table, place)]
    assert values == sorted(values)
    assert column(table, 1) != before
    heading.get_by_role("button").focus()
    either.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert [float(text) for text in column(table, place)] == sorted(values, reverse=True)
    table.get_by_role("columnheader", name="Agreement").get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "none"
    table.get_by_role("columnheader", name="method").get_by_role("button").click()
    assert column(table, 1) == [EVIL, "epsilon", "gamma", "random"]


def shown(tab: sync_api.Page) -> list[str]:
    return [str(each.get_attribute("src")) for each in tab.locator(".sample img >> visible=true").all()]


def test_another_sample_shows_other_pictures_under_every_method(opened: sync_api.Page) -> None:
    first = shown(opened)
    assert len(first) == len(set(first)) == 5  # the input and four methods
    opened.get_by_role("button", name="next sample").click()
    second = shown(opened)
    assert not set(first) & set(second)
    opened.get_by_label("sample", exact=True).select_option(index=3)
    third = shown(opened)
    assert not {*first, *second} & set(third)
    opened.locator(".thumbs button").first.click()
    assert shown(opened) == first
    opened.get_by_role("button", name="previous sample").click()
    assert "Sample 9" in opened.locator(".sample h3 >> visible=true").inner_text()


def test_one_scale_for_all_makes_smaller_maps_paler(opened: sync_api.Page) -> None:
    pictures = opened.locator(".sample.chosen .card:not(.input) img")
    opacity = "all => all.map(each => Number(getComputedStyle(each).opacity))"
    assert pictures.evaluate_all(opacity) == [1, 1, 1, 1]
    opened.get_by_label("one scale for all methods").check()
    paler = pictures.evaluate_all(opacity)
    assert max(paler) == 1
    assert min(paler) < 1


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_as_wide_as_its_window(either: sync_api.Page, width: int) -> None:
    either.set_viewport_size({"width": width, "height": 800})
    assert either.evaluate("document.documentElement.scrollWidth") <= width


def test_the_table_alone_is_that_of_the_report(browser: sync_api.Browser, report: Path) -> None:
    looks = "all => all.map(each => [each.innerText, getComputedStyle(each).fontWeight, getComputedStyle(each).color])"
    with tab_of(browser, report) as whole, tab_of(browser, report.with_name("table.html")) as alone:
        shown, expected = (
            tab.locator("table.sortable").first.locator("td, th").evaluate_all(looks) for tab in (alone, whole)
        )
        assert shown == expected
        assert alone.title() == f"{EVIL} · lrp_bench"
        assert alone.get_by_role("heading", level=1).inner_text() == EVIL


def test_without_scripts_everything_can_be_read(browser: sync_api.Browser, report: Path) -> None:
    tab = browser.new_page(java_script_enabled=False)
    tab.goto(report.as_uri())
    assert len(shown(tab)) == 50
    assert tab.locator(".controls >> visible=true").count() == 0
    tab.close()


def test_words_of_a_sentence_stand_on_their_colours(browser: sync_api.Browser, tmp_path: Path) -> None:
    words = [(EVIL, "is", "good"), ("word",) * 60]
    told = sentences(words, [[-1.0, 0.0, 0.5, *[0.0] * 57], [1.0] * 60], [EVIL, "long"])
    with tab_of(browser, write_html(told, tmp_path / "sentences.html")) as tab:
        tab.set_viewport_size({"width": 390, "height": 800})
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        shown = tab.locator(".sentence").first.locator("span")
        assert shown.all_inner_texts() == [EVIL, "is", "good"]
        grounds = shown.evaluate_all("all => all.map(each => getComputedStyle(each).backgroundColor)")
        expected = [[round(255 * part) for part in to_rgb(ground)] for _, _, ground, _ in told[0].marked]
        assert [[int(part) for part in re.findall(r"\d+", ground)] for ground in grounds] == expected
