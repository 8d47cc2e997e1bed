from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from papers import BARE, needs_latex, typeset
from rich.console import Console

from lrp_bench.contracts import Measure
from lrp_bench.report.numbers import ranking
from lrp_bench.report.numbers.comparison import Comparison
from lrp_bench.report.pages import web
from lrp_bench.report.store.results import Failure
from lrp_bench.report.tables import formats
from lrp_bench.report.tables.arrangement import arranged
from lrp_bench.report.tables.cells import Cell, bracketed, number
from lrp_bench.report.tables.layout import MEAN_RANK, Layout, lay_out
from lrp_bench.report.tables.terminal import render

MEASURES = {
    "error": Measure("Conservation error", "conservation", False, summary="median"),
    "srg": Measure("SRG (probability)", "flipping", True),
    "ties": Measure("Ties", "flipping", None, headline=False),
    "agreement/ig": Measure("Spearman with captum integrated gradients", "agreement", True),
}
COLUMNS = ["setting", "dataset", "model", "method", "measure", "mean", "rank"]


def comparison(
    methods: tuple[str, ...] = ("epsilon", "epsilon_plus", "random"),
    sets: tuple[str, ...] = ("digits",),
    failures: tuple[Failure, ...] = (),
    notes: tuple[str, ...] = (),
) -> Comparison:
    """Every mean is a tenth of the method's place, so that ranks are plain; the second is tied with the best."""
    rows = [
        (name, name, "mlp", method, measure, 0.1 * place, math.nan if method == "random" else place)
        for name, measure, (place, method) in product(sets, MEASURES, enumerate(methods, 1))
    ]
    cells = pd.DataFrame(rows, columns=COLUMNS)
    mean = cells["mean"]
    cells = cells.assign(
        low=mean - 0.01, high=mean + 0.01, q1=mean - 0.05, median=mean, q3=mean + 0.1, shown=mean, compared=mean
    )
    cells = cells.assign(n=50, samples=50, common=50, tied=cells["rank"] == 2)
    pairs = pd.DataFrame(
        [
            (name, measure, *methods[:2], 50, -0.1, 0.1, 0.25, -0.2, math.nan, math.nan, ranking.CLOSE)
            for name, measure in product(sets, MEASURES)
        ],
        columns=ranking.PAIRS,
    )
    ranks = ranking.mean_ranks(cells, MEASURES)
    return Comparison(cells, pairs, ranks, MEASURES, methods, sets, dict.fromkeys(sets, 50), failures, notes)


