"""A paper around LaTeX tables, set by a real engine where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

BARE = r"""\documentclass[twocolumn]{article}
\usepackage{booktabs}
\begin{document}
\input{table.tex}
\end{document}
"""
PAPER = r"""\documentclass[twocolumn]{article}
\usepackage[utf8]{inputenc}
\usepackage[T1]{fontenc}
\usepackage{booktabs}
\begin{document}
\input{table.tex}
\end{document}
"""

needs_latex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on PATH")


def typeset(tables: str, folder: Path, paper: str = PAPER) -> float:
    """Set a paper of two columns with these tables in it; how far its widest line goes over the edge, in points."""
    (folder / "table.tex").write_text(tables, encoding="utf-8")
    (folder / "paper.tex").write_text(paper, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (folder / "paper.pdf").stat().st_size > 10_000
    assert "Float too large" not in done.stdout
    return max(map(float, re.findall(r"Overfull .hbox \((\S+)pt", done.stdout)), default=0.0)
