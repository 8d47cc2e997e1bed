"""Sentences as a page of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lrp_bench.report.figures.sentences import Sentence
from lrp_bench.report.pages.files import write
from lrp_bench.report.pages.web import render


def write_html(told: Sequence[Sentence], path: Path) -> Path:
    """A page that needs no other file."""
    return write(path, render("sentences.html", sentences=told))