def shown(layout: Layout, width: int = 100) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(render(layout, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("mean", "half", "places", "text"),
    [
        (0.12345, 0.0123, 3, "0.123 ± 0.012"),
        (-0.0001, 0.02, 3, "0.000 ± 0.020"),
        (12.34, math.nan, 1, "12.3"),
        (math.nan, math.nan, 3, "n.a."),
        (3.2e-8, 4.1e-9, 3, "3.2e-8 ± 4e-9"),
        (-1.5e12, 2e11, 0, "-1.5e12 ± 2e11"),
        (0.0, 0.0, 2, "0.00 ± 0.00"),
        (math.inf, math.nan, 3, "inf"),
    ],
)
def test_numbers_read_well(mean: float, half: float, places: int, text: str) -> None:
    assert number(mean, half, places).text == text


@pytest.mark.parametrize(
    ("value", "ends", "text"),
    [
        (0.2, (0.15, 1.0), "0.20 [0.15, 1.00]"),
        (2.0, (0.5, 3e7), "2.0e0 [5.0e-1, 3.0e7]"),
        (math.nan, (math.nan, math.nan), "n.a."),
        (0.25, (math.nan, math.nan), "0.25"),
        (0.5, (0.25, math.inf), "5.0e-1 [2.5e-1, inf]"),
    ],
)
def test_numbers_between_two_others_read_well(value: float, ends: tuple[float, float], text: str) -> None:
    assert bracketed(value, ends, 2).text == text


def test_the_markdown_table_is_as_expected() -> None:
    failed = Failure("digits", "mlp", "zbox", "Expected a box, got <none>.")
    layout = lay_out(comparison(failures=(failed,), notes=("mind the gap",)))
    assert formats.markdown(layout) == (
        "- Conservation error: epsilon leads with 0.1 (median), 0.1 ahead of epsilon_plus, not a significant "
        "difference (p = 0.25).\n"
        "- SRG (probability): epsilon leads with 0.1, 0.1 ahead of epsilon_plus, not a significant difference "
        "(p = 0.25).\n\n"
        "Mean ± half-width of the 95 % bootstrap interval or median \\[quartiles\\], n = 50 samples of digits. Best in "
        "bold, second underlined; †: not significantly different from the best (Wilcoxon, Holm-corrected, 5 %).\n\n"
        "|  | Conservation error ↓ | SRG (probability) ↑ | Spearman with captum integrated gradients ↑ |\n"
        "| :-- | --: | --: | --: |\n"
        "| epsilon | **0.100 \\[0.050, 0.200\\]** | **0.100 ± 0.010** | **0.100 ± 0.010** |\n"
        "| epsilon_plus | <ins>0.200 \\[0.150, 0.300\\]†</ins> | <ins>0.200 ± 0.010†</ins> "
        "| <ins>0.200 ± 0.010†</ins> |\n"
        "| random | 0.300 \\[0.250, 0.400\\] | 0.300 ± 0.010 | 0.300 ± 0.010 |\n\n"
        "zbox on digits (mlp) gave no numbers: Expected a box, got &lt;none&gt;.\n\nmind the gap.\n"
    )


def test_several_settings_have_a_mean_rank() -> None:
    layout = lay_out(comparison(sets=("digits", "mnist")))
    srg = [column for column in layout.columns if column.measure == "srg"]
    assert [column.setting for column in srg] == ["digits", "mnist", MEAN_RANK]
    assert [(cell.text, cell.rank) for cell in srg[2].cells] == [("2.0", 2), ("1.0", 1), ("", 0)]
    assert [column.header for column in srg] == ["SRG (probability)\N{NO-BREAK SPACE}↑"] * 2 + ["SRG (probability)"]
    assert "| SRG (probability)<br>mean rank ↓ |" in formats.markdown(layout)
    tex = formats.latex(layout)
    assert r"SRG (probability) $\uparrow$" in tex
    assert r"mean rank $\downarrow$" in tex
    assert layout.caption.endswith("n = 50 samples of digits, mnist. " + layout.caption.rpartition("mnist. ")[2])


def test_the_csv_is_plain_numbers_and_says_what_failed() -> None:
    made = comparison(sets=("digits", "mnist"), failures=(Failure("digits", "mlp", "zbox", 'no "box", sorry'),))
    found = pd.read_csv(io.StringIO(formats.csv(made)))
    numbers = found[found["error"].isna()]
    keys = ["dataset", "model", "setting", "method", "measure", "mean", "low", "high", "q1", "median", "q3", "n"]
    pd.testing.assert_frame_equal(numbers[keys], made.cells[keys], check_dtype=False)
    assert set(numbers["measure"]) == set(MEASURES)
    assert found["error"].dropna().tolist() == ['no "box", sorry']
    assert formats.csv(comparison(methods=(), sets=())).startswith("dataset,model,setting,method,measure,title")


def rows(tex: str) -> Iterator[list[str]]:
    for tabular in re.findall(r"\\begin\{tabular\}\{\w+\}(.*?)\\end\{tabular\}", tex, re.DOTALL):
        body = re.sub(r"\\(toprule|midrule|bottomrule)", "", re.sub(r"\\shortstack\{.*?\$\}", "title", tabular))
        yield from ([cell.strip() for cell in re.split(r"(?<!\\)&", row)] for row in body.split(r"\\") if row.strip())


def test_the_latex_table_has_the_shape_it_needs() -> None:
    tex = formats.latex(lay_out(comparison()))
    assert [row[0] for row in rows(tex)] == ["", "epsilon", r"epsilon\_plus", "random"]
    assert {len(row) for row in rows(tex)} == {4}
    assert [row[1:3] for row in rows(tex)][1:] == [
        [r"\textbf{0.100 [0.050, 0.200]}", r"\textbf{0.100 $\pm$ 0.010}"],
        [r"\underline{0.200 [0.150, 0.300]$^\dagger$}", r"\underline{0.200 $\pm$ 0.010$^\dagger$}"],
        ["0.300 [0.250, 0.400]", r"0.300 $\pm$ 0.010"],
    ]
    for part in (r"\toprule", r"\midrule", r"\bottomrule", r"\caption{Mean $\pm$", r"\label{tab:", r"\end{table*}"):
        assert tex.count(part) == 1
    assert r"error $\downarrow$" in tex
    several = formats.latex(lay_out(comparison(sets=("digits", "mnist"))))
    assert r"\multicolumn{3}{c}{SRG (probability) $\uparrow$}" in several
    assert several.count(r"\begin{table*}") == several.count(r"\end{table*}") > 1
    for table in several.split(r"\end{table*}")[:-1]:
        assert {len(row) for row in rows(table) if "multicolumn" not in row[1]} == {table.count("& digits") * 3 + 1}


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters() | st.sampled_from("&%$#_{}[]*\\\\~^<>|`±"), max_size=20))
def test_no_text_breaks_latex_or_markdown(text: str) -> None:
    tex = formats.latex_text(text)
    assert all(ord(character) < 0x180 and character.isprintable() for character in tex)
    words = r"\\text(backslash|asciitilde|asciicircum|less|greater|bar)\{\}"
    bare = re.sub(words + r"|\\[&%$#_{}]", "", tex)
    assert not set(re.sub(r"\{[\[\]*]\}|\$\^?\\(pm|uparrow|downarrow|d?dagger)\$", "", bare)) & set("&%$#_{}[]*\\~^<>")
    marked = re.sub(r"\\[\\`*|\[\]~_]|&(amp|lt|gt);|(?<=\w)_(?=\w)", "", formats.markdown_text(text))
    assert not set(marked) & set("\\`*|[]~<>&\n")


