"""The comparison table as Markdown, LaTeX and CSV."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from html import escape
from textwrap import wrap

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler
from pandas.io.formats.style_render import CSSDict

from lrp_bench.report.numbers.comparison import Comparison
from lrp_bench.report.tables.cells import Cell
from lrp_bench.report.tables.layout import Column, Layout

PAGE = 96
PAPER = 76  # characters in \footnotesize within 12 cm, the text width of the narrowest usual paper
PREAMBLE = r"% needs \usepackage{booktabs}"
FOOTNOTESIZE: CSSDict = {"selector": "footnotesize", "props": ":;"}  # a command before the tabular
NUMBERS = ["mean", "low", "high", "q1", "median", "q3", "n", "rank", "tied"]
LATEX_SPECIAL = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",  # otherwise a dash
    **{character: f"{{{character}}}" for character in "[]*"},  # these mean something behind a line's end
    "±": r"$\pm$",
    "†": r"$^\dagger$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "‡": r"$\ddagger$",
}
LATIN_END = "\u0180"
NEED_T1 = frozenset("«»ÐÞðþĄąĘęĐđĦħĮįĸĿŀŉŊŋŦŧŲųſ")  # Latin, but an error under pdflatex's own font encoding
LATEX_STYLES = {1: "textbf:--rwrap;", 2: "underline:--rwrap;"}


def csv(comparison: Comparison) -> str:
    """Every measure as plain numbers, a row per data set x model x method x measure; failed runs say why in `error`."""
    directions = {name: measure.higher_is_better for name, measure in comparison.measures.items()}
    cells = comparison.cells.assign(
        higher_is_better=comparison.cells["measure"].map(directions),
        title=comparison.cells["measure"].map({name: each.title for name, each in comparison.measures.items()}),
    )
    failures = pd.DataFrame(
        [(each.dataset, each.model, each.method, each.reason) for each in comparison.failures],
        columns=["dataset", "model", "method", "error"],
    )
    columns = ["dataset", "model", "setting", "method", "measure", "title", "higher_is_better", *NUMBERS]
    rows = pd.concat([cells[columns].astype(object), failures.astype(object)])
    return rows.reindex(columns=[*columns, "error"]).to_csv(index=False, lineterminator="\n")


def markdown(layout: Layout) -> str:
    """Tables in GitHub's Markdown, what they say and the caption above, failures and notes below."""
    parts = ["\n".join(f"- {markdown_text(line)}" for line in layout.findings)] if layout.findings else []
    parts.append(markdown_text(layout.caption))
    for block in layout.blocks(PAGE):
        parts += [f"**{markdown_text(block[0].group)}**"] if block[0].group else []
        parts.append(_markdown_block(layout, block))
    parts += [markdown_text(line) for line in (*layout.failures, *layout.notes)]
    return "\n\n".join(parts) + "\n"


def latex(layout: Layout, label: str = "lrp-bench") -> str:
    r"""`table*` environments with booktabs rules, to \input into a paper of one column or two.

    The first one's caption holds failures and notes.
    """
    sentences = latex_text(" ".join((layout.caption, *layout.failures, *layout.notes)))
    tables = [
        paper_table(
            _styled(layout, block),
            column_format="l" + "c" * len(block),
            label=f"tab:{label}-{place + 1}",
            caption=" ".join(part for part in (_latex_group(block), "Continued." if place else sentences) if part),
        )
        for place, block in enumerate(layout.blocks(PAPER))
    ]
    return "\n".join([PREAMBLE, *(tables or [sentences])])


def paper_table(style: Styler, *, column_format: str, label: str, caption: str) -> str:
    r"""A float over the whole width of the page, in \footnotesize. caption: LaTeX."""
    text: str = style.set_table_styles([FOOTNOTESIZE]).to_latex(
        environment="table*",
        column_format=column_format,
        position="tbp",
        position_float="centering",
        hrules=True,
        label=label,
        caption=caption,
        multicol_align="c",
    )
    return text


