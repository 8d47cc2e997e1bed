"""HTML pages that are one file: style, script and pictures inside, nothing asked of a network."""

from __future__ import annotations

import hashlib
import math
from base64 import b64encode
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lrp_bench.report.tables.cells import Cell

WIDTH = 110  # characters of a table at a laptop's width


def render(template: str, **context: object) -> str:
    """A page from a file of templates/; all text in it is escaped, and only the page's own script may run.

    Beside the context a template finds `width`, how many characters wide a table may be.
    """
    environment = Environment(
        loader=PackageLoader("lrp_bench.report.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["sortable"] = _sortable
    script = (files("lrp_bench.report.pages") / "templates" / "page.js").read_text(encoding="utf-8").strip()
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template(template)
    return page.render(script=Markup(script), script_hash=f"sha256-{digest}", width=WIDTH, **context)


def data_uri(content: bytes, kind: str) -> str:
    """What a file holds, as an address that is the file. kind: image/png, say."""
    return f"data:{kind};base64,{b64encode(content).decode()}"


def _sortable(cell: Cell) -> str:
    """The number a cell is sorted by; empty where it has none."""
    try:
        return "" if math.isnan(float(cell.value)) else cell.value
    except ValueError:
        return ""