NAMES = [
    "a_b & c%",
    r"\\ $x^2$ #1 ~",
    "[red] {x}",
    "<script>|</script>",
    "*",
    "\N{CYRILLIC SMALL LETTER ZHE}",
    "a\nb",
    "__x__",
]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_breaks_a_table(name: str) -> None:
    layout = lay_out(comparison(methods=(name, "β"), failures=(Failure("digits", "mlp", name, name),)))
    tex = list(rows(formats.latex(layout)))
    assert [len(row) for row in tex] == [4, 4, 4]
    written = [line for line in formats.markdown(layout).splitlines() if line.startswith("|")]
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in written] == [5, 5, 5, 5]
    assert "<script" not in "".join(written)


def test_the_terminal_table_stays_in_its_width() -> None:
    methods = tuple(f"epsilon_alpha2_beta1_flat_{place}" for place in range(3))
    layout = lay_out(comparison(methods=methods, sets=("digits", "fashion_mnist")))
    text = shown(layout)
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("±") - 1 == 3 * 2 * 2  # 1 in the caption; 3 methods x 2 data sets x 2 measures shown by the mean
    assert text.count(" [0.") == 3 * 2
    for column, width in product(layout.columns, (60, 100)):
        assert sum(column in block for block in layout.blocks(width)) == 1


def test_small_tables_are_two_blocks() -> None:
    layout = lay_out(comparison())
    assert [[column.measure for column in block] for block in layout.blocks(60)] == [["error", "srg"], ["agreement/ig"]]
    assert [len(block) for block in layout.blocks(100)] == [3]
    assert len(lay_out(comparison(), every=True).columns) == 4


def test_a_measure_with_many_settings_is_cut() -> None:
    layout = lay_out(comparison(sets=tuple(f"data_set_number_{place}" for place in range(8))))
    blocks = layout.blocks(100)
    assert [column for block in blocks for column in block] == list(layout.columns)
    assert all(sum(column.width + 2 for column in block) < 100 for block in blocks)
    assert "…" not in shown(layout)


