"""The figures as a page, as a table and as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from gpu_parts import machine
from gpu_parts.isolation import ENDED, Outcome
from gpu_parts.picture import draw
from gpu_parts.sheet import NOTE, Cell, Scale
from gpu_parts.words import HEADINGS, INTRODUCTIONS, introduction

WORDS = {
    NOTE,
    "how it ended",
    "options",
    "value",
    "what the user sees",
    "which",
    "operators without a deterministic form",
}
COLUMNS = ["part", "table", "row", "column", "value"]


def write(
    lines: Sequence[Mapping[str, Cell]], outcomes: Sequence[Outcome], waiting: Sequence[str], scale: Scale, path: Path
) -> None:
    """All that was found so far, into path.md, .csv and .png. waiting: parts that are still to come."""
    found = pd.DataFrame(lines, columns=COLUMNS)
    facts = found[found["table"] == machine.TABLE].set_index("row")["value"].to_dict()
    title = titled(scale, facts)
    found.assign(device=facts.get("name", scale.device)).to_csv(path.with_suffix(".csv"), index=False)
    sections = [
        f"# {title}",
        INTRODUCTIONS[scale.device],
        f"![{title}]({path.name}.png)",
        ended(outcomes, waiting, found[found["table"] == ENDED]),
    ]
    told: set[str] = set()
    for table in found.loc[found["table"] != ENDED, "table"].drop_duplicates():
        heading = [f"## {HEADINGS[table]}"] if table in HEADINGS else []
        said = [text for text in (*heading, *introduction(table)) if text not in told]
        told.update(said)
        words = [f"### {table}", *(text for text in said if text not in heading)]
        sections += [*(text for text in heading if text in said), *words, markdown(found[found["table"] == table])]
    path.with_suffix(".md").write_text("\n\n".join(sections) + "\n")
    draw(found, title, path.with_suffix(".png"))


def titled(scale: Scale, facts: Mapping[str, object]) -> str:
    """What was measured, and on what."""
    small = ", the least of everything" if scale.size == "smoke" else ""
    if scale.device == "cuda":
        return f"On a GPU: {facts.get('name', 'unknown')}{small}"
    return f"CPU figures: the program for a GPU, rehearsed smaller on {facts.get('name', 'a CPU')}{small}"


def ended(outcomes: Sequence[Outcome], waiting: Sequence[str], spent: pd.DataFrame) -> str:
    """How each part ended, and what it took."""
    used = spent.set_index("row")["value"]
    took = {o.part: [f"{o.seconds:.0f}", f"{used[o.part]:.0f}" if o.part in used else "unknown"] for o in outcomes}
    rows = [[o.part, *took[o.part], f"{o.limit:.0f}", o.reason or "done"] for o in outcomes]
    rows += [[name, "", "", "", "not begun yet"] for name in waiting]
    total = f"{sum(o.seconds for o in outcomes):.0f} seconds altogether. Each part ran in a process of its own."
    return f"## {ENDED}\n\n{total}\n\n" + lines_of(["part", "seconds", "of a processor", "limit", "how it ended"], rows)


def markdown(rows: pd.DataFrame) -> str:
    """One table; what is said of its rows follows in its last column."""
    cells = rows.drop_duplicates(["row", "column"], keep="last")
    names, columns = cells["row"].drop_duplicates(), cells["column"].drop_duplicates()
    columns = [*(c for c in columns if c != NOTE), *([NOTE] if NOTE in set(columns) else [])]
    at = cells.set_index(["row", "column"])["value"].to_dict()
    return lines_of(
        ["", *columns], [[name, *(shown(at.get((name, column), "")) for column in columns)] for name in names]
    )


def lines_of(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    ruled = [list(head), [":--", *(":--" if name in WORDS else "--:" for name in head[1:])], *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in ruled)


def shown(value: object) -> str:
    """Three digits of a number; words as they are."""
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "n.a."
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
