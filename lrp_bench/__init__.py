"""lrp_bench: which Layer-wise Relevance Propagation rule to trust, on your data and your model.

`LRP` explains a model, `score` measures maps that anyone computed, `run(configure(...), folder=...)` does what the
command line does. Nothing heavy is imported until one of them is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lrp_bench.cli import configure
    from lrp_bench.engine import LRP
    from lrp_bench.evaluation import score
    from lrp_bench.run import run

__version__ = "0.1.0"
__all__ = ["LRP", "__version__", "configure", "run", "score"]

_HOMES = {"LRP": "engine", "configure": "cli", "run": "run", "score": "evaluation"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