def test_best_is_bold_and_names_are_not_markup() -> None:
    layout = lay_out(comparison(methods=("[red]evil[/red]", "b")))
    console = Console(width=100, file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print(render(layout))
    assert isinstance(console.file, io.StringIO)
    assert "[red]evil[/red]" in console.file.getvalue()
    assert re.search(r"\x1b\[1;32m *0\.100 ± 0\.010", console.file.getvalue())
    assert "↓" in shown(layout)


def test_cells_say_failed_or_not_applicable() -> None:
    made = comparison(sets=("digits", "mnist"), failures=(Failure("mnist", "mlp", "epsilon", "x"),))
    keep = (made.cells["setting"] == "digits") | (made.cells["method"] == "random")
    cells = made.cells[keep].assign(mean=made.cells["mean"].where(made.cells["measure"] != "srg"), tied=False)
    layout = lay_out(replace(made, cells=cells))
    found = {(column.measure, column.setting): column.cells for column in layout.columns}
    assert [cell.text for cell in found["agreement/ig", "mnist"]] == ["failed", "n.a.", "0.300 ± 0.010"]
    assert set(found["srg", "digits"]) <= {Cell("n.a.", rank=rank) for rank in range(4)}


def test_a_sweep_without_numbers_still_says_what_failed() -> None:
    layout = lay_out(comparison(methods=(), sets=(), failures=(Failure("digits", "mlp", "zbox", "no box"),)))
    for text in (formats.markdown(layout), formats.latex(layout), shown(layout)):
        assert "No method was measured." in text
        assert "zbox on digits (mlp) gave no numbers: no box." in text


def test_who_fails_a_sanity_check_is_marked_and_told() -> None:
    made = comparison()  # means of 0.1, 0.2 and 0.3
    gated = {**MEASURES, "error": replace(MEASURES["error"], gate=0.15), "srg": replace(MEASURES["srg"], gate=0.15)}
    layout = lay_out(replace(made, measures=gated, notes=("seen",)))
    assert layout.methods == ("epsilon ‡", "epsilon_plus ‡", "random ‡")
    told = "‡ fails a sanity check: Conservation error above 0.15 (epsilon_plus, random); SRG (probability) below 0.15"
    assert layout.notes == (f"{told} (epsilon).", "seen.")
    for text in (formats.markdown(layout), shown(layout)):
        assert "epsilon_plus ‡" in text
    assert r"epsilon\_plus $\ddagger$" in formats.latex(layout)
    loose = {**MEASURES, "error": replace(MEASURES["error"], gate=0.5)}
    assert lay_out(replace(made, measures=loose)).methods == made.methods


def test_who_was_not_tested_by_a_sanity_check_is_told() -> None:
    made = comparison()
    gated = {**MEASURES, "srg": replace(MEASURES["srg"], gate=0.05)}
    cells = made.cells
    here = cells["measure"] == "srg"
    n = cells["n"].mask(here & (cells["method"] == "epsilon"), 0).mask(here & (cells["method"] == "epsilon_plus"), 1)
    mean = cells["mean"].mask(n == 0)
    layout = lay_out(replace(made, measures=gated, cells=cells.assign(n=n, mean=mean)))
    assert layout.methods == made.methods
    assert layout.notes == (
        "Sanity check SRG (probability) is undefined for most samples (epsilon: not tested; epsilon_plus: 1 of 50).",
    )
    assert lay_out(replace(made, measures=gated)).notes == ()


def html_cells(page: str) -> list[list[str]]:
    body = [row for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL) if "<td" in row]
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in body]
    return [[re.sub(r"<[^>]*>", "", cell) for cell in row] for row in cells]


def html(layout: Layout, title: str = "sweep") -> str:
    return web.render("table.html", title=title, table=layout)