def _styled(layout: Layout, block: Sequence[Column]) -> Styler:
    """One block of columns as a pandas Styler: text escaped, best bold, second underlined."""
    places = pd.MultiIndex.from_tuples([(column.measure, place) for place, column in enumerate(block)])
    texts = pd.DataFrame([[_latex_cell(cell) for cell in row] for row in _rows(block)], columns=places, dtype=object)
    ranks = [[LATEX_STYLES.get(cell.rank, "") for cell in row] for row in _rows(block)]
    style = texts.style.apply(lambda _: np.array(ranks, dtype=object).reshape(texts.shape), axis=None)
    style.format_index(_lookup(enumerate(map(latex_text, layout.methods))), axis=0)
    headers = _lookup((column.measure, _latex_header(column, block)) for column in reversed(block))  # the first's arrow
    style.format_index(headers, axis=1, level=0)
    if not layout.several:
        return style.hide(axis=1, level=1)
    settings = [latex_text(column.setting) for column in block]
    return style.format_index(_lookup(enumerate(settings)), axis=1, level=1)


def _lookup(texts: Iterable[tuple[object, str]]) -> Callable[[object], str]:
    return dict(texts).__getitem__


def _rows(block: Sequence[Column]) -> list[tuple[Cell, ...]]:
    return list(zip(*(column.cells for column in block), strict=True))


def latex_text(text: str) -> str:
    """Text that every LaTeX engine sets as it stands; letters that pdflatex lacks without a package become `?`."""
    known = (LATEX_SPECIAL.get(character, character) for character in _one_line(text))
    return "".join(part if len(part) > 1 or (part < LATIN_END and part not in NEED_T1) else "?" for part in known)


def _latex_header(column: Column, block: Sequence[Column]) -> str:
    """The title with its arrow, on as many lines as the width of its settings asks for."""
    width = sum(each.width for each in block if each.measure == column.measure)
    lines = [latex_text(line) for line in wrap(column.title, max(width, 12))] or [""]
    lines[-1] = f"{lines[-1]} {latex_text(column.arrow)}".strip()
    return lines[0] if len(lines) == 1 else "".join((r"\shortstack{", r" \\ ".join(lines), "}"))


def _latex_cell(cell: Cell) -> str:
    return cell.written(_latex_number, r" $\pm$ ", r"$^\dagger$")


def _latex_number(text: str) -> str:
    text = re.sub(r"e(-?\d+)$", r"$\\times 10^{\1}$", text)
    return f"$-${text[1:]}" if text.startswith("-") else text


def _latex_group(block: Sequence[Column]) -> str:
    return f"{latex_text(block[0].group)}." if block[0].group else ""


def _markdown_block(layout: Layout, block: Sequence[Column]) -> str:
    headers = [_markdown_header(column, layout.several) for column in block]
    lines = [["", *headers], [":--", *("--:" for _ in block)]]
    lines += [
        [markdown_text(method), *map(_markdown_cell, row)]
        for method, row in zip(layout.methods, _rows(block), strict=True)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _markdown_header(column: Column, several: bool) -> str:
    title = markdown_text(column.header)
    return f"{title}<br>{markdown_text(column.setting)}" if several else title


def _markdown_cell(cell: Cell) -> str:
    text = markdown_text(cell.text)
    return {1: f"**{text}**", 2: f"<ins>{text}</ins>"}.get(cell.rank, text)


def markdown_text(text: str) -> str:
    """Text that renders as it stands; underlines inside a word mean nothing and stay readable."""
    escaped = re.sub(r"([\\`*|\[\]~])", r"\\\1", escape(_one_line(text), quote=False))
    return re.sub(r"(?<!\w)_\w*|\w*_(?!\w)", lambda word: word[0].replace("_", r"\_"), escaped)


def _one_line(text: str) -> str:
    return "".join(character for character in " ".join(text.split()) if character.isprintable())