def test_the_html_page_says_what_the_markdown_says() -> None:
    layout = lay_out(comparison(notes=("mind the gap",)))
    page = html(layout, "a <b> sweep")
    assert html_cells(page) == [
        ["epsilon", "0.100 [0.050, 0.200]", "0.100 ± 0.010", "0.100 ± 0.010"],
        ["epsilon_plus", "0.200 [0.150, 0.300]†", "0.200 ± 0.010†", "0.200 ± 0.010†"],
        ["random", "0.300 [0.250, 0.400]", "0.300 ± 0.010", "0.300 ± 0.010"],
    ]
    assert "<title>a &lt;b&gt; sweep · lrp_bench</title>" in page
    assert "SRG (probability)\N{NO-BREAK SPACE}↑" in page
    for words in ("mind the gap.", "n = 50 samples of digits", "SRG (probability): epsilon leads"):
        assert page.count(words) == 1
    ranks = [re.findall(r'<td [^>]*class="(\w*)', row) for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)]
    assert ranks == [[], ["best"] * 3, ["second"] * 3, [""] * 3]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_breaks_the_html_page(name: str) -> None:
    page = html(lay_out(comparison(methods=(name, "b"), failures=(Failure("digits", "mlp", name, name),))), name)
    assert page.count("<script") == 1  # the page's own
    assert [len(row) for row in html_cells(page)] == [4, 4]


@needs_latex
def test_a_real_latex_sets_every_table_within_the_page_as_it_stands(tmp_path: Path) -> None:
    evil = comparison(methods=(*NAMES, "a_b%&$ <script>"), sets=("digits", "fashion_mnist"), notes=("50 % & more_",))
    tex = formats.latex(arranged(lay_out(evil), evil, "dataset"), "one") + formats.latex(lay_out(evil), "two")
    assert typeset(tex, tmp_path) < 1


@needs_latex
def test_a_paper_of_booktabs_alone_sets_every_latin_letter(tmp_path: Path) -> None:
    letters = [chr(code) for code in range(0x21, 0x180)]
    assert formats.latex_text("ąß«é") == "?ß?é"
    told = r"\par ".join(f"{ord(letter):x} {formats.latex_text(letter)}" for letter in letters if letter.isprintable())
    typeset(told, tmp_path, BARE)


def side_by_side(layout: Layout) -> list[tuple[str, list[tuple[str, str]]]]:
    return [(block[0].group, [(each.measure, each.setting) for each in block]) for block in layout.blocks(200)]


def test_tables_are_of_what_is_asked_for() -> None:
    made = comparison(sets=("digits", "mnist"))
    layout = lay_out(made)
    by_set = side_by_side(arranged(layout, made, "dataset"))
    assert [group for group, _ in by_set] == [column.title for column in layout.columns[::3]]
    assert by_set[1][1] == [("srg", "digits"), ("srg", "mnist"), ("srg", MEAN_RANK)]
    by_measure = side_by_side(arranged(layout, made, "measure"))
    assert [group for group, _ in by_measure] == ["digits", "mnist"]
    assert by_measure[0][1] == [("error", "digits"), ("srg", "digits"), ("agreement/ig", "digits")]
    assert "**SRG (probability)**" in formats.markdown(arranged(layout, made, "dataset"))
    assert r"\caption{SRG (probability). Continued.}" in formats.latex(arranged(layout, made, "dataset"))
    assert "<caption>mnist</caption>" in html(arranged(layout, made, "measure"))
    assert "Conservation error" in map(str.strip, shown(arranged(layout, made, "dataset")).splitlines())


def test_with_several_models_a_table_holds_one_measure_on_one_data_set() -> None:
    made = comparison(sets=("digits, mlp, blur", "digits, lenet, blur", "mnist, mlp, blur", "mnist, lenet, blur"))
    parts = made.cells["setting"].str.split(", ", expand=True)
    made = replace(made, cells=made.cells.assign(dataset=parts[0], model=parts[1]))
    found = side_by_side(arranged(lay_out(made), made, "model"))
    assert found[0] == (
        "Conservation error, digits, blur",
        [("error", "digits, mlp, blur"), ("error", "digits, lenet, blur")],
    )
    assert len(found) == 6
    assert [group for group, _ in side_by_side(arranged(lay_out(made), made, "dataset"))][:2] == [
        "Conservation error, mlp, blur",
        "Conservation error, lenet, blur",
    ]
